"""Sensors that wait for Feast Jobs which this DAG did not start."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseSensorOperator, conf

from airflow_provider_feast.model.errors import FeastDagError, FeastTransientError
from airflow_provider_feast.model.events import raise_told
from airflow_provider_feast.model.literals import literal
from airflow_provider_feast.model.sources import check_object_name
from airflow_provider_feast.model.windows import parse_instant

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_feast.hooks.feast import FeastHook
    from airflow_provider_feast.model.outcome import Outcome


class FeastJobSensor(BaseSensorOperator):
    """Wait until a Job has succeeded: one by its name, or the newest that carries labels.

    The Job may be another DAG's, the Feast operator's CronJob's or anybody's. A Job that does not exist yet is waited
    for; one that failed fails the sensor with the cause, and a deferred sensor fails when the Job that it waits for is
    deleted.

    :param job_name: the Job's name.
    :param labels: labels of the Job, e.g. ``{"app.kubernetes.io/component": "materialize"}``; the newest counts.
    :param created_after: with ``labels``: only Jobs created at or after this time count (aware datetime or ISO 8601
        text with a time zone). Without it a Job of yesterday satisfies the sensor.
    :param feast_conn_id: the `feast` connection, for the cluster and the namespace.
    :param namespace: where to look, instead of the connection's.
    :param deferrable: wait in the triggerer, with a watch; else ``mode`` and ``poke_interval`` apply.
    :raises FeastDagError: when not exactly one of ``job_name`` and ``labels`` is given.
    """

    template_fields: Sequence[str] = ("job_name", "labels", "created_after", "feast_conn_id", "namespace")

    def __init__(
        self,
        *,
        job_name: str | None = None,
        labels: dict[str, str] | None = None,
        created_after: datetime | str | None = None,
        feast_conn_id: str = "feast_default",
        namespace: str | None = None,
        deferrable: bool | None = None,
        mode: str = "reschedule",
        poke_interval: float = 30.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(mode=mode, poke_interval=poke_interval, **kwargs)
        self.job_name = job_name
        self.labels = labels
        self.created_after = created_after
        self.feast_conn_id = feast_conn_id
        self.namespace = namespace
        self.deferrable = (
            conf.getboolean("operators", "default_deferrable", fallback=False)
            if deferrable is None
            else deferrable
        )
        self._check_target()
        if created_after and literal(created_after):
            parse_instant(created_after, "created_after")

    def _check_target(self) -> None:
        """What names the Job; a template that gave nothing would otherwise match any Job, or none for ever."""
        if bool(self.job_name) == bool(self.labels):
            raise FeastDagError(
                f"FeastJobSensor needs to know which Job to wait for (job_name={self.job_name!r}, "
                f"labels={self.labels!r})",
                where=f"task {self.task_id!r}",
                remedy="give either job_name= or labels=",
            )
        if self.job_name and literal(self.job_name):
            check_object_name(self.job_name, "job_name")

    def execute(self, context: Context) -> Any:
        """Wait in the triggerer, or poke."""
        self._check_target()
        if not self.deferrable:
            return super().execute(context)
        if self.poke(context):
            return None
        from airflow_provider_feast.triggers.feast import FeastForeignJobTrigger

        hook = self._hook()
        trigger = FeastForeignJobTrigger(
            kubernetes_conn_id=hook.settings.kubernetes_conn_id,
            namespace=hook.namespace,
            name=self.job_name or "",
            labels=self.labels,
            created_after=self._oldest(),
        )
        return self.defer(
            trigger=trigger, method_name="resume", timeout=timedelta(seconds=float(self.timeout))
        )

    def poke(self, context: Context) -> bool:
        """Look once.

        :raises FeastError: when the Job failed, with the cause.
        """
        hook = self._hook()
        job = hook.newest_job(self.job_name, self.labels or {})
        what = self.job_name or f"with the labels {self.labels}"
        if job is None or str(job["metadata"]["creationTimestamp"]) < self._oldest():
            self.log.info("No Job %s in namespace %s yet.", what, hook.namespace)
            return False
        outcome = hook.diagnose(job)
        self.log.info("Job %s is %s.", job["metadata"]["name"], outcome.state.value)
        if outcome.problem is not None and not outcome.final:
            self.log.info("%s", outcome.problem.cause)
        return self._done(outcome, hook, job["metadata"]["name"])

    def resume(self, context: Context, event: dict[str, Any]) -> None:
        """Read the verdict on the Job whose end the triggerer saw."""
        raise_told(event)
        hook, name = self._hook(), str(event["job"])
        job = hook.newest_job(name, {})
        if job is None or job["metadata"]["uid"] != event.get("uid", job["metadata"]["uid"]):
            raise FeastTransientError(
                f"Job {name} ended and was deleted before its outcome could be read",
                remedy="raise ttlSecondsAfterFinished of such Jobs, then run the sensor again",
            )
        if not self._done(hook.diagnose(job), hook, name):
            raise FeastTransientError(
                f"Job {name} has not ended, although the triggerer said so",
                where=f"namespace {hook.namespace!r}",
                remedy="run the sensor again; look at the Job if it happens again",
            )

    def _done(self, outcome: Outcome, hook: FeastHook, name: str) -> bool:
        if outcome.final and outcome.problem is not None:
            raise outcome.problem.error(f"Job {name} in namespace {hook.namespace}")
        return outcome.final

    def _oldest(self) -> str:
        if not self.created_after:
            return ""
        instant = parse_instant(self.created_after, "created_after")
        return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def _hook(self) -> FeastHook:
        from airflow_provider_feast.hooks.feast import FeastHook

        return FeastHook(self.feast_conn_id, namespace=self.namespace)
