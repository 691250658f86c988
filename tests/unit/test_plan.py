"""Plans: how a range is cut, what the runner makes of it, and what is left of it."""

from __future__ import annotations

import itertools
import json
import re
from datetime import UTC, datetime, timedelta

import pendulum
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_feast.model.errors import FeastDagError
from airflow_provider_feast.model.indexes import format_indexes, parse_indexes
from airflow_provider_feast.model.plan import (
    MOST_CHUNKS,
    MOST_WINDOWS,
    USUAL_CHUNKS,
    Plan,
    choose_plan,
)
from airflow_provider_feast.model.windows import Window, parse_duration
from airflow_provider_feast.runner.basics import Failure
from airflow_provider_feast.runner.planning import read_plan, selected

DAY, TICK = timedelta(days=1), timedelta(microseconds=1)
START = datetime(2026, 1, 1, tzinfo=UTC)
MICROSECONDS = st.integers(1, 400 * 86400 * 10**6).map(lambda number: timedelta(microseconds=number))


def days(count: float) -> Window:
    return Window(START, START + count * DAY)


@given(MICROSECONDS, MICROSECONDS, st.integers(1, 50))
def test_the_windows_of_all_chunks_cover_the_range_once_and_in_order(
    length: timedelta, step: timedelta, per_chunk: int
) -> None:
    step = max(step, length / 200)
    plan = Plan(START, START + length, step, per_chunk)
    windows = [window for chunk in range(plan.chunk_count) for window in plan.windows(chunk)]
    assert len(windows) == plan.window_count
    assert (windows[0].start, windows[-1].end) == (plan.start, plan.end)
    assert all(before.end == after.start for before, after in itertools.pairwise(windows))
    assert all(window.start < window.end for window in windows)


@given(MICROSECONDS, MICROSECONDS, st.integers(1, 50), st.lists(st.sampled_from("abc"), unique=True))
def test_the_runner_reads_the_same_windows(
    length: timedelta, step: timedelta, per_chunk: int, views: list[str]
) -> None:
    plan = Plan(START, START + length, max(step, length / 50), per_chunk, tuple(views))
    digest, chunks = read_plan(plan.to_json())
    assert digest == plan.digest
    assert [[(load.start, load.end) for load in chunk] for chunk in chunks] == [
        [tuple(window) for window in plan.windows(number)] for number in range(plan.chunk_count)
    ]
    assert {load.views for chunk in chunks for load in chunk} == {tuple(sorted(views))}


@pytest.mark.parametrize(
    ("length", "windows", "chunks"),
    [(0.25, 1, 1), (1, 1, 1), (7, 7, 1), (30, 30, 5), (365, 365, 46), (3650, 3650, 50), (20_000, 10_000, 50)],
)
def test_a_range_is_cut_into_days_and_at_most_fifty_chunks(length: float, windows: int, chunks: int) -> None:
    plan = choose_plan(days(length))
    assert (plan.window_count, plan.chunk_count) == (windows, chunks)
    assert plan.chunk_count <= USUAL_CHUNKS


def test_a_chunk_s_length_is_the_user_s() -> None:
    assert choose_plan(days(30), chunk=timedelta(days=10)).chunk_count == 3
    hourly = choose_plan(days(2), chunk=timedelta(hours=6))
    assert (hourly.step, hourly.per_chunk, hourly.chunk_count) == (timedelta(hours=6), 1, 8)
    both = choose_plan(days(2), chunk=timedelta(hours=6), window=timedelta(hours=2))
    assert (both.window_count, both.per_chunk, both.chunk_count) == (24, 3, 8)
    assert choose_plan(days(2), window=timedelta(days=9)).window_count == 1


@pytest.mark.parametrize(
    ("chunk", "step", "per_chunk"),
    [
        ("36h", "18h", 2),
        ("47h", "23h30m", 2),
        ("100h", "20h", 5),
        ("24h", "24h", 1),
        ("7h", "7h", 1),
        ("7d", "1d", 7),
    ],
)
def test_a_chunk_is_as_long_as_it_was_asked_for(chunk: str, step: str, per_chunk: int) -> None:
    plan = choose_plan(days(30), chunk=length(chunk))
    assert (plan.step, plan.per_chunk) == (length(step), per_chunk)
    assert plan.span(0).end - plan.span(0).start == length(chunk)


def length(text: str) -> timedelta:
    return sum((parse_duration(part, "x") for part in re.findall(r"\d+[a-z]", text)), timedelta(0))


@given(st.integers(1, 100), st.integers(1, 30 * 86400 * 10**6))
def test_a_range_of_whole_chunks_has_no_chunk_more(count: int, microseconds: int) -> None:
    chunk = timedelta(microseconds=microseconds)
    plan = choose_plan(Window(START, START + count * chunk), chunk=chunk)
    assert plan.chunk_count == count
    assert plan.step <= DAY
    assert all(
        abs(plan.span(number).end - START - (number + 1) * chunk) <= count * plan.per_chunk * TICK
        for number in range(count)
    )


@pytest.mark.parametrize(
    ("chunk", "step", "cure"),
    [
        ("12h", "2d", "2 days"),
        ("36h", "1d", "1 day, 0:00:00 or 2 days"),
        ("100h", "7h", "4 days, 2:00:00 or 4 days, 9:00"),
    ],
)
def test_a_chunk_that_does_not_hold_whole_steps_is_refused(chunk: str, step: str, cure: str) -> None:
    with pytest.raises(FeastDagError, match="does not hold whole windows") as caught:
        choose_plan(days(30), chunk=length(chunk), window=length(step))
    assert f"set chunk= to {cure}" in caught.value.remedy


