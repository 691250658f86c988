"""Operators that run a Feast command as a Kubernetes Job.

Light on purpose: a DAG file is parsed again and again, so nothing here imports ``kubernetes``. The Job is built
and run by :mod:`airflow_provider_feast.jobs`, which is imported when the task runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator, conf

from airflow_provider_feast.model.command import FeastCommand, check_feature_views, check_version
from airflow_provider_feast.model.errors import FeastDagError
from airflow_provider_feast.model.literals import literal
from airflow_provider_feast.model.merge import check_overrides
from airflow_provider_feast.model.naming import OUR_LABELS
from airflow_provider_feast.model.settings import FeastSettings
from airflow_provider_feast.model.windows import Window, parse_duration, parse_instant, resolve_window
from airflow_provider_feast.operators.retries import default_retry_policy, retry_arguments
from airflow_provider_feast.operators.run_times import run_times

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

DEFAULT_RETRY_POLICY = default_retry_policy()

_OVERRIDES = (
    "image",
    "namespace",
    "configuration",
    "definitions",
    "service_account",
    "security_profile",
    "env",
    "backoff_limit",
    "memory_limit",
    "memory_request",
    "cpu_limit",
    "cpu_request",
    "command_mode",
    "pod_options",
    "job_overrides",
)


class FeastCommandOperator(BaseOperator):
    """Run any Feast command as a Kubernetes Job and wait for it.

    Everything that is not given comes from the connection. The result is one JSON object in XCom, see
    ``docs/result.md``.

    :param command: the command as a list, e.g. ``["apply"]``, or a
        :class:`~airflow_provider_feast.model.command.FeastCommand`.
    :param feast_conn_id: the `feast` connection.
    :param image: image with Python and Feast.
    :param namespace: where the Job runs.
    :param configuration: feature_store.yaml: a mapping, YAML text, or one of
        :mod:`airflow_provider_feast.model.sources`.
    :param definitions: the feature repository: a path in the image, or one of the same module.
    :param service_account: the pod's service account.
    :param security_profile: name of a profile of :mod:`airflow_provider_feast.model.security`.
    :param env: environment variables of the pod, merged over the connection's.
    :param deadline: the Job is stopped after this time (timedelta, seconds, or text such as ``2h``).
    :param backoff_limit: pod failures that the Job bears before it fails.
    :param memory_limit: Kubernetes quantity, e.g. ``4Gi``. ``memory_request``, ``cpu_limit``, ``cpu_request`` alike.
    :param command_mode: ``runner``, or ``cli`` for plain ``feast …``.
    :param pod_options: any keyword of ``KubernetesJobOperator``.
    :param job_overrides: a partial Job in Kubernetes' own spelling, merged last.
    :param deferrable: wait in the triggerer.
    :param api_outage_tolerance: how long the Kubernetes API may be away before the task gives up; as ``deadline``.
    :param log_interval: seconds between reads of a running pod's log; 0 reads it at the end only.
    :param preflight: look before a Job is made whether it can work (rights, account, ConfigMaps): a few requests, none
        for a Job that is taken over; see ``docs/preflight.md``.
    :param retry_policy: what to try again (Airflow ≥ 3.3); by default what can help, see ``docs/errors.md``.
    :raises FeastDagError: at parse for literal values that cannot work, when run for templated ones.
    """

    template_fields: Sequence[str] = (
        "command",
        "feast_conn_id",
        "image",
        "namespace",
        "configuration",
        "definitions",
        "service_account",
        "security_profile",
        "env",
        "deadline",
        "api_outage_tolerance",
        "memory_limit",
        "memory_request",
        "cpu_limit",
        "cpu_request",
        "pod_options",
        "job_overrides",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "command": "json",
        "configuration": "json",
        "env": "json",
        "pod_options": "json",
        "job_overrides": "json",
    }
    ui_color = "#e8f4ea"

    def __init__(
        self,
        *,
        command: Any = None,
        feast_conn_id: str = "feast_default",
        image: str | None = None,
        namespace: str | None = None,
        configuration: Any = None,
        definitions: Any = None,
        service_account: str | None = None,
        security_profile: str | None = None,
        env: dict[str, str] | None = None,
        deadline: timedelta | float | str | None = None,
        backoff_limit: int | None = None,
        memory_limit: str | None = None,
        memory_request: str | None = None,
        cpu_limit: str | None = None,
        cpu_request: str | None = None,
        command_mode: str | None = None,
        pod_options: dict[str, Any] | None = None,
        job_overrides: dict[str, Any] | None = None,
        deferrable: bool | None = None,
        log_interval: float | None = None,
        api_outage_tolerance: timedelta | float | str | None = None,
        preflight: bool = True,
        retry_policy: Any = DEFAULT_RETRY_POLICY,
        **kwargs: Any,
    ) -> None:
        super().__init__(**retry_arguments(retry_policy), **kwargs)
        self.command = command
        self.feast_conn_id = feast_conn_id
        self.image = image
        self.namespace = namespace
        self.configuration = configuration
        self.definitions = definitions
        self.service_account = service_account
        self.security_profile = security_profile
        self.env = env
        self.deadline = deadline
        self.backoff_limit = backoff_limit
        self.memory_limit = memory_limit
        self.memory_request = memory_request
        self.cpu_limit = cpu_limit
        self.cpu_request = cpu_request
        self.command_mode = command_mode
        self.pod_options = pod_options
        self.job_overrides = job_overrides
        self.deferrable = (
            conf.getboolean("operators", "default_deferrable", fallback=False)
            if deferrable is None
            else deferrable
        )
        self.log_interval = log_interval
        self.api_outage_tolerance = api_outage_tolerance
        self.preflight = preflight
        self._run: Any = None
        self._check_literals()

    # --- what a subclass says -------------------------------------------------------------------

    @property
    def allows_empty(self) -> bool:
        """Whether a materialization that touches no feature view is a success."""
        return False

    def feast_command(self, context: Context) -> tuple[FeastCommand, Window | None]:
        """The command of this run, and its window if it has one.

        :raises FeastDagError: when an argument cannot work.
        """
        return FeastCommand.read(self.command), None

    def _check_literals(self) -> None:
        if self.command is not None and literal(self.command):
            FeastCommand.read(self.command)
        elif self.command is None and type(self).feast_command is FeastCommandOperator.feast_command:
            raise FeastDagError(
                "command is missing", where=f"task {self.task_id!r}", remedy="give command=['apply']"
            )
        for name in ("deadline", "api_outage_tolerance"):
            value = getattr(self, name)
            if value is not None and literal(value):
                parse_duration(value, name)
        if self.job_overrides is not None and literal(self.job_overrides):
            check_overrides(self.job_overrides, OUR_LABELS)
        fields = {name: getattr(self, name) for name in _OVERRIDES}
        FeastSettings("").override(**{name: value for name, value in fields.items() if literal(value)})

    # --- the life of a task ---------------------------------------------------------------------

    def overrides(self) -> dict[str, Any]:
        """The connection's fields that this operator sets itself."""
        fields = {name: getattr(self, name) for name in _OVERRIDES}
        for name in ("deadline", "api_outage_tolerance"):
            if getattr(self, name) not in (None, ""):
                length = parse_duration(getattr(self, name), name).total_seconds()
                fields[f"{name}_seconds"] = math.ceil(length)
        return fields

    def _task_run(self, context: Context) -> Any:
        from airflow_provider_feast.jobs.task import TaskRun

        return TaskRun(self, context)

    def execute(self, context: Context) -> Any:
        """Run the command; see ``docs/architecture.md`` for the life of a task."""
        self._run = self._task_run(context)
        return self._run.execute()

    def resume(self, context: Context, event: dict[str, Any]) -> Any:
        """Conclude after the triggerer saw the Job's end."""
        self._run = self._task_run(context)
        return self._run.resume(event)

    def on_kill(self) -> None:
        """Delete the Job of a task that is killed in its worker."""
        if self._run is not None:
            self._run.kill()


