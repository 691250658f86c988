"""The life of one pod on the node: volumes, init containers, containers, restarts, its end."""

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from airflow_provider_feast.sandbox import actors, resources
from airflow_provider_feast.sandbox.api import Api
from airflow_provider_feast.sandbox.clock import Backoff
from airflow_provider_feast.sandbox.pods import usage
from airflow_provider_feast.sandbox.pods.container import ContainerRun, Runtime
from airflow_provider_feast.sandbox.pods.logs import LogFile
from airflow_provider_feast.sandbox.pods.plan import Node, PodPlan
from airflow_provider_feast.sandbox.pods.podstatus import PodStatus
from airflow_provider_feast.sandbox.pods.volumes import MountError
from airflow_provider_feast.sandbox.recorder import Recorder
from airflow_provider_feast.sandbox.shapes import Obj

_MOUNT_BACKOFF = (timedelta(milliseconds=500), timedelta(minutes=2))
_RESTART_BACKOFF = (timedelta(seconds=10), timedelta(minutes=5))


@dataclass(frozen=True)
class NodeServices:
    """What workers need of the node."""

    api: Api
    node: Node
    events: Recorder
    backoff: Backoff
    runtime: Runtime


class PodWorker:
    """Runs one pod; `terminate` ends it early."""

    def __init__(self, services: NodeServices, pod: Obj) -> None:
        self._services = services
        self.pod = pod
        self.plan = PodPlan(services.node, pod)
        self.status = PodStatus(services.api, pod)
        self.logs: dict[str, list[LogFile]] = {}
        self.runs: dict[str, ContainerRun] = {}
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._killer: asyncio.TimerHandle | None = None
        self.end_reason: tuple[str, str] | None = None
        self.oom_killed: set[str] = set()

    def start(self) -> asyncio.Task[None]:
        self._task = asyncio.create_task(self._live(), name=f"pod {self.pod['metadata']['name']}")
        return self._task

    def terminate(self, grace: float) -> None:
        """SIGTERM now, SIGKILL after `grace` seconds; called again, the shorter grace counts."""
        loop = asyncio.get_running_loop()
        if not self._stopping:
            self._stopping = True
            self.status.publish()
            self.status.quiet = True  # until all has ended, as a kubelet that is busy with killing
            for run in self._running():
                path = run.field_path
                self._services.events.normal(self.pod, "Killing", f"Stopping container {run.name}", path)
                run.signal(signal.SIGTERM)
            if not self._running() and self._task is not None:
                self._task.cancel()
        if self._killer is not None:
            self._killer.cancel()
        self._killer = loop.call_later(max(grace, 0.0), self.kill)

    def kill(self) -> None:
        for run in self._running():
            run.signal(signal.SIGKILL)

    def oom(self, container: str = "") -> None:
        """Kill a container (all, when none is named) as the kernel's OOM killer does."""
        for run in self._running():
            if container in {"", run.name}:
                self.oom_killed.add(run.name)
                run.signal(signal.SIGKILL)

    def _running(self) -> list[ContainerRun]:
        return [run for run in self.runs.values() if run.is_running]

    @property
    def stopping(self) -> bool:
        return self._stopping

    async def _live(self) -> None:
        actors.act_as(actors.KUBELET)
        deadline = self._deadline()
        try:
            self.status.publish()
            await self._mount()
            self.status.sandbox_ready = True
            self.status.publish()
            self.status.has_ip = True
            succeeded = await self._run_within_limits()
        except asyncio.CancelledError:
            if not self._stopping:
                raise
            succeeded = False
        finally:
            for handle in filter(None, (deadline, self._killer)):
                handle.cancel()
            for logs in self.logs.values():
                for log in logs:
                    log.close()
        self._end(succeeded)

    def _deadline(self) -> asyncio.TimerHandle | None:
        seconds = self.pod["spec"].get("activeDeadlineSeconds")
        if seconds is None:
            return None

        def expire() -> None:
            why = "Pod was active on the node longer than the specified deadline"
            self.end_reason = ("DeadlineExceeded", why)
            self.terminate(self.pod["spec"].get("terminationGracePeriodSeconds", 30))

        return asyncio.get_running_loop().call_later(seconds, expire)

    async def _mount(self) -> None:
        failures = 0
        while True:
            try:
                self.plan.mount()
            except MountError as error:
                failures += 1
                self._services.events.warning(self.pod, "FailedMount", str(error))
                delay = self._services.backoff.delay(failures, *_MOUNT_BACKOFF)
                await asyncio.sleep(delay.total_seconds())
            else:
                return

    async def _run_within_limits(self) -> bool:
        if not usage.limits(self.pod["spec"]):
            return await self._run_containers()
        guard = asyncio.create_task(usage.enforce(self.pod["spec"], self.plan.volume, self._evict))
        try:
            return await self._run_containers()
        finally:
            guard.cancel()

    def _evict(self, why: str) -> None:
        """The kubelet ends a pod that takes more than it may."""
        self.end_reason = ("Evicted", why)
        self._services.events.warning(self.pod, "Evicted", why)
        self.terminate(0)

    async def _run_containers(self) -> bool:
        spec = self.pod["spec"]
        for container in spec.get("initContainers") or ():
            if not await self._run_init(container):
                return False
        for container in spec["containers"]:
            self.status.of(container)["state"] = {"waiting": {"reason": "ContainerCreating"}}
        if spec.get("initContainers"):
            self.status.publish()
        codes = await asyncio.gather(*(self._run_main(container) for container in spec["containers"]))
        return all(code == 0 for code in codes)

    async def _run_init(self, container: Obj) -> bool:
        policy = self.pod["spec"]["restartPolicy"]
        code = await self._repeat(container, again=lambda code: code != 0 and policy != "Never")
        return code == 0

    async def _run_main(self, container: Obj) -> int:
        policy = self.pod["spec"]["restartPolicy"]
        return await self._repeat(
            container, again=lambda code: policy == "Always" or (policy == "OnFailure" and code != 0)
        )

    async def _repeat(self, container: Obj, again: Callable[[int], bool]) -> int:
        restarts = 0
        while True:
            run = ContainerRun(self._services.runtime, self, container, restarts)
            self.runs[container["name"]] = run
            code = await run.run()
            if self._stopping or not again(code):
                return code
            restarts += 1
            self.status.restarting(container)
            await self._back_off(container, restarts)

    async def _back_off(self, container: Obj, restarts: int) -> None:
        delay = self._services.backoff.delay(restarts, *_RESTART_BACKOFF)
        meta = self.pod["metadata"]
        where = f"{meta['name']}_{meta['namespace']}({meta['uid']})"
        name = container["name"]
        message = f"back-off {delay.total_seconds():g}s restarting failed container={name} pod={where}"
        self._services.events.warning(
            self.pod,
            "BackOff",
            f"Back-off restarting failed container {name} in pod {where}",
            self.runs[name].field_path,
        )
        self.status.waiting(container, "CrashLoopBackOff", message)
        await asyncio.sleep(delay.total_seconds())

    def _end(self, succeeded: bool) -> None:
        self.status.publish()
        self.status.quiet = False
        self.status.sandbox_ready = False
        self.status.phase = "Succeeded" if succeeded and self.end_reason is None else "Failed"
        if self.end_reason is not None:
            self.status.reason, self.status.message = self.end_reason
        self.status.publish()
        self.confirm_deletion()

    def confirm_deletion(self) -> None:
        """Tell the API that nothing of a deleted pod runs any more."""
        meta = self.pod["metadata"]
        found = self._services.api.store.get(resources.PODS.key, meta["namespace"], meta["name"])
        if found is None or not found["metadata"].get("deletionTimestamp"):
            return
        if found["metadata"]["uid"] == meta["uid"]:
            self._services.api.modify(resources.PODS, meta["namespace"], meta["name"], _no_grace)


def _no_grace(pod: Obj) -> None:
    pod["metadata"]["deletionGracePeriodSeconds"] = 0
