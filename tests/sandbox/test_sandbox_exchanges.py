"""Each recorded request to a real 1.36 cluster gets the answer that was recorded."""

import json
import re
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config, watch
from recording_helpers import BUSYBOX, EXCHANGES, Reader, shape

from airflow_provider_feast.sandbox import Sandbox
from airflow_provider_feast.sandbox.resources import UNSERVED_GROUPS, UNSERVED_PLURALS

PATIENCE = 30


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox({BUSYBOX: "/usr,user=0"}, time_scale=0.05) as found:
        yield found


@pytest.fixture(scope="module")
def core(sandbox: Sandbox) -> Iterator[client.CoreV1Api]:
    api = config.new_client_from_config(str(sandbox.kubeconfig))
    yield client.CoreV1Api(api)
    api.close()


class Replay:
    """Sends recorded requests to namespaces of the test's own."""

    def __init__(self, sandbox: Sandbox, namespace: str) -> None:
        self.sandbox = sandbox
        self.namespace = namespace
        self.names: dict[str, str] = {}

    def __call__(self, label: str, token: str = "", **headers: str) -> tuple[int, Any, Any]:
        asked = self._here(EXCHANGES[label]["request"])
        reader = Reader(self.sandbox, token)
        return reader.request(asked["method"], asked["path"], asked["body"], **headers)

    def recorded(self, label: str) -> Any:
        return self._here(EXCHANGES[label]["body"])

    def code(self, label: str) -> int:
        return int(EXCHANGES[label]["status"])

    def is_answered(self, label: str, token: str = "", **headers: str) -> None:
        """The answer is the recorded one, but for names, times and uids."""
        code, body, given = self(label, token, **headers)
        assert code == self.code(label)
        assert shape(body) == shape(self.recorded(label))
        assert given.get("Warning") == EXCHANGES[label]["headers"].get("Warning")
        assert given["Content-Type"].partition(";")[0] == EXCHANGES[label]["headers"]["Content-Type"]

    def _here(self, found: Any) -> Any:
        text = json.dumps(found).replace("feast-http", self.namespace)
        for recorded, name in self.names.items():
            text = text.replace(recorded, name)
        return json.loads(text)


@pytest.fixture
def replay(sandbox: Sandbox, core: client.CoreV1Api) -> Replay:
    name = f"http-{uuid.uuid4().hex[:10]}"
    core.create_namespace({"metadata": {"name": name}})
    return Replay(sandbox, name)


@pytest.fixture(scope="module")
def restricted(core: client.CoreV1Api) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    core.create_namespace({"metadata": {"name": "feast-restricted", "labels": labels}})


MERGE = {"Content-Type": "application/merge-patch+json"}
STRATEGIC = {"Content-Type": "application/strategic-merge-patch+json"}
ALONE = [
    "create job",
    "create job to disturb",
    "create: generateName",
    "create: dry run",
    "create: unknown field, default",
    "create: unknown field, strict",
    "create: restartPolicy Always",
    "create: bad name",
    "create: name of 64 characters",
    "create: wrong type",
    "create: bad quantity",
    "create: label value of 80 characters",
    "create: missing namespace",
    "create with indexed fields invalid: perIndex without Indexed",
    "get absent job",
    "delete absent job",
    "bad label selector",
    "access review allowed",
    "lease create",
]


@pytest.mark.parametrize("label", ALONE)
def test_an_answer_is_as_recorded(replay: Replay, label: str) -> None:
    replay.is_answered(label)


@pytest.mark.usefixtures("restricted")
def test_a_warning_is_worded_as_recorded(replay: Replay) -> None:
    replay.is_answered("create in restricted namespace: warning header")


def test_a_body_that_is_not_json_is_refused_as_recorded(sandbox: Sandbox) -> None:
    exchange = EXCHANGES["create: not JSON"]
    code, body, _ = Reader(sandbox).request("POST", "/apis/batch/v1/namespaces/default/jobs", b"{")
    assert (code, body) == (400, exchange["body"])


def test_a_bad_token_is_refused_as_recorded(replay: Replay) -> None:
    replay.is_answered("unauthorized", token="wrong")


def test_the_version_has_the_recorded_fields(replay: Replay) -> None:
    _, body, _ = replay("version")
    recorded = replay.recorded("version")
    assert set(body) <= set(recorded)
    assert (body["major"], body["minor"]) == (recorded["major"], recorded["minor"])


def test_the_groups_that_are_served_are_listed_as_recorded(replay: Replay) -> None:
    _, body, _ = replay("discovery groups")
    recorded = replay.recorded("discovery groups")
    assert {**body, "groups": []} == {**recorded, "groups": []}
    assert body["groups"] == [g for g in recorded["groups"] if g["name"] not in UNSERVED_GROUPS]


def test_the_resources_that_are_served_are_listed_as_recorded(replay: Replay) -> None:
    _, body, _ = replay("discovery batch/v1")
    recorded = replay.recorded("discovery batch/v1")
    wanted = [r for r in recorded["resources"] if ("batch", r["name"].split("/")[0]) not in UNSERVED_PLURALS]
    for resource in wanted:
        resource.pop("storageVersionHash", None)
    assert body == {**recorded, "resources": wanted}


def test_conflicts_are_told_as_recorded(replay: Replay) -> None:
    replay("create job")
    replay.is_answered("create same name again: AlreadyExists")
    replay.is_answered("put with stale resourceVersion: Conflict")
    replay("lease create")
    replay.is_answered("lease create again")


