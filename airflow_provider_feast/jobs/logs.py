"""A pod's log, read again and again: each line once and in order."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple, Protocol

EVENT_PREFIX = '{"feast_event":'
"""How the runner's lines for machines start."""

POD_LOGGER = "airflow_provider_feast.pod"
"""The logger's name in the records of pods' lines."""

LATEST = timedelta(seconds=5)
"""How much later than its own time a line of a burst may be dated at most."""

MILLISECOND = timedelta(milliseconds=1)

OWN_GRID = 50
"""Milliseconds: what a trigger says of its own is dated to a multiple of it, and no pod's line is."""

_STAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)")
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


class Say(Protocol):
    """Takes one line for the task's log."""

    def __call__(self, text: str, at: str = "") -> None:
        """Say it.

        :param at: when it was said in the pod, ISO 8601; "" for now.
        """


def say_to(log: Any, *, on_grid: bool = False) -> Say:
    """Say lines to a task's log.

    A pod's line is the same record whoever says it, worker or triggerer: where two say it, Airflow's log reader shows
    it once.

    :param log: Airflow's (structlog) logger; it takes the time of a line as ``timestamp``, and a name as ``logger``.
    :param on_grid: whether other lines are dated to :data:`OWN_GRID`: they come between pods' lines that somebody else
        may say, too.
    """

    def say(text: str, at: str = "") -> None:
        if at:
            log.info(text, timestamp=at, logger=POD_LOGGER)
        elif on_grid:
            log.info(text, timestamp=_written(next_own(datetime.now(UTC))))
        else:
            log.info(text)

    return say


def next_own(time: datetime) -> datetime:
    """The first time from one on that only a trigger's own lines have."""
    return time + timedelta(microseconds=-time.microsecond % (OWN_GRID * 1000))


def next_free(time: datetime) -> datetime:
    """The first time from one on that a pod's line may have."""
    if time.microsecond // 1000 % OWN_GRID:
        return time
    return time.replace(microsecond=time.microsecond // 1000 * 1000) + MILLISECOND


def before(at: str) -> str:
    """The time of a heading, just before that of the first line.

    :param at: the line's, ISO 8601, or "".
    """
    if not at:
        return ""
    time = datetime.fromisoformat(at) - MILLISECOND
    return _written(time if next_free(time) == time else time - MILLISECOND)


def _written(time: datetime) -> str:
    """A time as log records have it."""
    return f"{time.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"


class LogLine(NamedTuple):
    """One line of a container.

    :param at: when the container wrote it, ISO 8601, UTC, or "" for a line of the kubelet's own.
    """

    at: str
    text: str


class LogCursor:
    """What of a container's log has been seen, so that overlapping reads give every line once.

    Reads overlap because ``sinceSeconds`` is coarse. Where a read holds the last line that was seen, all after it is
    new, whatever its time: stdout and stderr may be written down in another order than they were timed, and a node's
    clock may be set back. Where it does not, because the log was cut, Kubernetes' timestamps (RFC 3339, nanoseconds)
    tell the lines apart. A line without a timestamp is the kubelet's own ("unable to retrieve container logs …"); it is
    given once and moves nothing.

    Airflow's reader sorts records by milliseconds, and knows two copies of a record by their being neighbours. So no two
    lines get the same millisecond, nor one of :data:`OWN_GRID`: a line of a burst is given the next free one, the same
    in every reading. Lines that nobody reads (:func:`readable`) are left out, and need no time.

    :param last: the last line's instant, from another cursor's :attr:`position`; "" before the first one.
    :param at_last: how many lines of that instant were seen.
    :param given: the time that the last line was given, ISO 8601, UTC; later ones get later times.
    """

    def __init__(self, last: str = "", at_last: int = 0, given: str = "") -> None:
        self._last = last
        self._at_last = at_last
        self._given = given
        self._unstamped: set[str] = set()

    @property
    def position(self) -> list[Any]:
        """Where another cursor can go on: the arguments for it, as JSON."""
        return [self._last, self._at_last, self._given]

    @property
    def last(self) -> datetime | None:
        """When the container wrote the last line that was seen."""
        return datetime.fromisoformat(self._last[:26]).replace(tzinfo=UTC) if self._last else None

    @property
    def given(self) -> datetime | None:
        """The time that the last line was given."""
        return datetime.fromisoformat(self._given).replace(tzinfo=UTC) if self._given else None

    def new(self, text: str, *, final: bool = False, goes_on: bool = False) -> Iterator[LogLine]:
        """The lines of a read that are new, as a person reads them.

        :param text: a log read with ``timestamps=true``.
        :param final: whether the container has ended; else a last line without a line feed is left for later.
        :param goes_on: whether the text begins where the last one ended.
        """
        lines = text.split("\n")
        if not final:
            lines = lines[:-1]
        stamped = [(_sortable(line.partition(" ")[0]), line) for line in lines]
        keys = [key for key, _ in stamped]
        anchor = -1 if goes_on else self._find(keys)
        skip_to = self._last if anchor is None else ""
        seen = Counter(key for key in keys[: (anchor or 0) + 1])
        for key, line in stamped[(0 if anchor is None else anchor + 1) :]:
            if key is None:
                if line not in self._unstamped and (shown := readable(line)):
                    self._unstamped.add(line)
                    yield LogLine("", shown)
                continue
            seen[key] += 1
            if skip_to and key <= skip_to:
                continue
            again = goes_on and key == self._last
            self._last, self._at_last = key, self._at_last + 1 if again else seen[key]
            if shown := readable(line.partition(" ")[2]):
                yield LogLine(self._time(key), shown)

    def _find(self, keys: Sequence[str | None]) -> int | None:
        """Where the last line that was seen stands: -1 before the first line, ``None`` if it is not there."""
        if not self._last:
            return -1
        same = (index for index, key in enumerate(keys) if key == self._last)
        return next(islice(same, self._at_last - 1, None), None)

    def _time(self, key: str) -> str:
        """The time to give to a line of an instant: another millisecond than every line's before."""
        own = next_free(datetime.fromisoformat(key[:26]))
        time = own
        if self._given:
            free = next_free(datetime.fromisoformat(self._given) + MILLISECOND)
            time = min(max(own, free), own + LATEST)
        written = time.isoformat(timespec="microseconds")
        self._given = max(self._given, written)
        return f"{written}Z"


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


def readable(line: str) -> str:
    """A line as a person reads it: no terminal codes, the last state of a ``\\r`` line; "" for a machine event."""
    text = _ANSI.sub("", line).rstrip("\r").rsplit("\r", 1)[-1].rstrip()
    return "" if text.startswith(EVENT_PREFIX) else text
