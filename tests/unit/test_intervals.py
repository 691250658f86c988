"""Intervals of the registry: what is loaded, what is missing, and what is loaded to close that."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_feast.runner.intervals import (
    Span,
    by_span,
    cut,
    merged,
    missing,
    passed_over,
    repair_spans,
    span_text,
)

DAY, TICK = timedelta(days=1), timedelta(microseconds=1)
START = datetime(2026, 1, 1, tzinfo=UTC)


def at(day: float) -> datetime:
    return START + day * DAY


def days(first: float, last: float) -> Span:
    return at(first), at(last)


def loaded(*spans: tuple[float, float]) -> list[Span]:
    """Loads of half-open spans of days, as the registry records them."""
    return [(at(first), at(last) - TICK) for first, last in spans]


def test_neighbouring_windows_leave_no_gap_however_their_ends_are_recorded() -> None:
    ours = loaded((0, 1), (1, 2), (2, 3))
    by_hand = [days(0, 1), days(1, 3)]
    overlapping = loaded((0, 3), (1, 2), (1, 2))
    assert [missing(state, *days(0, 3)) for state in (ours, by_hand, overlapping)] == [[], [], []]


def test_what_is_missing_is_found_before_between_and_after_loads() -> None:
    assert missing(loaded((2, 3), (5, 6)), *days(0, 8)) == [days(0, 2), days(3, 5), days(6, 8)]
    assert missing(loaded((2, 3)), *days(2.25, 2.75)) == []
    assert missing(loaded((2, 3), (9, 10)), *days(2.5, 4)) == [days(3, 4)]
    assert missing([], *days(0, 1)) == [days(0, 1)]


def test_a_reversed_interval_covers_nothing() -> None:
    state = [(at(5), at(3)), (at(0), at(1))]
    assert missing(state, *days(0, 6)) == [(at(1) + TICK, at(6))]


def test_times_without_a_zone_are_utc() -> None:
    naive = [(start.replace(tzinfo=None), last.replace(tzinfo=None)) for start, last in loaded((0, 2))]
    assert missing(naive, *days(0, 3)) == [days(2, 3)]


def test_incremental_passes_over_what_lies_before_the_newest_end() -> None:
    assert passed_over(loaded((0, 1), (2, 3)), at(5)) == [days(1, 2)]
    assert passed_over(loaded((0, 1), (1, 3)), at(5)) == []
    assert passed_over([], at(5)) == []
    assert passed_over(loaded((0, 1), (4, 5)), at(2)) == [days(1, 2)]
    assert passed_over(loaded((3, 4)), at(2)) == []


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 6)), max_size=10))
def test_what_is_missing_and_what_is_loaded_are_the_range_together(spans: list[tuple[int, int]]) -> None:
    state = loaded(*((first, first + length) for first, length in spans))
    found = missing(state, *days(0, 40))
    covered = {day for first, length in spans for day in range(first, first + length)}
    lacking = {day for start, end in found for day in range((start - START).days, (end - START).days)}
    assert lacking == set(range(40)) - covered
    after = [*state, *((start, end - TICK) for start, end in found)]
    assert missing(after, *days(0, 40)) == []
    assert merged(after) == [(at(0), at(40) - TICK)]


def test_guarded_gaps_are_loaded_ascending_and_views_share_windows() -> None:
    spans = {
        "b": repair_spans([days(4, 6)], at(9), True, DAY),
        "a": repair_spans([days(1, 2), days(5, 6)], at(9), True, DAY),
    }
    assert by_span(spans) == [(days(1, 2), ["a"]), (days(4, 5), ["b"]), (days(5, 6), ["a", "b"])]


def test_unguarded_gaps_are_loaded_in_one_with_everything_newer() -> None:
    newest = at(6) - TICK
    assert repair_spans([days(2, 3)], newest, False, DAY) == [days(2, 6)]
    assert repair_spans([days(2, 3), days(4, 8)], newest, False, DAY) == [days(2, 8)]
    assert repair_spans([days(6, 8)], newest, False, DAY) == [days(6, 7), days(7, 8)]
    assert repair_spans([days(0, 1)], None, False, DAY) == [days(0, 1)]
    assert repair_spans([], newest, False, DAY) == []


@pytest.mark.parametrize(("first", "last", "count"), [(0, 3, 3), (0.5, 1.25, 2), (0.25, 0.5, 1)])
def test_a_gap_is_cut_at_whole_days(first: float, last: float, count: int) -> None:
    spans = cut(days(first, last), DAY)
    assert (spans[0][0], spans[-1][1], len(spans)) == (at(first), at(last), count)
    assert all(end.hour == 0 for _, end in spans[:-1])


def test_a_window_is_told_without_what_is_zero() -> None:
    assert span_text(days(0, 1.5)) == "[2026-01-01, 2026-01-02T12:00:00)"
