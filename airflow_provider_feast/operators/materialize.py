"""Operators that load feature values into the online store: a window, or what is new."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_feast.model.command import FeastCommand, check_feature_views, check_version
from airflow_provider_feast.model.errors import FeastDagError
from airflow_provider_feast.model.literals import literal
from airflow_provider_feast.model.plan import AnyPlan, IncrementalPlan, check_lengths, choose_plan
from airflow_provider_feast.model.windows import (
    Window,
    check_past,
    parse_duration,
    parse_instant,
    resolve_window,
)
from airflow_provider_feast.operators.command import FeastCommandOperator, refuse_command
from airflow_provider_feast.operators.run_times import end_of, run_times

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

OLDER_WINDOWS = ("guard", "overwrite")
"""What any materialization can do with rows that are older than what is online."""

OLDER_WINDOWS_OF_PLANS = ("guard", "extend", "refuse", "skip", "overwrite")
"""What one that loads by chunks can do with them."""

GAPS = ("fill", "report", "ignore")
"""What ``materialize-incremental`` can do with what it would pass over."""


class _MaterializingOperator(FeastCommandOperator):
    """What both ways to materialize share: an end, feature views, a version, and whether nothing is fine."""

    policies: ClassVar[tuple[str, ...]] = OLDER_WINDOWS

    template_fields: Sequence[str] = (
        *FeastCommandOperator.template_fields,
        "end",
        "feature_views",
        "version",
        "older_windows",
    )

    def __init__(
        self,
        *,
        end: datetime | str | None = None,
        feature_views: list[str] | None = None,
        version: str | None = None,
        allow_empty: bool = False,
        allow_future: bool = False,
        older_windows: str = "guard",
        **kwargs: Any,
    ) -> None:
        refuse_command(kwargs)
        self.end = end
        self.feature_views = feature_views
        self.version = version
        self.allow_empty = allow_empty
        self.allow_future = allow_future
        self.older_windows = older_windows
        super().__init__(**kwargs)

    def _check_literals(self) -> None:
        super()._check_literals()
        if literal(self.older_windows):
            check_policy(self.older_windows, self.policies)
        if self.end not in (None, "") and literal(self.end):
            parse_instant(self.end, "end")
        if literal(self.feature_views):
            views = check_feature_views(self.feature_views)
            if literal(self.version):
                check_version(self.version, views)

    def _check_past(self, end: datetime) -> None:
        """Also of the run's own window: a partition timetable starts a run before there is anything to load."""
        if not self.allow_future:
            check_past(end, datetime.now(UTC), given=self.end not in (None, ""))

    @property
    def allows_empty(self) -> bool:
        """Whether a materialization that touches no feature view is a success."""
        return self.allow_empty

    @property
    def online_policy(self) -> str:
        """As the author says.

        :raises FeastDagError: when it is none of OLDER_WINDOWS.
        """
        check_policy(self.older_windows, self.policies)
        return self.older_windows


def check_policy(value: str, known: tuple[str, ...]) -> None:
    """Check ``older_windows``.

    :raises FeastDagError: when it is none of those that are known.
    """
    if value not in known:
        raise FeastDagError(
            f"older_windows={value!r} is not one of {', '.join(known)}",
            remedy="leave it out for 'guard': rows that are older than what is online are left out",
        )


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
    :param allow_future: the end may lie in the future (by more than a minute, which is allowed for clocks that differ);
        what comes until then counts as loaded.
    :param older_windows: ``guard`` leaves rows out that are older than what is online, so that windows may be loaded in
        any order (it reads the event times of each batch first); ``overwrite`` does as plain Feast. For a window that
        ends before what is loaded already: ``refuse`` fails, ``skip`` leaves it out, and ``extend`` loads up to the
        newest end, which also loads what lies between.
    :param chunk: what one pod loads of the window (timedelta, seconds, or text such as ``7d``); at most 500. By default
        seven days, or a fiftieth of the window where that is longer, in whole steps. A retry goes on with the first chunk
        that is not done.
    :param step: how much of the event time is loaded at once within a chunk, which is a multiple of it; by default a
        day, or an equal part of ``chunk`` of no more than a day. Where older rows cannot be left out (``refuse``,
        ``extend``, a compute engine that writes past the runner), a chunk is loaded at once.
    """

    template_fields: Sequence[str] = (
        *_MaterializingOperator.template_fields,
        "start",
        "lookback",
        "chunk",
        "step",
    )
    policies: ClassVar[tuple[str, ...]] = OLDER_WINDOWS_OF_PLANS

    def __init__(
        self,
        *,
        start: datetime | str | None = None,
        lookback: timedelta | float | str | None = None,
        chunk: timedelta | float | str | None = None,
        step: timedelta | float | str | None = None,
        **kwargs: Any,
    ) -> None:
        self.start = start
        self.lookback = lookback
        self.chunk = chunk
        self.step = step
        super().__init__(**kwargs)

    def _check_literals(self) -> None:
        super()._check_literals()
        if self.start not in (None, "") and literal(self.start):
            parse_instant(self.start, "start")
        for name in ("lookback", "chunk", "step"):
            if getattr(self, name) is not None and literal(getattr(self, name)):
                parse_duration(getattr(self, name), name)
        if self.chunk and self.step and literal(self.chunk) and literal(self.step):
            check_lengths(parse_duration(self.chunk, "chunk"), parse_duration(self.step, "step"))
        if self.start and self.end and literal(self.start) and literal(self.end):
            resolve_window(self.start, self.end)
        elif self.start and self.end in (None, ""):
            raise FeastDagError("start= is given without end=", remedy="give both, or end= with lookback=")

    def window(self, context: Any, lookback: str | None) -> Window:
        """The window of this run.

        :param context: the task's context.
        :param lookback: the connection's lookback, used when the operator has none.
        :raises FeastDagError: when there is none, it has no length, or it ends in the future.
        """
        length = self.lookback or lookback
        found = resolve_window(
            self.start,
            self.end,
            lookback=parse_duration(length, "lookback") if length else None,
            run=run_times(context),
        )
        self._check_past(found.end)
        return found

    def feast_command(self, context: Context) -> tuple[FeastCommand, Window | None]:
        """``materialize`` with this run's window."""
        window = self.window(context, self._run.settings.lookback if self._run else None)
        views = check_feature_views(self.feature_views)
        return FeastCommand.materialize(
            window.feast_start, window.feast_end, feature_views=views, version=self.version
        ), window

    def load_plan(self, window: Window | None, command_mode: str, context: Context) -> AnyPlan | None:
        """The plan of the window; plain Feast, and versions of views, are loaded by Feast's own command.

        :raises FeastDagError: when what is asked for needs a plan, and a version or plain Feast cannot have one.
        """
        chunk, step = (
            parse_duration(value, name) if value not in (None, "") else None
            for name, value in (("chunk", self.chunk), ("step", self.step))
        )
        if window is None or self.version or command_mode == "cli":
            if chunk is not None or step is not None or self.older_windows not in OLDER_WINDOWS:
                raise FeastDagError(
                    "chunk, step, and older_windows other than 'guard' and 'overwrite' need the runner, and load no "
                    "version of a view",
                    remedy="leave out version=, and command_mode='cli'",
                )
            return None
        return choose_plan(window, window=step, chunk=chunk, views=check_feature_views(self.feature_views))


