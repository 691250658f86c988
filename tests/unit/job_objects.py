"""Jobs, pods and Events made for one test each, and the verdict on them."""

from __future__ import annotations

import json
from typing import Any

from airflow_provider_feast.jobs.diagnose import diagnose
from airflow_provider_feast.model.outcome import JobState, Problem
from airflow_provider_feast.model.result import CommandResult, ViewTotals

T0, T1, T2, T3 = (f"2026-01-01T00:0{minute}:00Z" for minute in range(4))
IMAGE = "registry.example/feast:1"


def job(
    *conditions: tuple[str, str, str], spec: dict[str, Any] | None = None, **status: Any
) -> dict[str, Any]:
    return {
        "metadata": {"name": "load", "namespace": "ns", "uid": "job-uid", "labels": {}},
        "spec": {"completions": 1, "suspend": False} | (spec or {}),
        "status": status | {"conditions": [{"type": t, "status": s, "reason": r} for t, s, r in conditions]},
    }


def container(state: dict[str, Any], name: str = "feast", **status: Any) -> dict[str, Any]:
    return {"name": name, "state": state} | status


def ended(code: int, message: str = "", reason: str = "Error", at: str = T1) -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message, "finishedAt": at}}


def waits(reason: str, message: str = "") -> dict[str, Any]:
    return {"waiting": {"reason": reason, "message": message}}


RUNNING = {"running": {"startedAt": T0}}


def pod(
    name: str = "load-aaaaa", phase: str = "Failed", *statuses: dict[str, Any], **more: Any
) -> dict[str, Any]:
    names = [status["name"] for status in statuses] or ["feast"]
    limits = {"resources": {"limits": {"memory": "2Gi"}}}
    spec = {"containers": [{"name": n, "image": IMAGE} | limits for n in names]} | more.pop("spec", {})
    metadata = {
        "name": name,
        "namespace": "ns",
        "uid": f"{name}-uid",
        "creationTimestamp": more.pop("created", T0),
    }
    return {
        "metadata": metadata | {"ownerReferences": [{"uid": "job-uid"}]} | more.pop("metadata", {}),
        "spec": spec,
        "status": {"phase": phase, "containerStatuses": list(statuses)} | more,
    }


def event(about: str, reason: str, message: str, at: str = T1, kind: str = "Pod") -> dict[str, Any]:
    uid = "job-uid" if kind == "Job" else f"{about}-uid"
    normal = reason in ("Scheduled", "Pulling", "Pulled", "Created", "Started", "SuccessfulCreate", "Killing")
    return {
        "involvedObject": {"kind": kind, "name": about, "uid": uid},
        "type": "Normal" if normal else "Warning",
        "reason": reason,
        "message": message,
        "lastTimestamp": at,
    }


FAILED = ("Failed", "True", "BackoffLimitExceeded")


def failure(*pods: dict[str, Any], job_object: dict[str, Any] | None = None) -> Problem:
    outcome = diagnose(job_object or job(FAILED), list(pods), [])
    assert outcome.state == JobState.FAILED
    assert outcome.problem is not None
    return outcome.problem


def startup(pod_object: dict[str, Any], *events: dict[str, Any]) -> Problem | None:
    outcome = diagnose(job(active=1), [pod_object], list(events))
    assert outcome.state == JobState.STARTING
    return outcome.problem


def creation(message: str) -> Problem:
    outcome = diagnose(job(), [], [event("load", "FailedCreate", f"Error creating: {message}", kind="Job")])
    assert outcome.state == JobState.STARTING
    assert outcome.problem is not None
    return outcome.problem


def told(rows: int | None, **more: Any) -> str:
    views = {"numbers": ViewTotals(rows, 1.5, 1)}
    return json.dumps(CommandResult("succeeded", views=views, steps=(1, 1), **more).to_dict())


def index_pod(index: int, message: str, minute: int, code: int = 0) -> dict[str, Any]:
    phase = "Failed" if code else "Succeeded"
    finished = ended(code, message, "Error" if code else "Completed", f"2026-01-01T00:{minute:02d}:00Z")
    annotations = {"batch.kubernetes.io/job-completion-index": str(index)}
    status = {"name": "feast", "state": finished}
    return pod(f"load-{index}-{minute}", phase, status, metadata={"annotations": annotations})
