"""Windows of event time: half-open, UTC, aware; and how a run's own window is found."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from airflow_provider_feast.model.errors import FeastDagError

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_TICK = timedelta(microseconds=1)
_LONGEST = timedelta(days=36_500)


CLOCKS_DIFFER = timedelta(minutes=1)
"""How far the clocks of a scheduler, a worker and whoever sets an end may be apart: so far an end may lie ahead."""


class Window(NamedTuple):
    """A half-open interval ``[start, end)`` of event time.

    :param start: aware, UTC, inclusive.
    :param end: aware, UTC, exclusive.
    """

    start: datetime
    end: datetime

    @property
    def feast_start(self) -> str:
        """The start as Feast's command line takes it."""
        return feast_instant(self.start)

    @property
    def feast_end(self) -> str:
        """The end as Feast's command line takes it: Feast includes both ends, so 1 µs earlier."""
        return feast_instant(self.end - _TICK)

    def __str__(self) -> str:
        return f"[{self.start.isoformat()}, {self.end.isoformat()})"


class RunTimes(NamedTuple):
    """What a DAG run knows of its time; each may be absent (``None``).

    :param interval_start: the data interval's start.
    :param interval_end: the data interval's end.
    :param partition_date: where the partition starts (partitioned runs, Airflow ≥ 3.2).
    :param partition_end: where it ends, when the timetable says so.
    :param run_time: the logical date, or else the time the run was due.
    """

    interval_start: datetime | None = None
    interval_end: datetime | None = None
    partition_date: datetime | None = None
    partition_end: datetime | None = None
    run_time: datetime | None = None


NO_TIMES = RunTimes()


def feast_instant(value: datetime) -> str:
    """An instant as Feast's command line takes it: ISO 8601 in UTC without an offset (naive is UTC there)."""
    return value.astimezone(UTC).replace(tzinfo=None).isoformat()


def plain_utc(value: datetime) -> datetime:
    """The same instant as a plain ``datetime`` in UTC.

    Airflow's times are pendulum's, which lose their time zone when a ``timedelta`` is taken from one in
    ``datetime.UTC``: what is naive then means another time on a worker that is not in UTC.
    """
    return datetime.fromisoformat(value.astimezone(UTC).isoformat())


def parse_instant(value: Any, name: str) -> datetime:
    """Read an instant.

    :param value: an aware ``datetime``, or ISO 8601 text with an offset or ``Z``.
    :param name: the parameter's name, for the message.
    :raises FeastDagError: when it is no instant, or has no time zone.
    """
    instant = value
    if isinstance(value, str):
        try:
            instant = datetime.fromisoformat(value.strip())
        except ValueError as error:
            raise FeastDagError(
                f"{name}={value!r} is not a point in time ({error})",
                remedy=f"write ISO 8601 with a time zone: {name}='2026-01-31T00:00:00+00:00'",
            ) from error
    if not isinstance(instant, datetime):
        raise FeastDagError(
            f"{name}={value!r} is not a point in time",
            remedy=f"give a datetime with a time zone, or text: {name}='2026-01-31T00:00:00+00:00'",
        )
    if instant.tzinfo is None or instant.utcoffset() is None:
        utc = instant.isoformat() + "+00:00"
        raise FeastDagError(
            f"{name}={instant.isoformat()!r} has no time zone. It could mean {utc} (UTC, as Feast reads it) "
            "or that time on the clock of your team",
            remedy=f"say which: {name}={utc!r} for UTC, or with your own offset such as +02:00",
        )
    try:
        return plain_utc(instant)
    except OverflowError as error:
        raise FeastDagError(
            f"{name}={instant.isoformat()} is outside the years 1 to 9999 in UTC",
            remedy="give a time that lies within them",
        ) from error


def parse_duration(value: Any, name: str, *, zero: bool = False) -> timedelta:
    """Read a duration.

    :param value: a ``timedelta``, a number of seconds, or text such as ``90m``, ``26h``, ``1d``.
    :param zero: whether it may be zero.
    :raises FeastDagError: when it is none of these, or is not longer than zero.
    """
    least = "from zero" if zero else "longer than zero and"
    try:
        duration = _duration(value)
    except (OverflowError, ValueError):  # beyond what a timedelta holds, or not a number
        duration = None
    long_enough = duration is not None and (duration > timedelta(0) or (zero and duration == timedelta(0)))
    if duration is None or not long_enough or duration > _LONGEST:
        raise FeastDagError(
            f"{name}={value!r} is not a duration {least} up to 100 years",
            remedy=f"give a timedelta, seconds, or text such as {name}='90m', '26h' or '1d'",
        )
    return duration


