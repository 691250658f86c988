"""`pods/NAME/exec` over WebSocket: one more process in the namespaces of a running container.

Channels of `v4.channel.k8s.io` and `v5.channel.k8s.io`: the first byte of a message says what it carries. Without
namespaces a command would see, and could signal, every process of this machine: 501.
"""

import asyncio
import json
import os
import shutil
import signal
from contextlib import suppress

from aiohttp import WSMsgType, web

from airflow_provider_feast.sandbox import status
from airflow_provider_feast.sandbox.cluster import Cluster
from airflow_provider_feast.sandbox.pods.container import ContainerRun
from airflow_provider_feast.sandbox.shapes import Obj
from airflow_provider_feast.sandbox.web.route import Target, truthy

_STDIN, _STDOUT, _STDERR, _ERROR, _CLOSE = 0, 1, 2, 3, 255
_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_CHUNK = 32768


async def serve_exec(cluster: Cluster, target: Target, request: web.Request) -> web.StreamResponse:
    """Run a command in a container until it ends or the client leaves."""
    command = request.query.getall("command", [])
    if not command:
        raise status.bad_request("you must specify at least one command for the container")
    if not cluster.isolated or shutil.which("nsenter") is None:
        raise status.not_implemented("exec where containers have no namespaces of their own")
    if truthy(request.query.get("tty")):
        raise status.not_implemented("exec with a terminal (tty)")
    if request.headers.get("Upgrade", "").lower() != "websocket":
        raise status.not_implemented("exec without WebSocket")
    run = _running(cluster, target, request.query.get("container", ""))
    entered = run.enter(command)
    if entered is None:
        raise _not_found(run.name)
    socket = web.WebSocketResponse(protocols=_PROTOCOLS)
    await socket.prepare(request)
    wants_stdin = truthy(request.query.get("stdin"))
    child = await asyncio.create_subprocess_exec(
        *entered.argv,
        stdin=asyncio.subprocess.PIPE if wants_stdin else asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(entered.env),
        start_new_session=True,
    )
    listening = asyncio.create_task(_listen(socket, child))
    try:
        await asyncio.gather(
            _copy(socket, child.stdout, _STDOUT), _copy(socket, child.stderr, _STDERR), child.wait()
        )
        verdict = json.dumps(_verdict(child.returncode or 0)).encode()
        with suppress(ConnectionResetError):
            await socket.send_bytes(bytes([_ERROR]) + verdict)
    finally:
        listening.cancel()
        _kill(child)
        await socket.close()
    return socket


def _running(cluster: Cluster, target: Target, container: str) -> ContainerRun:
    pod = cluster.api.get(target.resource, target.namespace, target.name)
    name = container or pod["spec"]["containers"][0]["name"]
    known = [*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or ())]
    if name not in {found["name"] for found in known}:
        raise status.bad_request(f"container {name} is not valid for pod {target.name}")
    if pod["status"]["phase"] in {"Succeeded", "Failed"}:
        why = f"cannot exec into a container in a completed pod; current phase is {pod['status']['phase']}"
        raise status.bad_request(why)
    worker = cluster.kubelet.worker(pod["metadata"]["uid"])
    run = worker.runs.get(name) if worker else None
    if run is None or not run.is_running:
        raise _not_found(name)
    return run


def _not_found(container: str) -> status.ApiError:
    message = f'unable to upgrade connection: container not found ("{container}")'
    return status.ApiError(500, "InternalError", message, {"causes": [{"message": message}]})


async def _listen(socket: web.WebSocketResponse, child: asyncio.subprocess.Process) -> None:
    """What the client sends is standard input; when it leaves, the command is killed."""
    async for message in socket:
        if message.type not in {WSMsgType.BINARY, WSMsgType.TEXT} or not message.data or child.stdin is None:
            continue
        # The Python clients send text, kubectl sends bytes.
        received = message.data.encode() if message.type is WSMsgType.TEXT else message.data
        channel, data = received[0], received[1:]
        if channel == _STDIN:
            with suppress(BrokenPipeError, ConnectionResetError):
                child.stdin.write(data)
                await child.stdin.drain()
        elif channel == _CLOSE:
            child.stdin.close()
    _kill(child)


async def _copy(socket: web.WebSocketResponse, stream: asyncio.StreamReader | None, channel: int) -> None:
    while stream is not None and (data := await stream.read(_CHUNK)):
        with suppress(ConnectionResetError):  # the command is killed by _listen
            await socket.send_bytes(bytes([channel]) + data)


def _kill(child: asyncio.subprocess.Process) -> None:
    if child.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


def _verdict(code: int) -> Obj:
    if code == 0:
        return {"metadata": {}, "status": "Success"}
    code = 128 - code if code < 0 else code
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "reason": "NonZeroExitCode",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }
