"""One task in processes of its own, of which each may be killed: its tries, its triggers, and who is killed when."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import psutil
from kubernetes.client import ApiException
from plan_world import PlanWorld

from airflow_provider_feast.sandbox import SandboxError

MOST_TRIES = 20
PATIENCE_SECONDS = 300
VICTIMS = ("process", "process", "out of memory", "deletion", "eviction", "node")
"""Half of what dies, more or less, is a worker or a triggerer."""


class Kill(NamedTuple):
    """Somebody dies.

    :param loads: when the registry has noted so many loads (windows of a view, each try),
    :param after: and so many seconds later: while the next is loaded, or the pod ends, or another one starts.
    """

    loads: int
    after: float
    victim: str


def kills(seed: int, count: int, loads: int) -> list[Kill]:
    """Who dies when, by a seed.

    :param loads: how many loads there are.
    """
    dice = random.Random(seed)
    moments = sorted(dice.randrange(loads) for _ in range(count))
    return [Kill(moment, dice.uniform(0.0, 1.5), dice.choice(VICTIMS)) for moment in moments]


class Zygote:
    """The process that forks workers and triggerers; see task_zygote.py."""

    def __init__(self, home: Path, variables: dict[str, str]) -> None:
        self.log, self._home, self._variables = home / "task.log", home, variables
        self._count = 0
        path = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("task_zygote.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONPATH": os.pathsep.join(path)},
        )

    def _read(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the zygote ended"
        return json.loads(line)

    def wait(self) -> None:
        """Until it has imported everything."""
        self._read()

    def start(self, request: dict[str, Any]) -> tuple[int, Path]:
        """A new process, and where its answer will lie."""
        self._count += 1
        answer = self._home / f"answer-{self._count}"
        whole = {**request, "answer": str(answer), "log": str(self.log), "env": self._variables}
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(whole) + "\n")
        self._process.stdin.flush()
        return self._read()["pid"], answer

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


class Story(NamedTuple):
    """What became of a task.

    :param told: what happened, in order.
    """

    result: dict[str, Any]
    tries: int
    deaths: list[str]
    told: list[str]


class Play:
    """One task with its retries, while one after the other dies.

    :param options: the operator's arguments.
    """

    def __init__(self, world: PlanWorld, zygote: Zygote, options: dict[str, Any], plan: list[Kill]) -> None:
        self._world, self._zygote, self._options = world, zygote, options
        self._plan = list(plan)
        self._due: float | None = None
        self._deaths: list[str] = []
        self._told: list[str] = []
        self._begin = time.monotonic()

    def _is_time(self) -> bool:
        """Whether the next one has to die."""
        if self._plan and self._due is None and self._world.loads() >= self._plan[0].loads:
            self._due = time.monotonic() + self._plan[0].after
        return self._due is not None and time.monotonic() >= self._due

    def _say(self, what: str) -> None:
        self._told.append(f"{time.monotonic() - self._begin:6.2f} {what}")

    def run(self) -> Story:
        """Until the task has succeeded, as Airflow would: a worker that dies costs a try, a triggerer none."""
        number, step = 1, {"what": "execute"}
        while number <= MOST_TRIES:
            answer = self._step({**step, "task": self._options, "try": number})
            self._say(f"{step['what']} of try {number}: {str(answer)[:150]}")
            if answer is None and step["what"] == "trigger":
                continue
            if answer is None or "error" in answer:
                number, step = number + 1, {"what": "execute"}
            elif "trigger" in answer:
                step = {"what": "trigger", "trigger": answer["trigger"]}
            elif "event" in answer:
                step = {"what": "resume", "event": answer["event"]}
            else:
                return Story(answer["result"], number, self._deaths, self._told)
        raise AssertionError("\n".join(["the task has no tries left", *self._told]))

    def _step(self, request: dict[str, Any]) -> dict[str, Any] | None:
        """One process to its end; ``None`` when it was killed."""
        pid, answer = self._zygote.start(request)
        process = psutil.Process(pid)
        end = time.monotonic() + PATIENCE_SECONDS
        while not answer.exists() and _alive(process):
            if self._is_time() and self._strike(self._plan[0].victim, pid):
                self._due = None
                self._plan.pop(0)
            assert time.monotonic() < end, "\n".join(["a process hangs", *self._told])
            time.sleep(0.02)
        return json.loads(answer.read_text()) if answer.exists() else None

    def _strike(self, victim: str, pid: int) -> bool:
        """Kill; whether there was anybody to kill."""
        if victim == "process":
            os.kill(pid, signal.SIGKILL)
        else:
            running = self._world.running_pods()
            if not running or not self._kill_pod(victim, running[0]):
                return False
        self._deaths.append(victim)
        self._say(f"{victim} dies")
        return True

    def _kill_pod(self, victim: str, name: str) -> bool:
        namespace, sandbox = self._world.namespace, self._world.sandbox
        ways: dict[str, Callable[[], Any]] = {
            "out of memory": lambda: sandbox.oom_kill(namespace, name),
            "deletion": lambda: self._world.core.delete_namespaced_pod(name, namespace),
            "eviction": lambda: sandbox.evict_pod(namespace, name),
            "node": lambda: sandbox.lose_pod(namespace, name),
        }
        try:
            ways[victim]()
        except (SandboxError, ApiException):  # it has ended in the meantime
            return False
        return True


def _alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def seeds() -> list[int]:
    """Two, or as many as FEAST_KILL_RUNS says, from FEAST_KILL_SEED on."""
    first = int(os.environ.get("FEAST_KILL_SEED") or 20261126)
    return list(range(first, first + int(os.environ.get("FEAST_KILL_RUNS") or 2)))
