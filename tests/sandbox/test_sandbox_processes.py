"""Container processes of the sandbox: told to end at any moment, nothing of them is left, and no output is lost."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from airflow_provider_feast.sandbox.pods import isolation
from airflow_provider_feast.sandbox.pods.logs import LogFile, LogQuery
from airflow_provider_feast.sandbox.pods.process import Process, ProcessSpec, start_mapped

STARTS = [
    pytest.param(start_mapped, id="mapped"),
    pytest.param(
        isolation.start,
        id="isolated",
        marks=pytest.mark.skipif(not isolation.available(), reason="this kernel gives no namespaces"),
    ),
]


@pytest.fixture
def log(tmp_path: Path) -> LogFile:
    path = tmp_path / "pod" / "logs" / "0.log"
    path.parent.mkdir(parents=True)
    return LogFile(path)


def script(text: str) -> ProcessSpec:
    environment = {"PATH": os.environ["PATH"]}
    return ProcessSpec(argv=("sh", "-c", text), env=environment, cwd="/", hostname="pod")


def open_files() -> set[Path]:
    return set(Path("/proc/self/fd").iterdir())


def children() -> set[int]:
    return {child.pid for child in psutil.Process().children()}


async def first_child(before: set[int], turns: int) -> int:
    """The process that is started, so many turns of the loop after it was there."""
    while not (found := children() - before):
        await asyncio.sleep(0)
    for _ in range(turns):
        await asyncio.sleep(0)
    return found.pop()


async def text_of(log: LogFile) -> bytes:
    return b"".join([part async for part in log.read(LogQuery())])


@pytest.mark.parametrize("turns", [0, 3, 30])
@pytest.mark.parametrize("start", STARTS)
async def test_a_container_that_is_told_to_end_while_it_starts_leaves_no_process(
    log: LogFile, start: Callable[..., Any], turns: int
) -> None:
    before, there = children(), open_files()
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda _, problem: told.append(problem))
    starting = asyncio.create_task(start(script("while true; do echo on and on; done"), log))
    pid = await first_child(before, turns)
    if starting.cancel():
        with pytest.raises(asyncio.CancelledError):
            await starting
    else:
        await starting.result().kill()
    assert not psutil.pid_exists(pid)
    assert open_files() <= there
    assert told == []


@pytest.mark.parametrize("start", STARTS)
async def test_a_wait_that_is_cancelled_ends_the_process_and_lets_go_of_its_output(
    log: LogFile, start: Callable[..., Any]
) -> None:
    there = open_files()
    told = []
    asyncio.get_running_loop().set_exception_handler(lambda _, problem: told.append(problem))
    process: Process = await start(script("while true; do echo on and on; done"), log)
    waiting = asyncio.create_task(process.wait())
    async for _ in log.read(LogQuery(follow=True)):
        break
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    log.close()
    assert open_files() <= there
    await asyncio.sleep(0)
    assert told == []


@pytest.mark.parametrize("start", STARTS)
async def test_what_is_left_in_the_pipe_is_read_though_another_process_holds_it_open(
    log: LogFile, start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("airflow_provider_feast.sandbox.pods.process._DRAIN_SECONDS", 0)
    process: Process = await start(script("setsid sleep 5 & head -c 60000 /dev/zero; echo last"), log)
    asyncio.get_running_loop().remove_reader(process._reader)  # as a loop that has no time for it
    assert await process.wait() == 0
    assert (await text_of(log)).endswith(b"last\n")
