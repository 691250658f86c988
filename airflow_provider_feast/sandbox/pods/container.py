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
from airflow_provider_feast.sandbox.pods import memory
from airflow_provider_feast.sandbox.pods.env import ConfigError
from airflow_provider_feast.sandbox.pods.logs import LogFile
from airflow_provider_feast.sandbox.pods.process import Process, ProcessSpec, StartError
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
        self.environment: dict[str, str] = {}
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
        self.environment = dict(spec.env)
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
        self._worker.status.running(self._container, f"containerd://{uuid.uuid4().hex * 2}", user)
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
        try:
            code = await process.wait()
        finally:
            self._process = None
            if guard is not None:
                guard.cancel()
        reason = "Completed" if code == 0 else "Error"
        if self.name in self._worker.oom_killed:
            code, reason = 137, "OOMKilled"
        ended: Obj = {"exitCode": code, "reason": reason}
        message = self._message(code, log)
        if message:
            ended["message"] = message
        self._worker.status.terminated(self._container, ended)
        return code

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
