"""How far the logs of a Job's pods were read: what a worker and the triggerers hand to each other."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

UNSURE_SECONDS = 60.0
"""How old a line must be until it is surely in the task's log. A triggerer that stalls drops what a trigger said
last before its end; one that stalls for this long is replaced."""

UNSURE_BYTES = 256 * 1024
"""How much must have been said after a line until it is surely there. A triggerer's log goes through a socket, and what
it does not hold was read; Linux' hold 208 KiB. So what is said again stays within what Airflow's log reader sorts."""

RECORD_BYTES = 200
"""What a line takes at least beside its text."""

QUIET = timedelta(seconds=2)
"""What a worker says last before it defers, and Airflow after it, has a time before this is over."""

HEADING = timedelta(milliseconds=2)
"""What is left before the first line of a pod, for its heading."""

Positions = dict[str, list[Any]]
"""How far each log (``pod/container``) was read: the arguments of a :class:`LogCursor`; "" is for logs not yet read."""

UNREAD = ""


def after_deferral(positions: Positions, now: datetime) -> Positions:
    """Where a trigger goes on: its lines are dated after all that the worker and Airflow say of the deferral.

    :param positions: where the worker stopped.
    """
    quiet = (now.astimezone(UTC) + QUIET).replace(tzinfo=None).isoformat(timespec="microseconds")
    every: Positions = {UNREAD: ["", 0, ""], **positions}
    return {name: [last, count, max(given, quiet)] for name, (last, count, given) in every.items()}


def unread(positions: Positions) -> list[Any]:
    """Where a log starts of which nothing was read: heading and lines are dated after the lines of pods before it."""
    latest = max((given for position in positions.values() for given in position[2:]), default="")
    if latest:
        latest = (datetime.fromisoformat(latest) + HEADING).isoformat(timespec="microseconds")
    return ["", 0, latest]


class _Mark(NamedTuple):
    """Where reading stood when so much had been said, at a time in seconds after some origin."""

    now: float
    said: int
    positions: Positions


class Trail:
    """Where reading stood: when the lines before were just sure, and since then.

    :param positions: where it stood at first.
    """

    def __init__(self, positions: Positions) -> None:
        self._marks = deque([_Mark(0.0, 0, _copy(positions))])

    def mark(self, now: float, said: int, positions: Positions) -> None:
        """Note where reading stands.

        :param now: seconds after some origin.
        :param said: bytes that were said so far.
        """
        last = self._marks[-1]
        if now - last.now >= UNSURE_SECONDS / 10 or said - last.said >= UNSURE_BYTES // 10:
            self._marks.append(_Mark(now, said, _copy(positions)))
        while len(self._marks) > 1 and _is_sure(self._marks[1], now, said):
            self._marks.popleft()

    def begin(self, name: str, start: list[Any]) -> None:
        """Note where a log of which nothing was sure begins: whoever reads it again gives its lines the same times."""
        for mark in self._marks:
            mark.positions.setdefault(name, list(start))

    @property
    def sure(self) -> Positions:
        """Up to where all lines are surely in the task's log."""
        return self._marks[0].positions


def _is_sure(mark: _Mark, now: float, said: int) -> bool:
    return mark.now <= now - UNSURE_SECONDS or mark.said <= said - UNSURE_BYTES


def _copy(positions: Positions) -> Positions:
    return {name: list(position) for name, position in positions.items()}
