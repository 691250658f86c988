"""Containers in namespaces of the kernel: real mount paths, a read-only root, not root."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from airflow_provider_feast.sandbox.pods import launcher
from airflow_provider_feast.sandbox.pods.logs import LogFile
from airflow_provider_feast.sandbox.pods.process import OCI, Process, ProcessSpec, StartError
from airflow_provider_feast.sandbox.shapes import Obj

VARIABLE = "FEAST_SANDBOX_ISOLATION"
_PROBE_SECONDS = 10
_MOST_LINKS = 40


@cache
def available() -> bool:
    """Whether this kernel lets us make user and mount namespaces: found out by doing it."""
    if not sys.platform.startswith("linux"):
        return False
    root = Path("/tmp") if Path("/tmp").is_dir() else Path("/")  # noqa: S108 - only mounted upon
    body: Obj = {
        "argv": ["/bin/true"],
        "env": {},
        "cwd": "/",
        "hostname": "probe",
        "binds": [],
        "visible": [],
        "read_only_root": True,
        "user": 1001,
        "group": 0,
        "root": str(root),
    }
    orders, errors = os.pipe(), os.pipe()
    body["errors"] = errors[1]
    os.write(orders[1], json.dumps(body).encode())
    os.close(orders[1])
    try:
        command = [sys.executable, "-I", "-S", launcher.__file__, str(orders[0])]
        fds = (orders[0], errors[1])
        done = subprocess.run(command, pass_fds=fds, check=False, timeout=_PROBE_SECONDS, capture_output=True)
    except subprocess.TimeoutExpired:
        return False
    finally:
        for fd in (orders[0], *errors):
            os.close(fd)
    return done.returncode == 0


def wanted() -> bool:
    """Whether containers are isolated where nobody said: FEAST_SANDBOX_ISOLATION decides (0, 1), else the kernel."""
    said = {"0": False, "1": True}.get(os.environ.get(VARIABLE, ""))
    return available() if said is None else said


async def start(spec: ProcessSpec, log: LogFile) -> Process:
    """Start a container in its own namespaces.

    Raises:
        StartError: its command or its mounts cannot be had.
    """
    orders, errors = os.pipe(), os.pipe()
    body = json.dumps(_describe(spec, log.path.parent.parent / "mountpoint", errors[1])).encode()
    os.set_blocking(errors[0], False)
    command = [sys.executable, "-I", "-S", launcher.__file__, str(orders[0])]
    outside = ProcessSpec(argv=(), env={}, cwd="/", hostname="")
    try:
        process = await Process.start(command, outside, log, (orders[0], errors[1]))
    except BaseException as error:
        os.close(orders[1])
        os.close(errors[0])
        if isinstance(error, OSError):
            raise StartError(f"{OCI}{error}") from error
        raise
    finally:
        os.close(orders[0])
        os.close(errors[1])
    try:
        await _write(orders[1], body)
        problem = await _problem(errors[0])
    except asyncio.CancelledError:  # the pod is told to end meanwhile: nobody else knows of this process yet
        await process.kill()
        raise
    finally:
        os.close(errors[0])
    if problem:
        await process.wait()
        raise StartError(OCI + problem)
    return process


def _describe(spec: ProcessSpec, root: Path, errors: int) -> Obj:
    root.mkdir(exist_ok=True)
    visible = runtime_directories(spec.visible)
    binds = [[bind.source, bind.target, bind.read_only] for bind in spec.binds]
    # A volume at /tmp must not hide a runtime that lies below /tmp on this machine.
    binds += [
        [path, path, True] for path in visible if any(path.startswith(f"{b.target}/") for b in spec.binds)
    ]
    return {
        "argv": list(spec.argv),
        "env": dict(spec.env),
        "cwd": spec.cwd,
        "hostname": spec.hostname,
        "binds": binds,
        "visible": visible,
        "read_only_root": spec.read_only_root,
        "user": spec.user,
        "group": spec.group,
        "root": str(root),
        "errors": errors,
    }


def runtime_directories(path: Iterable[str]) -> list[str]:
    """What a runtime needs to be seen: its prefix, and the installation that its python links to."""
    found: dict[str, None] = {}
    for directory in path:
        here = Path(directory)
        found[str(here.parent if here.name == "bin" else here)] = None
        program = here / "python3"
        for _ in range(_MOST_LINKS):
            if not program.is_symlink():
                break
            program = Path(os.path.normpath(program.parent / program.readlink()))
            found[str(program.parent.parent)] = None
        if program.exists():
            found[str(program.resolve().parent.parent)] = None
    system = ("/usr", "/bin", "/sbin", "/lib")
    return [item for item in found if item != "/" and not item.startswith(system)]


async def _write(fd: int, body: bytes) -> None:
    """Hand the description over without blocking the loop on a full pipe."""
    await asyncio.get_running_loop().run_in_executor(None, _write_all, fd, body)


def _write_all(fd: int, body: bytes) -> None:
    with os.fdopen(fd, "wb") as pipe:
        pipe.write(body)


async def _problem(fd: int) -> str:
    """What the launcher says before the command runs; the pipe closes when the command starts."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bytes] = loop.create_future()
    parts: list[bytes] = []

    def readable() -> None:
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return
        if data:
            parts.append(data)
        elif not done.done():
            done.set_result(b"".join(parts))

    loop.add_reader(fd, readable)
    try:
        return (await done).decode(errors="replace")
    finally:
        loop.remove_reader(fd)
