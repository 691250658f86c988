"""One run of one task: resolve, check, submit, wait, conclude (``docs/architecture.md``, "How one task runs")."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, NoReturn

from airflow.providers.common.compat.sdk import AirflowTaskTimeout

from airflow_provider_feast.hooks.feast import FeastHook
from airflow_provider_feast.jobs.chunks import ChunkedLoad
from airflow_provider_feast.jobs.conclusion import Conclusion
from airflow_provider_feast.jobs.configured import confirm_project
from airflow_provider_feast.jobs.deferral import (
    WAITS_AGAIN,
    Deferral,
    Failure,
    failure_of,
    is_timeout,
    stayed_too_long,
    too_many,
)
from airflow_provider_feast.jobs.early_end import EarlyEnd
from airflow_provider_feast.jobs.inspection import Subject, inspect
from airflow_provider_feast.jobs.killing import HandOver, Killing, reschedule, task_state
from airflow_provider_feast.jobs.log_positions import Positions
from airflow_provider_feast.jobs.logs import say_to
from airflow_provider_feast.jobs.plan_jobs import PlanJobs
from airflow_provider_feast.jobs.submit import Wanted, create_or_adopt, ended
from airflow_provider_feast.jobs.task_job import TaskJob
from airflow_provider_feast.jobs.watch import WatchOptions, execution_timeout_reached
from airflow_provider_feast.jobs.work import Work
from airflow_provider_feast.model.command import FeastCommand
from airflow_provider_feast.model.errors import (
    FeastDagError,
    FeastError,
    FeastTransientError,
    JobDeletedError,
    RegistryLockedError,
)
from airflow_provider_feast.model.events import raise_told
from airflow_provider_feast.model.lock import LockRequest
from airflow_provider_feast.model.naming import L_KEY
from airflow_provider_feast.model.outcome import Outcome
from airflow_provider_feast.model.preflight import Report
from airflow_provider_feast.model.settings import FeastSettings
from airflow_provider_feast.model.windows import Window

DEFERRED_LOG_SECONDS = 5.0


class TaskRun:
    """What an operator does with one task instance.

    :param operator: a ``FeastCommandOperator`` whose fields are rendered.
    :param context: the task's context.
    """

    def __init__(self, operator: Work, context: Any) -> None:
        self._operator, self._context, self._ti = operator, context, context["ti"]
        self._log = operator.log
        self._hook = FeastHook(operator.feast_conn_id, **operator.overrides())
        self._task = TaskJob(operator, context, self._hook)
        self._began = time.time()
        self._end = EarlyEnd(self._hook, self._task, self._ti, self._log)
        self._job: dict[str, Any] | None = None
        self._outcome: Outcome | None = None
        self._command: FeastCommand | None = None
        self._window: Window | None = None
        self._waiting = self._leaving = self._killed = False

    @property
    def settings(self) -> FeastSettings:
        """The connection with the operator's overrides; a deadline of Airflow's shortens the Job's own."""
        return self._task.settings

    # --- submit and wait ------------------------------------------------------------------------

    def execute(self) -> dict[str, Any]:
        """Submit and wait, here or in the triggerer."""
        return self._in_time(self._execute)

    def _execute(self) -> dict[str, Any]:
        self._hook.check_settings()
        self._command, self._window = self._operator.feast_command(self._context)
        jobs = self._task.plan_jobs(self._window)
        load = jobs.left(self._wanted) if jobs else None
        if jobs and load and not load.chunks:
            return self._nothing_left(jobs)
        submission = create_or_adopt(self._hook.cluster, self._wanted(load), say=self._log.info)
        self._job = submission.job
        if self._killed:  # while the Job was being made
            self._end.delete_live(self._job)
        self._announce()
        return self._wait()

    def inspect(self, feature_store: str) -> Report:
        """The full preflight, of the very Job that :meth:`execute` would create.

        :param feature_store: the name of a ``FeatureStore`` resource to look at, or "".
        """

        def build() -> dict[str, Any]:
            self._command, self._window = self._operator.feast_command(self._context)
            wanted = self._wanted(None)
            return wanted.build(wanted.name_of(0))

        return inspect(Subject(self._hook, build, feature_store))

    @property
    def defer_after(self) -> float:
        """Seconds that the worker watches before it defers."""
        return float(self.settings.defer_after_seconds)

    def _wait(self, *, may_defer: bool = True) -> dict[str, Any]:
        positions: Positions = {}
        seconds = 1.0 if self._operator.log_interval is None else self._operator.log_interval
        patience = self.defer_after if self._operator.deferrable and may_defer else None
        try:
            self._waiting = True
            self._leave_if_asked()
            outcome = self._hook.watch(
                self._job or {}, say_to(self._log), self._options(seconds), patience, positions, self._lock()
            )
        except HandOver:
            self._log.info("This worker is going away. The Job runs on, and the next worker takes it over.")
            raise reschedule() from None
        except FeastError as error:
            self._give_up(error)
        finally:
            self._waiting = False
        return self._defer(positions) if outcome is None else self._conclude(outcome)

    def _options(self, log_seconds: float) -> WatchOptions:
        settings = self.settings
        return WatchOptions(
            startup_seconds=settings.startup_timeout_seconds,
            log_seconds=log_seconds,
            outage_seconds=settings.api_outage_tolerance_seconds,
            lock_seconds=settings.lock_timeout_seconds,
        )

    def resume(self, event: Any) -> dict[str, Any]:
        """Take the verdict that the trigger brought."""
        return self._in_time(lambda: self._resume(event))

    def _resume(self, event: Any) -> dict[str, Any]:
        if isinstance(event, dict) and "job" in event:
            name, uid = str(event["job"]), str(event.get("uid", ""))
            self._job = {
                "metadata": {"name": name, "namespace": self._hook.namespace, "uid": uid},
                "spec": {},
            }
        if failure := failure_of(event):
            return self._wait_again(failure)
        try:
            raise_told(event)
        except FeastError as error:
            self._give_up(error)
        if not isinstance(event.get("outcome"), dict):
            raise FeastTransientError(
                f"the triggerer sent no verdict: {event!r}", remedy="run the task again"
            )
        self._outcome = Outcome.from_dict(event["outcome"])
        self._command, self._window = self._operator.feast_command(self._context)
        self._repeat_log(event.get("positions"))
        return self._conclude(self._outcome)

    def _wait_again(self, failure: Failure) -> dict[str, Any]:
        """Go on after a trigger that failed, which is no verdict on the Job."""
        told = "The triggerer failed (%s of at most %s times) while this task waited in it:\n%s"
        self._log.warning(told, failure.number, WAITS_AGAIN + 1, failure.trace)
        there = self._end.jobs(self._job)
        self._job = there[0] if there else self._job
        if there and ended(there[0]):
            self._command, self._window = self._operator.feast_command(self._context)
            self._repeat_log(failure.positions)
            return self._conclude(self._end.diagnose(there[0]))
        if failure.number > WAITS_AGAIN:
            raise too_many(failure, self._where, lives=bool(there))
        self._log.info("The Job runs on; this task waits for it in the triggerer once more.")
        waiting: dict[str, Any] = self._deferral.wait(there[0] if there else None, failure.arguments)
        return waiting

    def trigger_failed(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """Go on where Airflow itself gave the trigger up: it could not be run, or did not end in time.

        :param told: what Airflow resumes such a task with: ``error`` and ``traceback``.
        """
        return self._in_time(lambda: self._without_trigger(told))

    def _without_trigger(self, told: Mapping[str, Any]) -> dict[str, Any]:
        trace = "".join(told.get("traceback") or ())
        self._log.warning("Airflow gave up this task's trigger: %s\n%s", told.get("error"), trace)
        self._job = self._hook.newest_job(None, {L_KEY: self._task.key.digest})
        if self._job is None:
            raise JobDeletedError("the Job of this task is gone", remedy="run the task again")
        self._command, self._window = self._operator.feast_command(self._context)
        if is_timeout(told) and not ended(self._job):
            self._end.end(self._job, "the limit of its task's wait in the triggerer")
            raise stayed_too_long().error(self._where)
        self._log.info("This worker waits for the Job itself.")
        return self._wait(may_defer=False)

    def _repeat_log(self, positions: Positions | None) -> None:
        """Say once more what the trigger said last: a triggerer that stalls loses it; what is there twice shows once."""
        if positions is None or not (self._job or {})["metadata"]["uid"]:
            return
        try:
            self._hook.read_logs(self._job or {}, say_to(self._log), positions)
        except FeastError as error:
            self._log.warning("The last lines of the log could not be read again: %s", error)

    def _conclude(self, outcome: Outcome) -> dict[str, Any]:
        self._outcome = outcome
        limit = self._operator.execution_timeout
        if limit is not None and limit.total_seconds() < self._hook.settings.deadline_seconds:
            outcome = outcome.at_limit("the task's execution_timeout")
        conclusion = Conclusion(self._hook, self.settings, self._log, self._job or {})
        result = conclusion.result(outcome, self._command, self._window)
        self._ti.xcom_push(key="result", value=result)
        conclusion.settle(outcome)
        return result

    # --- the end before the end -----------------------------------------------------------------

    def kill(self) -> None:
        """Airflow ends this process: delete the Job if the task has no more use for it, see ``jobs/killing.py``."""
        killing = Killing(lambda: task_state(self._ti), lambda: self._end.delete_live(self._job))
        if killing.run():
            self._killed = True
            self._log.info("The task was ended; its Job is deleted.")
        elif killing.problem is None:
            self._leaving = True
        if killing.problem is not None:
            self._log.warning("The Job is kept: %s", killing.problem)
        self._leave_if_asked()

    def _leave_if_asked(self) -> None:
        if self._leaving and self._waiting:
            raise HandOver

    def _in_time(self, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Do something within the task's execution_timeout; a verdict that is there by then stands."""
        try:
            return work()
        except AirflowTaskTimeout as error:
            if self._outcome is None and (found := self._end.time_is_up(self._job)):
                self._job, self._outcome = found
            if self._outcome is None:
                raise self._timed_out() from error
        self._log.info(
            "The task's execution_timeout was reached after its Job had ended: the Job's verdict counts."
        )
        return self._conclude(self._outcome)

    def _timed_out(self) -> FeastError:
        """What a task raises that ran into its execution_timeout; its Job is ended by then."""
        seconds = (self._operator.execution_timeout or timedelta()).total_seconds()
        return execution_timeout_reached(seconds).error(self._where if self._job else "")

    @property
    def _where(self) -> str:
        return f"Job {(self._job or {})['metadata']['name']} in namespace {self._hook.namespace}"

    def _give_up(self, error: FeastError) -> NoReturn:
        """Raise what ended a wait; a Job that no further try will take over is ended first."""
        if self._job is None or not self._job["metadata"]["uid"]:
            raise error
        if isinstance(error, RegistryLockedError):  # it has not run
            self._hook.delete(self._job)
        if error.retryable:
            raise error
        raise self._end.give_up(self._job, error) from error

    # --- the Job --------------------------------------------------------------------------------

    def _wanted(self, load: ChunkedLoad | None) -> Wanted:
        if self._command is None:  # pragma: no cover (execute sets it)
            raise FeastDagError("no command")
        return self._task.wanted(self._command, self._window, load)

    def _lock(self) -> LockRequest | None:
        return self._task.lock(self._command)

    def _nothing_left(self, jobs: PlanJobs) -> dict[str, Any]:
        """A Job may fail (at its deadline) when all of its chunks are done."""
        self._job = jobs.latest
        self._log.info("Nothing is left to load.")
        self._announce()
        return self._conclude(jobs.outcome)

    def _announce(self) -> None:
        metadata = (self._job or {})["metadata"]
        namespace, name = self._hook.namespace, metadata["name"]
        self._ti.xcom_push(key="job_name", value=name)
        self._ti.xcom_push(key="job_namespace", value=namespace)
        command = self._command.line if self._command else ""
        self._log.info("Job %s in namespace %s runs `%s`.", name, namespace, command)
        if self._window:
            self._log.info("Window: %s", self._window)
        self._log.info("To look at it: kubectl -n %s describe job %s", namespace, name)

    def _defer(self, positions: Positions) -> Any:
        interval = self._operator.log_interval
        options = self._options(DEFERRED_LOG_SECONDS if interval is None else interval)
        self._log.info("The Job runs on; this task waits for it in the triggerer.")
        return self._deferral.begin(self._job or {}, options, positions, self._lock())

    @property
    def _deferral(self) -> Deferral:
        return Deferral(self._operator, self.settings, self._began)

    def confirm_project(self, project: str) -> None:
        """Compare a project's name with the configuration's.

        :raises FeastDagError: when they differ, or the configuration cannot be read from here.
        """
        if self._job is None:  # else it was compared before the Job was made
            confirm_project(self._hook, project)
