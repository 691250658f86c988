"""One run of one container: a local process, its output, its end."""

import asyncio
import os
import shutil
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from airflow_provider_feast.sandbox.pods.logs import LogFile

_DRAIN_SECONDS = 0.2
_PIPE_BYTES = 1024 * 1024
"""What a pipe holds at most, unless root wants more."""


class StartError(Exception):
    """The command cannot be started: terminated with reason StartError and exit code 128."""


@dataclass(frozen=True)
class Bind:
    """A directory or file of this machine at a path in the container."""

    source: str
    target: str
    read_only: bool = False


@dataclass(frozen=True)
class ProcessSpec:
    """Everything about a process that is known before it starts."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str
    hostname: str
    binds: tuple[Bind, ...] = ()
    visible: tuple[str, ...] = ()
    read_only_root: bool = False
    user: int = 0
    group: int = 0
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Command:
    """A command that runs beside a container's process; `told` is how the pod declares it."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str | None
    told: tuple[str, ...]


class Process:
    """A started container process and the log it writes."""

    def __init__(self, child: asyncio.subprocess.Process, log: LogFile, reader: int) -> None:
        self._child = child
        self._log = log
        self._reader = reader
        self._eof = asyncio.Event()
        asyncio.get_running_loop().add_reader(reader, self._readable)

    @property
    def pid(self) -> int:
        return self._child.pid

    @classmethod
    async def start(
        cls, command: list[str], spec: ProcessSpec, log: LogFile, pass_fds: tuple[int, ...]
    ) -> "Process":
        """Start a command in its own session, with nothing of the server's environment."""
        reader, writer = os.pipe()
        os.set_blocking(reader, False)
        try:
            child = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=writer,
                stderr=writer,
                env=dict(spec.env),
                cwd=spec.cwd,
                start_new_session=True,
                pass_fds=pass_fds,
            )
        except BaseException:
            os.close(reader)
            log.close()
            raise
        finally:
            os.close(writer)
        return cls(child, log, reader)

    def signal(self, number: int) -> None:
        """Signal the process as PID 1 of a container gets it; SIGKILL goes to all of its group."""
        with suppress(ProcessLookupError):
            if number == signal.SIGKILL:
                os.killpg(self._child.pid, number)
            else:
                self._child.send_signal(number)

    async def kill(self) -> None:
        """End the process at once, with all of its group."""
        self.signal(signal.SIGKILL)
        await self.wait()

    async def wait(self) -> int:
        """The exit code (128 + n after signal n); all other processes of the container are gone then."""
        try:
            try:
                code = await self._child.wait()
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(self._child.pid, signal.SIGKILL)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._eof.wait(), _DRAIN_SECONDS)
        finally:
            self._close()
        return 128 - code if code < 0 else code

    def _readable(self) -> bool:
        """Take a part of what is there; whether there may be more."""
        try:
            data = os.read(self._reader, 65536)
        except BlockingIOError:
            return False
        if data:
            self._log.feed(data)
            return True
        self._eof.set()
        asyncio.get_running_loop().remove_reader(self._reader)
        return False

    def _close(self) -> None:
        """Take what is left in the pipe, however long ago it was written, and let go of it."""
        asyncio.get_running_loop().remove_reader(self._reader)
        left = _PIPE_BYTES
        while left > 0 and not self._eof.is_set() and self._readable():
            left -= 65536
        os.close(self._reader)
        self._log.close()


async def start_mapped(spec: ProcessSpec, log: LogFile) -> Process:
    """Start a container whose paths were mapped: no namespaces, no read-only root.

    Raises:
        StartError: the command does not exist or may not be executed.
    """
    program = spec.argv[0]
    found = shutil.which(program, path=spec.env.get("PATH", "")) if "/" not in program else program
    if found is None:
        raise StartError(not_in_path(program))
    command = [found, *spec.argv[1:]]
    death = shutil.which("setpriv")
    if death is not None:
        if not Path(found).exists():
            raise StartError(no_such_file(program))
        command = [death, "--pdeathsig", "KILL", "--", *command]
    try:
        return await Process.start(command, spec, log, ())
    except FileNotFoundError as error:
        why = (
            no_such_file(program)
            if error.filename != spec.cwd
            else f'{OCI}chdir to cwd ("{spec.cwd}") failed'
        )
        raise StartError(why) from error
    except PermissionError as error:
        raise StartError(f'{OCI}exec: "{program}": permission denied') from error


OCI = (
    "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
    "unable to start container process: "
)


def not_in_path(program: str) -> str:
    return f'{OCI}exec: "{program}": executable file not found in $PATH'


def no_such_file(program: str) -> str:
    return f'{OCI}exec: "{program}": stat {program}: no such file or directory'
