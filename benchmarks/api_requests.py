"""P3: the API requests that 500 waiting tasks cost, from the sandbox's audit log.

Both triggerers wait for the same Jobs at the same time, each under an account of its own. First nothing ends: what is
counted are the requests of waiting alone. Then all Jobs end, and the requests of conclusions are counted apart. Figures
for 10 minutes are the measured ones times the window's share of them: for both, although ours renews a watch every
few minutes only and lists but once. The peer asks once per task and 10 s, or less where its triggerer cannot keep up.
FEAST_BENCH_P3_TASKS and FEAST_BENCH_P3_SECONDS (600 for the real ten minutes) change the size.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from airflow_provider_feast.sandbox import Sandbox
from benchmarks.figure import Figure
from benchmarks.triggerer import Triggerer
from benchmarks.waiting_jobs import NAMESPACE, create, end, kubeconfig_of_account
from benchmarks.waits import SIDES, size

TASKS, SECONDS, FULL_SECONDS = 500, 75, 600
PATIENCE_SECONDS = 120.0
ASIDE = ("log reads", "Events")


class Counted(NamedTuple):
    """Requests by what they are for: of waiting, and of concluding."""

    waiting: Counter[str]
    concluding: Counter[str]


def measure() -> Iterator[Figure]:
    """Requests while nothing ends, what of them is start-up and logs, and requests for each end."""
    tasks, seconds = size("P3_TASKS", TASKS), size("P3_SECONDS", SECONDS)
    found = count(tasks, seconds)
    ours, peer = (found[side] for side in SIDES)
    ask, ask_peer = (plain(side.waiting) for side in (ours, peer))
    yield Figure("P3", f"requests_of_{tasks}_waiting_tasks_in_{seconds}s", ask, ask_peer)
    if seconds != FULL_SECONDS:
        share = FULL_SECONDS / seconds
        yield Figure("P3", f"requests_of_{tasks}_waiting_tasks_in_600s_scaled", ask * share, ask_peer * share)
    aside, aside_peer = (side.waiting.total() - plain(side.waiting) for side in (ours, peer))
    yield Figure("P3", f"events_and_log_reads_of_{tasks}_waiting_tasks_in_{seconds}s", aside, aside_peer)
    each, each_peer = (side.concluding.total() / tasks for side in (ours, peer))
    yield Figure("P3", "requests_per_conclusion", each, each_peer)


def plain(requests: Counter[str]) -> int:
    """How many, log reads and Events aside."""
    return sum(number for what, number in requests.items() if what not in ASIDE)


def count(tasks: int, seconds: float) -> dict[str, Counted]:
    """Let both sides wait, then end all Jobs."""
    with tempfile.TemporaryDirectory() as directory, ExitStack() as open_ones:
        home = Path(directory)
        sandbox = open_ones.enter_context(Sandbox({"busybox": "/usr"}, directory=home / "sandbox"))
        jobs = asyncio.run(create(sandbox, tasks))
        triggerers = []
        for side, specs in SIDES.items():
            kubeconfig = kubeconfig_of_account(sandbox, side, home)
            triggerer = open_ones.enter_context(Triggerer(kubeconfig, home / side))
            triggerer.add(specs(jobs))
            triggerers.append(triggerer)
        time.sleep(seconds)
        waited_until = datetime.now(UTC)
        asyncio.run(end(sandbox, jobs))
        for triggerer in triggerers:
            triggerer.wait((job.name for job in jobs), PATIENCE_SECONDS)
        sandbox.cut_watches()  # a watch is written to the log when it ends
        return {side: read_audit(sandbox, side, waited_until) for side in SIDES}


def read_audit(sandbox: Sandbox, side: str, waited_until: datetime) -> Counted:
    """A side's requests before and after a moment."""
    counted = Counted(Counter(), Counter())
    user = f"system:serviceaccount:{NAMESPACE}:{side}"
    for line in sandbox.audit_log.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry["user"] == user:
            began = datetime.fromisoformat(entry["time"])
            (counted.waiting if began < waited_until else counted.concluding)[_purpose(entry)] += 1
    return counted


def _purpose(entry: dict[str, str]) -> str:
    if entry["resource"] == "pods/log":
        return "log reads"
    if entry["resource"].startswith("events"):
        return "Events"
    return f"{entry['verb']} {entry['resource']}"
