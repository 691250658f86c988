"""Tables: what `kubectl get` prints."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from airflow_provider_feast.sandbox import clock
from airflow_provider_feast.sandbox.shapes import Obj

Row = Callable[[Obj], list[Any]]


def age(moment: str | None) -> str:
    if not moment:
        return "<unknown>"
    return duration(clock.now() - clock.parse_stamp(moment))


def duration(delta: timedelta) -> str:
    seconds = max(int(delta.total_seconds()), 0)
    if seconds < 120:
        return f"{seconds}s"
    minutes, rest = divmod(seconds, 60)
    if minutes < 10:
        return f"{minutes}m{rest}s" if rest else f"{minutes}m"
    if minutes < 180:
        return f"{minutes}m"
    hours = minutes // 60
    return f"{hours}h" if hours < 48 else f"{hours // 24}d"


def _age(obj: Obj) -> str:
    return age(obj["metadata"].get("creationTimestamp"))


def _pod(pod: Obj) -> list[Any]:
    states = pod["status"].get("containerStatuses") or []
    ready = f"{sum(s['ready'] for s in states)}/{len(pod['spec']['containers'])}"
    restarts = sum(s["restartCount"] for s in states)
    return [pod["metadata"]["name"], ready, pod_reason(pod), restarts, _age(pod)]


def pod_reason(pod: Obj) -> str:
    """The STATUS column of pods, as kubectl's printer computes it."""
    status = pod["status"]
    reason = status.get("reason") or status.get("phase", "Unknown")
    if reason == "Succeeded":
        reason = "Completed"
    inits = status.get("initContainerStatuses") or []
    for at, state in enumerate(inits):
        ended = state["state"].get("terminated")
        if ended and ended["exitCode"] == 0:
            continue
        waiting = state["state"].get("waiting") or {}
        if ended:
            return f"Init:{ended['reason']}"
        if waiting.get("reason") not in {None, "PodInitializing"}:
            return f"Init:{waiting['reason']}"
        return f"Init:{at}/{len(inits)}"
    for state in status.get("containerStatuses") or []:
        inner = state["state"]
        if "waiting" in inner or "terminated" in inner:
            reason = (inner.get("waiting") or inner["terminated"])["reason"]
    return "Terminating" if pod["metadata"].get("deletionTimestamp") else str(reason)


def _job(job: Obj) -> list[Any]:
    status, spec = job.get("status") or {}, job["spec"]
    kinds = {c["type"] for c in status.get("conditions") or () if c["status"] == "True"}
    state = next(
        (
            kind
            for kind in ("Complete", "Failed", "Suspended", "FailureTarget", "SuccessCriteriaMet")
            if kind in kinds
        ),
        "Running",
    )
    if job["metadata"].get("deletionTimestamp"):
        state = "Terminating"
    done = f"{status.get('succeeded', 0)}/{spec.get('completions') or 1}"
    start, end = status.get("startTime"), status.get("completionTime")
    took = ""
    if start:
        took = duration((clock.parse_stamp(end) if end else clock.now()) - clock.parse_stamp(start))
    return [job["metadata"]["name"], state, done, took, _age(job)]


def _event(event: Obj) -> list[Any]:
    involved = event.get("involvedObject") or {}
    seen = event.get("lastTimestamp") or event.get("eventTime")
    about = f"{involved.get('kind', '').lower()}/{involved.get('name', '')}"
    return [
        age(seen),
        event.get("type", ""),
        event.get("reason", ""),
        about,
        event.get("message", "").strip(),
    ]


def _named(*getters: Callable[[Obj], Any]) -> Row:
    return lambda obj: [obj["metadata"]["name"], *(get(obj) for get in getters), _age(obj)]


_KINDS: dict[str, tuple[tuple[str, ...], Row]] = {
    "Pod": (("Name", "Ready", "Status", "Restarts", "Age"), _pod),
    "Job": (("Name", "Status", "Completions", "Duration", "Age"), _job),
    "Event": (("Last Seen", "Type", "Reason", "Object", "Message"), _event),
    "ConfigMap": (
        ("Name", "Data", "Age"),
        _named(lambda o: len(o.get("data") or {}) + len(o.get("binaryData") or {})),
    ),
    "Secret": (
        ("Name", "Type", "Data", "Age"),
        _named(lambda o: o.get("type", ""), lambda o: len(o.get("data") or {})),
    ),
    "Namespace": (("Name", "Status", "Age"), _named(lambda o: o["status"].get("phase", ""))),
    "Node": (("Name", "Status", "Age"), _named(lambda o: "Ready")),
    "Lease": (("Name", "Holder", "Age"), _named(lambda o: (o.get("spec") or {}).get("holderIdentity", ""))),
    "PersistentVolumeClaim": (
        ("Name", "Status", "Volume", "StorageClass", "Age"),
        _named(
            lambda o: (o.get("status") or {}).get("phase", ""),
            lambda o: o["spec"].get("volumeName", ""),
            lambda o: o["spec"].get("storageClassName", ""),
        ),
    ),
}
_PLAIN: tuple[tuple[str, ...], Row] = (("Name", "Age"), _named())


def table(kind: str, objects: list[Obj], meta: Obj, *, include: str = "Metadata", header: bool = True) -> Obj:
    """A `meta.k8s.io/v1` Table of objects of one kind."""
    columns, row = _KINDS.get(kind, _PLAIN)
    definitions = [
        {
            "name": name,
            "type": "string",
            "format": "name" if name == "Name" else "",
            "description": name,
            "priority": 0,
        }
        for name in columns
    ]
    rows = []
    for obj in objects:
        partial = {
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": obj["metadata"],
        }
        rows.append({"cells": row(obj), "object": obj if include == "Object" else partial})
    found: Obj = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
    return found | {"columnDefinitions": definitions if header else None, "rows": rows}
