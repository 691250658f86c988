"""A pod's log, read again and again: each line once and in order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple, Protocol

EVENT_PREFIX = '{"feast_event":'
"""How the runner's lines for machines start."""

_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)")
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


class Say(Protocol):
    """Takes one line for the task's log."""

    def __call__(self, text: str, at: str = "") -> None:
        """Say it.

        :param at: when it was said in the pod, ISO 8601; "" for now.
        """


def say_to(log: Any) -> Say:
    """Say lines to a task's log.

    :param log: Airflow's (structlog) logger; it takes the time of a line as ``timestamp``.
    """

    def say(text: str, at: str = "") -> None:
        if at:
            log.info(text, timestamp=at)
        else:
            log.info(text)

    return say


class LogLine(NamedTuple):
    """One line of a container.

    :param at: when the container wrote it, ISO 8601, UTC, or "" for a line of the kubelet's own.
    """

    at: str
    text: str


class LogCursor:
    """What of a container's log has been seen, so that overlapping reads give every line once.

    Reads overlap because ``sinceSeconds`` is coarse; Kubernetes' timestamps (RFC 3339, nanoseconds) tell the lines
    apart, and lines of one instant are counted. A line without a timestamp is the kubelet's own ("unable to retrieve
    container logs …"); it is given once and moves nothing.

    :param last: the last line's instant, from another cursor's :attr:`position`.
    :param at_last: how many lines of that instant were seen.
    """

    def __init__(self, last: str = "", at_last: int = 0) -> None:
        self._last = last
        self._at_last = at_last
        self._unstamped: set[str] = set()

    @property
    def position(self) -> list[Any]:
        """Where another cursor can go on: the arguments for it, as JSON."""
        return [self._last, self._at_last]

    def new(self, text: str, *, final: bool = False) -> Iterator[LogLine]:
        """The lines of a read that are new.

        :param text: a log read with ``timestamps=true``.
        :param final: whether the container has ended; else a last line without a line feed is left for later.
        """
        lines = text.split("\n")
        if not final:
            lines = lines[:-1]
        seen_at_last = 0
        for line in lines:
            stamp, _, content = line.partition(" ")
            key = _sortable(stamp)
            if key is None:
                if line and line not in self._unstamped:
                    self._unstamped.add(line)
                    yield LogLine("", line)
                continue
            if key < self._last:
                continue
            if key == self._last:
                seen_at_last += 1
                if seen_at_last <= self._at_last:
                    continue
                self._at_last += 1
            else:
                self._last, self._at_last, seen_at_last = key, 1, 1
            yield LogLine(f"{key[:26]}Z", content)


def _sortable(stamp: str) -> str | None:
    """A timestamp whose text order is its time order, or ``None`` for what is none.

    Fractions have no fixed length, and a node may write its own time zone.
    """
    match = _STAMP.fullmatch(stamp)
    if match is None:
        return None
    seconds, fraction, offset = match[1], match[2] or "", match[3]
    if offset != "Z":
        seconds = datetime.fromisoformat(seconds + offset).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{seconds}.{fraction:0<9}"


def readable(lines: Iterable[LogLine]) -> Iterator[LogLine]:
    """Lines for a person: without the runner's machine events and terminal codes, the last state of ``\\r`` lines."""
    for line in lines:
        text = _ANSI.sub("", line.text).rstrip("\r").rsplit("\r", 1)[-1].rstrip()
        if text and not text.startswith(EVENT_PREFIX):
            yield LogLine(line.at, text)
