"""P7: a year of days of three feature views through our operator, beside one Job of plain Feast for each day.

CPU seconds of everything that the sandbox and this process did: pods, API server, controllers, the task. Both sides run
on the same sandbox, on the same data, one after the other, and through the same operator: the peer is it with
``command_mode="cli"``, a Job for each window. The peer runs a sample of the windows, spread over the year, and its
figure is scaled to all of them; the figure's name says how many were run. FEAST_BENCH_P7_DAYS and
FEAST_BENCH_P7_SAMPLE change the sizes.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import pandas as pd
import psutil
import structlog

from airflow_provider_feast.sandbox import Sandbox
from benchmarks.figure import Figure
from benchmarks.waits import size

START = datetime(2025, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
DAYS, SAMPLE, THINGS, VIEWS = 365, 8, 200, 3
DATA, NAMESPACE = "/feast/data", "default"
DEFINITIONS = """
from datetime import timedelta
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Float64

thing = Entity(name="thing", join_keys=["id"], value_type=ValueType.INT64)
views = [
    FeatureView(
        name=f"numbers_{{number}}", entities=[thing], ttl=timedelta(days=3650),
        schema=[Field(name=f"f{{field}}", dtype=Float64) for field in range(5)],
        source=FileSource(name=f"source_{{number}}", path="{data}/data.parquet", timestamp_field="at"),
    )
    for number in range({views})
]
first, second, third = views
"""


class Spent(NamedTuple):
    """What something cost.

    :param cpu: CPU seconds of this process and all below it.
    :param wall: seconds.
    """

    cpu: float
    wall: float


def measure() -> Iterator[Figure]:
    """P7: CPU seconds of all windows, and the seconds that they took."""
    days, sample = size("P7_DAYS", DAYS), size("P7_SAMPLE", SAMPLE)
    windows = [days * number // sample for number in range(sample)]
    with yard(days) as store, quiet():
        ours = spent(lambda: run("year", store("ours"), START, START + days * DAY))
        peer = spent(lambda: one_job_each(store("plain"), windows))
    scale = days / sample
    name = f"{days}_windows_of_{VIEWS}_views_peer_scaled_from_{sample}"
    yield Figure("P7", f"{name}_cpu_seconds", ours.cpu, peer.cpu * scale)
    yield Figure("P7", f"{name}_wall_seconds", ours.wall, peer.wall * scale)


@contextmanager
def quiet() -> Iterator[None]:
    """Tasks log nothing: a benchmark prints figures."""
    from airflow_provider_feast.operators import feast  # noqa: F401 (Airflow sets its log up when it is imported)

    def drop(*_: Any) -> Any:
        raise structlog.DropEvent

    processors = structlog.get_config()["processors"]
    before = list(processors)
    processors[:] = [drop]
    structlog.configure(processors=processors)
    try:
        yield
    finally:
        processors[:] = before
        structlog.configure(processors=processors)


def one_job_each(store: dict[str, Any], windows: list[int]) -> None:
    """What a DAG does that has a task for each day."""
    for day in windows:
        start = START + day * DAY
        run(f"day-{day}", store, start, start + DAY, command_mode="cli", older_windows="overwrite")


def run(task: str, store: dict[str, Any], start: datetime, end: datetime, **options: Any) -> None:
    """Execute a FeastMaterializeOperator as a worker would."""
    from airflow_provider_feast.operators.feast import FeastMaterializeOperator

    operator = FeastMaterializeOperator(
        task_id=task, start=start, end=end, configuration=store, deferrable=False, **options
    )
    names = {"dag_id": "bench", "task_id": task, "run_id": "bench", "map_index": -1}
    instance = SimpleNamespace(**names, try_number=1, max_tries=0, xcom_push=lambda key, value: None)
    dag_run = SimpleNamespace(run_id="bench", start_date=START)
    context: Any = {
        "ti": instance,
        "run_id": "bench",
        "dag": SimpleNamespace(dag_id="bench"),
        "dag_run": dag_run,
    }
    result = operator.execute(context)
    if result["outcome"] != "succeeded":
        raise RuntimeError(f"{task} ended as {result['outcome']}")


def spent(work: Callable[[], None]) -> Spent:
    """Do something; what it cost."""
    cpu, began = cpu_of_all(), time.monotonic()
    work()
    return Spent(cpu_of_all() - cpu, time.monotonic() - began)


def cpu_of_all() -> float:
    """CPU seconds so far of this process and its descendants; those that have ended are in their parents' counts."""
    this, total = psutil.Process(), 0.0
    for process in (this, *this.children(recursive=True)):
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:  # its parent counts it now, or at the next look
            continue
    return total


