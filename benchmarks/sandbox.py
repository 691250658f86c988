"""D1 to D3: how quick the sandbox is, beside the least that a machine needs for the same.

D1: seconds until a new sandbox answers; the peer is a bare aiohttp server with one route, started the same way.
D2: seconds from creating a Job that does nothing until a watch shows it complete; the peer is its command as a plain
subprocess. Medians of rounds that take turns.
D3: seconds until 2,000 such Jobs are complete while 500 watches are open; the peer is 2,000 plain subprocesses, two at a
time. FEAST_BENCH_D3_JOBS and FEAST_BENCH_D3_WATCHES change the size.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp

from airflow_provider_feast.sandbox import Sandbox
from benchmarks.figure import Figure

ROUNDS = 5
IMAGE, COMMAND = "busybox", ["/bin/true"]
JOBS = "/apis/batch/v1/namespaces/default/jobs"
CREATES_AT_ONCE = 8
QUIET_SECONDS = 120
BARE_SERVER = """
from aiohttp import web
async def answer(request):
    return web.Response(text="ok")
app = web.Application()
app.router.add_get("/readyz", answer)
async def serve():
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()
import asyncio
asyncio.run(serve())
"""


def start() -> Iterator[Figure]:
    """D1: from nothing to the first answer over HTTP."""
    ours, peer = [], []
    for _ in range(ROUNDS):
        began = time.monotonic()
        with Sandbox({IMAGE: "/usr"}) as sandbox:
            _answers(f"{sandbox.url}/readyz", sandbox.token)
            ours.append(time.monotonic() - began)
        peer.append(_bare_start())
    yield Figure("D1", "sandbox_ready_seconds", statistics.median(ours), statistics.median(peer))


def _bare_start() -> float:
    began = time.monotonic()
    with subprocess.Popen([sys.executable, "-c", BARE_SERVER], stdout=subprocess.PIPE) as server:
        try:
            port = int(server.stdout.readline()) if server.stdout else 0
            _answers(f"http://127.0.0.1:{port}/readyz", "")
            return time.monotonic() - began
        finally:
            server.terminate()


def _answers(url: str, token: str) -> None:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=30) as response:
        response.read()


def no_op() -> Iterator[Figure]:
    """D2: one Job that does nothing."""
    ours, peer = [], []
    with Sandbox({IMAGE: "/usr"}) as sandbox:
        for _ in range(ROUNDS + 1):
            ours.append(asyncio.run(_jobs_seconds(sandbox, count=1, watches=1)))
            peer.append(_plain_seconds(1))
    yield Figure("D2", "noop_job_seconds", statistics.median(ours[1:]), statistics.median(peer[1:]))


def load() -> Iterator[Figure]:
    """D3: many Jobs under many watches."""
    count = int(os.environ.get("FEAST_BENCH_D3_JOBS", "2000"))
    watches = int(os.environ.get("FEAST_BENCH_D3_WATCHES", "500"))
    peer = _plain_seconds(count)
    with Sandbox({IMAGE: "/usr"}) as sandbox:
        ours = asyncio.run(_jobs_seconds(sandbox, count, watches))
    yield Figure("D3", f"{count}_jobs_{watches}_watches_seconds", ours, peer)


def _plain_seconds(count: int) -> float:
    """The same command as plain subprocesses, two at a time."""
    began = time.monotonic()
    with ThreadPoolExecutor(2) as pool:
        for done in pool.map(lambda _: subprocess.run(COMMAND, check=True), range(count)):
            done.check_returncode()
    return time.monotonic() - began


async def _jobs_seconds(sandbox: Sandbox, count: int, watches: int) -> float:
    """From the first create until each of the watches has seen every Job complete."""
    headers = {"Authorization": f"Bearer {sandbox.token}"}
    quiet = aiohttp.ClientTimeout(total=None, sock_read=QUIET_SECONDS)
    connector = aiohttp.TCPConnector(limit=0)
    run = uuid.uuid4().hex[:8]
    async with aiohttp.ClientSession(
        sandbox.url, headers=headers, timeout=quiet, connector=connector
    ) as session:
        opened = asyncio.Semaphore(0)
        names = {f"bench-{run}-{index}" for index in range(count)}
        # One watch sees all; of the others, each follows a Job of its own, as one waiting task does.
        first = asyncio.create_task(_follow(session, {}, names, opened))
        chosen = sorted(names)
        others = [
            asyncio.create_task(_follow(session, {"fieldSelector": f"metadata.name={name}"}, {name}, opened))
            for name in (chosen[index % count] for index in range(watches - 1))
        ]
        for _ in range(watches):
            await opened.acquire()
        began = time.monotonic()
        slots = asyncio.Semaphore(CREATES_AT_ONCE)
        await asyncio.gather(*(_create(session, slots, name) for name in names))
        await asyncio.gather(first, *others)
        return time.monotonic() - began


async def _create(session: aiohttp.ClientSession, slots: asyncio.Semaphore, name: str) -> None:
    container = {"name": "main", "image": IMAGE, "command": COMMAND}
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    body = {"metadata": {"name": name}, "spec": {"backoffLimit": 0, "template": template}}
    async with slots, session.post(JOBS, json=body) as response:
        if response.status != 201:
            raise RuntimeError(f"Job {name} was refused ({response.status}): {await response.text()}")


async def _follow(
    session: aiohttp.ClientSession, query: dict[str, str], names: set[str], opened: asyncio.Semaphore
) -> None:
    """Watch until all these Jobs are complete."""
    waiting = set(names)
    async with session.get(JOBS, params={**query, "watch": "true"}) as response:
        response.raise_for_status()
        opened.release()
        async for line in _lines(response):
            job = json.loads(line)["object"]
            name = job["metadata"]["name"]
            if name in waiting and _is_complete(job):
                waiting.discard(name)
                if not waiting:
                    return
    raise RuntimeError(f"a watch ended before {len(waiting)} of {len(names)} Jobs were complete")


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    rest = b""
    async for data in response.content.iter_any():
        *whole, rest = (rest + data).split(b"\n")
        for line in whole:
            yield line


def _is_complete(job: dict[str, Any]) -> bool:
    found = {c["type"]: c["status"] for c in job.get("status", {}).get("conditions", ())}
    if found.get("Failed") == "True":
        raise RuntimeError(f"Job {job['metadata']['name']} failed: {job['status']['conditions']}")
    return found.get("Complete") == "True"
