"""Windows: points in time, durations, and which window a run has."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pendulum
import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_feast.model.errors import FeastDagError
from airflow_provider_feast.model.windows import (
    RunTimes,
    Window,
    parse_duration,
    parse_instant,
    resolve_window,
)

DAY = timedelta(days=1)
D1, D2, D3 = (datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3))
KATHMANDU = timezone(timedelta(hours=5, minutes=45))


@pytest.mark.parametrize(
    "value",
    [
        D1,
        datetime(2026, 1, 1, 5, 45, tzinfo=KATHMANDU),
        "2026-01-01T00:00:00Z",
        "2026-01-01 00:00:00+00:00",
        "20260101T000000+0000",
        " 2026-01-01T05:45:00+05:45 ",
    ],
)
def test_instants_are_read_as_utc(value: Any) -> None:
    found = parse_instant(value, "start")
    assert found == D1
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("yesterday", "start='yesterday' is not a point in time"),
        ("None", "is not a point in time"),
        ("", "is not a point in time"),
        (1767225600, "is not a point in time"),
        (date(2026, 1, 1), "is not a point in time"),
        (None, "is not a point in time"),
        ("2026-01-01", "start='2026-01-01T00:00:00+00:00' for UTC"),
        (datetime(2026, 1, 1), "has no time zone"),  # noqa: DTZ001 (that is the point)
        ("9999-12-31T23:59:59-05:00", "outside the years"),
        ("0001-01-01T00:00:00+05:00", "outside the years"),
    ],
)
def test_what_is_no_instant_is_refused_with_the_parameters_name(value: Any, says: str) -> None:
    with pytest.raises(FeastDagError) as caught:
        parse_instant(value, "start")
    assert says in str(caught.value)
    assert str(caught.value).startswith("start=")


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (DAY, 86400),
        (90, 90),
        (0.5, 0.5),
        ("90", 90),
        ("90s", 90),
        ("90m", 5400),
        ("26h", 93600),
        (" 1 D ", 86400),
        ("1.5h", 5400),
        ("2w", 1209600),
    ],
)
def test_durations(value: Any, seconds: float) -> None:
    assert parse_duration(value, "lookback").total_seconds() == seconds


@pytest.mark.parametrize(
    "value",
    [
        *("", "soon", "1 month", "-1d", "0s", "999999d", "9" * 30 + "d", "²"),
        *(0, -5, math.nan, math.inf, timedelta(0), True, None, [1]),
    ],
)
def test_what_is_no_duration_is_refused_with_the_parameters_name(value: Any) -> None:
    with pytest.raises(FeastDagError, match=r"^lookback="):
        parse_duration(value, "lookback")


@pytest.mark.parametrize(
    ("run", "window"),
    [
        pytest.param(RunTimes(D1, D2, run_time=D1), Window(D1, D2), id="data interval"),
        pytest.param(RunTimes(D2, D2, run_time=D2), Window(D1, D2), id="trigger timetable: no length"),
        pytest.param(RunTimes(run_time=D3), Window(D2, D3), id="manual: only a run time"),
        pytest.param(RunTimes(partition_date=D2, run_time=D3), Window(D2, D3), id="partition"),
        pytest.param(
            RunTimes(partition_date=D1, partition_end=D3, run_time=D3),
            Window(D1, D3),
            id="partition with an end",
        ),
        pytest.param(
            RunTimes(
                datetime(2026, 1, 1, 5, 45, tzinfo=KATHMANDU), datetime(2026, 1, 2, 5, 45, tzinfo=KATHMANDU)
            ),
            Window(D1, D2),
            id="another time zone",
        ),
    ],
)
def test_the_window_of_a_run_with_a_lookback_of_a_day(run: RunTimes, window: Window) -> None:
    found = resolve_window(lookback=DAY, run=run)
    assert found == window
    assert (found.start.tzinfo, found.end.tzinfo) == (UTC, UTC)


@pytest.mark.parametrize(
    ("run", "says"),
    [
        (RunTimes(D2, D2, run_time=D2), 'a schedule such as "@daily" is only a trigger'),
        (RunTimes(run_time=D2), "no data interval (a manual or asset-triggered run)"),
        (RunTimes(), "no data interval"),
        (RunTimes(partition_date=D2), "nothing says how long a partition is"),
    ],
)
def test_a_run_without_a_window_is_an_error_that_names_the_cures(run: RunTimes, says: str) -> None:
    with pytest.raises(FeastDagError) as caught:
        resolve_window(run=run)
    assert says in str(caught.value)
    assert "lookback=" in caught.value.remedy
    assert "CronDataIntervalTimetable" in caught.value.remedy


def test_a_lookback_without_any_time_to_look_back_from_is_an_error() -> None:
    with pytest.raises(FeastDagError, match="has no window"):
        resolve_window(lookback=DAY)


def test_explicit_times_win_over_all_that_the_run_knows() -> None:
    run = RunTimes(D1, D2, partition_date=D2, run_time=D2)
    assert resolve_window(D2, "2026-01-03T00:00:00Z", lookback=DAY, run=run) == Window(D2, D3)


def test_an_end_alone_looks_back() -> None:
    assert resolve_window(end=D3, lookback=DAY) == Window(D2, D3)


@pytest.mark.parametrize(
    ("start", "end", "says"),
    [
        (D1, None, "start= is given without end="),
        (D1, "", "start= is given without end="),
        (None, D1, "end= is given without start="),
        (D1, D1, "is the same as end="),
        (D2, D1, "is later than end="),
        (D1, datetime(2026, 1, 1, 5, 45, tzinfo=KATHMANDU), "is the same as end="),
    ],
)
def test_explicit_times_that_give_no_window(start: Any, end: Any, says: str) -> None:
    with pytest.raises(FeastDagError, match=says):
        resolve_window(start, end)


def test_feasts_end_is_included_so_ours_is_one_microsecond_earlier() -> None:
    window = Window(D1, D2)
    assert (window.feast_start, window.feast_end) == ("2026-01-01T00:00:00", "2026-01-01T23:59:59.999999")
    assert str(window) == "[2026-01-01T00:00:00+00:00, 2026-01-02T00:00:00+00:00)"


aware = st.datetimes(
    min_value=datetime(1970, 1, 2),  # noqa: DTZ001 (hypothesis wants it)
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.sampled_from([UTC, KATHMANDU, timezone(timedelta(hours=-11))]),
)


@given(aware, aware)
def test_windows_are_never_empty_and_adjacent_ones_share_no_instant(one: datetime, other: datetime) -> None:
    first, last = sorted((one, other))
    if first == last:
        with pytest.raises(FeastDagError):
            resolve_window(first, last)
        return
    window = resolve_window(first.isoformat(), last)
    following = Window(window.end, window.end + DAY)
    assert window.start < window.end
    assert datetime.fromisoformat(window.feast_end) < datetime.fromisoformat(following.feast_start)


def test_airflow_s_own_times_keep_their_zone_when_one_looks_back() -> None:
    noon = pendulum.datetime(2026, 1, 2, 12)
    window = resolve_window(lookback=timedelta(days=1), run=RunTimes(run_time=noon))
    assert window == (datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 1, 2, 12, tzinfo=UTC))
    assert [type(moment) for moment in window] == [datetime, datetime]