class FeastApplyOperator(FeastCommandOperator):
    """``feast apply``: bring the registry and the stores to what the definitions say.

    :param skip_source_validation: do not look at the data sources.
    :param skip_feature_view_validation: do not look at the feature views.
    """

    def __init__(
        self,
        *,
        skip_source_validation: bool = False,
        skip_feature_view_validation: bool = False,
        **kwargs: Any,
    ) -> None:
        _refuse_command(kwargs)
        self.skip_source_validation = skip_source_validation
        self.skip_feature_view_validation = skip_feature_view_validation
        super().__init__(**kwargs)

    def feast_command(self, context: Context) -> tuple[FeastCommand, Window | None]:
        """``apply`` with its options."""
        return FeastCommand.apply(
            skip_source_validation=self.skip_source_validation,
            skip_feature_view_validation=self.skip_feature_view_validation,
        ), None


class FeastPlanOperator(FeastApplyOperator):
    """``feast plan``: print what ``apply`` would change, and change nothing. Parameters as for apply."""

    def feast_command(self, context: Context) -> tuple[FeastCommand, Window | None]:
        """``plan`` with its options."""
        return FeastCommand.plan(
            skip_source_validation=self.skip_source_validation,
            skip_feature_view_validation=self.skip_feature_view_validation,
        ), None


class _MaterializingOperator(FeastCommandOperator):
    """What both ways to materialize share: an end, feature views, a version, and whether nothing is fine."""

    template_fields: Sequence[str] = (
        *FeastCommandOperator.template_fields,
        "end",
        "feature_views",
        "version",
    )

    def __init__(
        self,
        *,
        end: datetime | str | None = None,
        feature_views: list[str] | None = None,
        version: str | None = None,
        allow_empty: bool = False,
        **kwargs: Any,
    ) -> None:
        _refuse_command(kwargs)
        self.end = end
        self.feature_views = feature_views
        self.version = version
        self.allow_empty = allow_empty
        super().__init__(**kwargs)

    def _check_literals(self) -> None:
        super()._check_literals()
        if self.end not in (None, "") and literal(self.end):
            parse_instant(self.end, "end")
        if literal(self.feature_views):
            views = check_feature_views(self.feature_views)
            if literal(self.version):
                check_version(self.version, views)

    @property
    def allows_empty(self) -> bool:
        """Whether a materialization that touches no feature view is a success."""
        return self.allow_empty


