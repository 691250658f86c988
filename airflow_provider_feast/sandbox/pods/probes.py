"""Probes of a running container: startup, liveness and readiness, by command, HTTP or TCP.

A container shares the network of this machine, so its ports are ports of the loopback interface.
"""

import asyncio
import errno
import os
import shutil
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import aiohttp

from airflow_provider_feast.sandbox.pods.process import Command
from airflow_provider_feast.sandbox.shapes import Obj

_OUTPUT_BYTES = 10 * 1024
_HOST = "127.0.0.1"
KINDS = ("startupProbe", "livenessProbe", "readinessProbe")


@dataclass(frozen=True)
class Answers:
    """What a container does about its probes.

    Attributes:
        enter: from a command of the container to one of this machine.
        mark: sets `started` and `ready` in its status.
        unhealthy: tells a failure: the kind of probe and its words.
        kill: ends the container because a probe (of this kind, with this grace period) failed too often.
    """

    enter: Callable[[list[str]], Command | None]
    mark: Callable[[bool, bool], None]
    unhealthy: Callable[[str, str], None]
    kill: Callable[[str, int | None], None]


def has_probes(container: Obj) -> bool:
    return any(container.get(kind) for kind in KINDS)


def at_start(container: Obj) -> tuple[bool, bool]:
    """Whether a container counts as started and as ready before any probe ran."""
    started = not container.get("startupProbe")
    return started, started and not container.get("readinessProbe")


async def watch(container: Obj, answers: Answers) -> None:
    """Probe a container until it is killed; the caller cancels this when it ends."""
    startup = container.get("startupProbe")
    if startup and not await _until_started(container, startup, answers):
        return
    answers.mark(True, not container.get("readinessProbe"))
    probes: list[Coroutine[Any, Any, None]] = []
    if container.get("livenessProbe"):
        probes.append(_keep_alive(container, container["livenessProbe"], answers))
    if container.get("readinessProbe"):
        probes.append(_follow_readiness(container, container["readinessProbe"], answers))
    async with asyncio.TaskGroup() as group:
        for probe in probes:
            group.create_task(probe)


async def _until_started(container: Obj, probe: Obj, answers: Answers) -> bool:
    failures = 0
    await asyncio.sleep(probe.get("initialDelaySeconds") or 0)
    while True:
        why = await _ask(container, probe, answers)
        if why is None:
            return True
        failures += 1
        answers.unhealthy("Startup", why)
        if failures >= probe["failureThreshold"]:
            answers.kill("startup", probe.get("terminationGracePeriodSeconds"))
            return False
        await asyncio.sleep(probe["periodSeconds"])


async def _keep_alive(container: Obj, probe: Obj, answers: Answers) -> None:
    failures = 0
    await asyncio.sleep(probe.get("initialDelaySeconds") or 0)
    while True:
        why = await _ask(container, probe, answers)
        failures = 0 if why is None else failures + 1
        if why is not None:
            answers.unhealthy("Liveness", why)
        if failures >= probe["failureThreshold"]:
            answers.kill("liveness", probe.get("terminationGracePeriodSeconds"))
            return
        await asyncio.sleep(probe["periodSeconds"])


async def _follow_readiness(container: Obj, probe: Obj, answers: Answers) -> None:
    ready, in_a_row = False, 0
    await asyncio.sleep(probe.get("initialDelaySeconds") or 0)
    while True:
        why = await _ask(container, probe, answers)
        if why is not None:
            answers.unhealthy("Readiness", why)
        in_a_row = in_a_row + 1 if (why is None) is not ready else 0
        if in_a_row >= probe["failureThreshold" if ready else "successThreshold"]:
            ready, in_a_row = not ready, 0
            answers.mark(True, ready)
        await asyncio.sleep(probe["periodSeconds"])


async def _ask(container: Obj, probe: Obj, answers: Answers) -> str | None:
    """Probe once: `None` when all is well, else what is wrong."""
    seconds = probe["timeoutSeconds"]
    if probe.get("exec"):
        return await _run(answers.enter(list(probe["exec"].get("command") or ())), seconds)
    if probe.get("httpGet"):
        return await _get(container, probe["httpGet"], seconds)
    return await _connect(container, probe["tcpSocket"], seconds)


async def _run(command: Command | None, seconds: float) -> str | None:
    if command is None:
        return "the container is not running"
    program = command.argv[0]
    if shutil.which(program, path=command.env.get("PATH")) is None:
        return f'exec: "{program}": executable file not found in $PATH'
    child = await asyncio.create_subprocess_exec(
        *command.argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=dict(command.env),
        cwd=command.cwd,
        start_new_session=True,
    )
    try:
        output, _ = await asyncio.wait_for(child.communicate(), seconds)
    except TimeoutError:
        return f"command timed out: {' '.join(command.told)!r} timed out after {seconds}s"
    finally:
        if child.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
    return None if child.returncode == 0 else output[:_OUTPUT_BYTES].decode(errors="replace")


async def _get(container: Obj, request: Obj, seconds: float) -> str | None:
    host = request.get("host") or _HOST
    scheme = (request.get("scheme") or "HTTP").lower()
    url = f"{scheme}://{host}:{_port(container, request['port'])}/{(request.get('path') or '').lstrip('/')}"
    headers = {"User-Agent": "kube-probe/1.36"}
    headers |= {header["name"]: header.get("value") or "" for header in request.get("httpHeaders") or ()}
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(seconds)) as session,
            session.get(url, headers=headers, allow_redirects=False, ssl=False) as answer,
        ):
            good = 200 <= answer.status < 400
            return None if good else f"HTTP probe failed with statuscode: {answer.status}"
    except TimeoutError:
        return f'Get "{url}": context deadline exceeded (Client.Timeout exceeded while awaiting headers)'
    except aiohttp.ClientError as error:
        return f'Get "{url}": {_reason(error)}'


async def _connect(container: Obj, request: Obj, seconds: float) -> str | None:
    host, port = request.get("host") or _HOST, _port(container, request["port"])
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(host, port), seconds)
    except TimeoutError:
        return f"dial tcp {host}:{port}: i/o timeout"
    except OSError as error:
        return f"dial tcp {host}:{port}: {_reason(error)}"
    writer.close()
    return None


def _reason(error: Exception) -> str:
    number = getattr(error, "errno", None)
    return "connect: connection refused" if number == errno.ECONNREFUSED else str(error)


def _port(container: Obj, port: int | str) -> int:
    """A number, or the name of one of the container's ports."""
    if isinstance(port, int):
        return port
    named = {found.get("name"): found["containerPort"] for found in container.get("ports") or ()}
    return int(named[port]) if port in named else int(port)
