"""The sensor that waits until feature views are loaded for a range of event time."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import AirflowSensorTimeout, BaseSensorOperator, conf

from airflow_provider_feast.model.command import check_feature_views
from airflow_provider_feast.model.errors import FeastDagError
from airflow_provider_feast.model.literals import literal
from airflow_provider_feast.model.settings import FeastSettings
from airflow_provider_feast.model.windows import Window, parse_instant, resolve_window

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

    from airflow_provider_feast.hooks.feast import FeastHook
    from airflow_provider_feast.model.registry import Records


class FeatureViewMaterializedSensor(BaseSensorOperator):
    """Wait until the registry says that feature views are loaded for a whole range of event time, whoever loads them.

    Each look asks the registry: by a short Job, which is deleted when its answer is read, or through the registry's REST
    server, where the connection has ``registry_rest_url``. What is still missing is told in the log.

    :param feature_views: names; ``None`` means all that the registry serves online. A view that is not in the registry
        yet is waited for; one that is never loaded fails the sensor.
    :param start: where the range begins, included: aware datetime or ISO 8601 text with a time zone.
    :param end: where it ends, excluded.
    :param feast_conn_id: the `feast` connection.
    :param overrides: fields of the connection to use otherwise, e.g. ``{"image": "…", "configuration": {…}}``.
    :param deferrable: wait in the triggerer between two looks and for each Job; else ``mode`` applies.
    :param poke_interval: seconds between two looks; each costs a pod that imports Feast, unless there is a REST server.
    :raises FeastDagError: at parse for literal values that cannot work, when run for templated ones.
    """

    template_fields: Sequence[str] = ("feature_views", "start", "end", "feast_conn_id", "overrides")

    def __init__(
        self,
        *,
        start: datetime | str,
        end: datetime | str,
        feature_views: list[str] | None = None,
        feast_conn_id: str = "feast_default",
        overrides: dict[str, Any] | None = None,
        deferrable: bool | None = None,
        mode: str = "reschedule",
        poke_interval: float = 300.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(mode=mode, poke_interval=poke_interval, **kwargs)
        self.feature_views = feature_views
        self.start = start
        self.end = end
        self.feast_conn_id = feast_conn_id
        self.overrides = overrides
        self.deferrable = (
            conf.getboolean("operators", "default_deferrable", fallback=False)
            if deferrable is None
            else deferrable
        )
        self._run: Any = None
        self._check_literals()

    def _check_literals(self) -> None:
        if literal(self.feature_views):
            check_feature_views(self.feature_views)
        for name in ("start", "end"):
            if literal(getattr(self, name)):
                parse_instant(getattr(self, name), name)
        if literal(self.start) and literal(self.end):
            self._range()
        if self.overrides and literal(self.overrides):
            _check_overrides(self.overrides)

    def _range(self) -> Window:
        return resolve_window(self.start, self.end)

    # --- the life of a task ---------------------------------------------------------------------

    def execute(self, context: Context) -> Any:
        """Look until all is loaded, waiting in the triggerer or as ``mode`` says."""
        if not self.deferrable:
            return super().execute(context)
        return self.look(context)

    def poke(self, context: Context) -> bool:
        """Look once.

        :raises FeastError: when the registry cannot be asked, or a view will never be loaded.
        """
        return self._covered(self._ask(context))

    def look(self, context: Context, event: dict[str, Any] | None = None) -> None:
        """Look once, then pause in the triggerer.

        :param event: the end of a pause.
        """
        self._go_on(self._ask(context), context)

    def answered(self, context: Context, event: dict[str, Any]) -> None:
        """Go on when the triggerer saw the end of the Job that asks."""
        self._run = self._question(context)
        self._go_on(self._run.resume(event), context)

    def _go_on(self, records: Records, context: Context) -> None:
        if self._covered(records):
            return
        from airflow_provider_feast.triggers.pause import PauseTrigger

        pause = min(float(self.poke_interval), self._left(context).total_seconds())
        self.defer(trigger=PauseTrigger(time.time() + pause), method_name="look")

    def _left(self, context: Context) -> timedelta:
        """How much is left of ``timeout``, which begins with the try: Airflow keeps its start over deferrals.

        :raises AirflowSensorTimeout: when nothing is.
        """
        begin = context["ti"].start_date or datetime.now(UTC)
        left = begin + timedelta(seconds=float(self.timeout)) - datetime.now(UTC)
        if left <= timedelta(0):
            raise AirflowSensorTimeout(f"the feature views were not loaded within {self.timeout:g} s")
        return left

    def on_kill(self) -> None:
        """Delete the Job of a task that is killed in its worker."""
        if self._run is not None:
            self._run.kill()

    # --- a look ---------------------------------------------------------------------------------

    def _covered(self, records: Records) -> bool:
        from airflow_provider_feast.jobs.coverage import lacking, loadable, told

        views = check_feature_views(self.feature_views) or loadable(records)
        lacks = lacking(records, views, self._range())
        if lacks:
            self.log.info("%s", told(lacks, self._range()))
        elif not views:
            self.log.info("The registry has no feature view that is served online yet.")
        return bool(views) and not lacks

    def _ask(self, context: Context) -> Records:
        from airflow_provider_feast.jobs.configured import configured_project
        from airflow_provider_feast.jobs.registry_rest import ask_rest
        from airflow_provider_feast.model.registry import read_rest_address

        hook = self._hook()
        if hook.settings.registry_rest_url:
            address = read_rest_address(hook.settings.registry_rest_url)
            return ask_rest(address, address.project or configured_project(hook))
        self._run = self._question(context)
        records: Records = self._run.execute()
        return records

    def _question(self, context: Context) -> Any:
        from airflow_provider_feast.jobs.registry_job import Question, RegistryRun

        def defer(*, trigger: Any, method_name: str, timeout: timedelta | None) -> None:
            limits = [self._left(context), *([] if timeout is None else [timeout])]
            self.defer(trigger=trigger, method_name="answered", timeout=min(limits))

        views = check_feature_views(self.feature_views)
        return RegistryRun(Question(self, views, self.overrides or {}, defer), context)

    def _hook(self) -> FeastHook:
        from airflow_provider_feast.hooks.feast import FeastHook

        return FeastHook(self.feast_conn_id, **(self.overrides or {}))


def _check_overrides(overrides: dict[str, Any]) -> None:
    if unknown := sorted(set(overrides) - set(FeastSettings._fields)):
        raise FeastDagError(
            f"overrides has {unknown[0]!r}, which is no field of a connection",
            remedy="see the README for the fields",
        )
    FeastSettings("").override(**overrides)
