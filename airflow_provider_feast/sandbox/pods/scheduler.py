"""The scheduler: one node; a pod that it can never or not yet hold waits with FailedScheduling."""

import asyncio
import platform

from airflow_provider_feast.sandbox import actors, clock, resources
from airflow_provider_feast.sandbox.api import Api
from airflow_provider_feast.sandbox.controllers.queue import WorkQueue
from airflow_provider_feast.sandbox.discovery import VERSION
from airflow_provider_feast.sandbox.pods import fit
from airflow_provider_feast.sandbox.pods.fit import CAPACITY, LABELS, Placed, Problem
from airflow_provider_feast.sandbox.recorder import NODE, SchedulerRecorder
from airflow_provider_feast.sandbox.shapes import Obj
from airflow_provider_feast.sandbox.store import Change

_GATED = ("SchedulingGated", "Scheduling is blocked due to non-empty scheduling gates")
_OVER = frozenset({"Succeeded", "Failed"})


def node() -> Obj:
    """The Node object that clients see."""
    moment = clock.stamp()
    ready = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "the sandbox is ready"}
    return {
        "metadata": {"name": NODE, "labels": dict(LABELS)},
        "spec": {},
        "status": {
            "capacity": dict(CAPACITY),
            "allocatable": dict(CAPACITY),
            "nodeInfo": {
                "architecture": LABELS["kubernetes.io/arch"],
                "containerRuntimeVersion": "processes://1",
                "kernelVersion": platform.release(),
                "kubeletVersion": VERSION["gitVersion"],
                "operatingSystem": LABELS["kubernetes.io/os"],
                "osImage": f"the sandbox on {platform.system()}",
            },
            "conditions": [{**ready, "lastHeartbeatTime": moment, "lastTransitionTime": moment}],
            "addresses": [
                {"type": "InternalIP", "address": "127.0.0.1"},
                {"type": "Hostname", "address": NODE},
            ],
        },
    }


class Scheduler:
    """Gives pods to the node in the order they came."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._events = SchedulerRecorder(api, "default-scheduler")
        self._placed = Placed()
        self._waiting: dict[str, tuple[tuple[str, str], str]] = {}
        self._hold_until = 0.0
        self.queue: WorkQueue[tuple[str, str]] = WorkQueue(self._schedule, actors.SCHEDULER)
        api.store.listen(self._changed)

    def _changed(self, change: Change) -> None:
        if change.key != resources.PODS.key:
            return
        pod, uid = change.obj, change.obj["metadata"]["uid"]
        if change.type == "DELETED" or pod["status"]["phase"] in _OVER:
            self._waiting.pop(uid, None)
            if self._placed.remove(uid):
                self._try_again()
        elif pod["spec"].get("nodeName"):
            if pod["spec"]["nodeName"] == NODE and uid not in self._placed.pods:
                self._placed.add(pod)  # bound by whoever made it
        elif change.type == "ADDED" or _gates(change.before or pod) != _gates(pod):
            self.queue.add((change.namespace, change.name))

    def _try_again(self) -> None:
        """Room for one more: the first that waited for a place, and all that waited for anything else."""
        first = True
        for at, words in self._waiting.values():
            if words != fit.FULL or first:
                self.queue.add(at)
            first = first and words != fit.FULL

    def hold(self, seconds: float) -> None:
        """A fault: place no pod for so long."""
        self._hold_until = asyncio.get_running_loop().time() + seconds

    def _schedule(self, at: tuple[str, str]) -> None:
        pod = self._api.store.get(resources.PODS.key, *at)
        if pod is None or pod["spec"].get("nodeName") or pod["metadata"].get("deletionTimestamp"):
            return
        wait = self._hold_until - asyncio.get_running_loop().time()
        if wait > 0:
            self.queue.add_after(at, wait)
            return
        if pod["spec"].get("schedulerName") != "default-scheduler":
            return
        if _gates(pod):
            self._mark(at, *_GATED)
            return
        problem = fit.problem(pod, self._namespaces(pod), self._placed)
        if problem is not None:
            self._refuse(at, pod["metadata"]["uid"], problem)
            return
        self._bind(at, pod)

    def _namespaces(self, pod: Obj) -> dict[str, Obj]:
        if "affinity" not in pod["spec"]:
            return {}
        return {obj["metadata"]["name"]: obj for obj in self._api.store.objects(resources.NAMESPACES.key)}

    def _bind(self, at: tuple[str, str], pod: Obj) -> None:
        self._waiting.pop(pod["metadata"]["uid"], None)
        self._placed.add(pod)
        bound = self._api.modify(resources.PODS, *at, _bind)
        if bound is not None:
            self._events.normal(bound, "Scheduled", f"Successfully assigned {at[0]}/{at[1]} to {NODE}")
        for other, words in list(self._waiting.values()):
            if words == fit.NO_PEER:
                self.queue.add(other)

    def _refuse(self, at: tuple[str, str], uid: str, problem: Problem) -> None:
        first = uid not in self._waiting
        self._waiting[uid] = (at, problem.words)
        marked = self._mark(at, "Unschedulable", problem.message)
        if marked is not None and first:
            self._events.warning(marked, "FailedScheduling", problem.message)

    def _mark(self, at: tuple[str, str], reason: str, message: str) -> Obj | None:
        """The condition PodScheduled=False."""
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "lastProbeTime": None,
            "reason": reason,
            "message": message,
        }

        def mark(pod: Obj) -> None:
            found = pod["status"].get("conditions")
            if found and found[0].get("message") == message:
                return
            generation = pod["metadata"].get("generation", 1)
            times = {"lastTransitionTime": clock.stamp(), "observedGeneration": generation}
            pod["status"]["conditions"] = [condition | times]

        return self._api.modify(resources.PODS, *at, mark)


def _gates(pod: Obj) -> list[Obj]:
    found: list[Obj] = pod["spec"].get("schedulingGates") or []
    return found


def _bind(pod: Obj) -> None:
    pod["spec"]["nodeName"] = NODE
    generation = pod["metadata"].get("generation", 1)
    condition = {"type": "PodScheduled", "status": "True", "lastProbeTime": None}
    times = {"lastTransitionTime": clock.stamp(), "observedGeneration": generation}
    pod["status"]["conditions"] = [condition | times]
