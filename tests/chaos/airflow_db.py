"""What Airflow's database says; read-only."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from chaos.history import instant
from chaos.judge import TaskRow

_CLEAR, _SET = "post_clear_task_instances", "patch_task_instance"
_TASK = (
    "select state, try_number, pid, trigger_id from task_instance where dag_id=? and run_id=? and task_id=?"
)


@dataclass(frozen=True)
class Instance:
    """A task instance at one moment."""

    state: str
    try_number: int
    pid: int
    trigger_id: int | None


class AirflowDatabase:
    """One DAG run at a time is asked about.

    :param path: the SQLite file.
    """

    def __init__(self, path: Path) -> None:
        self._url = f"file:{path}?mode=ro"

    def _rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(self._url, uri=True, timeout=30)) as database:
            return database.execute(query, values).fetchall()

    def instance(self, dag: str, run: str, task: str) -> Instance:
        """A task instance as it is now."""
        rows = self._rows(_TASK, dag, run, task)
        state, try_number, pid, trigger = rows[0] if rows else ("", 0, 0, None)
        return Instance(state or "none", try_number or 0, pid or 0, trigger)

    def run_state(self, dag: str, run: str) -> str:
        """The state of a DAG run."""
        rows = self._rows("select state from dag_run where dag_id=? and run_id=?", dag, run)
        return str(rows[0][0]) if rows else ""

    def acts(self, dag: str, since: datetime) -> Iterator[tuple[datetime, str, str]]:
        """What a person did with a DAG's tasks: when, to which task, `clear` or `set`."""
        query = "select dttm, event, task_id, extra from log where dag_id=? and event in (?, ?)"
        for stamp, event, task, extra in self._rows(query, dag, _CLEAR, _SET):
            when = instant(stamp)
            names = [task] if event == _SET else json.loads(extra or "{}").get("task_ids") or [task]
            for name in names if when >= since else ():
                yield when, str(name), "clear" if event == _CLEAR else "set"

    def rows(self, dag: str, run: str, tasks: tuple[str, ...], since: datetime) -> list[TaskRow]:
        """The task instances of a run, for the judge."""
        acts = list(self.acts(dag, since))
        found = []
        for task in tasks:
            instance = self.instance(dag, run, task)
            every = [when for when, of, _ in acts if of == task]
            clears = [when for when, of, what in acts if of == task and what == "clear"]
            found.append(TaskRow(task, instance.state, instance.try_number, every, clears))
        return found

    def alive_triggerers(self, since: datetime) -> set[int]:
        """The ids of the triggerers that told a heartbeat since then."""
        query = "select id, latest_heartbeat from job where job_type='TriggererJob' and state='running'"
        return {number for number, beat in self._rows(query) if beat and instant(beat) >= since}

    def triggerer_of(self, trigger: int) -> int | None:
        """The triggerer that runs a trigger."""
        rows = self._rows("select triggerer_id from trigger where id=?", trigger)
        return rows[0][0] if rows else None

    def heartbeat(self, dag: str, run: str, task: str) -> datetime | None:
        """A worker's last heartbeat."""
        query = "select last_heartbeat_at from task_instance where dag_id=? and run_id=? and task_id=?"
        rows = self._rows(query, dag, run, task)
        return instant(rows[0][0]) if rows and rows[0][0] else None
