"""What becomes of a Job when its task is ended: a person's decision deletes it, a passing worker does not.

Airflow ends a task's process, or its trigger, both when a person clears the task or sets its state, and when a worker
or triggerer is merely replaced. Only the task's state in Airflow's database tells the two apart.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

LOOKUP_SECONDS = 3.0
"""How long the state may take to look up; after that it counts as unknown."""

KILL_SECONDS = 5.0
"""How long a worker's signal handler waits in all; Airflow sends SIGKILL after about as long."""

_GOES_ON = frozenset({"running", "queued", "scheduled", "deferred", "up_for_retry", "up_for_reschedule"})
"""States in which this or the next try waits for the Job, or replaces it by itself."""


class HandOver(BaseException):
    """The worker is going away while the task goes on: stop waiting."""


def reschedule() -> Exception:
    """What makes Airflow run the task again at once, in the same try."""
    try:
        from airflow.sdk.exceptions import AirflowRescheduleException
    except ImportError:  # Airflow 3.1
        from airflow.exceptions import AirflowRescheduleException
    error: Exception = AirflowRescheduleException(reschedule_date=datetime.now(UTC))  # type: ignore[no-untyped-call]
    return error


def ends_job(state: str | None) -> bool:
    """Whether a task in this state has no more use for its Job.

    :param state: the task's state; ``None`` for a task that was cleared, or whose DAG run was deleted.
    """
    return state not in _GOES_ON


def task_state(ti: Any) -> str | None:
    """A task instance's state in Airflow's database, asked through Airflow's own channel.

    :param ti: has ``dag_id``, ``task_id``, ``run_id`` and ``map_index``.
    :returns: the state; ``None`` also where the operator runs without Airflow (a notebook): no other try follows there.
    """
    from airflow.sdk.execution_time import task_runner

    if getattr(task_runner, "SUPERVISOR_COMMS", None) is None:
        return None
    index = -1 if ti.map_index is None else ti.map_index
    states = task_runner.RuntimeTaskInstance.get_task_states(
        dag_id=ti.dag_id, task_ids=[ti.task_id], run_ids=[ti.run_id], map_index=ti.map_index
    )
    found = states.get(ti.run_id) or {}
    state = found.get(ti.task_id if index < 0 else f"{ti.task_id}_{index}", found.get(ti.task_id))
    return None if state is None else str(getattr(state, "value", state))


class Killing:
    """One answer to a signal that ends a worker's process.

    The work is done in a thread of its own: the main thread may hold the lock of Airflow's channel, and then the
    state stays unknown and the Job is kept.

    :param look_up: gives the task's state.
    :param delete: deletes the Job.
    """

    def __init__(self, look_up: Callable[[], str | None], delete: Callable[[], None]) -> None:
        self._look_up, self._delete = look_up, delete
        self._decided, self._finished = threading.Event(), threading.Event()
        self.deletes = False
        self.problem: Exception | None = None

    def run(self) -> bool:
        """Decide, and delete the Job if nobody waits for it any more; at most :data:`KILL_SECONDS`.

        :returns: whether the Job is deleted; else it is kept.
        """
        threading.Thread(target=self._work, name="feast-kill", daemon=True).start()
        self._decided.wait(LOOKUP_SECONDS)
        if self.deletes:
            self._finished.wait(KILL_SECONDS - LOOKUP_SECONDS)
        return self.deletes

    def _work(self) -> None:
        began = time.monotonic()
        try:
            self.deletes = ends_job(self._look_up()) and time.monotonic() - began < LOOKUP_SECONDS
            self._decided.set()
            if self.deletes:
                self._delete()
        except Exception as error:  # noqa: BLE001 (told by the main thread)
            self.problem = error
        finally:
            self._decided.set()
            self._finished.set()
