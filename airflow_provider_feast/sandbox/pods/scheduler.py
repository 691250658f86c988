"""The scheduler: one node; a pod that it can never or not yet hold waits with FailedScheduling."""

import asyncio
from decimal import Decimal

from airflow_provider_feast.sandbox import actors, clock, quantity, resources
from airflow_provider_feast.sandbox.api import Api
from airflow_provider_feast.sandbox.controllers.queue import WorkQueue
from airflow_provider_feast.sandbox.recorder import NODE, SchedulerRecorder
from airflow_provider_feast.sandbox.shapes import Obj
from airflow_provider_feast.sandbox.store import Change

LABELS = {"kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
CAPACITY = {"cpu": "32", "memory": "64Gi", "pods": "110", "ephemeral-storage": "100Gi"}

_FULL = "1 Too many pods"


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
        self._placed: dict[str, dict[str, Decimal]] = {}
        self._waiting: dict[str, tuple[tuple[str, str], str]] = {}
        self._hold_until = 0.0
        self.queue: WorkQueue[tuple[str, str]] = WorkQueue(self._schedule, actors.SCHEDULER)
        api.store.listen(self._changed)

    def _changed(self, change: Change) -> None:
        if change.key != resources.PODS.key:
            return
        pod, uid = change.obj, change.obj["metadata"]["uid"]
        if change.type == "DELETED" or pod["status"]["phase"] in {"Succeeded", "Failed"}:
            self._waiting.pop(uid, None)
            if self._placed.pop(uid, None) is not None:
                self._try_again()
        elif change.type == "ADDED" and not pod["spec"].get("nodeName"):
            self.queue.add((change.namespace, change.name))

    def _try_again(self) -> None:
        """Room for one more: the first that waited for a place, and all that waited for CPU or memory."""
        first = True
        for at, problem in self._waiting.values():
            if problem != _FULL or first:
                self.queue.add(at)
            first = first and problem != _FULL

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
        uid = pod["metadata"]["uid"]
        if pod["spec"].get("schedulerName") != "default-scheduler":
            return
        wanted = requests(pod["spec"])
        problem = self._problem(pod["spec"], wanted)
        if problem:
            self._refuse(at, uid, problem)
            return
        self._waiting.pop(uid, None)
        self._placed[uid] = wanted
        bound = self._api.modify(resources.PODS, *at, _bind)
        if bound is not None:
            self._events.normal(bound, "Scheduled", f"Successfully assigned {at[0]}/{at[1]} to {NODE}")

    def _refuse(self, at: tuple[str, str], uid: str, problem: str) -> None:
        message = (
            f"0/1 nodes are available: {problem}. no new claims to deallocate, preemption: 0/1 nodes are "
            "available: 1 Preemption is not helpful for scheduling."
        )
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "lastProbeTime": None,
            "reason": "Unschedulable",
            "message": message,
        }

        def mark(pod: Obj) -> None:
            found = pod["status"].get("conditions")
            if found and found[0].get("message") == message:
                return
            generation = pod["metadata"].get("generation", 1)
            times = {"lastTransitionTime": clock.stamp(), "observedGeneration": generation}
            pod["status"]["conditions"] = [condition | times]

        first = uid not in self._waiting
        self._waiting[uid] = (at, problem)
        marked = self._api.modify(resources.PODS, *at, mark)
        if marked is not None and first:
            self._events.warning(marked, "FailedScheduling", message)

    def _problem(self, spec: Obj, wanted: dict[str, Decimal]) -> str:
        selector = spec.get("nodeSelector") or {}
        if any(LABELS.get(key) != value for key, value in selector.items()):
            return "1 node(s) didn't match Pod's node affinity/selector"
        if len(self._placed) >= int(CAPACITY["pods"]):
            return _FULL
        for name, amount in wanted.items():
            used = sum((placed.get(name, Decimal(0)) for placed in self._placed.values()), Decimal(0))
            if used + amount > quantity.parse(CAPACITY.get(name, 0)):
                return f"1 Insufficient {name}"
        return ""


def _bind(pod: Obj) -> None:
    pod["spec"]["nodeName"] = NODE
    generation = pod["metadata"].get("generation", 1)
    condition = {"type": "PodScheduled", "status": "True", "lastProbeTime": None}
    times = {"lastTransitionTime": clock.stamp(), "observedGeneration": generation}
    pod["status"]["conditions"] = [condition | times]


def requests(spec: Obj) -> dict[str, Decimal]:
    """What a pod reserves: the sum of its containers, or its largest init container."""
    total: dict[str, Decimal] = {}
    for container in spec["containers"]:
        for name, value in (container["resources"].get("requests") or {}).items():
            total[name] = total.get(name, Decimal(0)) + quantity.parse(value)
    for container in spec.get("initContainers") or ():
        for name, value in (container["resources"].get("requests") or {}).items():
            total[name] = max(total.get(name, Decimal(0)), quantity.parse(value))
    return total