class FeastMaterializeOperator(_MaterializingOperator):
    """``feast materialize``: load a window of event time into the online store.

    Without ``start`` and ``end`` the window is the run's data interval, else its partition, else ``lookback`` before
    the run's time. Windows include their start and exclude their end.

    :param start: aware datetime or ISO 8601 text with a time zone.
    :param end: as ``start``.
    :param feature_views: names; ``None`` means all, and an empty list is refused.
    :param lookback: length of the window of a run that has none (timedelta, seconds, or text such as ``1d``).
    :param version: a version of the one feature view that is named.
    :param allow_empty: a run that touches no feature view at all is a success.
    """

    template_fields: Sequence[str] = (*_MaterializingOperator.template_fields, "start", "lookback")

    def __init__(
        self,
        *,
        start: datetime | str | None = None,
        lookback: timedelta | float | str | None = None,
        **kwargs: Any,
    ) -> None:
        self.start = start
        self.lookback = lookback
        super().__init__(**kwargs)

    def _check_literals(self) -> None:
        super()._check_literals()
        if self.start not in (None, "") and literal(self.start):
            parse_instant(self.start, "start")
        if self.lookback is not None and literal(self.lookback):
            parse_duration(self.lookback, "lookback")
        if self.start and self.end and literal(self.start) and literal(self.end):
            resolve_window(self.start, self.end)
        elif self.start and self.end in (None, ""):
            raise FeastDagError("start= is given without end=", remedy="give both, or end= with lookback=")

    def window(self, context: Any, lookback: str | None) -> Window:
        """The window of this run.

        :param context: the task's context.
        :param lookback: the connection's lookback, used when the operator has none.
        :raises FeastDagError: when there is none, or it has no length.
        """
        length = self.lookback or lookback
        return resolve_window(
            self.start,
            self.end,
            lookback=parse_duration(length, "lookback") if length else None,
            run=run_times(context),
        )

    def feast_command(self, context: Context) -> tuple[FeastCommand, Window | None]:
        """``materialize`` with this run's window."""
        window = self.window(context, self._run.settings.lookback if self._run else None)
        views = check_feature_views(self.feature_views)
        return FeastCommand.materialize(
            window.feast_start, window.feast_end, feature_views=views, version=self.version
        ), window


class FeastMaterializeIncrementalOperator(_MaterializingOperator):
    """``feast materialize-incremental``: from each view's last end up to ``end``.

    :param end: aware datetime or ISO 8601 text with a time zone, excluded; default: the end of the data interval,
        else the run's time.
    :param feature_views: names; ``None`` means all, and an empty list is refused.
    :param version: a version of the one feature view that is named.
    :param allow_empty: a run that touches no feature view at all is a success.
    """

    def feast_command(self, context: Context) -> tuple[FeastCommand, Window | None]:
        """``materialize-incremental`` up to this run's end."""
        times = run_times(context)
        end = self.end or times.interval_end or times.partition_end or times.run_time
        if end in (None, ""):
            raise FeastDagError("this run has no time that could be the end", remedy="give end=")
        last = parse_instant(end, "end")
        views = check_feature_views(self.feature_views)
        return FeastCommand.materialize_incremental(
            Window(last, last).feast_end, feature_views=views, version=self.version
        ), None


class FeastTeardownOperator(FeastCommandOperator):
    """``feast teardown``: delete the feature store's infrastructure and its registry. There is no way back.

    :param confirm: the project's name, to show that this very one is meant; it is compared with the configuration's
        ``project`` before anything runs.
    """

    template_fields: Sequence[str] = (*FeastCommandOperator.template_fields, "confirm")

    def __init__(self, *, confirm: str | None = None, **kwargs: Any) -> None:
        _refuse_command(kwargs)
        self.confirm = confirm
        super().__init__(**kwargs)

    def _check_literals(self) -> None:
        super()._check_literals()
        if not self.confirm:
            raise FeastDagError(
                "feast teardown deletes the online store's tables and the registry, and was not confirmed",
                where=f"task {self.task_id!r}",
                remedy="give confirm= the name of the project in feature_store.yaml",
            )

    def feast_command(self, context: Context) -> tuple[FeastCommand, Window | None]:
        """``teardown``, when the configured project is the confirmed one."""
        if self._run is not None:
            self._run.confirm_project(self.confirm)
        return FeastCommand.teardown(), None


def _refuse_command(kwargs: dict[str, Any]) -> None:
    if kwargs.get("command") is not None:
        raise FeastDagError(
            "command is set by this operator itself", remedy="use FeastCommandOperator for other commands"
        )
