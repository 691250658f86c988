"""`airflow standalone` for tests: started in a process group of its own, asked over its REST API, killed as a group."""

import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from airflow_helpers import wait_for

READY_SECONDS = 180
FINISHED = ("success", "failed", "skipped", "upstream_failed")

# Definitions that take longer than a worker watches before it defers: `feast apply` runs their code.
TICKS = """
import time

for second in range(16):
    print(f"tick {second}", flush=True)
    time.sleep(1)
"""


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [opened.getsockname()[1] for opened in sockets]
    for opened in sockets:
        opened.close()
    return ports


@dataclass
class Standalone:
    """A running Airflow.

    :param variables: its environment.
    :param home: where its output goes.
    """

    variables: dict[str, str]
    home: Path
    url: str = ""
    _http: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=120))
    _process: Any = None

    def start(self) -> None:
        """Start it and wait until all of its parts are up; its DAGs are paused."""
        api, worker_logs, trigger_logs = free_ports(3)
        self.url = f"http://localhost:{api}"
        ports = {
            "AIRFLOW__API__PORT": str(api),
            "AIRFLOW__API__BASE_URL": self.url,
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.url}/execution/",
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(worker_logs),
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(trigger_logs),
        }
        with (self.home / "standalone.log").open("wb") as output:
            self._process = subprocess.Popen(
                ["airflow", "standalone"],
                env=self.variables | ports,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        wait_for(self._ready, "airflow standalone", READY_SECONDS)
        self._http.headers["Authorization"] = f"Bearer {self._token()}"

    def _ready(self) -> bool:
        assert self._process.poll() is None, (self.home / "standalone.log").read_text()[-3000:]
        try:
            health = self._http.get(f"{self.url}/api/v2/monitor/health").json()
        except (httpx.HTTPError, ValueError):
            return False
        parts = ("metadatabase", "scheduler", "triggerer", "dag_processor")
        return all(health[part]["status"] == "healthy" for part in parts)

    def _token(self) -> str:
        answer = self._http.get(f"{self.url}/auth/token")
        token: str = answer.raise_for_status().json()["access_token"]
        return token

    def stop(self) -> None:
        """End every process of its group."""
        for number, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 20)):
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(patience)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._http.close()

    @contextlib.contextmanager
    def stopped(self, part: str) -> Iterator[None]:
        """While the context lasts, one of its parts (`triggerer`, say) does nothing."""
        parts = psutil.Process(self._process.pid).children()
        (process,) = (child for child in parts if child.cmdline()[-1] == part)
        process.suspend()
        try:
            yield
        finally:
            process.resume()

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A request to the REST API."""
        return self._http.request(method, f"{self.url}/api/v2/{path}", **options)

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """A request to the REST API that must succeed; its JSON answer."""
        answer = self.request(method, path, **options)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def unpause(self, dag_id: str) -> None:
        """Let a DAG run. None does from the start: a task that starts before the API server does is lost."""
        wait_for(lambda: self._has(dag_id), f"the DAG {dag_id}")
        self.ask("PATCH", f"dags/{dag_id}", json={"is_paused": False})

    def trigger(self, dag_id: str, run_id: str | None = None, **conf: Any) -> str:
        """Start a run without a logical date, with these parameters; its id."""
        self.unpause(dag_id)
        body = {"logical_date": None, "conf": conf, **({"dag_run_id": run_id} if run_id else {})}
        run: str = self.ask("POST", f"dags/{dag_id}/dagRuns", json=body)["dag_run_id"]
        return run

    def _has(self, dag_id: str) -> bool:
        assert not (errors := self.import_errors()), "\n".join(errors)
        return any(dag["dag_id"] == dag_id for dag in self.ask("GET", "dags")["dags"])

    def import_errors(self) -> list[str]:
        """The errors of DAG files."""
        return [error["stack_trace"] for error in self.ask("GET", "importErrors")["import_errors"]]


@contextlib.contextmanager
def running(variables: dict[str, str], home: Path) -> Iterator[Standalone]:
    """An Airflow that is up; it ends with the context."""
    airflow = Standalone(variables, home)
    try:
        airflow.start()
        yield airflow
    finally:
        airflow.stop()


@dataclass(frozen=True)
class Instance:
    """The one task of a DAG run, whose id is `run`."""

    airflow: Standalone
    dag_id: str
    run_id: str
    task_id: str = "run"

    @property
    def _path(self) -> str:
        return f"dags/{self.dag_id}/dagRuns/{self.run_id}/taskInstances/{self.task_id}"

    @property
    def state(self) -> str:
        return str(self.airflow.ask("GET", self._path)["state"])

    @property
    def tries(self) -> int:
        return int(self.airflow.ask("GET", self._path)["try_number"])

    @property
    def dag_run(self) -> dict[str, Any]:
        found: dict[str, Any] = self.airflow.ask("GET", f"dags/{self.dag_id}/dagRuns/{self.run_id}")
        return found

    def until(self, *states: str, seconds: float = 120) -> str:
        """Wait for one of the states."""

        def look() -> str | None:
            state = self.state
            assert state in states or state not in FINISHED, f"{self.dag_id} is {state}:\n{self.log()}"
            return state if state in states else None

        return wait_for(look, f"{self.dag_id} to be {' or '.join(states)}", seconds)

    def until_off_the_executor(self) -> None:
        """Wait until the scheduler has been told that the worker is done.

        It knows a task by its run's id and its try's number: it would take a late message for the same task of another
        run of that id, or for the same try that goes on after a pause, and fail that one.
        """
        key = f"dag_id='{self.dag_id}', task_id='{self.task_id}', run_id='{self.run_id}', try_number={self.tries}"
        told = f"event with state success for task instance TaskInstanceKey({key}"
        output = self.airflow.home / "standalone.log"
        wait_for(lambda: told in output.read_text(), f"the executor's last word on {self.dag_id}")

    def log(self, attempt: int = 1) -> str:
        """The task's log as the UI shows it."""
        answer = self.airflow.ask(
            "GET",
            f"{self._path}/logs/{attempt}",
            params={"full_content": True},
            headers={"Accept": "application/json"},
        )
        return "\n".join(
            line if isinstance(line, str) else f"{line.get('event', '')} {line.get('error_detail', '')}"
            for line in answer["content"]
        )

    def xcom(self, key: str) -> Any:
        """An XCom that the task pushed."""
        return self.airflow.ask("GET", f"{self._path}/xcomEntries/{key}")["value"]

    def set_state(self, state: str) -> None:
        """What a person does with "Mark as …"."""
        self.airflow.ask("PATCH", self._path, json={"new_state": state})

    def clear(self) -> None:
        """What a person does with "Clear"."""
        body = {
            "dry_run": False,
            "dag_run_id": self.run_id,
            "task_ids": [self.task_id],
            "only_failed": False,
            "reset_dag_runs": True,
        }
        self.airflow.ask("POST", f"dags/{self.dag_id}/clearTaskInstances", json=body)
