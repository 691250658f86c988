"""Logs: however the reads of a growing log overlap, each line comes once and in order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_feast.jobs.log_positions import UNSURE_BYTES, UNSURE_SECONDS, Positions, Trail
from airflow_provider_feast.jobs.logs import LATEST, LogCursor, LogLine, readable

BERLIN = timezone(timedelta(hours=2))


def stamp(nanoseconds: int, zone: timezone = UTC) -> str:
    """A timestamp as a node writes it: RFC 3339 with as many digits as needed."""
    seconds, rest = divmod(nanoseconds, 10**9)
    text = (datetime(2026, 1, 1, 21, tzinfo=UTC) + timedelta(seconds=seconds)).astimezone(zone)
    fraction = f".{rest:09d}".rstrip("0").rstrip(".")
    offset = "Z" if zone is UTC else "+02:00"
    return f"{text:%Y-%m-%dT%H:%M:%S}{fraction}{offset}"


@st.composite
def growing_logs(draw: st.DrawFn) -> tuple[list[tuple[int, str]], list[tuple[int, int]], timezone]:
    """Lines with their instants, and reads of them: from an instant that overlaps, up to any character."""
    steps = draw(
        st.lists(st.sampled_from([0, 0, 1, 500_000_000, 10**9, 3600 * 10**9]), min_size=1, max_size=12)
    )
    contents = st.sampled_from(["", "a", "same", "same", "two words", " indented", "a\rb"])
    lines, now = [], 0
    for step in steps:
        now += step
        lines.append((now, draw(contents)))
    reads = [(draw(st.integers(0, 100)), draw(st.integers(0, 100))) for _ in range(draw(st.integers(0, 5)))]
    return lines, reads, draw(st.sampled_from([UTC, BERLIN]))


def texts(lines: Iterable[LogLine]) -> list[str]:
    return [line.text for line in lines]


def read_all(
    lines: list[tuple[int, str]], reads: list[tuple[int, int]], zone: timezone, ending: str
) -> Iterator[str]:
    """Every line that a cursor gives over these reads; the last read is of the ended container."""
    cursor, told, shown = LogCursor(), 0, 0
    text = [f"{stamp(at, zone)} {content}\n" for at, content in lines]
    for back, ahead in reads:
        told = max(told, ahead * len(lines) // 100)  # whole lines that are there now
        since = lines[back * min(shown, len(lines) - 1) // 100][0]  # an instant at or before what was read
        there = [line for (at, _), line in zip(lines[:told], text, strict=False) if at >= since]
        partial = text[told][: ahead % 7] if told < len(text) and lines[told][0] >= since else ""
        yield from texts(cursor.new("".join(there) + partial))
        shown = told
    since = lines[min(shown, len(lines) - 1)][0]
    rest = [line for (at, _), line in zip(lines, text, strict=True) if at >= since]
    yield from texts(cursor.new("".join(rest).removesuffix("\n") + ending, final=True))


@given(growing_logs(), st.sampled_from(["\n", ""]))
def test_any_overlapping_reads_give_each_line_once_and_in_order(
    log: tuple[list[tuple[int, str]], list[tuple[int, int]], timezone], ending: str
) -> None:
    lines, reads, zone = log
    assert list(read_all(lines, reads, zone, ending)) == [
        shown for _, content in lines if (shown := readable(content))
    ]


@given(st.permutations(range(8)), st.lists(st.integers(0, 8), max_size=4))
def test_lines_whose_times_are_out_of_order_come_once_as_well(order: list[int], reads: list[int]) -> None:
    """A runtime times stdout and stderr before it orders them, and clocks are set back."""
    lines = [f"{stamp(at * 100)} {at}\n" for at in order]
    cursor, given = LogCursor(), []
    for count in sorted(reads):
        given += texts(cursor.new("".join(lines[:count])))
        cursor = LogCursor(*cursor.position)
    given += texts(cursor.new("".join(lines), final=True))
    assert given == [str(at) for at in order]


@given(st.lists(st.sampled_from([0, 0, 100]), min_size=1, max_size=8), st.integers(0, 8), st.integers(0, 8))
def test_a_log_that_is_followed_is_read_as_one(steps: list[int], first: int, second: int) -> None:
    instants = [sum(steps[: n + 1]) for n in range(len(steps))]
    lines = [f"{stamp(at)} {n}\n" for n, at in enumerate(instants)]
    first, second = sorted((first, second))
    cursor = LogCursor()
    given = texts(cursor.new("".join(lines[:first])))
    given += texts(cursor.new("".join(lines[:second])))
    given += texts(cursor.new("".join(lines[second:]), goes_on=True))
    given += texts(cursor.new("".join(lines), final=True))
    assert given == [str(n) for n in range(len(lines))]


def test_what_a_cut_log_still_holds_comes_after_what_was_seen() -> None:
    """A rotated log begins anew: the last line that was seen is not there."""
    cursor = LogCursor()
    list(cursor.new(f"{stamp(0)} a\n{stamp(100)} b\n"))
    assert texts(cursor.new(f"{stamp(50)} late\n{stamp(200)} c\n")) == ["c"]


def test_a_line_that_is_not_finished_is_left_for_later() -> None:
    cursor = LogCursor()
    assert texts(cursor.new("2026-01-01T00:00:00Z one\n2026-01-01T00:00:01Z tw")) == ["one"]
    assert texts(cursor.new("2026-01-01T00:00:00Z one\n2026-01-01T00:00:01Z two\n")) == ["two"]


def test_a_line_that_was_never_finished_comes_at_the_end() -> None:
    assert texts(LogCursor().new("2026-01-01T00:00:00Z last words", final=True)) == ["last words"]


def test_what_the_kubelet_says_instead_of_a_log_comes_once_and_hides_nothing() -> None:
    cursor, excuse = LogCursor(), "unable to retrieve container logs for containerd://abc"
    assert texts(cursor.new(f"{excuse}\n")) == [excuse]
    assert texts(cursor.new(f"{excuse}\n2026-01-01T00:00:00Z one\n")) == ["one"]


def test_a_nodes_change_from_summer_time_loses_nothing() -> None:
    cursor = LogCursor()
    text = "2026-10-25T02:59:59.5+02:00 before\n2026-10-25T02:00:00+01:00 after\n"
    assert texts(cursor.new(text)) == ["before", "after"]


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[1m\x1b[34mMaterializing\x1b[0m 3 views", "Materializing 3 views"),
        ("10%\r50%\r100%", "100%"),
        ("done\r", "done"),
        ("trailing   ", "trailing"),
        ("  indented", "  indented"),
        ("", ""),
        ("\x1b[0m", ""),
        ('{"feast_event":"view_started","view":"a"}', ""),
        ('{"other": 1}', '{"other": 1}'),
    ],
)
def test_what_a_person_reads_of_a_line(line: str, shown: str) -> None:
    assert readable(line) == shown
    assert texts(LogCursor().new(f"{stamp(0)} {line}\n")) == ([shown] if shown else [])


def test_a_line_carries_the_time_at_which_the_container_wrote_it() -> None:
    text = "2026-10-25T02:59:59.123456789+02:00 before\nunable to retrieve container logs\n"
    assert list(LogCursor().new(text)) == [
        LogLine("2026-10-25T00:59:59.123456Z", "before"),
        LogLine("", "unable to retrieve container logs"),
    ]


def times(lines: Iterable[LogLine]) -> list[datetime]:
    return [datetime.fromisoformat(line.at) for line in lines]


@given(st.lists(st.sampled_from([0, 1000, 999_000, 10**6, 10**9]), min_size=2, max_size=60), st.data())
def test_lines_have_times_that_differ_and_are_the_same_for_every_reader(
    steps: list[int], data: st.DataObject
) -> None:
    instants = [sum(steps[: n + 1]) for n in range(len(steps))]
    lines = [f"{stamp(at)} line\n" for at in instants]
    one, split = LogCursor(), data.draw(st.integers(0, len(lines)))
    whole = times(one.new("".join(lines)))
    milliseconds = [int(time.timestamp() * 1000) for time in whole]
    assert milliseconds == sorted(set(milliseconds)), "Airflow's reader tells records apart by milliseconds"
    first = LogCursor()
    begun = times(first.new("".join(lines[:split])))
    assert begun + times(LogCursor(*first.position).new("".join(lines))) == whole


def test_a_long_burst_is_dated_a_little_later_at_most() -> None:
    burst = "".join(f"{stamp(0)} {n}\n" for n in range(20_000))
    dated = times(LogCursor().new(burst))
    assert max(dated) - min(dated) == LATEST
    assert dated == sorted(dated)


def test_lines_that_nobody_reads_take_no_time_from_others() -> None:
    events = "".join(f'{stamp(0)} {{"feast_event":"window","number":{n}}}\n' for n in range(3000))
    (line,) = LogCursor().new(f"{events}{stamp(0)} done\n")
    (alone,) = LogCursor().new(f"{stamp(0)} done\n")
    assert line == alone


def test_only_reads_that_are_long_past_are_sure() -> None:
    start: Positions = {"pod/feast": ["", 0, ""]}
    trail, sure = Trail(start), []
    for second in range(0, 200, 5):
        trail.mark(1000.0 + second, 100, {"pod/feast": [f"{second:03}", 1, ""]})
        sure.append(trail.sure["pod/feast"][0])
    assert sure[0] == ""
    for index, second in enumerate(range(0, 200, 5)):
        if sure[index]:
            assert UNSURE_SECONDS <= second - int(sure[index]) <= 1.5 * UNSURE_SECONDS
        else:
            assert second <= 1.5 * UNSURE_SECONDS


def test_what_is_said_again_of_a_long_burst_is_no_more_than_a_socket_may_hold() -> None:
    trail = Trail({"pod/feast": ["", 0, ""]})
    for line in range(10_000):
        trail.mark(1000.0, 400 * line, {"pod/feast": ["", line, ""]})
    assert UNSURE_BYTES <= 400 * (9_999 - trail.sure["pod/feast"][1]) <= 1.2 * UNSURE_BYTES
