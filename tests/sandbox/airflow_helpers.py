"""A real Airflow for tests: its environment, a process that runs DAGs one by one, waiting for conditions."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from kubernetes import client

from airflow_provider_feast.sandbox.demo_world import World

T = TypeVar("T")

END = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
"""Where the five days of data end."""

PREAMBLE = """
from datetime import UTC, datetime, timedelta
from airflow.sdk import DAG, task
try:
    from airflow.sdk import CronDataIntervalTimetable
except ImportError:  # Airflow 3.1
    from airflow.timetables.interval import CronDataIntervalTimetable
from airflow_provider_feast.operators.feast import *
from airflow_provider_feast.operators.preflight import FeastPreflightOperator
from airflow_provider_feast.model.sources import *
from airflow_provider_feast.sensors.feast import FeastJobSensor
from airflow_provider_feast.sensors.feature_store import FeatureStoreReadySensor
"""


def wait_for(look: Callable[[], T | None], what: str, seconds: float = 60.0) -> T:
    """Look again and again until there is something to see, and return it."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"{what} did not come within {seconds:.0f} s")
        time.sleep(0.2)


def environment(home: Path, kubeconfig: Path, connections: Mapping[str, str]) -> dict[str, str]:
    """The environment of an Airflow that keeps everything in `home`."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "KUBECONFIG"))}
    return {
        **kept,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        # On a busy machine SQLite is locked for long, and Airflow loses tasks that start while its API answers late.
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db?timeout=60",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "KUBECONFIG": str(kubeconfig),
        **{f"AIRFLOW_CONN_{name.upper()}": text for name, text in connections.items()},
    }


def feast_connection(**extra: Any) -> str:
    """A `feast` connection as Airflow reads it from the environment."""
    return json.dumps({"conn_type": "feast", "extra": extra})


def store(name: str, **more: Any) -> dict[str, Any]:
    """A feature_store.yaml with a registry and an online store of its own."""
    return {
        "project": name,
        "provider": "local",
        "registry": f"/feast/data/{name}.registry.db",
        "online_store": {"type": "sqlite", "path": f"/feast/data/{name}.online.db"},
        "entity_key_serialization_version": 3,
        **more,
    }


@dataclass(frozen=True)
class Task:
    """What became of one task instance."""

    state: str
    tries: int
    log: str
    errors: list[dict[str, str]]
    xcoms: dict[str, Any]

    @property
    def error(self) -> str:
        """The class and text of the last error."""
        return "{class}: {text}".format(**self.errors[-1]) if self.errors else ""


@dataclass(frozen=True)
class Run:
    """What became of a DAG run."""

    state: str
    run_id: str
    tasks: dict[str, Task]

    def __getitem__(self, task: str) -> Task:
        return self.tasks[task]


class DagServer:
    """One Airflow process that runs DAGs with `dag.test()`: ten seconds for the first, a fraction for each other."""

    def __init__(self, home: Path, variables: dict[str, str]) -> None:
        self.home, self.log = home, home / "dag-server.log"
        self._dags = Path(variables["AIRFLOW__CORE__DAGS_FOLDER"])
        self._dags.mkdir(parents=True, exist_ok=True)
        with (home / "db-migrate.log").open("wb") as output:
            subprocess.run(
                ["airflow", "db", "migrate"], env=variables, check=True, stdout=output, stderr=output
            )
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("dag_server.py"))],
                env=variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                text=True,
            )
        self._count = 0

    def stop(self) -> None:
        """End the process."""
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _ask(self, text: str, **request: Any) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._count += 1
        file = self._dags / f"file_{self._count}.py"
        file.write_text(text, encoding="utf-8")
        try:
            self._process.stdin.write(json.dumps({"file": str(file), **request}) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        finally:
            file.unlink()
        assert line, f"the Airflow process ended:\n{self.log.read_text()[-5000:]}"
        found: dict[str, Any] = json.loads(line)
        return found

    def import_error(self, tasks: str) -> str:
        """The error that a DAG file with these tasks has, or ""."""
        return "\n".join(self._ask(self._file("broken", tasks))["import_errors"].values())

    def _file(self, dag_id: str, tasks: str, schedule: str = "None") -> str:
        body = "\n".join(f"    {line}" for line in tasks.strip().splitlines())
        head = f"with DAG({dag_id!r}, schedule={schedule}, start_date=datetime(2026, 1, 1, tzinfo=UTC)):"
        return f"{PREAMBLE}\n{head}\n{body}\n"

    def run(self, tasks: str, schedule: str = "None", **request: Any) -> Run:
        """Run a DAG of these lines of Python."""
        dag_id = f"dag_{self._count + 1}"
        return self.run_file(self._file(dag_id, tasks, schedule), dag_id, **request)

    def run_file(self, text: str, dag_id: str, **request: Any) -> Run:
        """Run a DAG of a file."""
        found = self._ask(text, dag_id=dag_id, **request)
        assert not found["import_errors"], found["import_errors"]
        tasks = {key: Task(**value) for key, value in found["tasks"].items()}
        return Run(found["state"], found["run_id"], tasks)


@dataclass(frozen=True)
class Cluster:
    """The objects of the tests' namespace."""

    world: World

    @property
    def namespace(self) -> str:
        return self.world.namespace

    @property
    def batch(self) -> client.BatchV1Api:
        return client.BatchV1Api(self.world.api)

    @property
    def core(self) -> client.CoreV1Api:
        return client.CoreV1Api(self.world.api)

    def job(self, name: str) -> Any:
        """A Job, or None."""
        return _or_none(self.batch.read_namespaced_job, name, self.namespace)

    def config_map(self, name: str) -> Any:
        """A ConfigMap, or None."""
        return _or_none(self.core.read_namespaced_config_map, name, self.namespace)

    def start(self, name: str, code: str, labels: dict[str, str]) -> None:
        """A Job that is none of ours and runs Python code, as a CronJob would make it."""
        container = {
            "name": "main",
            "image": self.world.image,
            "command": ["python3", "-c", code],
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
        locked = {"runAsNonRoot": True, "runAsUser": 1001, "seccompProfile": {"type": "RuntimeDefault"}}
        pod = {"restartPolicy": "Never", "securityContext": locked, "containers": [container]}
        body = {
            "metadata": {"name": name, "labels": labels},
            "spec": {"backoffLimit": 0, "template": {"spec": pod}},
        }
        self.batch.create_namespaced_job(self.namespace, body)


def _or_none(read: Callable[..., Any], *args: str) -> Any:
    try:
        return read(*args)
    except client.ApiException as error:
        if error.status != 404:
            raise
        return None
