"""P4: what 1,000 waiting tasks cost the triggerer, beside KubernetesJobTrigger.

One process runs Airflow's own ``TriggerRunner`` with one side's triggers, after the other side's has ended; same sandbox,
same Jobs. Reported are the CPU seconds of a minute in which nothing happens to the Jobs, the CPU seconds until all have
begun to wait, and the highest memory above that of the same process before the first trigger. FEAST_BENCH_P4_TASKS and
FEAST_BENCH_P4_SECONDS change the size.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from airflow_provider_feast.sandbox import Sandbox
from benchmarks.figure import Figure
from benchmarks.triggerer import Triggerer
from benchmarks.waiting_jobs import WaitingJob, create
from benchmarks.waits import PEER_POLL_SECONDS, SIDES, size

TASKS, SECONDS = 1000, 60
SETTLE_SECONDS = 15.0
IDLE_SECONDS = 3.0
SAMPLE_SECONDS = 0.25
MIB = 2**20


class Cost(NamedTuple):
    """What one triggerer used.

    :param cpu_minute: CPU seconds in a minute of waiting.
    :param cpu_start: CPU seconds until all triggers wait.
    :param memory: MiB above the idle process, at the highest.
    """

    cpu_minute: float
    cpu_start: float
    memory: float


def measure() -> Iterator[Figure]:
    """CPU of waiting, CPU of the start, memory."""
    tasks, seconds = size("P4_TASKS", TASKS), size("P4_SECONDS", SECONDS)
    with tempfile.TemporaryDirectory() as directory, Sandbox({"busybox": "/usr"}) as sandbox:
        jobs = asyncio.run(create(sandbox, tasks))
        ours, peer = (cost(sandbox, Path(directory), side, jobs, seconds) for side in SIDES)
    yield Figure("P4", f"triggerer_cpu_seconds_a_minute_{tasks}_tasks", ours.cpu_minute, peer.cpu_minute)
    yield Figure("P4", f"triggerer_cpu_seconds_to_start_{tasks}_tasks", ours.cpu_start, peer.cpu_start)
    yield Figure("P4", f"triggerer_memory_mib_{tasks}_tasks", ours.memory, peer.memory)


def cost(sandbox: Sandbox, home: Path, side: str, jobs: list[WaitingJob], seconds: float) -> Cost:
    """Run one side's triggers for a while."""
    with Triggerer(sandbox.kubeconfig, home / side) as triggerer:
        process = psutil.Process(triggerer.pid)
        time.sleep(IDLE_SECONDS)
        idle_memory, idle_cpu = process.memory_info().rss, _cpu(process)
        triggerer.add(SIDES[side](jobs), PEER_POLL_SECONDS)
        memory = _highest(process, SETTLE_SECONDS)
        began, used = time.monotonic(), _cpu(process)
        memory = max(memory, _highest(process, seconds))
        minute = (_cpu(process) - used) * 60 / (time.monotonic() - began)
        return Cost(minute, used - idle_cpu, (memory - idle_memory) / MIB)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _highest(process: psutil.Process, seconds: float) -> float:
    """The highest resident memory over a time."""
    until, found = time.monotonic() + seconds, 0.0
    while time.monotonic() < until:
        found = max(found, process.memory_info().rss)
        time.sleep(SAMPLE_SECONDS)
    return found
