"""One run of one task: resolve, check, submit, wait, conclude (``docs/architecture.md``, "How one task runs")."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

from airflow_provider_feast.hooks.feast import FeastHook
from airflow_provider_feast.jobs.builder import build_final_job
from airflow_provider_feast.jobs.manifest import JobPlan
from airflow_provider_feast.jobs.submit import Wanted, condition, create_or_adopt, ensure_runner
from airflow_provider_feast.jobs.watch import WatchOptions
from airflow_provider_feast.model import naming
from airflow_provider_feast.model.command import FeastCommand
from airflow_provider_feast.model.errors import (
    FeastConfigurationError,
    FeastDagError,
    FeastTransientError,
    raise_told,
)
from airflow_provider_feast.model.outcome import JobState, Outcome
from airflow_provider_feast.model.settings import FeastSettings
from airflow_provider_feast.model.sources import ConfigMapConfiguration
from airflow_provider_feast.model.windows import Window

XCOM_SCHEMA = 1
"""Version of the result in XCom; ``docs/result.md`` describes it."""

DEFER_AFTER_SECONDS = 10.0
"""How long a worker watches before it defers: short commands never do, and a task that defers within seconds of its
start can be failed by the scheduler (it finds the executor done and the task still queued)."""

DEFERRED_LOG_SECONDS = 5.0
BACKSTOP_SECONDS = 900.0
"""``defer(timeout=)`` beyond the Job's own deadline and start-up: nothing but a backstop."""


