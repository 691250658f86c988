"""Gaps: what the registry's intervals lack, and what is loaded to close them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_feast.model.gaps import ViewState, cut, gaps, incremental_gaps, merge, repair_loads
from airflow_provider_feast.model.windows import Window

DAY, TICK = timedelta(days=1), timedelta(microseconds=1)
START = datetime(2026, 1, 1, tzinfo=UTC)


def at(day: float) -> datetime:
    return START + day * DAY


def days(first: float, last: float) -> Window:
    return Window(at(first), at(last))


def loaded(*spans: tuple[float, float]) -> ViewState:
    """A view whose loads were half-open spans of days, as the runner records them."""
    return ViewState("v", tuple((at(first), at(last) - TICK) for first, last in spans))


def test_neighbouring_windows_leave_no_gap_however_their_ends_are_recorded() -> None:
    ours = loaded((0, 1), (1, 2), (2, 3))
    by_hand = ViewState("v", ((at(0), at(1)), (at(1), at(3))))
    overlapping = loaded((0, 3), (1, 2), (1, 2))
    assert [gaps(state, days(0, 3)) for state in (ours, by_hand, overlapping)] == [[], [], []]


def test_gaps_are_found_before_between_and_after_loads() -> None:
    assert gaps(loaded((2, 3), (5, 6)), days(0, 8)) == [days(0, 2), days(3, 5), days(6, 8)]
    assert gaps(loaded((2, 3)), days(2.25, 2.75)) == []
    assert gaps(loaded((2, 3), (9, 10)), days(2.5, 4)) == [days(3, 4)]
    assert gaps(loaded(), days(0, 1)) == [days(0, 1)]


def test_a_reversed_interval_covers_nothing() -> None:
    state = ViewState("v", ((at(5), at(3)), (at(0), at(1))))
    assert gaps(state, days(0, 6)) == [Window(at(1) + TICK, at(6))]


def test_incremental_passes_over_what_lies_before_the_newest_end() -> None:
    assert incremental_gaps(loaded((0, 1), (2, 3)), at(5)) == [days(1, 2)]
    assert incremental_gaps(loaded((0, 1), (1, 3)), at(5)) == []
    assert incremental_gaps(loaded(), at(5)) == []
    assert incremental_gaps(loaded((0, 1), (4, 5)), at(2)) == [days(1, 2)]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 6)), max_size=10))
def test_gaps_and_loads_together_are_the_horizon(spans: list[tuple[int, int]]) -> None:
    state = loaded(*((first, first + length) for first, length in spans))
    found = gaps(state, days(0, 40))
    covered = {day for first, length in spans for day in range(first, first + length)}
    missing = {
        day for window in found for day in range((window.start - START).days, (window.end - START).days)
    }
    assert missing == set(range(40)) - covered
    after = ViewState("v", (*state.intervals, *((window.start, window.end - TICK) for window in found)))
    assert gaps(after, days(0, 40)) == []
    assert merge(after.intervals) == [days(0, 40)]


def test_guarded_gaps_are_loaded_ascending_and_views_share_windows() -> None:
    missing = {"b": [days(4, 6)], "a": [days(1, 2), days(5, 6)]}
    loads = repair_loads(missing, newest={"a": at(9), "b": at(9)}, guarded=True)
    assert [(load.window, load.views) for load in loads] == [
        (days(1, 2), ("a",)),
        (days(4, 5), ("b",)),
        (days(5, 6), ("a", "b")),
    ]


def test_unguarded_gaps_are_followed_by_everything_newer() -> None:
    loads = repair_loads({"a": [days(2, 3)]}, newest={"a": at(6) - TICK}, guarded=False)
    assert [load.window for load in loads] == [days(2, 3), days(3, 4), days(4, 5), days(5, 6)]
    behind = repair_loads({"a": [days(6, 8)]}, newest={"a": at(6) - TICK}, guarded=False)
    assert [load.window for load in behind] == [days(6, 7), days(7, 8)]
    never = repair_loads({"a": [days(0, 1)]}, newest={}, guarded=False)
    assert [load.window for load in never] == [days(0, 1)]


@pytest.mark.parametrize(("first", "last", "count"), [(0, 3, 3), (0.5, 1.25, 2), (0.25, 0.5, 1)])
def test_a_gap_is_cut_at_whole_days(first: float, last: float, count: int) -> None:
    windows = cut(days(first, last), DAY)
    assert (windows[0].start, windows[-1].end, len(windows)) == (at(first), at(last), count)
    assert all(window.end.hour == 0 for window in windows[:-1])
