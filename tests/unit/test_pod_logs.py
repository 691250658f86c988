"""Whose lines come first, and which times they get, is the same for every reader of a Job's logs.

The API is a table of logs here: pods of one second, and reads that fail at a given moment, cannot be had otherwise.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import pytest

from airflow_provider_feast.jobs.log_positions import Positions
from airflow_provider_feast.jobs.logs import before, next_free
from airflow_provider_feast.jobs.pod_logs import LAST_READS, PATIENCE, PodLogs


class Answer:
    """What the asynchronous client gives."""

    reason = ""

    def __init__(self, status: int, body: str) -> None:
        self.status, self._body = status, body
        self.headers = {"Content-Type": "text/html" if body.startswith("<") else "text/plain"}

    async def read(self) -> bytes:
        return self._body.encode()

    def release(self) -> None:
        """Nothing to give back."""

    def close(self) -> None:
        """Nothing to close."""


class Logs:
    """An API server that knows logs only; a log in ``away`` cannot be read."""

    def __init__(self, **logs: str) -> None:
        self.logs = logs
        self.away: set[str] = set()
        self.asked = 0

    async def send(self, group: str, method: str, pod: str, namespace: str, **options: Any) -> Answer:
        assert method == "read_namespaced_pod_log"
        self.asked += 1
        return Answer(500, "") if pod in self.away else Answer(200, self.logs[pod])


class Reader:
    """A worker or a trigger, and what it says: text and time."""

    def __init__(self, logs: Logs, positions: Positions | None = None) -> None:
        self.said: list[tuple[str, str]] = []
        self.logs = PodLogs(logs, "ns", self._say, positions)  # type: ignore[arg-type]

    def _say(self, text: str, at: str = "") -> None:
        self.said.append((text, at))

    @property
    def texts(self) -> list[str]:
        return [text for text, _ in self.said if not text.startswith("---")]


def pod(name: str, *, created: int = 0, ended: int | None = None) -> dict[str, Any]:
    """A pod of a second of one minute that has ended in another one, or runs."""
    stamp = "2026-01-01T12:00:{:02}Z".format
    state = {"running": {"startedAt": stamp(created)}}
    if ended is not None:
        state = {"terminated": {"startedAt": stamp(created), "finishedAt": stamp(ended), "exitCode": "1"}}
    return {
        "metadata": {"name": name, "creationTimestamp": stamp(created)},
        "status": {"containerStatuses": [{"name": "feast", "state": state}]},
    }


def lines(pod_name: str, *milliseconds: int) -> str:
    return "".join(f"2026-01-01T12:00:00.{at:03}000000Z {pod_name} {at}\n" for at in milliseconds)


def read(reader: Reader, *pods: dict[str, Any]) -> None:
    asyncio.run(reader.logs.read(pods))


def test_a_pod_that_has_ended_comes_before_its_replacement_of_the_same_second() -> None:
    logs = Logs(z=lines("z", 100, 200), a=lines("a", 150, 300))
    live, late = Reader(logs), Reader(logs)
    read(live, pod("z"))
    read(live, pod("z", ended=0), pod("a"))
    read(late, pod("a"), pod("z", ended=0))
    assert late.said == live.said
    assert late.texts == ["z 100", "z 200", "a 150", "a 300"]


def test_who_reads_on_gives_each_line_the_time_that_it_had() -> None:
    """The second reader's order is another one: both pods have ended, in one second."""
    logs = Logs(z=lines("z", 100, 200), a=lines("a", 150, 300))
    trigger = Reader(logs, {"": ["", 0, "2026-01-01T12:00:02.000000"]})
    read(trigger, pod("z"))
    read(trigger, pod("z", ended=0), pod("a"))
    worker = Reader(logs, trigger.logs.trail.sure)
    read(worker, pod("a", ended=0), pod("z", ended=0))
    assert sorted(worker.said) == sorted(trigger.said)


def test_a_log_that_cannot_be_read_now_is_waited_for_before_those_of_later_pods() -> None:
    logs = Logs(first=lines("first", 100, 200), second=lines("second", 150))
    reader, undisturbed = Reader(logs), Reader(logs)
    pods = pod("first", ended=1), pod("second", created=1)
    read(undisturbed, *pods)
    logs.away = {"first"}
    read(reader, *pods)
    assert reader.said == []
    logs.away = set()
    read(reader, *pods)
    assert reader.said == undisturbed.said


@pytest.mark.parametrize("ended", [None, 3])
def test_a_log_that_can_never_be_read_does_not_hide_those_of_later_pods(ended: int | None) -> None:
    """Its node is lost, say."""
    logs = Logs(first="", second=lines("second", 150))
    logs.away = {"first"}
    reader = Reader(logs)
    for _ in range(LAST_READS):
        read(reader, pod("first", ended=1), pod("second", created=1, ended=ended))
    assert reader.texts == ["second 150"]


def test_a_proxys_page_is_no_log() -> None:
    logs = Logs(pod="<html>\nGateway\n</html>\n")
    reader = Reader(logs)
    read(reader, pod("pod"))
    assert reader.said == []
    logs.logs["pod"] = lines("pod", 5)
    read(reader, pod("pod"))
    assert reader.texts == ["pod 5"]


def test_a_heading_is_said_once_just_before_the_first_line_for_a_person() -> None:
    event = '2026-01-01T12:00:00.003000000Z {"feast_event": "started"}\n'
    logs = Logs(pod="")
    reader = Reader(logs)
    read(reader, pod("pod"))
    logs.logs["pod"] = event
    read(reader, pod("pod"))
    assert reader.said == []
    logs.logs["pod"] = event + lines("pod", 5, 6)
    read(reader, pod("pod", ended=1))
    assert [(text[:5], at[17:23]) for text, at in reader.said] == [
        ("--- l", "00.004"),
        ("pod 5", "00.005"),
        ("pod 6", "00.006"),
    ]
    late = Reader(logs, reader.logs.trail.sure)
    read(late, pod("pod", ended=1))
    assert late.said == reader.said


def test_who_reads_on_where_lines_were_said_says_no_heading() -> None:
    logs = Logs(pod=lines("pod", 5, 6))
    worker = Reader(logs, {"pod/feast": ["2026-01-01T12:00:00.005000000", 1, "2026-01-01T12:00:00.005000"]})
    read(worker, pod("pod"))
    assert worker.said == [("pod 6", "2026-01-01T12:00:00.006000Z")]


@pytest.mark.parametrize("millisecond", [0, 1, 2, 50, 51])
def test_a_headings_time_is_one_that_lines_may_have(millisecond: int) -> None:
    first = f"2026-01-01T12:00:00.{millisecond:03}000Z"
    time = datetime.fromisoformat(before(first))
    assert next_free(time) == time < datetime.fromisoformat(first)


def test_the_latest_time_is_that_of_a_line_and_not_of_where_lines_may_begin() -> None:
    """A trigger waits for it to pass before it tells its end."""
    reader = Reader(Logs(pod=""), {"": ["", 0, "2026-01-01T12:00:02.000000"]})
    read(reader, pod("pod"))
    assert reader.logs.latest is None


def test_a_log_that_cannot_be_followed_is_not_asked_for_without_end() -> None:
    logs = Logs(pod="")
    logs.away = {"pod"}
    reader = Reader(logs)

    async def follow() -> None:
        for _ in range(20):
            reader.logs.follow([pod("pod")])
            await reader.logs.until_followed()

    asyncio.run(follow())
    assert logs.asked == PATIENCE
