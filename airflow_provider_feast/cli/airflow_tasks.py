"""What Airflow's database knows of the task that a Job belongs to."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from airflow_provider_feast.jobs.inventory import JobEntry
from airflow_provider_feast.jobs.leftovers import TaskFact, TaskState
from airflow_provider_feast.model.naming import TaskKey

_FINISHED = frozenset({"success", "failed", "skipped", "removed", "upstream_failed"})


class AirflowTasks:
    """Looks up the tasks of Jobs.

    :param deployment: the connection's ``deployment_id``.
    :param sole: whether no other Airflow runs Jobs in the same namespace.
    """

    def __init__(self, deployment: str, *, sole: bool) -> None:
        self._deployment = deployment
        self._certain = bool(deployment) or sole
        self.trouble = ""
        self._unknown: dict[str, str] = {}

    def fact(self, job: JobEntry) -> TaskFact:
        """What is known of a Job's task. A database that cannot be reached makes it unknown, and is told once."""
        found = self._fact(job)
        if found.state is TaskState.UNKNOWN and not self.trouble:
            self._unknown[job.uid] = f"Job {job.name} is left alone: {found.words}."
        return found

    def notes(self, deleted: Container[str]) -> list[str]:
        """What could not be found out, for people.

        :param deleted: uids of the Jobs that are to be deleted nevertheless.
        """
        told = [text for uid, text in self._unknown.items() if uid not in deleted]
        return [*([self.trouble] if self.trouble else []), *told]

    def _fact(self, job: JobEntry) -> TaskFact:
        key = job.task
        if key is None:
            return TaskFact(TaskState.UNKNOWN, "it does not say which task it belongs to")
        if key.deployment != self._deployment:
            return TaskFact(TaskState.UNKNOWN, f"it belongs to the Airflow named {key.deployment!r}")
        if self.trouble:
            return TaskFact(TaskState.UNKNOWN, "Airflow's database cannot be asked for its task")
        try:
            found, run = self._look_up(key)
        except Exception as error:  # noqa: BLE001 (any driver's; told to the person)
            self.trouble = (
                f"Airflow's database cannot be reached from here ({type(error).__name__}: {error}), so Jobs whose task "
                "has ended or is gone are not found. Run this where the scheduler or the API server runs."
            )
            return TaskFact(TaskState.UNKNOWN, "Airflow's database cannot be asked for its task")
        return self._read(key, found, run)

    def _read(self, key: TaskKey, found: Any, run: bool) -> TaskFact:
        name = f"task {key.dag_id}.{key.task_id}"
        if found is not None:
            state = str(getattr(found.state, "value", found.state))
            if state not in _FINISHED:
                return TaskFact(TaskState.ACTIVE, f"its {name} is {state}")
            at = f" at {found.end_date:%Y-%m-%d %H:%M} UTC" if found.end_date else ""
            return TaskFact(TaskState.ENDED, f"its {name} has ended as {state}{at}", found.end_date)
        what = f"its {name} is not in the DAG run" if run else "there is no DAG run"
        if not self._certain:
            words = f"{what} {key.run_id} in this Airflow, but another one may have it: see --sole-airflow"
            return TaskFact(TaskState.UNKNOWN, words)
        return TaskFact(TaskState.ABSENT, f"{what} {key.run_id} in Airflow any more")

    @staticmethod
    def _look_up(key: TaskKey) -> tuple[Any, bool]:
        from airflow.models.dagrun import DagRun
        from airflow.models.taskinstance import TaskInstance
        from airflow.utils.session import create_session
        from sqlalchemy import select

        ti = TaskInstance
        of_task = select(ti.state, ti.end_date).where(
            ti.dag_id == key.dag_id,
            ti.task_id == key.task_id,
            ti.run_id == key.run_id,
            ti.map_index == key.map_index,
        )
        of_run = select(DagRun.id).where(DagRun.dag_id == key.dag_id, DagRun.run_id == key.run_id)
        with create_session() as session:
            return session.execute(of_task).first(), session.execute(of_run).first() is not None
