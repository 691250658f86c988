"""What the registry's intervals say is missing, and in which order it is loaded.

Feast appends an interval for each load, repetitions included, and merges nothing; both of its ends are included. A gap
of up to a microsecond is none: the end of one window is the start of the next, less a microsecond.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

from airflow_provider_feast.model.plan import DAY, Load
from airflow_provider_feast.model.windows import Window

TICK = timedelta(microseconds=1)


class ViewState(NamedTuple):
    """What the registry knows of a feature view; the runner's ``inspect`` prints it.

    :param name: the view.
    :param intervals: first and last moment of each load, both included.
    """

    name: str
    intervals: tuple[tuple[datetime, datetime], ...] = ()

    @property
    def newest_end(self) -> datetime | None:
        """The end from which ``materialize-incremental`` goes on."""
        return max((end for _, end in self.intervals), default=None)


def merge(intervals: Iterable[tuple[datetime, datetime]]) -> list[Window]:
    """Half-open windows of which none touch. Reversed intervals, which Feast stores too, count for nothing."""
    found: list[Window] = []
    for start, last in sorted(intervals):
        if start > last:
            continue
        if found and start <= found[-1].end:
            found[-1] = Window(found[-1].start, max(found[-1].end, last + TICK))
        else:
            found.append(Window(start, last + TICK))
    return found


def gaps(state: ViewState, horizon: Window) -> list[Window]:
    """What of the horizon was never loaded, ascending.

    :param horizon: the range that is looked at.
    """
    found, at = [], horizon.start
    for start, end in merge(state.intervals):
        if start - at > TICK and at < horizon.end:
            found.append(Window(at, min(start, horizon.end)))
        at = max(at, end)
    if horizon.end - at > TICK:
        found.append(Window(at, horizon.end))
    return found


def incremental_gaps(state: ViewState, end: datetime) -> list[Window]:
    """What ``materialize-incremental`` up to ``end`` would pass over for ever: it starts at the newest end.

    :param end: excluded; a view that was loaded past it has no more to load.
    """
    newest = state.newest_end
    if newest is None:
        return []
    first = min(start for start, _ in state.intervals)
    return gaps(state, Window(first, max(first, min(newest, end))))


def repair_loads(
    missing: Mapping[str, Iterable[Window]],
    *,
    newest: Mapping[str, datetime | None],
    guarded: bool,
    step: timedelta = DAY,
) -> list[Load]:
    """The loads that close gaps, in an order after which online values are the newest.

    Where rows are guarded, gaps are loaded ascending, in windows of ``step``: older rows stay out. Where they are not, a
    gap before the newest load would put older values online; so everything from a view's first gap to its newest end is
    loaded again, ascending, the newest last.

    :param missing: gaps of each view.
    :param newest: the newest end of each view, included, or ``None``.
    :param guarded: whether rows that are older than what is online are left out.
    :param step: the length of a window.
    """
    by_window: dict[Window, set[str]] = {}
    for view, found in missing.items():
        for gap in _to_load(sorted(found), newest.get(view), guarded):
            for window in cut(gap, step):
                by_window.setdefault(window, set()).add(view)
    return [Load(window, tuple(sorted(views))) for window, views in sorted(by_window.items())]


def _to_load(found: list[Window], newest: datetime | None, guarded: bool) -> list[Window]:
    if guarded or newest is None or not found or found[0].start > newest:
        return found
    return [Window(found[0].start, max(newest + TICK, found[-1].end))]


def cut(window: Window, step: timedelta) -> list[Window]:
    """Windows of ``step`` that begin at whole steps of the calendar (since 1970, UTC), so that views share them."""
    epoch = datetime(1970, 1, 1, tzinfo=window.start.tzinfo)
    found, at = [], window.start
    while at < window.end:
        border = epoch + ((at - epoch) // step + 1) * step
        found.append(Window(at, min(border, window.end)))
        at = border
    return found
