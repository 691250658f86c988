"""The pods of a Job: which are active, finished or leaving; and the manifest of the next one."""

from dataclasses import dataclass, field
from datetime import datetime

from airflow_provider_feast.sandbox import clock, resources
from airflow_provider_feast.sandbox.shapes import Obj, clone
from airflow_provider_feast.sandbox.store import Store

TRACKING = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
FAILURES = "batch.kubernetes.io/job-index-failure-count"
IGNORED_FAILURES = "batch.kubernetes.io/job-index-ignored-failure-count"


@dataclass
class Pods:
    """A Job's pods, sorted by what they mean to it. `fresh_*` still carry the tracking finalizer."""

    active: list[Obj] = field(default_factory=list)
    terminating: list[Obj] = field(default_factory=list)
    fresh_succeeded: list[Obj] = field(default_factory=list)
    fresh_failed: list[Obj] = field(default_factory=list)

    @property
    def ready(self) -> int:
        return sum(is_ready(pod) for pod in self.active)


def owned(store: Store, job: Obj) -> list[Obj]:
    """Pods whose controller is this Job, oldest first."""
    uid = job["metadata"]["uid"]
    found = [
        obj
        for key, obj in store.dependents(uid)
        if key == resources.PODS.key
        and any(
            owner["uid"] == uid and owner.get("controller") for owner in obj["metadata"]["ownerReferences"]
        )
    ]
    return sorted(found, key=lambda pod: int(pod["metadata"]["resourceVersion"]))


def classify(job: Obj, pods: list[Obj]) -> Pods:
    """A terminating pod counts as failed at once, unless the Job replaces only failed pods."""
    waits = job["spec"]["podReplacementPolicy"] == "Failed"
    found = Pods()
    for pod in pods:
        phase, meta = pod["status"]["phase"], pod["metadata"]
        tracked = TRACKING in (meta.get("finalizers") or ())
        leaving = bool(meta.get("deletionTimestamp"))
        if phase == "Succeeded":
            if tracked:
                found.fresh_succeeded.append(pod)
        elif phase == "Failed":
            if tracked:
                found.fresh_failed.append(pod)
        elif leaving:
            found.terminating.append(pod)
            if tracked and not waits:
                found.fresh_failed.append(pod)
        else:
            found.active.append(pod)
    return found


def is_ready(pod: Obj) -> bool:
    conditions = pod["status"].get("conditions") or ()
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def index_of(pod: Obj) -> int:
    return int((pod["metadata"].get("annotations") or {}).get(INDEX, -1))


def failures_of(pod: Obj) -> int:
    return int((pod["metadata"].get("annotations") or {}).get(FAILURES, 0))


def finished_at(pod: Obj) -> datetime:
    """When the last container ended, else when the pod was deleted, else now."""
    status = pod["status"]
    ends = [
        container["state"]["terminated"]["finishedAt"]
        for container in (*status.get("containerStatuses", ()), *status.get("initContainerStatuses", ()))
        if container["state"].get("terminated")
    ]
    return clock.parse_stamp(max(ends)) if ends else clock.now()


def manifest(job: Obj, index: int | None, failures: int) -> Obj:
    """The next pod of a Job; `index` for Indexed Jobs, `failures` of that index so far."""
    meta, template = job["metadata"], clone(job["spec"]["template"])
    own = template["metadata"]
    pod_meta: Obj = {
        "generateName": f"{meta['name']}-" if index is None else f"{meta['name']}-{index}-",
        "labels": dict(own.get("labels") or {}),
        "ownerReferences": [
            {
                "apiVersion": "batch/v1",
                "kind": "Job",
                "name": meta["name"],
                "uid": meta["uid"],
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ],
        "finalizers": [*(own.get("finalizers") or ()), TRACKING],
    }
    if own.get("annotations"):
        pod_meta["annotations"] = dict(own["annotations"])
    spec = template["spec"]
    if index is not None:
        _tell_index(job, index, failures, pod_meta, spec)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": pod_meta, "spec": spec}


def _tell_index(job: Obj, index: int, failures: int, meta: Obj, spec: Obj) -> None:
    annotations = meta.setdefault("annotations", {})
    annotations[INDEX] = meta["labels"][INDEX] = str(index)
    if job["spec"].get("backoffLimitPerIndex") is not None:
        annotations[FAILURES] = str(failures)
    spec["hostname"] = f"{job['metadata']['name']}-{index}"
    reference = {"apiVersion": "v1", "fieldPath": f"metadata.labels['{INDEX}']"}
    for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
        env = container.setdefault("env", [])
        if not any(variable["name"] == "JOB_COMPLETION_INDEX" for variable in env):
            env.append({"name": "JOB_COMPLETION_INDEX", "valueFrom": {"fieldRef": dict(reference)}})
