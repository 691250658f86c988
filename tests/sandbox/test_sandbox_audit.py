"""The audit log: every request, and every state of Jobs, pods and Leases, with who made it so."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from kubernetes import client, config, watch
from kubernetes.client import ApiException

from airflow_provider_feast.sandbox import Sandbox

Record = dict[str, Any]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(time_scale=0.02) as found:
        yield found


@pytest.fixture
def api(sandbox: Sandbox) -> Iterator[client.ApiClient]:
    found = config.new_client_from_config(str(sandbox.kubeconfig))
    found.user_agent = "audit-test/1"
    yield found
    found.close()


def records(sandbox: Sandbox, name: str = "") -> list[Record]:
    """The lines so far (about one object)."""
    found = [json.loads(line) for line in sandbox.audit_log.read_text().splitlines()]
    return [record for record in found if name in ("", record["name"])]


def finish(batch: client.BatchV1Api, name: str, code: str) -> Any:
    """Run a Job to its end."""
    container = {"name": "main", "image": "feast-sandbox:local", "command": ["python3", "-c", code]}
    spec = {"restartPolicy": "Never", "containers": [container]}
    body = {
        "metadata": {"name": name, "labels": {"whose": "mine"}},
        "spec": {"backoffLimit": 0, "template": {"spec": spec}},
    }
    batch.create_namespaced_job("default", body)
    stream = watch.Watch().stream(
        batch.list_namespaced_job, "default", field_selector=f"metadata.name={name}", timeout_seconds=20
    )
    for event in stream:
        conditions = event["object"].status.conditions or ()
        if any(found.type in {"Complete", "Failed"} for found in conditions):
            stream.close()
            return event["object"]
    raise AssertionError("the Job did not end")


def test_a_request_says_who_did_what_and_how_it_ended(sandbox: Sandbox, api: client.ApiClient) -> None:
    core = client.CoreV1Api(api)
    made = core.create_namespaced_config_map("default", {"metadata": {"name": "audited"}})
    with pytest.raises(ApiException):
        core.read_namespaced_config_map("not-there", "default")
    lines = records(sandbox)
    short = [(x["verb"], x["resource"], x["namespace"], x["name"], x["user"], x["code"]) for x in lines]
    assert ("create", "configmaps", "default", "", "sandbox-admin", 201) in short
    assert ("get", "configmaps", "default", "not-there", "sandbox-admin", 404) in short
    [created] = [x for x in lines if x.get("uid") == made.metadata.uid]
    assert created["agent"] == "audit-test/1"


def test_a_delete_names_the_object_and_its_preconditions(sandbox: Sandbox, api: client.ApiClient) -> None:
    batch = client.BatchV1Api(api)
    job = finish(batch, "deleted", "pass")
    body = {"preconditions": {"uid": "another"}, "propagationPolicy": "Background"}
    with pytest.raises(ApiException):
        batch.delete_namespaced_job("deleted", "default", body=body)
    body["preconditions"] = {"uid": job.metadata.uid}
    batch.delete_namespaced_job("deleted", "default", body=body)
    refused, done = (x for x in records(sandbox, "deleted") if x["verb"] == "delete")
    assert (refused["code"], refused["request"]["preconditions"]) == (409, {"uid": "another"})
    assert (done["code"], done["request"]) == (200, body)
    assert {x["uid"] for x in (refused, done)} == {job.metadata.uid}
    assert {x["labels"]["whose"] for x in (refused, done)} == {"mine"}


def test_a_patch_is_there_as_it_was_sent(sandbox: Sandbox, api: client.ApiClient) -> None:
    batch = client.BatchV1Api(api)
    finish(batch, "patched", "pass")
    batch.patch_namespaced_job("patched", "default", {"spec": {"ttlSecondsAfterFinished": 600}})
    [patch] = [x for x in records(sandbox, "patched") if x["verb"] == "patch"]
    assert patch["request"] == {"spec": {"ttlSecondsAfterFinished": 600}}


def test_a_jobs_states_and_its_pods_states_say_which_component_wrote_them(
    sandbox: Sandbox, api: client.ApiClient
) -> None:
    job = finish(client.BatchV1Api(api), "told", "raise SystemExit(3)")
    states = [x for x in records(sandbox) if x["verb"] == "stored"]
    mine = [x for x in states if x["uid"] == job.metadata.uid]
    assert (mine[0]["stored"], mine[0]["user"], mine[0]["resource"]) == (
        "ADDED",
        "sandbox-admin",
        "jobs.batch",
    )
    failed = next(
        x for x in mine if "Failed" in {c["type"] for c in x["object"]["status"].get("conditions", ())}
    )
    assert failed["user"] == "system:serviceaccount:kube-system:job-controller"
    assert failed["object"]["metadata"]["labels"]["whose"] == "mine"
    owners = [(x, x["object"]["metadata"].get("ownerReferences", [{}])[0].get("uid")) for x in states]
    pod = [x for x, owner in owners if owner == job.metadata.uid and x["resource"] == "pods"]
    assert pod[0]["user"] == failed["user"]
    kinds = [
        (x["user"], next(iter(x["object"]["status"]["containerStatuses"][0]["state"])))
        for x in pod
        if "containerStatuses" in x["object"]["status"]
    ]
    assert ("system:node:sandbox", "running") in kinds
    ended = next(x for x in pod if x["object"]["status"]["phase"] == "Failed")
    state = ended["object"]["status"]["containerStatuses"][0]["state"]["terminated"]
    assert (ended["user"], state["exitCode"]) == ("system:node:sandbox", 3)
    assert {"startedAt", "finishedAt"} <= set(state)
    assert states.index(ended) < states.index(failed)


def test_what_a_lease_held_at_each_moment_can_be_read(sandbox: Sandbox, api: client.ApiClient) -> None:
    leases = client.CoordinationV1Api(api)
    leases.create_namespaced_lease("default", {"metadata": {"name": "lock"}, "spec": {"holderIdentity": "a"}})
    leases.patch_namespaced_lease("lock", "default", {"spec": {"holderIdentity": "b"}})
    leases.delete_namespaced_lease("lock", "default")
    states = [x for x in records(sandbox, "lock") if x["verb"] == "stored"]
    assert [(x["stored"], x["object"]["spec"]["holderIdentity"]) for x in states] == [
        ("ADDED", "a"),
        ("MODIFIED", "b"),
        ("DELETED", "b"),
    ]


@pytest.mark.parametrize(("kind", "stored"), [("error", False), ("after", True)])
def test_a_request_that_a_fault_answered_is_told_as_fully(
    sandbox: Sandbox, api: client.ApiClient, kind: str, stored: bool
) -> None:
    name = f"lease-{kind}"
    sandbox.fault("/leases$", kind=kind, method="POST", code=500)
    with pytest.raises(ApiException):
        client.CoordinationV1Api(api).create_namespaced_lease("default", {"metadata": {"name": name}})
    last = [x for x in records(sandbox) if x["verb"] == "create" and x["resource"].startswith("leases")][-1]
    assert (last["user"], last["agent"], last["namespace"]) == ("sandbox-admin", "audit-test/1", "default")
    assert last["code"] == 500
    assert ("uid" in last) is stored


def test_secrets_stay_secret(sandbox: Sandbox, api: client.ApiClient) -> None:
    body = {"metadata": {"name": "secret"}, "stringData": {"password": "not-for-the-log"}}
    client.CoreV1Api(api).create_namespaced_secret("default", body)
    assert "not-for-the-log" not in sandbox.audit_log.read_text()
