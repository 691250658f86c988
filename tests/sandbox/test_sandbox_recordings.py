"""The sandbox says what a real 1.36 cluster said: conditions, states, Events and refusals, in shape and order."""

import json
import re
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from kubernetes import client, config, watch

from airflow_provider_feast.sandbox import Sandbox

RECORDINGS = Path(__file__).parent.parent / "data" / "sandbox_recordings"
EXCHANGES = {e["label"]: e for e in json.loads((RECORDINGS / "http_exchanges.json").read_text())}
NAMESPACE = "feast-rec"
BUSYBOX, FEAST = "localhost/busybox:1.38", "localhost/feast:0.67.0"

SCENARIOS = [
    "backoff_limit_2",
    "command_not_found",
    "deadline_exceeded",
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
    "suspended",
    "unschedulable_memory",
    "unschedulable_selector",
]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    images = {BUSYBOX: "/usr,user=0", FEAST: sys.prefix}
    with Sandbox(images, time_scale=0.05) as found:
        api = config.new_client_from_config(str(found.kubeconfig))
        core = client.CoreV1Api(api)
        for name in (NAMESPACE, "feast-http", "feast-restricted", "feast-counts", "feast-quota"):
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


def manifest(recorded: dict[str, Any]) -> dict[str, Any]:
    """The Job as its author wrote it: without what the server added."""
    spec = json.loads(json.dumps(recorded["spec"]))
    for key in ("selector", "manualSelector"):
        spec.pop(key, None)
    labels = spec["template"]["metadata"].get("labels", {})
    spec["template"]["metadata"]["labels"] = {
        key: value for key, value in labels.items() if "controller-uid" not in key and "job-name" not in key
    }
    for volume in spec["template"]["spec"].get("volumes", []):
        source = volume.get("configMap")
        if source and source["name"] != "absent":
            source["name"] = "present"
    return {"metadata": {"name": recorded["metadata"]["name"]}, "spec": spec}


def anonymous(text: str) -> str:
    """Without the random part of pod names, uids and node names."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "UID", text)
    text = re.sub(r"-[bcdfghjklmnpqrstvwxz2456789]{5}(?![a-z0-9])", "-xxxxx", text)
    return re.sub(r" to (vm|sandbox)$", " to NODE", text)


def conditions(job: dict[str, Any]) -> list[tuple[str, ...]]:
    found = job.get("status", {}).get("conditions", [])
    return [(c["type"], c["status"], c["reason"], anonymous(c["message"])) for c in found]


def state(status: dict[str, Any]) -> tuple[Any, ...]:
    kind, detail = next(iter(status["state"].items()))
    return kind, detail.get("reason"), detail.get("exitCode"), anonymous(detail.get("message") or "")


def pod_states(pods: list[dict[str, Any]]) -> list[Any]:
    found = []
    for pod in sorted(pods, key=lambda pod: pod["metadata"]["creationTimestamp"]):
        status = pod["status"]
        parts = [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
        marks = [(c["type"], c["status"], c.get("reason")) for c in status.get("conditions", [])]
        found.append((status["phase"], sorted(marks, key=str), [state(part) for part in parts]))
    return found


def event_words(events: list[dict[str, Any]]) -> set[tuple[str, ...]]:
    return {
        (
            e["involvedObject"]["kind"],
            e["involvedObject"].get("fieldPath", ""),
            e["type"],
            e["reason"],
            anonymous(e["message"]),
            e["reportingComponent"],
        )
        for e in events
    }


class Reader:
    """Reads what the sandbox holds as plain JSON."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        given = {
            "Authorization": f"Bearer {self._sandbox.token}",
            "Content-Type": "application/json",
            **headers,
        }
        request = urllib.request.Request(self._sandbox.url + path, data=data, method=method, headers=given)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, json.load(answer), answer.headers
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error), error.headers

    def items(self, kind: str, selector: str = "") -> list[dict[str, Any]]:
        path = f"/api/v1/namespaces/{NAMESPACE}/{kind}?{selector}"
        found: list[dict[str, Any]] = self.request("GET", path)[1]["items"]
        return found


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_job_ends_as_it_did_on_a_real_cluster(sandbox: Sandbox, scenario: str) -> None:
    recorded = json.loads((RECORDINGS / f"{scenario}.json").read_text())
    api = config.new_client_from_config(str(sandbox.kubeconfig))
    body = manifest(recorded["job"])
    name = body["metadata"]["name"]
    client.BatchV1Api(api).create_namespaced_job(NAMESPACE, body)
    reader = Reader(sandbox)
    wanted = (conditions(recorded["job"]), pod_states(recorded["pods"]), event_words(recorded["events"]))

    def now() -> tuple[Any, ...]:
        job = reader.request("GET", f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs/{name}")[1]
        pods = reader.items("pods", f"labelSelector=job-name={name}")
        events = [e for e in reader.items("events") if e["involvedObject"]["name"].startswith(name)]
        return conditions(job), pod_states(pods), event_words(events)

    lister = client.CoreV1Api(api).list_namespaced_event
    stream = watch.Watch().stream(lister, NAMESPACE, timeout_seconds=15)
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


@pytest.mark.parametrize("scenario", COUNTED)
def test_events_are_repeated_and_counted_as_on_a_real_cluster(sandbox: Sandbox, scenario: str) -> None:
    recorded = json.loads((RECORDINGS / f"{scenario}.json").read_text())
    api = config.new_client_from_config(str(sandbox.kubeconfig))
    core, namespace = client.CoreV1Api(api), COUNTED[scenario]
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
        core.list_namespaced_event, namespace, resource_version=begin, timeout_seconds=15
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


REFUSALS = [
    "create: restartPolicy Always",
    "create: bad name",
    "create: name of 64 characters",
    "create: unknown field, strict",
    "create: wrong type",
    "create: bad quantity",
    "create: label value of 80 characters",
    "create: missing namespace",
    "create with indexed fields invalid: perIndex without Indexed",
    "get absent job",
    "delete absent job",
    "bad label selector",
    "access review allowed",
]


@pytest.mark.parametrize("label", REFUSALS)
def test_an_answer_is_worded_as_recorded(sandbox: Sandbox, label: str) -> None:
    exchange = EXCHANGES[label]
    asked = exchange["request"]
    code, body, headers = Reader(sandbox).request(asked["method"], asked["path"], asked["body"])
    assert code == exchange["status"]
    assert body == exchange["body"]
    assert headers.get("Warning") == exchange["headers"].get("Warning")


@pytest.mark.parametrize(
    "label",
    ["create: dry run", "create: unknown field, default", "create in restricted namespace: warning header"],
)
def test_a_new_job_has_the_recorded_shape(sandbox: Sandbox, label: str) -> None:
    exchange = EXCHANGES[label]
    asked = exchange["request"]
    code, body, headers = Reader(sandbox).request("POST", asked["path"], asked["body"])

    def shape(job: dict[str, Any]) -> Any:
        text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "UID", json.dumps(job))
        return json.loads(re.sub(r"\d{4}-\d\d-\d\dT[\d:]+Z", "TIME", text))

    assert code == 201
    assert shape(body) == shape(exchange["body"])
    assert headers.get("Warning") == exchange["headers"].get("Warning")


