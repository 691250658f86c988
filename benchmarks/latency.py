"""P2: from a Job's terminal condition to the end of waiting, in a triggerer that waits for 1 and for 500 Jobs.

The time runs from just before the condition is sent to the API server to the trigger's event. With one task, rounds end
at moments that are spread over the peer's interval of 10 s. Of 500 tasks, Jobs end one after another over a while, and,
in another run, all at once: as fast as the sandbox takes it. FEAST_BENCH_P2_ROUNDS, FEAST_BENCH_P2_TASKS and
FEAST_BENCH_P2_SPREAD_SECONDS change the size.
"""

from __future__ import annotations

import asyncio
import math
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from airflow_provider_feast.sandbox import Sandbox
from benchmarks.figure import Figure
from benchmarks.triggerer import Triggerer
from benchmarks.waiting_jobs import create, end
from benchmarks.waits import PEER_POLL_SECONDS, SIDES, size

ROUNDS, TASKS, SPREAD_SECONDS = 20, 500, 30
SETTLE_SECONDS = 15.0
PATIENCE_SECONDS = 120.0


def measure() -> Iterator[Figure]:
    """p50 and p95 of one task, of many that end one by one, and of many that end at once."""
    rounds, tasks = size("P2_ROUNDS", ROUNDS), size("P2_TASKS", TASKS)
    spread = size("P2_SPREAD_SECONDS", SPREAD_SECONDS)
    with tempfile.TemporaryDirectory() as directory, Sandbox({"busybox": "/usr"}) as sandbox:
        home = Path(directory)
        yield from _figures("1_task", {side: one(sandbox, home, side, rounds) for side in SIDES})
        for what, seconds in ((f"{tasks}_tasks", spread), (f"{tasks}_tasks_at_once", 0)):
            yield from _figures(what, {side: many(sandbox, home, side, tasks, seconds) for side in SIDES})


def _figures(what: str, samples: dict[str, list[float]]) -> Iterator[Figure]:
    for share in (50, 95):
        ours, peer = (percentile(samples[side], share) for side in SIDES)
        yield Figure("P2", f"end_seen_p{share}_{what}_seconds", ours, peer)


def percentile(values: Iterable[float], share: int) -> float:
    """The smallest value that so many percent of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share / 100) - 1)]


def one(sandbox: Sandbox, home: Path, side: str, rounds: int) -> list[float]:
    """Seconds of one task at a time.

    The peer's rounds wait side by side: one after another they would take 10 s each, and so few tasks disturb each
    other by nothing that shows beside 10 s.
    """
    found: list[float] = []
    offsets = [PEER_POLL_SECONDS * (number + 0.5) / rounds for number in range(rounds)]
    groups = [[offset] for offset in offsets] if side == "ours" else [offsets]
    with Triggerer(sandbox.kubeconfig, home / f"{side}-one") as triggerer:
        for group in groups:
            jobs = asyncio.run(create(sandbox, len(group)))
            triggerer.add(SIDES[side](jobs))
            time.sleep(2.0)
            seconds = PEER_POLL_SECONDS if len(group) > 1 else 0.0
            set_at = asyncio.run(end(sandbox, jobs, seconds))
            seen = triggerer.wait(set_at, PATIENCE_SECONDS)
            found += [seen[name] - at for name, at in set_at.items()]
    return found


def many(sandbox: Sandbox, home: Path, side: str, tasks: int, seconds: float) -> list[float]:
    """Seconds of tasks that wait side by side."""
    jobs = asyncio.run(create(sandbox, tasks))
    with Triggerer(sandbox.kubeconfig, home / f"{side}-{seconds}") as triggerer:
        triggerer.add(SIDES[side](jobs), PEER_POLL_SECONDS)  # so that the peer's polls are spread, too
        time.sleep(SETTLE_SECONDS)
        set_at = asyncio.run(end(sandbox, jobs, seconds))
        seen = triggerer.wait(set_at, PATIENCE_SECONDS)
    return [seen[name] - at for name, at in set_at.items()]
