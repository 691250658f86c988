"""The Job that one task instance wants: whose it is, the lock it needs, what it loads, and its manifest."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow_provider_feast.hooks.feast import FeastHook
from airflow_provider_feast.jobs.builder import build_final_job
from airflow_provider_feast.jobs.chunks import ChunkedLoad
from airflow_provider_feast.jobs.invocation import left_undone
from airflow_provider_feast.jobs.manifest import JobPlan
from airflow_provider_feast.jobs.plan_jobs import PlanJobs
from airflow_provider_feast.jobs.preflight import look_first
from airflow_provider_feast.jobs.sources import say_warnings
from airflow_provider_feast.jobs.submit import Wanted, runner_config_map_name
from airflow_provider_feast.jobs.work import Work
from airflow_provider_feast.model import naming
from airflow_provider_feast.model.command import FeastCommand
from airflow_provider_feast.model.lock import LockRequest, lock_of
from airflow_provider_feast.model.settings import FeastSettings
from airflow_provider_feast.model.windows import Window


class TaskJob:
    """What a task instance and its operator make of a Job.

    :param operator: a ``FeastCommandOperator`` whose fields are rendered.
    :param context: the task's context.
    :param hook: the feature store, with the operator's overrides.
    """

    def __init__(self, operator: Work, context: Any, hook: FeastHook) -> None:
        self._operator, self._context, self._hook = operator, context, hook
        self._ti, self._log = context["ti"], operator.log
        self._warned = False

    @property
    def settings(self) -> FeastSettings:
        """The connection with the operator's overrides; a deadline of Airflow's shortens the Job's own."""
        settings = self._hook.settings
        limit: timedelta | None = self._operator.execution_timeout
        if limit is None:
            return settings
        return settings._replace(
            deadline_seconds=min(settings.deadline_seconds, max(1, int(limit.total_seconds())))
        )

    @property
    def key(self) -> naming.TaskKey:
        """What the Job is found by."""
        ti = self._ti
        index = -1 if ti.map_index is None else ti.map_index
        return naming.TaskKey(self.settings.deployment_id, ti.dag_id, ti.task_id, ti.run_id, index)

    @property
    def epoch(self) -> str:
        """What moves when a person clears the task, and not on a retry."""
        cleared = max(0, self._ti.max_tries - (self._operator.retries or 0))
        run = self._context.get("dag_run")
        return naming.epoch_of(cleared, getattr(run, "start_date", None))

    def lock(self, command: FeastCommand | None) -> LockRequest | None:
        """The lock that a command needs; one that is not known yet counts as a writer of everything."""
        return lock_of(self.settings, self._hook.namespace, command or FeastCommand("apply"))

    def plan_jobs(self, window: Window | None) -> PlanJobs | None:
        """The Jobs of this task's plan, if the runner loads by one."""
        plan = self._operator.load_plan(window, self.settings.command_mode, self._context)
        if plan is None:
            return None
        return PlanJobs(self._hook.cluster, plan, self.key, self.epoch, self._log.info)

    def wanted(self, command: FeastCommand, window: Window | None, load: ChunkedLoad | None) -> Wanted:
        """What :func:`~airflow_provider_feast.jobs.submit.create_or_adopt` makes sure of.

        :param load: what of a plan this Job is for; ``None`` runs the command itself.
        :raises FeastError: when the configuration cannot be found, or is wrong.
        """
        key, epoch, lock = self.key, self.epoch, self.lock(command)
        resolved = self._hook.resolved
        settings = resolved.settings._replace(deadline_seconds=self.settings.deadline_seconds)
        older, deletions = self._operator.online_policy, self._operator.deletions_allowed
        gaps = self._operator.gap_policy
        if not self._warned:
            undone = left_undone(command, settings, older, deletions, gaps)
            say_warnings([*resolved.warnings, *undone], self._log)
            self._warned = True

        def build(name: str) -> dict[str, Any]:
            plan = JobPlan(
                name=name,
                key=key,
                epoch=epoch,
                try_number=self._ti.try_number,
                command=command,
                settings=settings,
                namespace=self._hook.namespace,
                runner=runner_config_map_name(),
                config_digest=resolved.digest,
                allow_empty=self._operator.allows_empty,
                window=str(window or ""),
                lock=lock,
                older_windows=older,
                load=load,
                allow_deletions=deletions,
                gaps=gaps,
            )
            return build_final_job(plan, self._hook.kubernetes, self._context)

        def name_of(count: int) -> str:
            return naming.job_name(command.subcommand, key, epoch, count)

        def prepare() -> None:
            if self._operator.preflight:
                look_first(self._hook, lock, self._log)

        plan_digest = load.plan.digest if load else ""
        return Wanted(key, epoch, name_of, build, resolved.files, prepare, plan_digest)