def test_a_body_that_is_not_json_is_refused_as_recorded(sandbox: Sandbox) -> None:
    path = "/apis/batch/v1/namespaces/feast-http/jobs"
    code, body, _ = Reader(sandbox).request("POST", path, b"{")
    assert (code, body) == (400, EXCHANGES["create: not JSON"]["body"])


def test_a_bad_token_is_refused_as_recorded(sandbox: Sandbox) -> None:
    path = "/apis/batch/v1/namespaces/feast-http/jobs"
    code, body, _ = Reader(sandbox).request("GET", path, Authorization="Bearer wrong")
    assert (code, body) == (401, EXCHANGES["unauthorized"]["body"])


def recorded_watch(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RECORDINGS / name).read_text().splitlines()]


def job_step(event: dict[str, Any]) -> tuple[Any, ...]:
    """What a watch says about a Job: the change, its counts, its conditions, its deletion."""
    job, status = event["object"], event["object"].get("status", {})
    counts = {key: status.get(key) for key in ("active", "ready", "terminating", "succeeded")}
    pending = len(status.get("uncountedTerminatedPods", {}).get("succeeded", ()))
    meta = job["metadata"]
    deleted = bool(meta.get("deletionTimestamp")), tuple(meta.get("finalizers", ()))
    return event["type"], tuple(counts.items()), pending, tuple(conditions(job)), deleted


def pod_step(event: dict[str, Any]) -> tuple[Any, ...]:
    pod, status = event["object"], event["object"]["status"]
    marks = tuple((c["type"], c["status"], c.get("reason")) for c in status.get("conditions", ()))
    states = tuple(state(found)[:3] for found in status.get("containerStatuses", ()))
    meta = pod["metadata"]
    deleted = bool(meta.get("deletionTimestamp")), tuple(meta.get("finalizers", ()))
    placed = "nodeName" in pod["spec"]
    return event["type"], meta["generation"], status["phase"], marks, states, deleted, placed


def without_repeats(steps: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [step for at, step in enumerate(steps) if at == 0 or step != steps[at - 1]]


def test_a_watch_tells_the_life_of_a_job_as_recorded(sandbox: Sandbox) -> None:
    jobs, pods = recorded_watch("watch_jobs.jsonl"), recorded_watch("watch_pods.jsonl")
    body = manifest(jobs[0]["object"])
    api = config.new_client_from_config(str(sandbox.kubeconfig))
    batch, core = client.BatchV1Api(api), client.CoreV1Api(api)
    name = body["metadata"]["name"]
    begin = core.list_namespaced_pod(NAMESPACE).metadata.resource_version
    batch.create_namespaced_job(NAMESPACE, body)

    def follow(lister: Any, selector: str, until: Any) -> list[dict[str, Any]]:
        seen = []
        stream = watch.Watch().stream(
            lister, NAMESPACE, resource_version=begin, timeout_seconds=20, label_selector=selector
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
