"""Where schedules are played: a sandbox, an Airflow home, an API server, and the parts that are killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from kubernetes import client, config

from chaos.airflow_db import AirflowDatabase
from chaos.airflow_home import HERE, environment, prepare, wait_for
from chaos.api_server import AuditedSandbox
from chaos.history import AuditLog
from chaos.parts import SCHEDULER, TRIGGERER, Commands, Parts, Zygote, send, session, tree

START_SECONDS = 180


class Airflow:
    """What a person does in Airflow's UI, over its REST API."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=60)

    def ready(self) -> bool:
        """Whether the API server answers; from then on it knows us."""
        try:
            token = self._http.get("/auth/token").raise_for_status().json()["access_token"]
        except (httpx.HTTPError, ValueError):
            return False
        self._http.headers["Authorization"] = f"Bearer {token}"
        return True

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """A request; its JSON answer."""
        answer = self._http.request(method, f"/api/v2/{path}", **options)
        if not answer.is_success:
            raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
        return answer.json()

    def trigger(self, dag: str, conf: dict[str, Any]) -> str:
        """Start a run; its id."""
        run: str = self.ask("POST", f"dags/{dag}/dagRuns", json={"logical_date": None, "conf": conf})[
            "dag_run_id"
        ]
        return run

    def set_state(self, dag: str, run: str, task: str, state: str) -> None:
        """What "Mark as …" does."""
        self.ask("PATCH", f"dags/{dag}/dagRuns/{run}/taskInstances/{task}", json={"new_state": state})

    def clear(self, dag: str, run: str, task: str) -> None:
        """What "Clear" does."""
        body = {"dry_run": False, "dag_run_id": run, "task_ids": [task], "only_failed": False}
        self.ask("POST", f"dags/{dag}/clearTaskInstances", json={**body, "reset_dag_runs": True})

    def log(self, dag: str, run: str, task: str, attempt: int) -> list[str]:
        """The log of a try, as the UI shows it."""
        answer = self.ask(
            "GET",
            f"dags/{dag}/dagRuns/{run}/taskInstances/{task}/logs/{attempt}",
            params={"full_content": True},
            headers={"Accept": "application/json"},
        )
        return [line if isinstance(line, str) else str(line.get("event", "")) for line in answer["content"]]

    def close(self) -> None:
        """Close the connections."""
        self._http.close()


@dataclass
class Stage:
    """One sandbox and one Airflow; schedules are played on it one after the other."""

    home: Path
    sandbox: AuditedSandbox
    airflow: Airflow
    database: AirflowDatabase
    parts: Parts
    audit: AuditLog
    core: client.CoreV1Api
    person: client.BatchV1Api
    others: list[subprocess.Popen[bytes]]
    keep: bool = False

    def close(self) -> None:
        """End every process; remove the home unless something is to be looked at."""
        self.parts.stop()
        for process in self.others:
            send(signal.SIGKILL, *session(process.pid), *tree(process.pid))
            process.wait(30)
        self.airflow.close()
        self.sandbox.stop()
        if not self.keep:
            shutil.rmtree(self.home, ignore_errors=True)


def _spawn(command: list[str], variables: dict[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(command, env=variables, stdout=output, stderr=output, start_new_session=True)


def _clients(sandbox: AuditedSandbox) -> tuple[client.CoreV1Api, client.BatchV1Api]:
    """The administrator, and a person with kubectl: somebody else in the audit log."""
    person = config.new_client_from_config(str(sandbox.kubeconfig))
    person.set_default_header("Impersonate-User", "person")
    person.set_default_header("Impersonate-Group", "system:masters")
    return (
        client.CoreV1Api(config.new_client_from_config(str(sandbox.kubeconfig))),
        client.BatchV1Api(person),
    )


def open_stage(mutation: str = "", *, standalone: bool = False) -> Stage:
    """Start everything; returns when it is up."""
    home = Path(tempfile.mkdtemp(prefix="feast-chaos-"))
    sandbox = AuditedSandbox(home / "cluster", HERE / "image").start()
    variables = environment(home, sandbox.kubeconfig)
    airflow = Airflow(variables["AIRFLOW__API__BASE_URL"])
    database = AirflowDatabase(home / "airflow.db")
    core, person = _clients(sandbox)
    prepare(home, variables)
    if standalone:
        others = [_spawn(["airflow", "standalone"], variables, home / "standalone.log")]
        wait_for(airflow.ready, "airflow standalone", START_SECONDS)
        found = {
            part: wait_for(lambda part=part: _command_of(others[0].pid, part), part, START_SECONDS)
            for part in (SCHEDULER, TRIGGERER)
        }
        parts = Parts(Commands(variables, home), found)
    else:
        zygote = Zygote(variables, home, mutation)
        others = [_spawn(["airflow", "api-server"], variables, home / "api-server.log"), zygote.process]
        zygote.wait()
        wait_for(airflow.ready, "the API server", START_SECONDS)
        parts = Parts(zygote)
        parts.tidy()
    return Stage(home, sandbox, airflow, database, parts, AuditLog(sandbox.audit_log), core, person, others)


def _command_of(parent: int, part: str) -> int:
    """The process of `airflow PART` below another one, or 0."""
    for pid in tree(parent)[1:]:
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
        if f"airflow {part}" in arguments and os.getsid(pid):
            return pid
    return 0
