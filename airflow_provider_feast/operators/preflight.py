"""The operator that looks whether a feature store's Jobs can work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_feast.model.command import FeastCommand
from airflow_provider_feast.model.errors import FeastDagError
from airflow_provider_feast.model.literals import literal
from airflow_provider_feast.model.preflight import Finding, Report, Status, passed, report_of
from airflow_provider_feast.model.sources import check_object_name
from airflow_provider_feast.operators.feast import FeastCommandOperator

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_feast.model.windows import Window

DEEP = ("version", "configuration")


class FeastPreflightOperator(FeastCommandOperator):
    """Look at everything that Jobs of a feature store need, and fail with what is missing; see ``docs/preflight.md``.

    Parameters as for :class:`~airflow_provider_feast.operators.feast.FeastCommandOperator`: give it those of the tasks
    that follow. The report is the task's return value, and also in the XCom ``report`` when it fails.

    :param deep: also run this command in a Job: ``version`` (does the image start, has it Feast?) or ``configuration``
        (does Feast read its feature_store.yaml? It prints it into the pod's log).
    :param feature_store_resource: name of a ``FeatureStore`` of the Feast operator that must be Ready.
    :raises FeastDagError: at parse for values that cannot work.
    """

    template_fields: Sequence[str] = (*FeastCommandOperator.template_fields, "feature_store_resource")

    def __init__(
        self, *, deep: str | None = None, feature_store_resource: str | None = None, **kwargs: Any
    ) -> None:
        for name in ("command", "deferrable"):
            if kwargs.get(name):
                raise FeastDagError(
                    f"{name} cannot be given to a preflight", remedy="leave it out; it waits in the worker"
                )
        self.deep = deep
        self.feature_store_resource = feature_store_resource
        super().__init__(**{**kwargs, "deferrable": False, "preflight": False})

    def _check_literals(self) -> None:
        super()._check_literals()
        if self.deep is not None and self.deep not in DEEP:
            raise FeastDagError(f"deep={self.deep!r} is unknown", remedy=f"choose one of {', '.join(DEEP)}")
        if self.feature_store_resource and literal(self.feature_store_resource):
            check_object_name(self.feature_store_resource, "feature_store_resource")

    def feast_command(self, context: Context) -> tuple[FeastCommand, Window | None]:
        """What the very Job runs."""
        return FeastCommand(self.deep or "version"), None

    def execute(self, context: Context) -> dict[str, Any]:
        """Inspect, then run the deep check.

        :raises FeastError: for everything that fails; of the class of the most basic one.
        """
        self._run = self._task_run(context)
        report: Report = self._run.inspect(self.feature_store_resource or "")
        self._tell(report)
        context["ti"].xcom_push(key="report", value=report.to_dict())
        if problem := report.error():
            raise problem
        if self.deep:
            report = report_of([*report.findings, self._look_deep(self.deep)])
        return report.to_dict()

    def _look_deep(self, command: str) -> Finding:
        from airflow_provider_feast.jobs.inspection import deep_refused

        if refused := deep_refused(self._run.settings, command):
            self.log.info("%s: %s. What to do: %s.", refused.check, refused.what, refused.remedy)
            return refused
        result = self._run.execute()
        return passed("deep check", f"`feast {command}` ran with Feast {result['feast_version']}")

    def _tell(self, report: Report) -> None:
        for finding in report.findings:
            tell = self.log.warning if finding.status in (Status.WARN, Status.FAIL) else self.log.info
            remedy = f" What to do: {finding.remedy}" if finding.remedy else ""
            tell("%s: %s: %s.%s", finding.status.value, finding.check, finding.what, remedy)
        self.log.info("Preflight: %s.", report.summary())
