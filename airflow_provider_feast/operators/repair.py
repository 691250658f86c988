"""The operator that loads what the registry says was never loaded."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_feast.model.command import FeastCommand, check_feature_views
from airflow_provider_feast.model.errors import FeastDagError
from airflow_provider_feast.model.literals import literal
from airflow_provider_feast.model.windows import (
    Window,
    check_past,
    parse_duration,
    parse_instant,
    resolve_window,
)
from airflow_provider_feast.operators.command import FeastCommandOperator, refuse_command
from airflow_provider_feast.operators.materialize import check_policy
from airflow_provider_feast.operators.run_times import end_of

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

POLICIES = ("guard", "extend")
"""What a repair can do so that the newest values end up online."""

DAY_SECONDS = 86_400.0
_FLAGS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}


class FeastRepairOperator(FeastCommandOperator):
    """Load what each feature view lacks in a range of event time, by the registry's own record of its loads.

    What is missing is found in the pod that loads it, under the registry's lock. A retry loads only what is left: what
    was loaded is in the registry. The newest values end up online, whatever was missing.

    :param start: where the range begins, included: aware datetime or ISO 8601 text with a time zone; default, without a
        ``lookback``: the DAG's (or task's) ``start_date``.
    :param end: where it ends, excluded; default: the end of the run's data interval, else the run's time.
    :param lookback: instead of ``start``: how long the range is (timedelta, seconds, or text such as ``30d``).
    :param feature_views: names; ``None`` means all, and an empty list is refused.
    :param older_windows: ``guard`` loads what is missing and leaves rows out that are older than what is online;
        ``extend`` is for compute engines that write past the runner (Spark, …): it loads from a view's first gap to its
        newest end, at once.
    :param step: how much of the event time is loaded at once, by default a day.
    :param dry_run: only print what would be loaded, as a table in the log.
    :param allow_empty: a registry without a feature view that is online is a success.
    :param allow_future: the range may end in the future (by more than a minute, which is allowed for clocks that
        differ); what comes until then counts as loaded.
    :raises FeastDagError: at parse for literal values that cannot work, when run for templated ones.
    """

    template_fields: Sequence[str] = (
        *FeastCommandOperator.template_fields,
        "start",
        "end",
        "lookback",
        "feature_views",
        "older_windows",
        "step",
        "plan_only",
    )

    def __init__(
        self,
        *,
        start: datetime | str | None = None,
        end: datetime | str | None = None,
        lookback: timedelta | float | str | None = None,
        feature_views: list[str] | None = None,
        older_windows: str = "guard",
        step: timedelta | float | str | None = None,
        dry_run: bool | str = False,
        allow_empty: bool = False,
        allow_future: bool = False,
        **kwargs: Any,
    ) -> None:
        refuse_command(kwargs)
        self.start = start
        self.end = end
        self.lookback = lookback
        self.feature_views = feature_views
        self.older_windows = older_windows
        self.step = step
        self.plan_only = dry_run  # operators have a method named dry_run
        self.allow_empty = allow_empty
        self.allow_future = allow_future
        super().__init__(**kwargs)

    def _check_literals(self) -> None:
        super()._check_literals()
        for name in ("start", "end"):
            if getattr(self, name) not in (None, "") and literal(getattr(self, name)):
                parse_instant(getattr(self, name), name)
        for name in ("lookback", "step"):
            if getattr(self, name) not in (None, "") and literal(getattr(self, name)):
                parse_duration(getattr(self, name), name)
        if literal(self.feature_views):
            check_feature_views(self.feature_views)
        if literal(self.older_windows):
            check_policy(self.older_windows, POLICIES)
        if literal(self.plan_only):
            _flag(self.plan_only)
        if literal(self.command_mode) and self.command_mode == "cli":
            raise FeastDagError(
                "a repair is done by the runner, which command_mode='cli' leaves out",
                remedy="leave out command_mode=",
            )
        if all(map(literal, (self.start, self.lookback))):
            self._check_range()

    def _check_range(self) -> None:
        if self.start and self.lookback:
            raise FeastDagError(
                f"a repair's range begins once: start={self.start!r}, lookback={self.lookback!r}",
                where=f"task {self.task_id!r}",
                remedy="give either start= (and end=), or lookback='30d' for the thirty days before the run's end",
            )

    def _schedule_start(self, context: Any) -> datetime:
        """Where the schedule begins.

        :raises FeastDagError: when it has no beginning.
        """
        dag = context.get("dag") if context else None
        start: datetime | None = getattr(dag, "start_date", None) or self.start_date
        if start is None:
            raise FeastDagError(
                "a repair needs a range, and its DAG has no start_date that could be the beginning",
                where=f"task {self.task_id!r}",
                remedy="give start= (and end=), or lookback='30d' for the thirty days before the run's end, or give the "
                "DAG a start_date",
            )
        return start

    @property
    def allows_empty(self) -> bool:
        """As the author says."""
        return self.allow_empty

    @property
    def online_policy(self) -> str:
        """As the author says.

        :raises FeastDagError: when it is none of POLICIES.
        """
        check_policy(self.older_windows, POLICIES)
        return self.older_windows

    def window(self, context: Any) -> Window:
        """The range of this run.

        :raises FeastDagError: when there is none, it has no length, or it ends in the future.
        """
        self._check_range()
        last = end_of(self.end, context)
        if not self.allow_future:
            check_past(last, datetime.now(UTC), given=self.end not in (None, ""))
        if self.lookback:
            return resolve_window(None, last, lookback=parse_duration(self.lookback, "lookback"))
        if self.start:
            return resolve_window(self.start, last)
        found = resolve_window(self._schedule_start(context), last)
        self.log.info(
            "The range of this repair is %s: it begins with the DAG, for neither start= nor lookback= is given.",
            found,
        )
        return found

    def feast_command(self, context: Context) -> tuple[FeastCommand, Window | None]:
        """The runner's ``repair`` with this run's range."""
        window = self.window(context)
        step = parse_duration(self.step, "step").total_seconds() if self.step else DAY_SECONDS
        return FeastCommand.repair(
            window.start.isoformat(),
            window.end.isoformat(),
            feature_views=check_feature_views(self.feature_views),
            step=step,
            dry_run=_flag(self.plan_only),
        ), window


def _flag(value: Any) -> bool:
    """True or false, also as a template leaves it."""
    found = _FLAGS.get(str(value).strip().lower())
    if found is None:
        raise FeastDagError(f"dry_run={value!r} is neither true nor false", remedy="write True or False")
    return found
