"""The Jobs that a task has made for a plan, one after the other: what they have done, and what the next one is for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow_provider_feast.jobs.api import ClusterApi
from airflow_provider_feast.jobs.chunks import ChunkedLoad, latest_of_plan, what_is_left
from airflow_provider_feast.jobs.plan_progress import plan_progress
from airflow_provider_feast.jobs.pod_view import pods_of
from airflow_provider_feast.jobs.stopping import is_record, stop_and_wait
from airflow_provider_feast.jobs.submit import Wanted
from airflow_provider_feast.model.naming import A_MANIFEST_DIGEST, L_KEY, TaskKey
from airflow_provider_feast.model.outcome import JobState, Outcome
from airflow_provider_feast.model.plan import AnyPlan


class PlanJobs:
    """A plan of a task, and the newest Job that did a part of it.

    :param plan: what is loaded; where it has one chunk, no earlier Job counts.
    :param epoch: the task's epoch: what was cleared does not count.
    :param say: takes a line for the task's log.
    """

    def __init__(
        self, cluster: ClusterApi, plan: AnyPlan, key: TaskKey, epoch: str, say: Callable[[str], None]
    ) -> None:
        self._cluster, self._plan, self._key, self._epoch, self._say = cluster, plan, key, epoch, say
        self.latest: dict[str, Any] | None = None
        self._pods: list[dict[str, Any]] = []

    def left(self, wanted: Callable[[ChunkedLoad], Wanted]) -> ChunkedLoad:
        """What is left to load; no chunks, when nothing is.

        A Job that goes on, but would do the rest otherwise than the task wants now (its image, say), is stopped: what
        it has done counts.

        :param wanted: the Job that the task wants, by what it shall load.
        :raises FeastError: when the cluster refuses.
        """
        load = self._look()
        if self.latest is not None and is_record(self.latest) and not _same(self.latest, wanted(load)):
            name = self.latest["metadata"]["name"]
            self._say(f"Stopping Job {name}: the task wants it otherwise now. What it has done counts.")
            stop_and_wait(self._cluster, self.latest, "a later Job of the plan does the rest otherwise")
            load = self._look()
        return load

    def _look(self) -> ChunkedLoad:
        count = self._plan.chunk_count
        if count == 1:
            return ChunkedLoad(self._plan, (0,))
        jobs = self._cluster.list_jobs(f"{L_KEY}={self._key.digest}")
        self.latest = latest_of_plan(jobs, self._epoch, self._plan.digest)
        self._pods = self._cluster.list_pods(self.latest["metadata"]["uid"]) if self.latest else []
        load = what_is_left(self._plan, self.latest, self._pods)
        done = count - len(load.chunks)
        self._say(f"The window is loaded in {count} chunks{f'; {done} are done already' if done else ''}.")
        return load

    @property
    def outcome(self) -> Outcome:
        """The verdict when nothing is left: the newest Job may have failed (at its deadline) all the same."""
        progress = plan_progress(self.latest, pods_of(self.latest, self._pods)) if self.latest else None
        return Outcome(JobState.SUCCEEDED, progress=progress)


def _same(job: dict[str, Any], wanted: Wanted) -> bool:
    """Whether a Job is what would be made in its place now."""
    annotations = job["metadata"].get("annotations") or {}
    built = wanted.build(job["metadata"]["name"])["metadata"]["annotations"]
    return bool(annotations.get(A_MANIFEST_DIGEST) == built[A_MANIFEST_DIGEST])
