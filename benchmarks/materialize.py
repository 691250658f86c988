"""P5, P6, P8: what the runner costs in a container, beside Feast's plain command line on the same data.

P5: CPU seconds (user and system) of loading one window; medians of rounds that take turns. P6: CPU seconds of loading
thirty windows of a day, in one process; the peer is thirty calls of the command line. P8: the peak memory, in MB, of
loading 400,000 entities with 20 features in one window, nothing configured. Both write SQLite. FEAST_BENCH_P8_ROWS
changes the number of entities.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from airflow_provider_feast.model.plan import Plan
from airflow_provider_feast.runner.assemble import assembled
from benchmarks.figure import Figure

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ROUNDS, DAYS, THINGS = 5, 30, 200
DEFINITIONS = """
from datetime import timedelta
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Float64

thing = Entity(name="thing", join_keys=["id"], value_type=ValueType.INT64)
numbers = FeatureView(
    name="numbers", entities=[thing], ttl=timedelta(days=3650),
    schema=[Field(name=f"f{{number}}", dtype=Float64) for number in range({features})],
    source=FileSource(name="numbers_source", path="data.parquet", timestamp_field="at"),
)
"""


class Cost(NamedTuple):
    """What one process cost: CPU seconds, and its peak memory in MB."""

    cpu: float
    peak: float


class Shop:
    """A feature repository with a parquet file, a file registry and a SQLite store."""

    def __init__(self, home: Path, frame: pd.DataFrame) -> None:
        self._home, self._runner = home, home / "feast_runner.py"
        self._runner.write_text(assembled(), encoding="utf-8")
        frame.to_parquet(home / "data.parquet")
        (home / "repo").mkdir()
        text = DEFINITIONS.format(features=len(frame.columns) - 2)
        (home / "repo" / "definitions.py").write_text(
            text.replace("data.parquet", str(home / "data.parquet"))
        )
        self.fresh("plain")
        self.fresh("runner")

    def fresh(self, name: str) -> None:
        """An empty store of this name with an applied registry."""
        place = self._home / name
        for file in place.glob("*"):
            file.unlink()
        place.mkdir(exist_ok=True)
        configuration = {
            "project": "bench",
            "provider": "local",
            "registry": str(place / "registry.db"),
            "online_store": {"type": "sqlite", "path": str(place / "online.db")},
            "entity_key_serialization_version": 3,
        }
        (place / "feature_store.yaml").write_text(json.dumps(configuration))
        self.plain(name, "apply")

    def plain(self, name: str, *argv: str) -> Cost:
        """Feast's command line."""
        config = str(self._home / name / "feature_store.yaml")
        feast = str(Path(sys.executable).parent / "feast")
        return cost([feast, "-c", str(self._home / "repo"), "-f", config, *argv])

    def plain_window(self, name: str, start: datetime, end: datetime) -> Cost:
        times = (start, end - timedelta(microseconds=1))
        return self.plain(name, "materialize", *(moment.replace(tzinfo=None).isoformat() for moment in times))

    def runner(self, name: str, plan: Plan) -> Cost:
        """The runner, as a container starts it."""
        config = str(self._home / name / "feature_store.yaml")
        where = ["--repo", str(self._home / "repo"), "--config", config, "--termination-log", ""]
        command = [sys.executable, str(self._runner), "materialize", *where, "--plan", plan.to_json()]
        return cost(command)


def cost(command: list[str]) -> Cost:
    """Run a command to its end; its output is shown only when it fails."""
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            log.seek(0)
            text = log.read().decode(errors="replace")[-3000:]
            raise RuntimeError(f"`{' '.join(command)}` ended with {process.returncode}:\n{text}")
    return Cost(usage.ru_utime + usage.ru_stime, peak_of(usage))


def peak_of(usage: resource.struct_rusage) -> float:
    """Kilobytes on Linux, bytes on macOS."""
    return usage.ru_maxrss / (1024 * 1024 if sys.platform == "darwin" else 1024)


@contextmanager
def shop(things: int, days: int, features: int) -> Iterator[Shop]:
    """Random numbers: one row of each thing a day."""
    random = np.random.default_rng(20)
    frame = pd.DataFrame({f"f{number}": random.random(things * days) for number in range(features)})
    frame["id"] = np.tile(np.arange(things), days)
    seconds = np.repeat(np.arange(days) * 86_400 + 3_600, things)
    frame["at"] = pd.Timestamp(START) + pd.to_timedelta(seconds, unit="s")
    with tempfile.TemporaryDirectory() as home:
        yield Shop(Path(home), frame)


def one_window() -> Iterator[Figure]:
    """P5: one window, new processes."""
    with shop(THINGS, DAYS, 5) as there:
        ours, peer = [], []
        for _ in range(ROUNDS):
            ours.append(there.runner("runner", Plan(START, START + DAY, DAY)).cpu)
            peer.append(there.plain_window("plain", START, START + DAY).cpu)
    yield Figure("P5", "one_window_cpu_seconds", statistics.median(ours), statistics.median(peer))


def thirty_windows() -> Iterator[Figure]:
    """P6: thirty windows in one process, and in thirty."""
    with shop(THINGS, DAYS, 5) as there:
        ours = there.runner("runner", Plan(START, START + DAYS * DAY, DAY, DAYS)).cpu
        starts = [START + number * DAY for number in range(DAYS)]
        peer = sum(there.plain_window("plain", start, start + DAY).cpu for start in starts)
    yield Figure("P6", "thirty_windows_cpu_seconds", ours, peer)


def memory() -> Iterator[Figure]:
    """P8: a large window."""
    with shop(int(os.environ.get("FEAST_BENCH_P8_ROWS", "400000")), 1, 20) as there:
        ours = there.runner("runner", Plan(START, START + DAY, DAY)).peak
        peer = there.plain_window("plain", START, START + DAY).peak
    yield Figure("P8", "large_window_peak_mb", ours, peer)