@pytest.mark.parametrize(
    ("range_", "step", "chunks"),
    [
        (1, "15m", 1),
        (7, "15m", 1),
        (7, "3d", 1),
        (8, "15m", 2),
        (30, "15m", 5),
        (60, "10m", 9),
        (365, "30d", 13),
    ],
)
def test_up_to_seven_days_are_one_chunk_however_short_the_steps_are(
    range_: int, step: str, chunks: int
) -> None:
    assert choose_plan(days(range_), window=length(step)).chunk_count == chunks


def test_more_chunks_or_windows_than_a_job_may_have_are_refused_with_a_length_that_works() -> None:
    with pytest.raises(FeastDagError, match=r"one Job has at most 500") as caught:
        choose_plan(days(1000), chunk=timedelta(hours=1))
    assert "chunks of 1:00:00 make 24,000 of" in str(caught.value)
    with pytest.raises(FeastDagError, match=r"chunks of 12:00:00 make 2,000") as caught:
        choose_plan(days(1000), chunk=timedelta(hours=12))
    assert "set chunk= to 2 days" in caught.value.remedy
    assert choose_plan(days(1000), chunk=2 * DAY).chunk_count == MOST_CHUNKS
    with pytest.raises(FeastDagError, match="at most 10,000") as caught:
        choose_plan(days(1000), window=timedelta(hours=1))
    assert "3:00:00" in caught.value.remedy
    assert choose_plan(days(1000), window=timedelta(hours=3)).window_count <= MOST_WINDOWS
    assert caught.value.remedy.startswith("set step= to ")


def test_the_digest_changes_with_every_part_of_a_plan_and_with_nothing_else() -> None:
    plan = choose_plan(days(30), views=["b", "a"])
    others = [
        choose_plan(days(31), views=["a", "b"]),
        choose_plan(days(30), views=["a"]),
        choose_plan(days(30), views=["a", "b"], chunk=DAY),
        choose_plan(days(30), views=["a", "b"], window=7 * DAY),
    ]
    assert len({plan.digest, *(other.digest for other in others)}) == 5
    assert choose_plan(days(30), views=["a", "b", "a"]).digest == plan.digest
    assert len(plan.to_json()) < 300


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        "{}",
        '{"chunks":[[{"start":"2026-01-01T00:00:00Z","end":"2026-01-02T00:00:00Z"}]]}',
        '{"start":"2026-01-01T00:00:00","end":"2026-01-02T00:00:00Z","step":1,"per_chunk":1,"views":[]}',
        '{"start":"2026-01-01T00:00:00Z","end":"2026-01-02T00:00:00Z","step":0,"per_chunk":1,"views":[]}',
    ],
)
def test_the_runner_refuses_what_is_no_plan(text: str) -> None:
    with pytest.raises(Failure, match="the plan cannot be read") as caught:
        read_plan(text)
    assert (caught.value.code, caught.value.kind) == (64, "usage_error")


@pytest.mark.parametrize(
    ("chunks", "index", "found"),
    [("", "", [0, 1, 2, 3, 4]), ("", "3", [3]), ("1,3-4", "", [1, 3, 4]), ("1,3-4", "2", [4])],
)
def test_an_index_stands_for_one_of_the_chunks_that_are_left(
    chunks: str, index: str, found: list[int]
) -> None:
    assert selected(5, chunks, index) == found


@pytest.mark.parametrize(("chunks", "index"), [("", "5"), ("1,3", "2"), ("7", "0"), ("x", "")])
def test_a_chunk_that_does_not_exist_is_a_wrong_call(chunks: str, index: str) -> None:
    with pytest.raises(Failure) as caught:
        selected(5, chunks, index)
    assert caught.value.code == 64


@given(st.frozensets(st.integers(0, 60)))
def test_indexes_are_read_as_they_were_written(indexes: frozenset[int]) -> None:
    assert parse_indexes(format_indexes(indexes)) == indexes


def test_completed_indexes_are_those_that_kubernetes_writes() -> None:
    assert parse_indexes("0,2,3-7") == {0, 2, 3, 4, 5, 6, 7}
    assert parse_indexes("") == parse_indexes(None) == frozenset()
    assert format_indexes([7, 3, 4, 5, 6, 2, 0]) == "0,2-7"
    assert format_indexes([1, 2]) == "1,2"
    with pytest.raises(ValueError, match="backwards"):
        parse_indexes("3-2")
    with pytest.raises(ValueError, match="no Job has an index"):
        parse_indexes("0-99999999999")


def test_a_plan_of_many_views_is_json_of_one_line() -> None:
    text = choose_plan(days(2), views=[f"view_{number}" for number in range(300)]).to_json()
    assert "\n" not in text
    assert len(json.loads(text)["views"]) == 300


def test_airflow_s_own_times_are_as_good_as_any() -> None:
    first, last = pendulum.datetime(2026, 1, 1), pendulum.datetime(2026, 1, 31)
    plan = choose_plan(Window(first, last))
    assert plan == choose_plan(days(30))
    assert type(plan.start) is type(plan.windows(0)[0].end) is datetime