def _duration(value: Any) -> timedelta | None:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return timedelta(seconds=value)
    text = value.strip().lower() if isinstance(value, str) else ""
    if match := _DURATION.fullmatch(text):
        return timedelta(**{_UNITS[match[2]]: float(match[1])})
    return timedelta(seconds=int(text)) if text.isdecimal() else None


def resolve_window(
    start: Any = None, end: Any = None, *, lookback: timedelta | None = None, run: RunTimes = NO_TIMES
) -> Window:
    """The window a run materializes.

    In this order: ``start`` and ``end``; the data interval; the partition; ``lookback`` before the
    run's time. What a run knows differs by how it came about: runs of a cron *trigger* timetable have
    an interval of no length, manual and asset-triggered runs have none, partitioned runs have a date.

    :param start: aware datetime or ISO 8601 text, or nothing.
    :param end: as ``start``; alone, it needs ``lookback``.
    :param lookback: how far to look back where the run has no interval.
    :param run: what the DAG run knows.
    :raises FeastDagError: when nothing gives a window longer than zero.
    """
    if start not in (None, "") or end not in (None, ""):
        return _explicit(start, end, lookback)
    first, last = run.interval_start, run.interval_end
    if first is not None and last is not None and first < last:
        return Window(plain_utc(first), plain_utc(last))
    if run.partition_date is not None and run.partition_end is not None:
        return Window(plain_utc(run.partition_date), plain_utc(run.partition_end))
    anchor = run.partition_date or last or run.run_time
    if lookback is None or anchor is None:
        raise FeastDagError(
            _no_window(run),
            remedy="set lookback= (for example timedelta(days=1)) on the operator or the connection, "
            "give start= and end=, or use schedule=CronDataIntervalTimetable('@daily', timezone='UTC')",
        )
    anchor = plain_utc(anchor)
    if run.partition_date is not None:
        return Window(anchor, anchor + lookback)
    return Window(anchor - lookback, anchor)


def check_past(end: datetime, now: datetime, *, given: bool) -> None:
    """See that all of a window is past: the registry takes what is loaded for complete.

    :param end: of the window, excluded.
    :param now: aware.
    :param given: whether the author gave the end; otherwise it is the run's own.
    :raises FeastDagError: when it ends in the future, by more than clocks differ.
    """
    if end <= now + CLOCKS_DIFFER:
        return
    cure = "make end= the time up to which data is complete"
    if not given:
        cure = (
            "let the run start when its window is over: a partition timetable starts it at the partition's beginning "
            "unless it has run_offset=-1 (CronPartitionTimetable(…, run_offset=-1)); or give end= (and start=) yourself"
        )
    whose = "the window" if given else "this run's window"
    raise FeastDagError(
        f"{whose} ends at {end.isoformat()}, in the future: what comes until then would count as loaded",
        remedy=f"{cure}; or set allow_future=True if its event times do lie in the future",
    )


def _explicit(start: Any, end: Any, lookback: timedelta | None) -> Window:
    if end in (None, ""):
        raise FeastDagError("start= is given without end=", remedy="give both, or end= with lookback=")
    last = parse_instant(end, "end")
    if start in (None, ""):
        if lookback is None:
            raise FeastDagError("end= is given without start=", remedy="give both, or end= with lookback=")
        return Window(last - lookback, last)
    first = parse_instant(start, "start")
    if first >= last:
        how = "is the same as" if first == last else "is later than"
        raise FeastDagError(
            f"start={first.isoformat()} {how} end={last.isoformat()}: there is nothing in that window",
            remedy="windows run from start (included) to end (excluded); make end later",
        )
    return Window(first, last)


def _no_window(run: RunTimes) -> str:
    if run.interval_end is not None:
        return (
            f"this run's data interval starts and ends at {run.interval_end.isoformat()} and has no length: "
            'a schedule such as "@daily" is only a trigger and covers no interval'
        )
    if run.partition_date is not None:
        return (
            f"this run is for the partition {run.partition_date.isoformat()}, and nothing says how long a "
            "partition is (lookback= does)"
        )
    return "this run has no data interval (a manual or asset-triggered run), so it has no window"
