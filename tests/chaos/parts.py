"""Airflow's scheduler and triggerer as processes that can be killed, frozen and started again."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, Protocol

import psutil

SCHEDULER, TRIGGERER = "scheduler", "triggerer"


def send(number: signal.Signals, *pids: int) -> int:
    """Signal processes that may be gone; how many were there."""
    count = 0
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            count += 1
    return count


def session(leader: int) -> list[int]:
    """The processes of a session; its leader may be gone."""
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getsid(pid) == leader:
                found.append(pid)
    return found


def running(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def tree(pid: int) -> list[int]:
    """A process and its descendants."""
    try:
        process = psutil.Process(pid)
        return [pid, *(child.pid for child in process.children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


class Starter(Protocol):
    """Starts a part of Airflow in a session of its own."""

    def start(self, part: str) -> int:
        """The process id."""
        ...


class Zygote:
    """Starts parts by forking a process that has imported everything.

    :param variables: Airflow's environment.
    :param home: where the logs go.
    """

    def __init__(self, variables: dict[str, str], home: Path, mutation: str = "") -> None:
        self._home, self.mutation = home, mutation
        with (home / "zygote.log").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "chaos.zygote"],
                env=variables,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
            )

    def wait(self) -> None:
        """Until it has imported everything."""
        self._read()

    def _read(self) -> Any:
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the zygote ended: {(self._home / 'zygote.log').read_text()[-3000:]}")
        return json.loads(line)

    def start(self, part: str) -> int:
        """Fork a part; its process id."""
        assert self.process.stdin
        request = {"part": part, "log": str(self._home / f"{part}.log"), "mutation": self.mutation}
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        pid: int = self._read()["pid"]
        return pid


class Commands:
    """Starts parts by their commands, as a process manager beside `airflow standalone` would."""

    def __init__(self, variables: dict[str, str], home: Path) -> None:
        self._variables, self._home = variables, home
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, part: str) -> int:
        """Run `airflow scheduler` or `airflow triggerer`; the process id."""
        with (self._home / f"{part}.log").open("ab") as output:
            process = subprocess.Popen(
                ["airflow", part, "--skip-serve-logs"],
                env=self._variables,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._started.append(process)
        return process.pid

    def reap(self) -> None:
        """Take note of ended processes."""
        for process in self._started:
            process.poll()


class Parts:
    """The scheduler and the triggerer that run now, and those that were.

    :param starter: starts one.
    :param found: the process ids of parts that run already.
    """

    def __init__(self, starter: Starter, found: dict[str, int] | None = None) -> None:
        self._starter = starter
        self.current: dict[str, int] = dict(found or {})
        self.frozen: list[int] = []
        self._sessions: set[int] = set()
        self._lock = threading.Lock()

    def start(self, part: str) -> int:
        """Start a part, beside one that may still be there."""
        with self._lock:
            pid = self._starter.start(part)
            self.current[part] = pid
            self._sessions.add(pid)
        return pid

    def kill(self, part: str, *, everything: bool = False) -> int:
        """SIGKILL a part: with all of its descendants, or a scheduler alone (its workers live on)."""
        pid = self.current.pop(part, 0)
        alone = part == SCHEDULER and not everything
        return send(signal.SIGKILL, *([pid] if alone else tree(pid))) if pid else 0

    def freeze(self, part: str) -> None:
        """SIGSTOP a part and its descendants, and start another one."""
        pids = tree(self.current.pop(part, 0))
        send(signal.SIGSTOP, *pids)
        self.frozen += pids
        self.start(part)

    def thaw(self) -> None:
        """Let all that is frozen go on."""
        pids, self.frozen = self.frozen, []
        send(signal.SIGCONT, *pids)

    def tidy(self) -> None:
        """Kill what is left of former parts; start what is missing."""
        self.thaw()
        for leader in self._sessions - set(self.current.values()):
            send(signal.SIGKILL, *session(leader))
            self._sessions.discard(leader)
        for part in (SCHEDULER, TRIGGERER):
            if part not in self.current or not running(self.current[part]):
                self.start(part)

    def stop(self) -> None:
        """Kill everything."""
        self.thaw()
        for leader in self._sessions | set(self.current.values()):
            send(signal.SIGKILL, *session(leader), *tree(leader))
        self.current = {}
