"""The server process: one cluster behind one port of the loopback interface."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import yaml
from aiohttp import web

from airflow_provider_feast.sandbox.admission import schema
from airflow_provider_feast.sandbox.cluster import Cluster, Settings
from airflow_provider_feast.sandbox.shapes import Obj
from airflow_provider_feast.sandbox.web.app import TOKEN_PREFIX, HttpApi

HOST = "127.0.0.1"


def kubeconfig(url: str, token: str, namespace: str = "default") -> Obj:
    """A kubeconfig for the sandbox's administrator."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "feast-sandbox", "cluster": {"server": f"{url}{TOKEN_PREFIX}{token}"}}],
        "users": [{"name": "sandbox-admin", "user": {"token": token}}],
        "contexts": [
            {
                "name": "feast-sandbox",
                "context": {"cluster": "feast-sandbox", "user": "sandbox-admin", "namespace": namespace},
            }
        ],
        "current-context": "feast-sandbox",
    }


async def serve(
    settings: Settings,
    port: int,
    kubeconfig_path: Path,
    *,
    on_ready: Callable[[Cluster, str], None],
    parent: bool,
) -> None:
    """Serve until SIGINT or SIGTERM, or (with `parent`) until standard input closes."""
    listener = socket.create_server((HOST, port), backlog=1024)
    bound: int = listener.getsockname()[1]
    cluster = Cluster(settings, HOST, bound)
    http = HttpApi(cluster)
    runner = web.AppRunner(http.application(), access_log=None, shutdown_timeout=0.5, handle_signals=False)
    await runner.setup()
    await web.SockSite(runner, listener).start()
    url = f"http://{HOST}:{bound}"
    kubeconfig_path.parent.mkdir(parents=True, exist_ok=True)
    kubeconfig_path.write_text(yaml.safe_dump(kubeconfig(url, cluster.token)))
    kubeconfig_path.chmod(0o600)
    stop = asyncio.Event()
    _stop_on_signals(stop)
    if parent:
        _stop_with_parent(stop)
    on_ready(cluster, url)
    preload = asyncio.get_running_loop().run_in_executor(None, schema.definitions)
    try:
        await stop.wait()
    finally:
        await preload
        for watch in list(http.watches):
            watch.stop()
        await cluster.close()
        await runner.cleanup()


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)


def _stop_with_parent(stop: asyncio.Event) -> None:
    """The starter holds the other end of our standard input: when it dies, so do we."""
    loop = asyncio.get_running_loop()

    def closed() -> None:
        if not os.read(sys.stdin.fileno(), 1):
            loop.remove_reader(sys.stdin.fileno())
            stop.set()

    loop.add_reader(sys.stdin.fileno(), closed)


def announce(cluster: Cluster, url: str) -> None:
    """One line of JSON for the process that started us."""
    ready = {"url": url, "token": cluster.token, "isolated": cluster.isolated}
    with suppress(BrokenPipeError):
        print(json.dumps(ready), flush=True)
