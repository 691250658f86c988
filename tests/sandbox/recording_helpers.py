"""What a real 1.36 cluster was recorded to say, and how answers are made comparable to it."""

import json
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from airflow_provider_feast.sandbox import Sandbox

RECORDINGS = Path(__file__).parent.parent / "data" / "sandbox_recordings"
EXCHANGES = {e["label"]: e for e in json.loads((RECORDINGS / "http_exchanges.json").read_text())}
BUSYBOX, FEAST = "localhost/busybox:1.38", "localhost/feast:0.67.0"


class Reader:
    """Reads what the sandbox says as plain JSON."""

    def __init__(self, sandbox: Sandbox, token: str = "") -> None:
        self._url = sandbox.url
        self._token = token or sandbox.token

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
        """The code, the body (JSON, or else text) and the headers of an answer."""
        data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        given = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json", **headers}
        request = urllib.request.Request(self._url + path, data=data, method=method, headers=given)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, _body(answer), answer.headers
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _body(error), error.headers


def _body(answer: Any) -> Any:
    raw = answer.read().decode()
    return json.loads(raw) if answer.headers.get_content_type() == "application/json" else raw


def anonymous(text: str) -> str:
    """Without the random part of pod names, uids and node names."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "UID", text)
    text = re.sub(r"-[bcdfghjklmnpqrstvwxz2456789]{5}(?![a-z0-9])", "-xxxxx", text)
    return re.sub(r" to (vm|sandbox)$", " to NODE", text)


def shape(found: Any) -> Any:
    """An object without what differs between any two runs: uids, versions, times, random names."""
    text = anonymous(json.dumps(found))
    text = re.sub(r"\d{4}-\d\d-\d\dT[\d:]+Z", "TIME", text)
    return json.loads(re.sub(r'"resourceVersion": "\d+"', '"resourceVersion": "VERSION"', text))


def conditions(job: dict[str, Any]) -> list[tuple[str, ...]]:
    found = job.get("status", {}).get("conditions", [])
    return [(c["type"], c["status"], c["reason"], anonymous(c["message"])) for c in found]


def state(status: dict[str, Any]) -> tuple[Any, ...]:
    """What a container does; of a message of many lines (a traceback, with its files) the last."""
    kind, detail = next(iter(status["state"].items()))
    lines = (detail.get("message") or "").strip().splitlines() or [""]
    last = lines[-1].replace("/opt/app-root/src", "/")  # where the recorded image works
    return kind, detail.get("reason"), detail.get("exitCode"), anonymous(last)


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


def scenario(name: str) -> dict[str, Any]:
    """A recorded Job, its pods and its Events."""
    found: dict[str, Any] = json.loads((RECORDINGS / f"{name}.json").read_text())
    return found


def recorded_watch(name: str, about: str) -> list[dict[str, Any]]:
    """What a watch told of one Job."""
    found = [json.loads(line) for line in (RECORDINGS / name).read_text().splitlines()]
    return [event for event in found if event["object"]["metadata"].get("name", "").startswith(about)]


def job_step(event: dict[str, Any]) -> tuple[Any, ...]:
    """What a watch says about a Job: the change, its counts, its conditions, its deletion."""
    job, status = event["object"], event["object"].get("status", {})
    counts = {key: status.get(key) for key in ("active", "ready", "terminating", "failed", "succeeded")}
    uncounted = status.get("uncountedTerminatedPods", {})
    pending = len(uncounted.get("succeeded", ())), len(uncounted.get("failed", ()))
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
