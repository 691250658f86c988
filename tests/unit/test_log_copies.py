"""A line that worker and triggerers each say shows once in the task's log, whatever else is said meanwhile.

The judge is Airflow's own log reader, which merges the files of a task's try.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from airflow.utils.log.file_task_handler import _interleave_logs

from airflow_provider_feast.jobs import logs
from airflow_provider_feast.jobs.log_positions import QUIET, Positions, after_deferral, unread
from airflow_provider_feast.jobs.logs import LogCursor, LogLine, before, say_to

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
DEFERRED = START + timedelta(seconds=1)


class Moment(datetime):
    """A clock that stands."""

    here = START

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return cls.here


class LogFile:
    """One file of a task's log: what a worker, or one triggerer, wrote."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, event: str, *, timestamp: str = "", **fields: Any) -> None:
        """Write a record."""
        now = Moment.here.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        self.lines.append(json.dumps({"timestamp": timestamp or now, "event": event, **fields}))

    def airflow(self, *events: str) -> None:
        """What Airflow says of its own."""
        for event in events:
            self.info(event, logger="task")


def pod_log(at: Sequence[datetime], first: int = 0) -> str:
    """A pod's log with a line at each of these times."""
    return "".join(f"{time:%Y-%m-%dT%H:%M:%S.%f}Z line {n}\n" for n, time in enumerate(at, first))


def every(step: timedelta, count: int, start: datetime = START) -> list[datetime]:
    return [start + n * step for n in range(count)]


def pass_on(
    file: LogFile, text: str, positions: Positions, count: int | None = None, pod: str = "pod"
) -> Positions:
    """What ``PodLogs`` does with a pod's log; ``count``: how many lines are said until a kill."""
    say, cursor = say_to(file, on_grid=True), LogCursor(*positions.get(pod) or unread(positions))
    lines = list(cursor.new(text, final=True))[:count]
    if pod not in positions:
        lines.insert(0, LogLine(before(lines[0].at), f"--- log of {pod} ---"))
    for line in lines:
        say(line.text, line.at)
    return {**positions, pod: cursor.position}


def shown(*files: LogFile) -> list[str]:
    """The pod's lines as Airflow shows them."""
    merged = _interleave_logs(*(iter(file.lines) for file in files))
    return [record.event for record in merged if record.event.startswith(("line", "---"))]


def expected(count: int) -> list[str]:
    return ["--- log of pod ---", *(f"line {n}" for n in range(count))]


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Moment]]:
    """The time at which the provider and Airflow write."""
    Moment.here = START
    monkeypatch.setattr(logs, "datetime", Moment)
    yield Moment


@pytest.mark.parametrize("phase", range(0, 101, 5), ids=lambda phase: f"{phase} ms")
@pytest.mark.parametrize(
    ("step", "count"), [(timedelta(milliseconds=100), 35), (timedelta(microseconds=10), 1500)]
)
def test_lines_of_the_moment_of_the_deferral_show_once(
    clock: type[Moment], phase: int, step: timedelta, count: int
) -> None:
    """Records of the worker of the same millisecond would stand between two triggerers' copies."""
    worker, first, second = LogFile(), LogFile(), LogFile()
    at = every(step, count, START + timedelta(milliseconds=phase))
    text = pod_log([time if count < 100 else DEFERRED + (time - START) for time in at])
    worker.airflow(*(f"startup {n}" for n in range(8)))
    for millisecond in range(0, 1999, 7):
        clock.here = DEFERRED + timedelta(milliseconds=millisecond)
        worker.airflow("Pausing task as DEFERRED.")
    positions = after_deferral({}, DEFERRED)
    first.airflow("trigger starting")
    pass_on(first, text, positions, count - 3)
    second.airflow("trigger starting", "another word")
    pass_on(second, text, positions)
    worker.airflow(*(f"resumed {n}" for n in range(5)))
    pass_on(worker, text, positions)
    assert shown(worker, first, second) == expected(count)


@pytest.mark.parametrize("phase", range(10, 60, 3), ids=lambda phase: f"{phase} ms")
def test_what_a_trigger_says_of_its_own_does_not_come_between_copies(clock: type[Moment], phase: int) -> None:
    positions = after_deferral({}, START - timedelta(minutes=1))
    at = every(timedelta(microseconds=300), 500)
    chatty, terse, worker = LogFile(), LogFile(), LogFile()
    for n in range(300):
        clock.here = START + timedelta(milliseconds=n - phase)
        say_to(chatty, on_grid=True)(f"The Kubernetes API does not answer ({n}).")
    pass_on(chatty, pod_log(at), positions)
    pass_on(terse, pod_log(at), positions)
    worker.airflow("resumed")
    pass_on(worker, pod_log(at), positions)
    assert shown(worker, chatty, terse) == expected(500)


def test_lines_of_two_pods_of_one_moment_show_once(clock: type[Moment]) -> None:
    """Both were read after the deferral, and a burst of the first one is dated later than the second one's lines."""
    positions = after_deferral({}, START)
    burst, after = pod_log(every(timedelta(), 300)), pod_log(every(timedelta(milliseconds=7), 100), 300)
    trigger, worker = LogFile(), LogFile()
    pass_on(trigger, after, pass_on(trigger, burst, positions, pod="first"), pod="second")
    worker.airflow(*(f"resumed {n}" for n in range(20)))
    pass_on(worker, after, pass_on(worker, burst, positions, pod="first"), pod="second")
    first, second = ["--- log of first ---"], ["--- log of second ---"]
    lines = [f"line {n}" for n in range(400)]
    assert shown(worker, trigger) == [*first, *lines[:300], *second, *lines[300:]]


def test_a_log_that_the_worker_began_goes_on_where_it_stopped(clock: type[Moment]) -> None:
    at = every(timedelta(milliseconds=100), 40)
    worker, trigger = LogFile(), LogFile()
    cursor = LogCursor()
    worker_says = say_to(worker)
    begun = list(cursor.new(pod_log(at[:10])))
    worker_says("--- log of pod ---", before(begun[0].at))
    for line in begun:
        worker_says(line.text, line.at)
    positions = after_deferral({"pod": cursor.position}, DEFERRED)
    pass_on(trigger, pod_log(at), positions)
    pass_on(worker, pod_log(at), positions)
    assert shown(worker, trigger) == expected(40)
    dates = {json.loads(line)["event"]: json.loads(line)["timestamp"] for line in trigger.lines}
    late = {
        event: datetime.fromisoformat(dates[event]) - time
        for event, time in ((f"line {n}", at[n]) for n in range(10, 40))
    }
    on_time = [event for event, lateness in late.items() if lateness < timedelta(milliseconds=2)]
    assert on_time == [f"line {n}" for n in range(31, 40)]
    assert max(late.values()) <= QUIET + timedelta(milliseconds=100)
