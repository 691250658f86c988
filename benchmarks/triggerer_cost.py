"""P4: what 1,000 waiting tasks cost the triggerer, beside KubernetesJobTrigger.

One process runs Airflow's own ``TriggerRunner`` with one side's triggers, after the other side's has ended; same sandbox,
same Jobs. Reported are the CPU seconds of a minute in which nothing happens to the Jobs, those of the start (the
triggers come within ten seconds; the peer's first polls are in it), and the highest memory above that of the same process
before the first trigger. The peer's trigger reads no logs; ours is measured without and with live logs. A triggerer is
one thread, so it cannot use much more than 60 CPU seconds a minute: one that needs more falls behind, and so does one
that shares the machine with busy programs, which is said on stderr. FEAST_BENCH_P4_TASKS and FEAST_BENCH_P4_SECONDS set
the size.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

from airflow_provider_feast.sandbox import Sandbox
from benchmarks.figure import Figure
from benchmarks.triggerer import Spec, Triggerer
from benchmarks.waiting_jobs import create
from benchmarks.waits import LIVE_LOG_SECONDS, PEER_POLL_SECONDS, SIDES, ours, size

TASKS, SECONDS = 1000, 60
SETTLE_SECONDS = 15.0
IDLE_SECONDS = 3.0
SAMPLE_SECONDS = 0.25
BUSY_CORES = 0.2
MIB = 2**20


class Cost(NamedTuple):
    """What one triggerer used.

    :param cpu_minute: CPU seconds in a minute of waiting.
    :param cpu_start: CPU seconds from the first trigger until all have waited for a while.
    :param memory: MiB above the idle process, at the highest.
    """

    cpu_minute: float
    cpu_start: float
    memory: float


def measure() -> Iterator[Figure]:
    """CPU of waiting, CPU of the start, memory; and of waiting with live logs."""
    tasks, seconds = size("P4_TASKS", TASKS), size("P4_SECONDS", SECONDS)
    with tempfile.TemporaryDirectory() as directory, Sandbox({"busybox": "/usr"}) as sandbox:
        jobs, home = asyncio.run(create(sandbox, tasks)), Path(directory)
        found = {side: cost(sandbox, home / side, specs(jobs), seconds) for side, specs in SIDES.items()}
        live = cost(sandbox, home / "live", ours(jobs, LIVE_LOG_SECONDS), seconds)
    peer = found["peer"]
    for what, mine in ((f"{tasks}_tasks", found["ours"]), (f"{tasks}_tasks_with_live_logs", live)):
        yield Figure("P4", f"triggerer_cpu_seconds_a_minute_{what}", mine.cpu_minute, peer.cpu_minute)
        yield Figure("P4", f"triggerer_cpu_seconds_to_start_{what}", mine.cpu_start, peer.cpu_start)
        yield Figure("P4", f"triggerer_memory_mib_{what}", mine.memory, peer.memory)


def cost(sandbox: Sandbox, home: Path, specs: list[Spec], seconds: float) -> Cost:
    """Run triggers for a while."""
    with Triggerer(sandbox.kubeconfig, home) as triggerer:
        process = psutil.Process(triggerer.pid)
        time.sleep(IDLE_SECONDS)
        idle_memory, idle_cpu = process.memory_info().rss, _cpu(process)
        triggerer.add(specs, PEER_POLL_SECONDS)
        memory = _highest(process, SETTLE_SECONDS)
        began, used, elsewhere = time.monotonic(), _cpu(process), _cpu_elsewhere()
        memory = max(memory, _highest(process, seconds))
        passed = time.monotonic() - began
        minute = (_cpu(process) - used) * 60 / passed
        if (cores := (_cpu_elsewhere() - elsewhere) / passed) > BUSY_CORES:
            print(f"P4: other programs used {cores:.1f} cores meanwhile; CPU is understated", file=sys.stderr)
        return Cost(minute, used - idle_cpu, (memory - idle_memory) / MIB)


def _cpu(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _cpu_elsewhere() -> float:
    """CPU seconds that were used on this machine, but not by this process and those that it started."""
    machine, here = psutil.cpu_times(), psutil.Process()
    own = sum(_cpu(process) for process in (here, *here.children(recursive=True)))
    return float(sum(machine) - machine.idle - getattr(machine, "iowait", 0.0)) - own


def _highest(process: psutil.Process, seconds: float) -> float:
    """The highest resident memory over a time."""
    until, found = time.monotonic() + seconds, 0.0
    while time.monotonic() < until:
        found = max(found, process.memory_info().rss)
        time.sleep(SAMPLE_SECONDS)
    return found
