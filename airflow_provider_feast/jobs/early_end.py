"""What becomes of a task's Job when the task ends before it has a verdict: its time is up, or it may not look on."""

from __future__ import annotations

from typing import Any, NamedTuple

from airflow_provider_feast.hooks.feast import FeastHook
from airflow_provider_feast.jobs.api import ClusterApi
from airflow_provider_feast.jobs.stopping import end_and_wait
from airflow_provider_feast.jobs.submit import ended
from airflow_provider_feast.jobs.task_job import TaskJob
from airflow_provider_feast.model import naming
from airflow_provider_feast.model.errors import FeastError
from airflow_provider_feast.model.outcome import Outcome

BRIEF_SECONDS = 30.0
"""How long an API server that is away is waited for where a task is about to end."""


class Verdict(NamedTuple):
    """A Job that has ended, and what became of it."""

    job: dict[str, Any]
    outcome: Outcome


class EarlyEnd:
    """The Jobs of one try of a task, at its end.

    :param hook: the feature store.
    :param task: whose Jobs they are.
    :param ti: the task instance.
    :param log: the task's log.
    """

    def __init__(self, hook: FeastHook, task: TaskJob, ti: Any, log: Any) -> None:
        self._hook, self._task, self._ti, self._log = hook, task, ti, log

    @property
    def _cluster(self) -> ClusterApi:
        return self._hook.cluster.with_patience(BRIEF_SECONDS)

    def jobs(self, job: dict[str, Any] | None) -> list[dict[str, Any]]:
        """The Job of this try as it is now.

        :param job: as known, or ``None``: then also those count of which the create was not answered.
        """
        cluster = self._cluster
        if job is not None:
            there = cluster.read_job(job["metadata"]["name"])
            return [there] if there is not None and there["metadata"]["uid"] == job["metadata"]["uid"] else []
        jobs, tries = cluster.list_jobs(f"{naming.L_KEY}={self._task.key.digest}"), str(self._ti.try_number)
        return [one for one in jobs if (one["metadata"].get("annotations") or {}).get(naming.A_TRY) == tries]

    def live(self, job: dict[str, Any] | None) -> list[dict[str, Any]]:
        """Those of :meth:`jobs` that have not ended."""
        return [one for one in self.jobs(job) if not ended(one)]

    def delete_live(self, job: dict[str, Any] | None) -> None:
        """Delete the Job without waiting; one that has ended stays as a record."""
        for one in self.live(job):
            self._cluster.delete_job(one["metadata"]["name"], one["metadata"]["uid"])

    def time_is_up(self, job: dict[str, Any] | None) -> Verdict | None:
        """End the Job of a task that ran into its execution_timeout.

        :returns: the verdict of a Job that had ended by itself before that.
        """
        jobs = self.jobs(job)
        live = [one for one in jobs if not ended(one)]
        for one in live:
            self.end(one, "the task's execution_timeout")
        return Verdict(jobs[-1], self.diagnose(jobs[-1])) if jobs and not live else None

    def diagnose(self, job: dict[str, Any]) -> Outcome:
        """The verdict on a Job that has ended."""
        return self._hook.diagnose(job, BRIEF_SECONDS)

    def end(self, job: dict[str, Any], why: str) -> None:
        """End a Job: stop it where it is a record of chunks, else delete it.

        :raises FeastError: when it could not be ended.
        """
        end_and_wait(self._cluster, job, why)

    def give_up(self, job: dict[str, Any], error: FeastError) -> FeastError:
        """End a Job that nobody will look on at any more, because trying again cannot help.

        :param error: what ended the wait.
        :returns: the same, with what became of the Job.
        """
        try:
            live = self.live(job)
            for one in live:
                self.end(one, "its task could not wait for it any longer")
        except FeastError as failed:
            name, namespace = job["metadata"]["name"], self._hook.namespace
            return error.with_more(
                f"Its Job could not be ended and may still run ({failed.what}). "
                f"To end it: kubectl -n {namespace} delete job {name}"
            )
        return error.with_more("Its Job was ended." if live else "Its Job has ended, or is gone.")