def test_a_template_that_would_change_is_refused_as_recorded(replay: Replay) -> None:
    """But for the value, which a cluster prints as the Go structure that it is."""
    replay("create job")
    label = "patch template: immutable"
    code, body, _ = replay(label, **STRATEGIC)
    recorded = replay.recorded(label)
    assert code == replay.code(label)
    start = recorded["message"]
    assert body["message"].startswith(start)
    assert body["message"].endswith(": field is immutable")
    assert [(c["reason"], c["field"]) for c in body["details"]["causes"]] == [
        ("FieldValueInvalid", "spec.template")
    ]
    for status in (body, recorded):
        status["message"], status["details"]["causes"] = "", []
    assert body == recorded


def test_rights_that_are_missing_are_told_as_recorded(replay: Replay, core: client.CoreV1Api) -> None:
    core.create_namespaced_service_account(replay.namespace, {"metadata": {"name": "weak"}})
    request = {"spec": {"audiences": None, "expirationSeconds": 3600}}
    issued = core.create_namespaced_service_account_token("weak", replay.namespace, request)
    for label in ("forbidden: list jobs", "forbidden: create job", "access review denied"):
        replay.is_answered(label, token=issued.status.token)


def test_a_forgotten_version_is_told_as_recorded(replay: Replay) -> None:
    code, raw, _ = replay("watch from an expired resourceVersion")
    recorded = replay.recorded("watch from an expired resourceVersion")
    event = raw if isinstance(raw, dict) else json.loads(raw)
    for one in (event, recorded):
        one["object"]["message"] = re.sub(r"\d+", "N", one["object"]["message"])
    assert (code, event) == (200, recorded)


def started(core: client.CoreV1Api, replay: Replay, phase: str, job: str = "hello") -> dict[str, Any]:
    """The pod of a Job, as soon as it is in a phase."""
    events = watch.Watch().stream(
        core.list_namespaced_pod, replay.namespace, label_selector=f"job-name={job}", timeout_seconds=PATIENCE
    )
    for event in events:
        pod: dict[str, Any] = event["raw_object"]
        if pod["status"].get("phase") == phase:
            return pod
    raise AssertionError(f"the pod of {job} did not become {phase}")


def test_a_log_before_the_container_is_told_as_recorded(replay: Replay, core: client.CoreV1Api) -> None:
    """The volume of a ConfigMap that is not there keeps the pod where the recording met it."""
    body = EXCHANGES["create job"]["request"]["body"]
    job = json.loads(json.dumps(body))
    job["spec"]["template"]["spec"]["volumes"] = [{"name": "v", "configMap": {"name": "absent"}}]
    path = f"/apis/batch/v1/namespaces/{replay.namespace}/jobs"
    Reader(replay.sandbox).request("POST", path, job)
    events = watch.Watch().stream(core.list_namespaced_event, replay.namespace, timeout_seconds=PATIENCE)
    pod = next(e["object"].involved_object.name for e in events if e["object"].reason == "FailedMount")
    replay.names["hello-h97gx"] = pod
    replay.is_answered("log while container is being created")


def test_logs_are_as_recorded(replay: Replay, core: client.CoreV1Api) -> None:
    replay("create job")
    replay.names["hello-h97gx"] = started(core, replay, "Succeeded")["metadata"]["name"]
    code, text, headers = replay("log with timestamps")
    assert (code, headers.get_content_type()) == (200, "text/plain")
    stamp = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z ", re.MULTILINE)
    assert stamp.sub("TIME ", text) == stamp.sub("TIME ", replay.recorded("log with timestamps"))
    end = time.monotonic() + PATIENCE
    while replay("log since")[1] != replay.recorded("log since"):
        assert time.monotonic() < end


def test_a_page_with_one_pod_has_the_recorded_shape(replay: Replay, core: client.CoreV1Api) -> None:
    """The recorded pod was being started; here it has ended, so its status is another test's."""
    replay("create job")
    replay.names["hello-h97gx"] = started(core, replay, "Succeeded")["metadata"]["name"]
    _, body, _ = replay("list with limit 1")
    recorded = replay.recorded("list with limit 1")
    for page in (body, recorded):
        for pod in page["items"]:
            pod.pop("status")
            pod["metadata"].pop("finalizers", None)
            pod["spec"]["nodeName"] = "NODE"
    assert shape(body) == shape(recorded)


def test_a_patch_and_a_foreground_deletion_are_answered_as_recorded(
    replay: Replay, core: client.CoreV1Api
) -> None:
    replay("create job")
    code, body, _ = replay("patch annotation: merge", **MERGE)
    recorded = replay.recorded("patch annotation: merge")
    assert code == 200
    for job in (body, recorded):
        job["status"] = {}
    assert shape(body) == shape(recorded)
    pod = started(core, replay, "Succeeded")["metadata"]["name"]
    # Holds the deletion where the recording met it.
    core.patch_namespaced_pod(pod, replay.namespace, {"metadata": {"finalizers": ["example.com/hold"]}})
    path = f"/apis/batch/v1/namespaces/{replay.namespace}/jobs?fieldSelector=metadata.name%3Dhello"
    end = time.monotonic() + PATIENCE
    while not Reader(replay.sandbox).request("GET", path)[1]["items"][0]["status"].get("completionTime"):
        assert time.monotonic() < end
    replay.is_answered("delete job foreground")
    replay.is_answered("get right after foreground delete")
    core.patch_namespaced_pod(
        pod, replay.namespace, [{"op": "remove", "path": "/metadata/finalizers"}], field_manager="test"
    )


def test_an_eviction_is_answered_as_recorded(replay: Replay, core: client.CoreV1Api) -> None:
    replay("create job to disturb")
    replay.names["disturbed-xkcfj"] = started(core, replay, "Running", "disturbed")["metadata"]["name"]
    replay.is_answered("evict pod")


def test_every_recorded_exchange_is_compared() -> None:
    source = Path(__file__).read_text()
    assert [label for label in EXCHANGES if f'"{label}"' not in source] == []
