"""One run of one container: image, configuration, start, end, and the words for each."""

import asyncio
import signal
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from airflow_provider_feast.sandbox.clock import Backoff
from airflow_provider_feast.sandbox.images import Image, Images
from airflow_provider_feast.sandbox.pods import memory, probes
from airflow_provider_feast.sandbox.pods.enter import enter
from airflow_provider_feast.sandbox.pods.env import ConfigError
from airflow_provider_feast.sandbox.pods.logs import LogFile
from airflow_provider_feast.sandbox.pods.process import Command, Process, ProcessSpec, StartError
from airflow_provider_feast.sandbox.recorder import Recorder
from airflow_provider_feast.sandbox.shapes import Obj

if TYPE_CHECKING:
    from airflow_provider_feast.sandbox.pods.worker import PodWorker

_PULL_BACKOFF = (timedelta(seconds=10), timedelta(minutes=5))
_CONFIG_BACKOFF = (timedelta(seconds=1), timedelta(seconds=20))
_MESSAGE_BYTES = 4096
_MESSAGE_BYTES_OF_POD = 12 * 1024
_FALLBACK_LINES, _FALLBACK_BYTES = 80, 2048

Starter = Callable[[ProcessSpec, LogFile], Awaitable[Process]]


@dataclass(frozen=True)
class Runtime:
    """How images are found and processes are started."""

    images: Images
    start: Starter
    events: Recorder
    backoff: Backoff
    slots: asyncio.Semaphore


