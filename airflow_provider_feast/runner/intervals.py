"""What the registry's intervals say is loaded and what is missing, and in which order that is loaded. Pure.

Feast appends an interval for each load, repetitions included, and merges nothing; both of its ends are included. Spans
here are half-open. A gap of up to a microsecond is none: the end of one window is the start of the next, less a
microsecond.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any, Collection, Iterable, Mapping, Sequence

Span = tuple[datetime, datetime]
DAY = timedelta(days=1)
TICK = timedelta(microseconds=1)
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def aware(value: Any) -> datetime:
    """A row's time in UTC; Feast means UTC where none is said."""
    moment: datetime = value
    return moment.replace(tzinfo=timezone.utc) if moment.tzinfo is None else moment


def brief(moment: datetime) -> str:
    """A time in UTC, without what is zero."""
    text = moment.astimezone(timezone.utc).replace(tzinfo=None).isoformat()
    return text[:10] if text.endswith("T00:00:00") else text


def span_text(span: Span) -> str:
    return f"[{brief(span[0])}, {brief(span[1])})"


def merged(intervals: Iterable[Span]) -> list[Span]:
    """Intervals, both ends included, of which none touch.

    Reversed ones count for nothing: materialize-incremental with an END before the last one stores them.
    """
    found: list[Span] = []
    for start, last in sorted((aware(start), aware(last)) for start, last in intervals):
        if start > last:
            continue
        if found and start - found[-1][1] <= TICK:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((start, last))
    return found


def missing(intervals: Iterable[Span], start: datetime, end: datetime) -> list[Span]:
    """What of ``[start, end)`` was never loaded, ascending."""
    found, at = [], start
    for first, last in merged(intervals):
        if first - at > TICK and at < end:
            found.append((at, min(first, end)))
        at = max(at, last + TICK)
    if end - at > TICK:
        found.append((at, end))
    return found


def passed_over(intervals: Iterable[Span], end: datetime) -> list[Span]:
    """What ``materialize-incremental`` up to ``end`` leaves out for ever: it goes on from the newest end."""
    loaded = merged(intervals)
    return missing(loaded, loaded[0][0], min(loaded[-1][1], end)) if loaded else []


def cut(span: Span, step: timedelta) -> list[Span]:
    """Spans of ``step`` that begin at whole steps of the calendar (since 1970, UTC), so that views share them."""
    found, (at, end) = [], span
    while at < end:
        border = EPOCH + ((at - EPOCH) // step + 1) * step
        found.append((at, min(border, end)))
        at = border
    return found


def is_older(last: datetime, newest: datetime | None) -> bool:
    """Whether a window that ends at ``last``, included, ends before what is loaded up to ``newest``."""
    return newest is not None and newest - last > TICK


def first_start(ttl: timedelta | None, last: datetime) -> datetime:
    """Where a view begins that was never loaded: what has not expired at the end of the window.

    Feast counts from now instead (0.67, ``materialize_incremental``), which leaves out what a late run is for.

    :param ttl: of the view; none, or zero, counts as 52 weeks, as in Feast. Nothing begins before 1970.
    :param last: the end of the window, included.
    """
    end = last + TICK
    return end - min(ttl or timedelta(weeks=52), end - EPOCH)


def within_extension(
    intervals: Sequence[Span], start: datetime, newest: datetime, starts: Collection[datetime]
) -> bool:
    """Whether what is loaded last is a window of the same plan that was extended over the one that begins at ``start``.

    :param intervals: of the view, in the order in which they were loaded.
    :param newest: the newest end of the view, included.
    :param starts: where the chunks of the plan begin.
    """
    if not intervals:
        return False
    first, last = map(aware, intervals[-1])
    return first in starts and first < start and last == newest


def repair_spans(gaps: list[Span], newest: datetime | None, guarded: bool, step: timedelta) -> list[Span]:
    """What is loaded to close the gaps of one view, so that the newest values end up online.

    Where rows are guarded, gaps are loaded in steps: older rows stay out. Where they are not, what lies before the newest
    end is loaded together with all that follows, as one span: only then does the registry not say that the gap is
    closed before the newest values are online again.

    :param gaps: ascending.
    :param newest: the newest end of the view, included.
    """
    if guarded or newest is None or not gaps or gaps[0][0] > newest:
        return [part for gap in gaps for part in cut(gap, step)]
    end = max(newest + TICK, gaps[-1][1])
    return [(gaps[0][0], end)]


def by_span(spans: Mapping[str, Iterable[Span]]) -> list[tuple[Span, list[str]]]:
    """The spans of all views, ascending, each with the views that it is loaded for."""
    found: dict[Span, list[str]] = {}
    for view in sorted(spans):
        for span in spans[view]:
            found.setdefault(span, []).append(view)
    return sorted(found.items())
