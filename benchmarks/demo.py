"""P9: how long the demo takes, beside its Feast commands alone, run one after another by the plain command line.

The difference is what Airflow, a Kubernetes API and Jobs add. Both use the same data, definitions and window; both
find everything installed.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from airflow_provider_feast.sandbox.demo_repo import feature_store_yaml, write_demo_repo
from benchmarks.figure import Figure

READ = ["get-online-features", "-e", "driver_id=1001"]
FEATURES = ("driver_hourly_stats:conv_rate", "driver_hourly_stats:trips", "driver_daily_rating:rating")


def measure() -> Iterator[Figure]:
    """Seconds of ``make demo`` on the sandbox, and of its Feast commands on the host."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        home = Path(directory)
        left_out = ("KUBECONFIG", "FEAST_DEMO_DATA")
        environment = {key: value for key, value in os.environ.items() if key not in left_out}
        peer = _feast_alone(home / "plain", environment)
        command = [
            sys.executable,
            "-m",
            "airflow_provider_feast.sandbox",
            "demo",
            "--home",
            str(home / "demo"),
        ]
        ours = _seconds(command, environment)
    yield Figure("P9", "demo_seconds", ours, peer)


def _feast_alone(repo: Path, environment: dict[str, str]) -> float:
    end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    start = end - timedelta(days=1)
    data = str(repo / "data")
    write_demo_repo(repo, end=end, data_dir=data)
    config = repo / "feature_store.yaml"
    config.write_text(feature_store_yaml("feast_demo", data), encoding="utf-8")
    feast = [str(Path(sys.executable).parent / "feast"), "-c", str(repo), "-f", str(config)]
    features = [part for name in FEATURES for part in ("-f", name)]
    commands = [["apply"], ["materialize", start.isoformat(), end.isoformat()], [*READ, *features]]
    return sum(_seconds([*feast, *command], environment) for command in commands)


def _seconds(command: list[str], environment: dict[str, str]) -> float:
    """How long a command takes; its output is shown only when it fails."""
    start = time.monotonic()
    run = subprocess.run(
        command, check=False, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if run.returncode:
        raise RuntimeError(f"`{' '.join(command)}` ended with {run.returncode}:\n{run.stdout[-3000:]}")
    return time.monotonic() - start
