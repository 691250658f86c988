"""Pod status as the kubelet writes it: conditions and container statuses."""

from typing import Any

from airflow_provider_feast.sandbox import clock, resources
from airflow_provider_feast.sandbox.api import Api
from airflow_provider_feast.sandbox.images import image_id
from airflow_provider_feast.sandbox.shapes import Obj, clone

HOST_IP = "127.0.0.1"
_ORDER = (
    "DisruptionTarget",
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
)


def container_status(container: Obj, reason: str) -> Obj:
    """The status of a container that waits to be created."""
    mounts = [_mount_status(mount) for mount in container.get("volumeMounts") or ()]
    status: Obj = {
        "name": container["name"],
        "state": {"waiting": {"reason": reason}},
        "lastState": {},
        "ready": False,
        "restartCount": 0,
        "image": container["image"],
        "imageID": "",
        "started": False,
    }
    if mounts:
        status["volumeMounts"] = mounts
    return status


def _mount_status(mount: Obj) -> Obj:
    found = {"name": mount["name"], "mountPath": mount["mountPath"]}
    if mount.get("readOnly"):
        found |= {"readOnly": True, "recursiveReadOnly": "Disabled"}
    return found


class PodStatus:
    """The worker's view of a pod's status; `publish` writes it to the API when it changed."""

    def __init__(self, api: Api, pod: Obj) -> None:
        self._api = api
        self._at = (pod["metadata"]["namespace"], pod["metadata"]["name"])
        self._uid = pod["metadata"]["uid"]
        self._spec = pod["spec"]
        self.phase = "Pending"
        self.reason = ""
        self.message = ""
        self.sandbox_ready = False
        self.has_ip = False
        self.quiet = False
        self.start_time = clock.stamp()
        first = "PodInitializing" if self._spec.get("initContainers") else "ContainerCreating"
        inits = self._spec.get("initContainers") or ()
        self.inits = {c["name"]: container_status(c, "PodInitializing") for c in inits}
        self.mains = {c["name"]: container_status(c, first) for c in self._spec["containers"]}

    def of(self, container: Obj) -> Obj:
        return self.inits.get(container["name"]) or self.mains[container["name"]]

    def waiting(self, container: Obj, reason: str, message: str = "") -> None:
        status = self.of(container)
        status["state"] = {"waiting": {"reason": reason} | ({"message": message} if message else {})}
        status["ready"] = status["started"] = False
        self.publish()

    def running(
        self, container: Obj, container_id: str, user: tuple[int, int], start: tuple[bool, bool]
    ) -> None:
        """A container's process runs; `start` is whether it counts as started and as ready."""
        status = self.of(container)
        status["state"] = {"running": {"startedAt": clock.stamp()}}
        status["containerID"] = container_id
        status["imageID"] = image_id(container["image"])
        status["resources"] = container["resources"]
        status["user"] = {"linux": {"uid": user[0], "gid": user[1], "supplementalGroups": [user[1]]}}
        status["started"], ready = start
        status["ready"] = ready and container["name"] in self.mains
        if container["name"] in self.mains:
            self.phase = "Running"
        self.publish()

    def probed(self, container: Obj, *, started: bool, ready: bool) -> None:
        """What probes found out about a running container."""
        status = self.of(container)
        if "running" in status["state"]:
            status["started"], status["ready"] = started, ready
            self.publish()

    def terminated(self, container: Obj, ended: Obj) -> None:
        status = self.of(container)
        running = status["state"].get("running") or {}
        times = {"startedAt": running.get("startedAt", "1970-01-01T00:00:00Z"), "finishedAt": clock.stamp()}
        status["state"] = {"terminated": {**ended, **times}}
        if status.get("containerID"):
            status["state"]["terminated"]["containerID"] = status["containerID"]
        status["ready"] = container["name"] in self.inits and ended["exitCode"] == 0
        status["started"] = False
        self.publish()

    def restarting(self, container: Obj) -> None:
        status = self.of(container)
        status["lastState"] = status["state"]
        status["restartCount"] += 1

    def publish(self) -> None:
        """Write the status, unless it is to stay quiet; a pod that is gone or replaced is left alone."""
        if self.quiet:
            return
        pod = self._api.store.get(resources.PODS.key, *self._at)
        if pod is None or pod["metadata"]["uid"] != self._uid:
            return
        self._api.modify(resources.PODS, *self._at, self._fill)

    def _fill(self, pod: Obj) -> None:
        status = pod["status"]
        generation = pod["metadata"].get("generation", 1)
        status["observedGeneration"] = generation
        status["phase"] = self.phase
        for key, value in (("reason", self.reason), ("message", self.message)):
            if value:
                status[key] = value
        status["hostIP"], status["hostIPs"] = HOST_IP, [{"ip": HOST_IP}]
        if self.has_ip:
            status["podIP"], status["podIPs"] = HOST_IP, [{"ip": HOST_IP}]
        status["startTime"] = self.start_time
        status["resources"] = {}
        if self.inits:
            status["initContainerStatuses"] = clone(list(self.inits.values()))
        status["containerStatuses"] = clone(list(self.mains.values()))
        self._conditions(status, generation)

    def _conditions(self, status: Obj, generation: int) -> None:
        known = {found["type"]: found for found in status.get("conditions") or ()}
        for kind, (value, reason, message) in self._wanted().items():
            before = known.get(kind, {})
            moved = clock.stamp() if before.get("status") != value else before["lastTransitionTime"]
            new: dict[str, Any] = {"type": kind, "observedGeneration": generation, "status": value}
            new |= {"lastProbeTime": None, "lastTransitionTime": moved}
            if reason:
                new["reason"] = reason
            if message:
                new["message"] = message
            known[kind] = new
        status["conditions"] = [known[kind] for kind in _ORDER if kind in known]

    def _wanted(self) -> dict[str, tuple[str, str, str]]:
        ready = self._readiness()
        return {
            "PodReadyToStartContainers": (str(self.sandbox_ready), "", ""),
            "Initialized": self._initialized(),
            "Ready": ready,
            "ContainersReady": ready,
            "PodScheduled": ("True", "", ""),
        }

    def _all_done(self, code: int | None = None) -> bool:
        ends = [status["state"].get("terminated") for status in self.mains.values()]
        return all(end is not None and (code is None or end["exitCode"] == code) for end in ends)

    def _initialized(self) -> tuple[str, str, str]:
        missing = [
            name
            for name, status in self.inits.items()
            if (status["state"].get("terminated") or {}).get("exitCode") != 0
        ]
        if missing:
            return (
                "False",
                "ContainersNotInitialized",
                f"containers with incomplete status: [{' '.join(missing)}]",
            )
        completed = self.phase == "Succeeded" or (self._all_done(0) and self.phase == "Running")
        return "True", "PodCompleted" if completed else "", ""

    def _readiness(self) -> tuple[str, str, str]:
        if self.phase == "Succeeded" or (self.phase == "Running" and self._all_done(0)):
            return "False", "PodCompleted", ""
        if self.phase == "Failed":
            return "False", "PodFailed", ""
        unready = [name for name, status in self.mains.items() if not status["ready"]]
        if unready:
            return "False", "ContainersNotReady", f"containers with unready status: [{' '.join(unready)}]"
        return "True", "", ""