class TaskRun:
    """What an operator does with one task instance.

    :param operator: a ``FeastCommandOperator`` whose fields are rendered.
    :param context: the task's context.
    """

    def __init__(self, operator: Any, context: Any) -> None:
        self._operator, self._context, self._ti = operator, context, context["ti"]
        self._log = operator.log
        self._hook = FeastHook(operator.feast_conn_id, **operator.overrides())
        self._job: dict[str, Any] | None = None
        self._command: FeastCommand | None = None
        self._window: Window | None = None

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

    def execute(self) -> dict[str, Any]:
        """Submit and wait, here or in the triggerer."""
        hook, operator = self._hook, self._operator
        hook.check_sources()
        self._command, self._window = operator.feast_command(self._context)
        submission = create_or_adopt(hook.cluster, self._wanted(), say=self._log.info)
        self._job = submission.job
        self._announce()
        options = WatchOptions(
            startup_seconds=self.settings.startup_timeout_seconds,
            log_seconds=1.0 if operator.log_interval is None else operator.log_interval,
        )
        patience = DEFER_AFTER_SECONDS if operator.deferrable else None
        positions: dict[str, list[Any]] = {}
        outcome = hook.watch(self._job, self._log.info, options, patience, positions)
        return self._defer(positions) if outcome is None else self._conclude(outcome)

    def resume(self, event: Any) -> dict[str, Any]:
        """Take the verdict that the trigger brought."""
        raise_told(event)
        if not isinstance(event.get("outcome"), dict):
            raise FeastTransientError(
                f"the triggerer sent no verdict: {event!r}", remedy="run the task again"
            )
        name = str(event["job"])
        self._job = self._hook.cluster.read_job(name) or {
            "metadata": {"name": name, "namespace": self._hook.namespace, "uid": ""}
        }
        self._command, self._window = self._operator.feast_command(self._context)
        return self._conclude(Outcome.from_dict(event["outcome"]))

    def kill(self) -> None:
        """Delete the Job; Airflow ends the task."""
        if self._job is not None and self._job["metadata"]["uid"]:
            self._log.info("The task is being ended; deleting Job %s.", self._job["metadata"]["name"])
            self._hook.delete(self._job)

    def confirm_project(self, project: str) -> None:
        """Compare a project's name with the configuration's.

        :raises FeastDagError: when they differ, or the configuration cannot be read from here.
        """
        if self._job is not None:  # a resumed task: it was compared before the Job was made
            return
        found = self._configured_project()
        if found != project:
            raise FeastDagError(
                f"confirm={project!r}, but the project in feature_store.yaml is {found!r}: nothing was torn down",
                remedy="check feast_conn_id=, then give confirm= the project that shall be deleted",
            )

    def _configured_project(self) -> str:
        text = self._hook.inline_configuration()
        source = self.settings.configuration
        if isinstance(source, ConfigMapConfiguration):
            text = (self._hook.cluster.read_config_map(source.name) or {}).get("data", {}).get(source.key)
        if not text:
            raise FeastConfigurationError(
                "the project cannot be confirmed: feature_store.yaml lies in the image, where Airflow cannot read it",
                remedy="give the configuration as a ConfigMap or inline",
            )
        try:
            return str((yaml.safe_load(text) or {}).get("project"))
        except (yaml.YAMLError, AttributeError) as error:
            raise FeastConfigurationError(
                f"feature_store.yaml is not YAML: {error}", remedy="correct it"
            ) from error

    def _wanted(self) -> Wanted:
        ti, operator, settings = self._ti, self._operator, self.settings
        key = naming.TaskKey(settings.deployment_id, ti.dag_id, ti.task_id, ti.run_id, ti.map_index or -1)
        if ti.map_index is not None:
            key = key._replace(map_index=ti.map_index)
        epoch = max(0, ti.max_tries - (operator.retries or 0))
        command, text = self._command, self._hook.inline_configuration()
        if command is None:  # pragma: no cover (execute sets it)
            raise FeastDagError("no command")
        runner = ensure_runner(self._hook.cluster)
        source = settings.configuration
        config_digest = naming.digest(text) if text else naming.digest(list(source)) if source else ""

        def build(name: str) -> dict[str, Any]:
            plan = JobPlan(
                name=name,
                key=key,
                epoch=epoch,
                try_number=ti.try_number,
                command=command,
                settings=settings,
                namespace=self._hook.namespace,
                runner=runner,
                config_digest=config_digest[:40],
                allow_empty=operator.allows_empty,
                window=str(self._window or ""),
            )
            return build_final_job(plan, self._hook.kubernetes, self._context)

        return Wanted(key, epoch, lambda n: naming.job_name(command.subcommand, key, epoch, n), build, text)

    def _announce(self) -> None:
        metadata = (self._job or {})["metadata"]
        namespace, name = self._hook.namespace, metadata["name"]
        self._ti.xcom_push(key="job_name", value=name)
        self._ti.xcom_push(key="job_namespace", value=namespace)
        command = " ".join(self._command.argv) if self._command else ""
        self._log.info("Job %s in namespace %s runs `feast %s`.", name, namespace, command)
        if self._window:
            self._log.info("Window: %s", self._window)
        self._log.info("To look at it: kubectl -n %s describe job %s", namespace, name)

    def _defer(self, positions: dict[str, list[Any]]) -> Any:
        from airflow_provider_feast.triggers.feast import FeastJobTrigger

        job, settings = self._job or {}, self.settings
        metadata, deadline = job["metadata"], job["spec"].get("activeDeadlineSeconds")
        interval = self._operator.log_interval
        options = WatchOptions(
            startup_seconds=settings.startup_timeout_seconds,
            log_seconds=DEFERRED_LOG_SECONDS if interval is None else interval,
        )
        backstop = settings.startup_timeout_seconds + BACKSTOP_SECONDS
        self._log.info("The Job runs on; this task waits for it in the triggerer.")
        return self._operator.defer(
            trigger=FeastJobTrigger(
                settings.kubernetes_conn_id,
                self._hook.namespace,
                metadata["name"],
                metadata["uid"],
                options._asdict(),
                positions,
            ),
            method_name="resume",
            timeout=None if deadline is None else timedelta(seconds=deadline + backstop),
        )

    def _conclude(self, outcome: Outcome) -> dict[str, Any]:
        name = (self._job or {})["metadata"]["name"]
        job = self._hook.cluster.read_job(name)
        succeeded = outcome.state is JobState.SUCCEEDED
        result = self._result(outcome, job or self._job or {})
        self._ti.xcom_push(key="result", value=result)
        if succeeded:
            if job is not None:
                self._keep(job, self.settings.ttl_seconds)
            self._log.info("Job %s succeeded.", name)
            return result
        problem = outcome.problem
        if job is not None and not (condition(job, "Failed") or condition(job, "Complete")):
            self._log.info("Deleting Job %s, which would never finish as it is.", name)
            self._hook.delete_and_wait(job)
        elif job is not None:
            self._keep(job, self.settings.ttl_on_failure_seconds)
        where = f"Job {name} in namespace {self._hook.namespace}" + (
            f", pod {outcome.pod}" if outcome.pod else ""
        )
        if problem is None:
            raise FeastTransientError(
                f"the Job ended as {outcome.state}", where=where, remedy="run the task again"
            )
        raise problem.error(where)

    def _keep(self, job: dict[str, Any], seconds: int) -> None:
        """Keep a finished Job this long, unless pod_options or job_overrides said how long."""
        ours = max(self.settings.ttl_seconds, self.settings.ttl_on_failure_seconds)
        if job["spec"].get("ttlSecondsAfterFinished") == ours != seconds:
            self._hook.cluster.patch_job(
                job["metadata"]["name"], {"spec": {"ttlSecondsAfterFinished": seconds}}
            )

    def _result(self, outcome: Outcome, job: dict[str, Any]) -> dict[str, Any]:
        status, settings, told = job.get("status") or {}, self.settings, outcome.result
        started = status.get("startTime") or (told.started if told else "")
        finished = status.get("completionTime") or (told.finished if told else "") or _now()
        return {
            "schema": XCOM_SCHEMA,
            "outcome": outcome.state.value,
            "kind": outcome.problem.kind if outcome.problem else "",
            "job": job["metadata"]["name"],
            "namespace": self._hook.namespace,
            "feature_store": settings.feature_store,
            "command": self._command.argv if self._command else [],
            "window": [self._window.start.isoformat(), self._window.end.isoformat()]
            if self._window
            else None,
            "started": started,
            "finished": finished,
            "duration_seconds": _seconds(started, finished),
            "image": settings.image,
            "feast_version": told.feast if told else "",
            "security_profile": settings.security_profile,
            "views": {view: totals._asdict() for view, totals in told.views.items()} if told else {},
            "views_omitted": told.views_omitted if told else 0,
        }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _seconds(started: str, finished: str) -> float | None:
    try:
        span = datetime.fromisoformat(finished) - datetime.fromisoformat(started)
    except (ValueError, TypeError):
        return None
    return round(max(0.0, span.total_seconds()), 3)