@contextmanager
def yard(days: int) -> Iterator[Callable[[str], dict[str, Any]]]:
    """A sandbox with data on a volume; makes feature stores by name."""
    with tempfile.TemporaryDirectory() as directory:
        home = Path(directory)
        with Sandbox(directory=home / "sandbox", time_scale=0.05) as sandbox:
            data = volume(sandbox)
            frame(days).to_parquet(data / "data.parquet")
            with mock.patch.dict("os.environ", connections(sandbox)):
                yield lambda name: applied(home, data, name)


def frame(days: int) -> pd.DataFrame:
    """Random numbers: one row of each thing a day."""
    random = np.random.default_rng(7)
    found = pd.DataFrame({f"f{number}": random.random(THINGS * days) for number in range(5)})
    found["id"] = np.tile(np.arange(THINGS), days)
    seconds = np.repeat(np.arange(days) * 86_400 + 3_600, THINGS)
    found["at"] = pd.Timestamp(START) + pd.to_timedelta(seconds, unit="s")
    return found


def volume(sandbox: Sandbox) -> Path:
    """A claim; where its files lie on this machine."""
    from kubernetes import client, config

    api = config.new_client_from_config(str(sandbox.kubeconfig))
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    body = {"metadata": {"name": "data"}, "spec": spec}
    claim = client.CoreV1Api(api).create_namespaced_persistent_volume_claim(NAMESPACE, body)
    api.close()
    found = sandbox.directory / "claims" / str(claim.metadata.uid)
    found.mkdir(parents=True)
    found.chmod(0o777)
    return found


def connections(sandbox: Sandbox) -> dict[str, str]:
    """Airflow's connections, as it finds them in the environment."""
    mounts = [{"name": "data", "mountPath": DATA}]
    claim = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    pod = {"volumes": [claim], "containers": [{"name": "feast", "volumeMounts": mounts}]}
    feast = {
        "namespace": NAMESPACE,
        "image": "feast-sandbox:local",
        "job_overrides": {"spec": {"template": {"spec": pod}}},
    }
    kubernetes = {"kube_config_path": str(sandbox.kubeconfig)}
    return {
        "AIRFLOW_CONN_FEAST_DEFAULT": json.dumps({"conn_type": "feast", "extra": feast}),
        "AIRFLOW_CONN_KUBERNETES_DEFAULT": json.dumps({"conn_type": "kubernetes", "extra": kubernetes}),
    }


def applied(home: Path, data: Path, name: str) -> dict[str, Any]:
    """A feature store with a registry of its own; its configuration for pods."""
    repo = home / name
    repo.mkdir()
    (repo / "definitions.py").write_text(DEFINITIONS.format(data=DATA, views=VIEWS))
    (repo / "feature_store.yaml").write_text(json.dumps(configuration(str(data), name)))
    feast = [str(Path(sys.executable).parent / "feast"), "-c", str(repo), "apply", "--skip-source-validation"]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(feast, check=False, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(
            f"feast apply ended with {done.returncode}:\n{(done.stdout + done.stderr)[-3000:]}"
        )
    for file in data.iterdir():
        file.chmod(0o666)
    return configuration(DATA, name)


def configuration(data: str, name: str) -> dict[str, Any]:
    """feature_store.yaml, where the data lies at a path."""
    return {
        "project": "bench",
        "provider": "local",
        "registry": f"{data}/{name}.registry.db",
        "online_store": {"type": "sqlite", "path": f"{data}/{name}.online.db"},
        "entity_key_serialization_version": 3,
    }
