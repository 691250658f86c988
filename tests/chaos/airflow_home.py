"""An Airflow home for chaos: SQLite, short heartbeats, the DAGs, the connection; and its API server."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from chaos.api_server import AuditedSandbox, python_path

T = TypeVar("T")
HERE = Path(__file__).parent

HEARTBEAT_TIMEOUT = 5
"""Seconds after which Airflow takes a worker, a triggerer or a scheduler for dead; its own defaults are minutes."""

SHORT_HEARTBEATS = {
    "AIRFLOW__SCHEDULER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
    "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": f"{HEARTBEAT_TIMEOUT}",
    "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "2",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_SEC": "1",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": f"{HEARTBEAT_TIMEOUT}",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "1",
    "AIRFLOW__TRIGGERER__JOB_HEARTBEAT_SEC": "1",
    "AIRFLOW__TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": f"{HEARTBEAT_TIMEOUT}",
    "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
}


def wait_for(look: Callable[[], T | None], what: str, seconds: float) -> T:
    """Look again and again until there is something to see, and return it.

    :raises TimeoutError: when there is nothing within ``seconds``.
    """
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found is not None and found is not False:
            return found
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come within {seconds:.0f} s")
        time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


def connection() -> str:
    """The `feast` connection of every schedule: one registry, a command instead of the runner."""
    image = AuditedSandbox.IMAGE
    yaml = "project: chaos\nregistry: registry.db\nprovider: local\n"
    overrides = {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 1}}}}
    extra = {"image": image, "configuration": yaml, "command_mode": "cli", "job_overrides": overrides}
    return json.dumps({"conn_type": "feast", "extra": {**extra, "backoff_limit": 3}})


def environment(home: Path, kubeconfig: Path) -> dict[str, str]:
    """The environment of every process of this Airflow."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "KUBECONFIG"))}
    api, worker_logs, trigger_logs = free_ports(3)
    url = f"http://localhost:{api}"
    return {
        **kept,
        **SHORT_HEARTBEATS,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "PYTHONPATH": python_path(),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{url}/execution/",
        "AIRFLOW__API__PORT": str(api),
        "AIRFLOW__API__BASE_URL": url,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(32),
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(worker_logs),
        "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_logs),
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        "KUBECONFIG": str(kubeconfig),
        "AIRFLOW_CONN_FEAST_CHAOS": connection(),
    }


def prepare(home: Path, variables: dict[str, str]) -> None:
    """Make the database and put the DAGs into it."""
    (home / "dags").mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "chaos_dags.py", home / "dags")
    with (home / "prepare.log").open("wb") as output:
        for command in (["db", "migrate"], ["dags", "reserialize"]):
            run = subprocess.run(
                ["airflow", *command], check=False, env=variables, stdout=output, stderr=output
            )
            if run.returncode:
                raise RuntimeError(
                    f"airflow {' '.join(command)}: {(home / 'prepare.log').read_text()[-2000:]}"
                )
