"""What follows from a verdict: the result in XCom, how long the Job is kept, the error."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow_provider_feast.hooks.feast import FeastHook
from airflow_provider_feast.jobs.early_end import BRIEF_SECONDS
from airflow_provider_feast.jobs.manifest import CONTAINER
from airflow_provider_feast.jobs.stopping import end_and_wait, is_record
from airflow_provider_feast.jobs.submit import ended
from airflow_provider_feast.model.command import FeastCommand
from airflow_provider_feast.model.errors import FeastError, FeastTransientError
from airflow_provider_feast.model.indexes import format_indexes
from airflow_provider_feast.model.outcome import JobState, Outcome
from airflow_provider_feast.model.settings import FeastSettings
from airflow_provider_feast.model.totals import Totals
from airflow_provider_feast.model.windows import Window

XCOM_SCHEMA = 1
"""Version of the result in XCom; ``docs/result.md`` describes it."""


class Conclusion:
    """The end of one wait.

    The verdict stands, whatever the cluster says from now on: a request that fails here is told in the log and changes
    nothing of it.

    :param hook: the feature store.
    :param settings: its settings for this task.
    :param log: the task's log.
    :param job: the Job as last seen.
    """

    def __init__(self, hook: FeastHook, settings: FeastSettings, log: Any, job: dict[str, Any]) -> None:
        self._hook, self._settings, self._log, self._last = hook, settings, log, job
        self._cluster = hook.cluster.with_patience(BRIEF_SECONDS)
        self._name = job["metadata"]["name"]
        self._job = self._read()

    def _read(self) -> dict[str, Any] | None:
        try:
            job = self._cluster.read_job(self._name)
        except FeastError as error:
            self._log.warning("Job %s could not be read again: %s", self._name, error)
            return None
        uid = self._last["metadata"]["uid"]
        return job if job is not None and (not uid or job["metadata"]["uid"] == uid) else None

    def settle(self, outcome: Outcome) -> None:
        """Keep a finished Job for as long as the connection says, delete one that would never finish.

        :raises FeastError: the problem of a Job that did not succeed.
        """
        job = self._job
        if job is not None and not ended(job):
            self._delete(job)
        elif job is not None:
            settings = self._settings
            succeeded = outcome.state is JobState.SUCCEEDED
            self._keep(job, settings.ttl_seconds if succeeded else settings.ttl_on_failure_seconds)
        if outcome.state is JobState.SUCCEEDED:
            self._log.info("Job %s succeeded.", self._name)
            return
        pod = f", pod {outcome.pod}" if outcome.pod else ""
        where = f"Job {self._name} in namespace {self._hook.namespace}{pod}"
        if outcome.problem is None:
            what = f"the Job ended as {outcome.state}"
            raise FeastTransientError(what, where=where, remedy="run the task again")
        raise outcome.problem.error(where)

    def _delete(self, job: dict[str, Any]) -> None:
        try:
            if is_record(job):
                self._log.info("Stopping Job %s; what it has done counts for the next one.", self._name)
            else:
                self._log.info("Deleting Job %s, which would never finish as it is.", self._name)
            end_and_wait(self._cluster, job, "it would never finish as it is")
        except FeastError as error:
            self._log.error("Job %s could not be ended: %s", self._name, error)

    def _keep(self, job: dict[str, Any], seconds: int) -> None:
        """Keep a finished Job this long, unless pod_options or job_overrides said how long."""
        ours = max(self._settings.ttl_seconds, self._settings.ttl_on_failure_seconds)
        if not job["spec"].get("ttlSecondsAfterFinished") == ours != seconds:
            return
        try:
            change = {
                "metadata": {"uid": job["metadata"]["uid"]},
                "spec": {"ttlSecondsAfterFinished": seconds},
            }
            self._cluster.patch_job(self._name, change)
        except FeastError as error:
            self._log.warning("Job %s keeps its time to live of %s s: %s", self._name, ours, error)

    def result(self, outcome: Outcome, command: FeastCommand | None, window: Window | None) -> dict[str, Any]:
        """The JSON object that the task leaves in XCom."""
        status, settings, told = (self._job or {}).get("status") or {}, self._settings, outcome.result
        started = status.get("startTime") or (told.started if told else "")
        finished = status.get("completionTime") or (told.finished if told else "") or _now()
        return {
            "schema": XCOM_SCHEMA,
            "outcome": outcome.state.value,
            "kind": outcome.problem.kind if outcome.problem else "",
            "job": self._name,
            "namespace": self._hook.namespace,
            "feature_store": settings.feature_store,
            "command": command.argv if command else [],
            "window": [window.start.isoformat(), window.end.isoformat()] if window else None,
            "started": started,
            "finished": finished,
            "duration_seconds": _seconds(started, finished),
            "image": self._image() or settings.image,
            "feast_version": told.feast if told else "",
            "commit": told.commit if told else "",
            "security_profile": settings.security_profile,
            "kubernetes_api_access": settings.kubernetes_api_access,
            **self._views(outcome),
            "gaps": {view: [list(gap) for gap in found] for view, found in told.gaps.items()} if told else {},
            "gaps_omitted": told.gaps_omitted if told else 0,
            "ahead": dict(told.ahead) if told else {},
            "changes": told.changes if told else None,
        }

    def _views(self, outcome: Outcome) -> dict[str, Any]:
        """What was written; for a plan of chunks by all of its pods, the one that failed included."""
        told, progress = outcome.result, outcome.progress
        if progress is None:
            totals, chunks = Totals().with_part(told) if told else Totals(), None
        else:
            failed = told if outcome.state is JobState.FAILED else None
            part = failed if failed and failed.chunk not in progress.done else None
            totals = progress.totals.with_part(part) if part else progress.totals
            unknown = format_indexes(progress.unknown)
            chunks = {"total": progress.chunks, "done": len(progress.done), "unknown": unknown}
            if unknown:
                what = "Chunks %s of the plan are done, but their pods were gone before what they wrote was read: "
                self._log.warning(what + "the result's views are without them.", unknown)
        views = {view: count._asdict() for view, count in totals.views.items()}
        return {"views": views, "views_omitted": totals.views_omitted, "chunks": chunks}

    def _image(self) -> str:
        """What the Job's main container runs; a FeatureStore may have named it."""
        spec = (self._job or self._last).get("spec") or {}
        containers = ((spec.get("template") or {}).get("spec") or {}).get("containers") or ()
        return next((str(c.get("image") or "") for c in containers if c.get("name") == CONTAINER), "")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _seconds(started: str, finished: str) -> float | None:
    try:
        span = datetime.fromisoformat(finished) - datetime.fromisoformat(started)
    except (ValueError, TypeError):
        return None
    return round(max(0.0, span.total_seconds()), 3)