class ContainerRun:
    """Takes one container from waiting to terminated."""

    def __init__(self, runtime: Runtime, worker: "PodWorker", container: Obj, attempt: int) -> None:
        self._runtime = runtime
        self._worker = worker
        self._container = container
        self._attempt = attempt
        self._process: Process | None = None
        self._spec: ProcessSpec | None = None
        self._image = Image()
        self.name: str = container["name"]
        kind = "initContainers" if self.name in worker.status.inits else "containers"
        self.field_path = f"spec.{kind}{{{self.name}}}"

    @property
    def is_running(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def signal(self, number: int) -> None:
        if self._process is not None:
            self._process.signal(number)

    async def run(self) -> int:
        image = await self._pull()
        spec = await self._configure(image)
        self._spec, self._image = spec, image
        self._normal("Created", "Container created")
        path = self._worker.plan.log_file(self._container, self._attempt)
        path.parent.mkdir(parents=True, exist_ok=True)
        log = LogFile(path)
        self._worker.logs.setdefault(self.name, []).append(log)
        try:
            async with self._runtime.slots:
                self._process = await self._runtime.start(spec, log)
        except StartError as error:
            self._warning("Failed", f"Error: {error}")
            ended = {"exitCode": 128, "reason": "StartError", "message": str(error)}
            self._worker.status.terminated(self._container, ended)
            return 128
        self._normal("Started", "Container started")
        user = self._worker.plan.user(self._container, image)
        identity = f"containerd://{uuid.uuid4().hex * 2}"
        self._worker.status.running(self._container, identity, user, probes.at_start(self._container))
        if self._worker.stopping:
            self.signal(signal.SIGTERM)
        return await self._finish(log)

    async def _finish(self, log: LogFile) -> int:
        process = self._process
        if process is None:
            raise RuntimeError("a container that was not started cannot end")
        limit = memory.limit_of(self._container)
        guard = None
        if limit is not None:
            kill = partial(self._worker.oom, self.name)
            guard = asyncio.create_task(memory.enforce(process.pid, limit, kill))
        prober = self._probe()
        try:
            code = await process.wait()
        finally:
            self._process = None
            for task in filter(None, (guard, prober)):
                task.cancel()
        reason = "Completed" if code == 0 else "Error"
        if self.name in self._worker.oom_killed:
            code, reason = 137, "OOMKilled"
        ended: Obj = {"exitCode": code, "reason": reason}
        message = self._message(code, log)
        if message:
            ended["message"] = message
        self._worker.status.terminated(self._container, ended)
        return code

    def _probe(self) -> asyncio.Task[None] | None:
        if not probes.has_probes(self._container):
            return None

        def mark(started: bool, ready: bool) -> None:
            self._worker.status.probed(self._container, started=started, ready=ready)

        def unhealthy(kind: str, why: str) -> None:
            self._warning("Unhealthy", f"{kind} probe failed: {why}")

        answers = probes.Answers(self.enter, mark, unhealthy, self._fail_probe)
        return asyncio.create_task(probes.watch(self._container, answers))

    def _fail_probe(self, kind: str, grace: int | None) -> None:
        """SIGTERM now, SIGKILL when the grace period is over; the pod's restart policy decides what comes next."""
        spec, process = self._worker.pod["spec"], self._process
        if process is None or self._worker.stopping:
            return
        again = "" if spec["restartPolicy"] == "Never" else ", will be restarted"
        self._normal("Killing", f"Container {self.name} failed {kind} probe{again}")
        process.signal(signal.SIGTERM)
        seconds = spec["terminationGracePeriodSeconds"] if grace is None else grace

        def kill() -> None:
            if self._process is process:
                process.signal(signal.SIGKILL)

        asyncio.get_running_loop().call_later(seconds, kill)

    def enter(self, command: list[str]) -> Command | None:
        """A command of this machine that runs in the container; `None` when the container does not run."""
        if self._process is None or self._spec is None:
            return None
        if self._worker.plan.node.isolated:
            return enter(self._process.pid, self._spec, command)
        rewritten = self._worker.plan.rewritten(self._container, self._image, command, dict(self._spec.env))
        return Command(rewritten, self._spec.env, self._spec.cwd, tuple(command))

    def _message(self, code: int, log: LogFile) -> str:
        spec = self._worker.pod["spec"]
        count = len(spec["containers"]) + len(spec.get("initContainers") or ())
        limit = min(_MESSAGE_BYTES, _MESSAGE_BYTES_OF_POD // count)
        path = self._worker.plan.termination_file(self._container)
        with path.open("rb") as file:
            data = file.read(limit)
        if not data and code != 0 and self._container["terminationMessagePolicy"] == "FallbackToLogsOnError":
            return log.tail_text(_FALLBACK_LINES, min(_FALLBACK_BYTES, limit))
        return data.decode(errors="replace")

    async def _pull(self) -> Image:
        name, policy = self._container["image"], self._container["imagePullPolicy"]
        failures = 0
        while True:
            image = self._runtime.images.find(name)
            if image is not None:
                if policy == "Always":
                    self._normal("Pulling", f'Pulling image "{name}"')
                    took = "1ms (1ms including waiting). Image size: 0 bytes."
                    self._normal("Pulled", f'Successfully pulled image "{name}" in {took}')
                else:
                    present = "already present on machine and can be accessed by the pod"
                    self._normal("Pulled", f'Container image "{name}" {present}')
                return image
            failures += 1
            await self._pull_failed(name, policy, failures)

    async def _pull_failed(self, name: str, policy: str, failures: int) -> None:
        delay = self._runtime.backoff.delay(failures, *_PULL_BACKOFF).total_seconds()
        if policy == "Never":
            message = f'Container image "{name}" is not present with pull policy of Never'
            self._warning("ErrImageNeverPull", message)
            self._warning("Failed", "Error: ErrImageNeverPull")
            self._worker.status.waiting(self._container, "ErrImageNeverPull", message)
            await asyncio.sleep(delay)
            return
        refusal = self._runtime.images.refusal(name)
        self._normal("Pulling", f'Pulling image "{name}"')
        self._warning("Failed", f'Failed to pull image "{name}": {refusal}')
        self._warning("Failed", "Error: ErrImagePull")
        self._worker.status.waiting(self._container, "ErrImagePull", refusal)
        await asyncio.sleep(delay / 5)
        self._normal("BackOff", f'Back-off pulling image "{name}"')
        self._warning("Failed", "Error: ImagePullBackOff")
        message = f'Back-off pulling image "{name}": ErrImagePull: {refusal}'
        self._worker.status.waiting(self._container, "ImagePullBackOff", message)
        await asyncio.sleep(delay)

    async def _configure(self, image: Image) -> ProcessSpec:
        failures = 0
        while True:
            try:
                return self._worker.plan.spec(self._container, image)
            except ConfigError as error:
                failures += 1
                self._warning("Failed", f"Error: {error}")
                self._worker.status.waiting(self._container, "CreateContainerConfigError", str(error))
                delay = self._runtime.backoff.delay(failures, *_CONFIG_BACKOFF)
                await asyncio.sleep(delay.total_seconds())
                await self._pull()

    def _normal(self, reason: str, message: str) -> None:
        self._runtime.events.normal(self._worker.pod, reason, message, self.field_path)

    def _warning(self, reason: str, message: str) -> None:
        self._runtime.events.warning(self._worker.pod, reason, message, self.field_path)
