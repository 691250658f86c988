"""The node agent: a worker for each pod that the scheduler placed."""

import asyncio
import logging
import shutil

from airflow_provider_feast.sandbox import actors, resources, status
from airflow_provider_feast.sandbox.pods.logs import LogFile
from airflow_provider_feast.sandbox.pods.worker import NodeServices, PodWorker
from airflow_provider_feast.sandbox.shapes import Obj
from airflow_provider_feast.sandbox.store import Change

log = logging.getLogger(__name__)
_OVER = frozenset({"Succeeded", "Failed"})


class Kubelet:
    """Follows the pods of its node."""

    def __init__(self, services: NodeServices) -> None:
        self._services = services
        self._workers: dict[str, PodWorker] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        services.api.store.listen(self._changed)

    def worker(self, uid: str) -> PodWorker | None:
        return self._workers.get(uid)

    def workers(self) -> list[PodWorker]:
        return list(self._workers.values())

    def _changed(self, change: Change) -> None:
        if change.key != resources.PODS.key or self._closing:
            return
        pod, meta = change.obj, change.obj["metadata"]
        worker = self._workers.get(meta["uid"])
        if change.type == "DELETED":
            self._gone(meta["uid"], worker)
        elif worker is None:
            if meta.get("deletionTimestamp"):
                asyncio.get_running_loop().call_soon(self._never_ran, pod)
            elif pod["spec"].get("nodeName") and pod["status"]["phase"] not in _OVER:
                self._start(pod)
        elif meta.get("deletionTimestamp") and not (change.before or pod)["metadata"].get(
            "deletionTimestamp"
        ):
            grace = meta.get("deletionGracePeriodSeconds", 0)
            asyncio.get_running_loop().call_soon(worker.terminate, grace)

    def _start(self, pod: Obj) -> None:
        worker = self._workers[pod["metadata"]["uid"]] = PodWorker(self._services, pod)
        task = worker.start()
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("%s broke", task.get_name(), exc_info=task.exception())

    def _never_ran(self, pod: Obj) -> None:
        """A pod that was deleted before it was placed: it failed, so that its Job may count it."""
        actors.act_as(actors.KUBELET)
        meta = pod["metadata"]

        def fail(found: Obj) -> None:
            if found["metadata"]["uid"] == meta["uid"] and found["status"]["phase"] not in _OVER:
                found["status"]["phase"] = "Failed"

        self._services.api.modify(resources.PODS, meta["namespace"], meta["name"], fail)

    def _gone(self, uid: str, worker: PodWorker | None) -> None:
        self._services.events.forget(uid)
        if worker is None:
            return
        worker.terminate(0)
        del self._workers[uid]
        loop = asyncio.get_running_loop()
        loop.call_later(5.0, lambda: shutil.rmtree(worker.plan.root, ignore_errors=True))

    def log(self, pod: Obj, container: str, *, previous: bool) -> LogFile:
        """The log of a container's latest run (or the one before).

        Raises:
            ApiError: 400 when the container is unknown or has not started.
        """
        meta = pod["metadata"]
        containers = [*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or ())]
        names = [found["name"] for found in containers]
        if not container and len(pod["spec"]["containers"]) > 1:
            listed = " ".join(found["name"] for found in pod["spec"]["containers"])
            text = f"a container name must be specified for pod {meta['name']}, choose one of: [{listed}]"
            if pod["spec"].get("initContainers"):
                inits = " ".join(found["name"] for found in pod["spec"]["initContainers"])
                text += f" or one of the init containers: [{inits}]"
            raise status.bad_request(text)
        container = container or names[0]
        if container not in names:
            raise status.bad_request(f"container {container} is not valid for pod {meta['name']}")
        worker = self._workers.get(meta["uid"])
        logs = worker.logs.get(container, []) if worker else []
        if previous:
            if len(logs) < 2:
                why = f'previous terminated container "{container}" in pod "{meta["name"]}" not found'
                raise status.bad_request(why)
            return logs[-2]
        if not logs:
            raise status.bad_request(_not_started(pod, container))
        return logs[-1]

    async def close(self) -> None:
        """Kill every container and wait until all are gone."""
        self._closing = True
        for worker in self._workers.values():
            worker.terminate(0)
            worker.kill()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)
        for task in self._tasks:
            task.cancel()


def _not_started(pod: Obj, container: str) -> str:
    name = pod["metadata"]["name"]
    states = (*pod["status"].get("containerStatuses", ()), *pod["status"].get("initContainerStatuses", ()))
    waiting = next((s["state"].get("waiting") for s in states if s["name"] == container), None)
    if waiting is None:
        return f'container "{container}" in pod "{name}" is not available'
    reason = waiting["reason"]
    if reason == "ErrImagePull":
        reason = "image can't be pulled"
    elif reason == "ImagePullBackOff":
        reason = "trying and failing to pull image"
    return f'container "{container}" in pod "{name}" is waiting to start: {reason}'
