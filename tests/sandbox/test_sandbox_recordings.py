"""The sandbox says what a real 1.36 cluster said: conditions, states, Events and refusals, in shape and order."""

import json
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kubernetes import client, config, watch
from recording_helpers import (
    BUSYBOX,
    FEAST,
    RECORDINGS,
    Reader,
    anonymous,
    conditions,
    event_words,
    job_step,
    manifest,
    pod_states,
    pod_step,
    recorded_watch,
    scenario,
    without_repeats,
)

from airflow_provider_feast.sandbox import Sandbox

PATIENCE = 60
NAMESPACE = "feast-rec"

SCENARIOS = [
    "backoff_limit_2",
    "command_failed_exit_1",
    "command_not_found",
    "deadline_exceeded",
    "fallback_to_logs",
    "indexed_ok",
    "indexed_one_fails",
    "init_container_failed",
    "missing_configmap_key_volume",
    "missing_configmap_volume",
    "missing_env_configmap",
    "missing_env_secret_key",
    "missing_service_account",
    "oom_killed",
    "pod_failure_policy_fail_job",
    "run_as_root_refused",
    "succeeded",
    "suspended",
    "unschedulable_memory",
    "unschedulable_selector",
    "usage_error_exit_2",
    pytest.param("no_writable_tmp", marks=pytest.mark.isolation),
]
EVICTED = "pod_evicted_and_replaced"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    images = {BUSYBOX: "/usr,user=0", FEAST: sys.prefix}
    with Sandbox(images, time_scale=0.05) as found:
        api = config.new_client_from_config(str(found.kubeconfig))
        core = client.CoreV1Api(api)
        for name in (NAMESPACE, "feast-restricted", "feast-counts", "feast-quota"):
            labels = RESTRICTED if name == "feast-restricted" else {}
            core.create_namespace({"metadata": {"name": name, "labels": labels}})
            present = {"metadata": {"name": "present"}, "data": {"key": "x"}}
            core.create_namespaced_config_map(name, present)
        core.create_namespaced_resource_quota(
            "feast-quota", {"metadata": {"name": "q"}, "spec": {"hard": {"pods": "0"}}}
        )
        api.close()
        yield found


RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}


@pytest.fixture(autouse=True)
def _needs_isolation(request: pytest.FixtureRequest, sandbox: Sandbox) -> None:
    if request.node.get_closest_marker("isolation") is not None and not sandbox.isolated:
        pytest.skip("the kernel permits no user and mount namespaces here")


def items(reader: Reader, kind: str, selector: str = "") -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = reader.request("GET", f"/api/v1/namespaces/{NAMESPACE}/{kind}?{selector}")[
        1
    ]["items"]
    return found


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_job_ends_as_it_did_on_a_real_cluster(sandbox: Sandbox, name: str) -> None:
    compare(sandbox, scenario(name), lambda job: None)


def test_an_evicted_pod_is_replaced_as_on_a_real_cluster(sandbox: Sandbox) -> None:
    """With a shorter sleep that is deaf to SIGTERM everywhere: it is on a cluster, as PID 1."""
    text = json.dumps(scenario(EVICTED)).replace("feast-http", NAMESPACE)
    text = text.replace("sleep 30", "trap '' TERM; sleep 5")
    recorded = json.loads(text)
    api = config.new_client_from_config(str(sandbox.kubeconfig))
    core, batch = client.CoreV1Api(api), client.BatchV1Api(api)
    name = recorded["job"]["metadata"]["name"]
    seen_jobs: list[dict[str, Any]] = []
    seen_pods: list[dict[str, Any]] = []

    def disturb(job: dict[str, Any]) -> None:
        begin = job["metadata"]["resourceVersion"]
        first = ""
        for event in events_of(core.list_namespaced_pod, begin, label_selector=f"job-name={name}"):
            pod = event["object"]
            if first in {"", pod["metadata"]["name"]}:
                seen_pods.append(event)
            if not first and pod["status"]["phase"] == "Running":
                first = pod["metadata"]["name"]
                body = {"metadata": {"name": first}, "deleteOptions": {"gracePeriodSeconds": 1}}
                core.create_namespaced_pod_eviction(first, NAMESPACE, body)
            if event["type"] == "DELETED":
                break
        for event in events_of(batch.list_namespaced_job, begin, field_selector=f"metadata.name={name}"):
            seen_jobs.append(event)
            status = event["object"]["status"]
            if (
                any(step["object"]["status"].get("terminating") for step in seen_jobs)
                and not status["terminating"]
            ):
                break

    compare(sandbox, recorded, disturb)
    for kind, step, seen in (("jobs", job_step, seen_jobs), ("pods", pod_step, seen_pods)):
        told = recorded_watch(f"watch_{kind}.jsonl", name)
        wanted = [step(event) for event in told]
        assert without_repeats([step(event) for event in seen]) == without_repeats(wanted[-len(seen) :])
    api.close()


