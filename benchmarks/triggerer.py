"""A process that runs triggers as the triggerer does: Airflow's own ``TriggerRunner``, without its database.

What the supervisor of a triggerer sends and takes over a pipe of Airflow's goes over stdin and stdout here: triggers to
run in, one JSON line for each event out, with its time. Logs are rendered as there and go to a file.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent


class Spec(NamedTuple):
    """A trigger to run.

    :param name: the Job's.
    """

    name: str
    classpath: str
    kwargs: dict[str, Any]


class Triggerer:
    """A triggerer process, from outside.

    :param kubeconfig: where the connection ``kubernetes_default`` leads.
    :param home: a directory for its ``AIRFLOW_HOME``.
    """

    def __init__(self, kubeconfig: Path, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        left_out = ("AIRFLOW", "KUBECONFIG")
        environment = {key: value for key, value in os.environ.items() if not key.startswith(left_out)}
        connection = {"conn_type": "kubernetes", "extra": {"kube_config_path": str(kubeconfig)}}
        environment |= {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW_CONN_KUBERNETES_DEFAULT": json.dumps(connection),
        }
        self.log = home / "triggerer.log"
        self._environment = environment
        self._events: dict[str, float] = {}
        self._problem = ""
        self._changed = threading.Condition()
        self._process: Any = None

    def __enter__(self) -> Triggerer:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.triggerer", str(self.log)],
            env=self._environment,
            cwd=HERE.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._process.stdout.readline() != "ready\n":
            raise RuntimeError(f"the triggerer did not start; see above, and {self.log}")
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _read(self) -> None:
        for line in self._process.stdout:
            name, at, problem = json.loads(line)
            with self._changed:
                self._events[name] = at
                self._problem = f"the trigger of {name} failed: {problem}" if problem else self._problem
                self._changed.notify_all()

    @property
    def pid(self) -> int:
        """Its process id."""
        return int(self._process.pid)

    def add(self, specs: Iterable[Spec], seconds: float = 0.0) -> None:
        """Run more triggers, started one after another over a time as tasks of many DAGs would be."""
        wanted = list(specs)
        for spec in wanted:
            self._process.stdin.write(json.dumps(spec) + "\n")
            self._process.stdin.flush()
            time.sleep(seconds / len(wanted))

    def wait(self, names: Iterable[str], seconds: float) -> dict[str, float]:
        """Wait until the triggers of these Jobs have fired.

        :returns: when each fired, as ``time.monotonic()`` says.
        :raises RuntimeError: when one failed, or time is up.
        """
        wanted = set(names)
        with self._changed:
            self._changed.wait_for(lambda: self._problem or wanted <= self._events.keys(), seconds)
            if missing := wanted - self._events.keys():
                late = f"{len(missing)} of {len(wanted)} triggers did not fire in {seconds:.0f} s"
                raise RuntimeError(self._problem or late)
            if self._problem:
                raise RuntimeError(self._problem)
            return {name: self._events[name] for name in wanted}


# --- inside the process ----------------------------------------------------------------------------


class _Events(deque[Any]):
    """The runner's outbound events; each is told as it comes."""

    def __init__(self, tell: Callable[[int, Any], None]) -> None:
        super().__init__()
        self._tell = tell

    def append(self, entry: Any) -> None:
        self._tell(entry[0], entry[1])


def _runner(lines: Any) -> Any:
    from airflow.executors.workloads import RunTrigger
    from airflow.jobs.triggerer_job_runner import TriggerRunner
    from airflow.models.trigger import Trigger

    names: dict[int, str] = {}

    def tell(number: int, problem: str = "") -> None:
        print(json.dumps([names[number], time.monotonic(), problem]), flush=True)

    class Runner(TriggerRunner):
        """Airflow's runner with pipes of ours instead of its supervisor's."""

        async def init_comms(self) -> None:
            loop = asyncio.get_running_loop()
            self.comms_decoder = SimpleNamespace(_reader_task=loop.create_task(self._take()))
            self.events = _Events(lambda number, _: tell(number))
            print("ready", flush=True)

        async def _take(self) -> None:
            reader = asyncio.StreamReader()
            await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(reader), lines
            )
            async for line in reader:
                name, classpath, kwargs = json.loads(line)
                number = len(names) + 1
                names[number] = name
                encrypted = Trigger.encrypt_kwargs(kwargs)
                self.to_create.append(RunTrigger(id=number, classpath=classpath, encrypted_kwargs=encrypted))
            self.stop = True
            await asyncio.Event().wait()

        async def sync_state_to_supervisor(self, finished_ids: list[int]) -> None:
            while self.failed_triggers:
                number, error = self.failed_triggers.popleft()
                tell(number, repr(error))

    return Runner()


def main() -> None:
    """Run triggers from stdin until it is closed."""
    from airflow.sdk.log import configure_logging, reset_logging

    reset_logging()
    with Path(sys.argv[1]).open("wb", buffering=0) as log:
        configure_logging(json_output=True, output=log, sending_to_supervisor=True)
        _runner(sys.stdin).run()
    sys.stdout.flush()
    os._exit(0)  # what still waits for an answer of the API is not waited for


if __name__ == "__main__":
    main()