class FeastMaterializeIncrementalOperator(_MaterializingOperator):
    """``feast materialize-incremental``: from each view's last end up to ``end``.

    :param end: aware datetime or ISO 8601 text with a time zone, excluded; default: the end of the data interval,
        else the run's time.
    :param feature_views: names; ``None`` means all, and an empty list is refused.
    :param version: a version of the one feature view that is named.
    :param allow_empty: a run that touches no feature view at all is a success.
    :param allow_future: the end may lie in the future (by more than a minute, which is allowed for clocks that differ);
        what comes until then counts as loaded.
    :param older_windows: ``guard`` leaves rows out that are older than what is online, so that windows may be loaded in
        any order (it reads the event times of each batch first); ``overwrite`` does as plain Feast.
    :param gaps: Feast goes on from a view's newest end, so it never loads what was left out before that. ``report`` says
        so in the log and in the result, ``fill`` loads it as well (which needs ``guard``), ``ignore`` does as plain
        Feast. Nothing is known of a single version's gaps.
    """

    template_fields: Sequence[str] = (*_MaterializingOperator.template_fields, "gaps")

    def __init__(self, *, gaps: str = "report", **kwargs: Any) -> None:
        self.gaps = gaps
        super().__init__(**kwargs)

    def _check_literals(self) -> None:
        super()._check_literals()
        if all(map(literal, (self.gaps, self.older_windows, self.version, self.command_mode))):
            self._check_gaps(self.command_mode or "runner")

    def _check_gaps(self, command_mode: str) -> None:
        if self.gaps not in GAPS:
            raise FeastDagError(
                f"gaps={self.gaps!r} is not one of {', '.join(GAPS)}",
                remedy="leave it out for 'report': gaps are told in the log and in the result",
            )
        if self.gaps == "fill" and (self.older_windows != "guard" or self.version or command_mode == "cli"):
            raise FeastDagError(
                "gaps='fill' loads windows that are older than what is online, which needs older_windows='guard' and the "
                "runner, and loads no single version of a view",
                remedy="leave out older_windows=, version= and command_mode=, or take gaps='report'",
            )

    @property
    def gap_policy(self) -> str:
        """As the author says; of a single version nothing is known."""
        return "ignore" if self.version else self.gaps

    def last_end(self, context: Any) -> datetime:
        """Up to when this run loads, excluded.

        :raises FeastDagError: when nothing says, or it is in the future.
        """
        last = end_of(self.end, context)
        self._check_past(last)
        return last

    def feast_command(self, context: Context) -> tuple[FeastCommand, Window | None]:
        """``materialize-incremental`` up to this run's end."""
        self._check_gaps(self._run.settings.command_mode if self._run else "runner")
        last = self.last_end(context)
        views = check_feature_views(self.feature_views)
        return FeastCommand.materialize_incremental(
            Window(last, last).feast_end, feature_views=views, version=self.version
        ), None

    def load_plan(self, window: Window | None, command_mode: str, context: Context) -> AnyPlan | None:
        """One chunk up to the end; plain Feast, and versions of views, are loaded by Feast's own command."""
        if self.version or command_mode == "cli":
            return None
        return IncrementalPlan(self.last_end(context), tuple(check_feature_views(self.feature_views)))