def events_of(lister: Any, begin: str, **selector: str) -> Iterator[dict[str, Any]]:
    stream = watch.Watch().stream(
        lister, NAMESPACE, resource_version=begin, timeout_seconds=PATIENCE, **selector
    )
    for event in stream:
        yield {"type": event["type"], "object": event["raw_object"]}


def compare(sandbox: Sandbox, recorded: dict[str, Any], disturb: Callable[[dict[str, Any]], None]) -> None:
    """Make the recorded Job; its conditions, pods and Events end as recorded."""
    api = config.new_client_from_config(str(sandbox.kubeconfig))
    body = manifest(recorded["job"])
    name = body["metadata"]["name"]
    path = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
    reader = Reader(sandbox)
    disturb(reader.request("POST", path, body)[1])
    wanted = (conditions(recorded["job"]), pod_states(recorded["pods"]), event_words(recorded["events"]))

    def now() -> tuple[Any, ...]:
        job = reader.request("GET", f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/{name}")[1]
        pods = items(reader, "pods", f"labelSelector=job-name={name}")
        events = [e for e in items(reader, "events") if e["involvedObject"]["name"].startswith(name)]
        return conditions(job), pod_states(pods), event_words(events)

    lister = client.CoreV1Api(api).list_namespaced_event
    stream = watch.Watch().stream(lister, NAMESPACE, timeout_seconds=PATIENCE)
    for _ in stream:
        if now() == wanted:
            stream.close()
            break
    found = now()
    assert found[0] == wanted[0]
    assert found[1] == wanted[1]
    assert found[2] == wanted[2]
    job = reader.request("GET", f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/{name}")[1]
    assert set(job["status"]) == set(recorded["job"]["status"])
    assert {k: v for k, v in job["spec"].items() if k not in {"selector", "template"}} == {
        k: v for k, v in recorded["job"]["spec"].items() if k not in {"selector", "template"}
    }
    api.close()


COUNTED = {
    "image_not_found": "feast-counts",
    "missing_configmap_key_volume": "feast-counts",
    "missing_configmap_volume": "feast-counts",
    "missing_env_configmap": "feast-counts",
    "missing_env_secret_key": "feast-counts",
    "missing_service_account": "feast-counts",
    "quota_exceeded": "feast-quota",
    "restricted_denied": "feast-restricted",
    "run_as_root_refused": "feast-counts",
}


def counted(event: dict[str, Any]) -> tuple[str, ...]:
    """What two Events have in common that count together, without names and what a registry said."""
    message = re.sub(r"feast-(rec|counts)", "NAMESPACE", anonymous(event["message"]))
    message = re.sub(r'(Failed to pull image "[^"]*"): .*', r"\1", message)
    involved = event["involvedObject"]
    return involved["kind"], involved.get("fieldPath", ""), event["type"], event["reason"], message


@pytest.mark.parametrize("name", COUNTED)
def test_events_are_repeated_and_counted_as_on_a_real_cluster(sandbox: Sandbox, name: str) -> None:
    recorded = scenario(name)
    api = config.new_client_from_config(str(sandbox.kubeconfig))
    core, namespace = client.CoreV1Api(api), COUNTED[name]
    body = manifest(recorded["job"])
    name = body["metadata"]["name"]
    wanted: Counter[tuple[str, ...]] = Counter()
    for event in recorded["events"]:
        wanted[counted(event)] += event["count"] or 1
    begin = core.list_namespaced_event(namespace).metadata.resource_version
    client.BatchV1Api(api).create_namespaced_job(namespace, body)
    seen: dict[str, dict[str, Any]] = {}
    found: Counter[tuple[str, ...]] = Counter()
    stream = watch.Watch().stream(
        core.list_namespaced_event, namespace, resource_version=begin, timeout_seconds=PATIENCE
    )
    for change in stream:
        event = change["raw_object"]
        if event["involvedObject"]["name"].startswith(name):
            seen[event["metadata"]["name"]] = event
        found = Counter()
        for one in seen.values():
            found[counted(one)] += one.get("count") or 1
        if found == wanted:
            stream.close()
            break
    assert found == wanted
    job = client.BatchV1Api(api).read_namespaced_job(name, namespace, _preload_content=False)
    assert set(json.loads(job.data)["status"]) == set(recorded["job"]["status"])
    assert len(core.list_namespaced_pod(namespace, label_selector=f"job-name={name}").items) == len(
        recorded["pods"]
    )
    client.BatchV1Api(api).delete_namespaced_job(name, namespace, propagation_policy="Background")
    api.close()


def test_a_watch_tells_the_life_of_a_job_as_recorded(sandbox: Sandbox) -> None:
    jobs, pods = recorded_watch("watch_jobs.jsonl", "hello"), recorded_watch("watch_pods.jsonl", "hello")
    body = manifest(jobs[0]["object"])
    api = config.new_client_from_config(str(sandbox.kubeconfig))
    batch, core = client.BatchV1Api(api), client.CoreV1Api(api)
    name = body["metadata"]["name"]
    begin = core.list_namespaced_pod(NAMESPACE).metadata.resource_version
    batch.create_namespaced_job(NAMESPACE, body)

    def follow(lister: Any, selector: str, until: Any) -> list[dict[str, Any]]:
        seen = []
        stream = watch.Watch().stream(
            lister, NAMESPACE, resource_version=begin, timeout_seconds=PATIENCE, label_selector=selector
        )
        for event in stream:
            seen.append({"type": event["type"], "object": event["raw_object"]})
            if until(seen[-1]):
                return seen
        raise AssertionError(f"the last event did not come; seen: {[job_step(event) for event in seen]}")

    def complete(event: dict[str, Any]) -> bool:
        found = event["object"].get("status", {}).get("conditions", ())
        return any(c["type"] == "Complete" for c in found)

    def gone(event: dict[str, Any]) -> bool:
        return bool(event["type"] == "DELETED")

    follow(batch.list_namespaced_job, "", lambda e: e["object"]["metadata"]["name"] == name and complete(e))
    batch.delete_namespaced_job(name, NAMESPACE, propagation_policy="Foreground")
    seen_pods = follow(core.list_namespaced_pod, f"job-name={name}", gone)
    seen_jobs = follow(
        batch.list_namespaced_job, "", lambda e: e["object"]["metadata"]["name"] == name and gone(e)
    )
    mine = [event for event in seen_jobs if event["object"]["metadata"]["name"] == name]
    assert without_repeats([*map(pod_step, seen_pods)]) == without_repeats([*map(pod_step, pods)])
    assert without_repeats([*map(job_step, mine)]) == without_repeats([*map(job_step, jobs)])
    api.close()


def test_every_recorded_scenario_is_compared() -> None:
    compared = {getattr(one, "values", [one])[0] for one in SCENARIOS} | set(COUNTED) | {EVICTED}
    assert {path.stem for path in RECORDINGS.glob("*.json")} - compared == {"http_exchanges"}
