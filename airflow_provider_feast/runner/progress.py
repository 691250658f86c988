"""How far a materialization is, as one line every few seconds."""

from __future__ import annotations

import time
from typing import Callable

from airflow_provider_feast.runner.basics import PROGRESS_SECONDS

BAR = 20


def clock_face(seconds: float) -> str:
    """Seconds as ``1:02:03`` or ``2:03``."""
    whole = int(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"


def bar(done: int, total: int) -> str:
    """``#####---------------``."""
    filled = BAR * done // max(1, total)
    return "#" * filled + "-" * (BAR - filled)


class Progress:
    """Says how far a plan is: after each load (one window of one view), and every few seconds of a long one.

    :param total: loads of this process.
    :param place: which chunk this is, in words, or "".
    :param say: what takes a line.
    :param before: loads of the plan's chunks that are done already.
    :param after: loads of the chunks that are left to other processes.
    :param starts: seconds that these processes need to start, in all.
    """

    def __init__(
        self,
        total: int,
        place: str,
        say: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
        *,
        before: int = 0,
        after: int = 0,
        starts: float = 0.0,
    ) -> None:
        self.done, self.total = 0, total
        self._place, self._say, self._clock = place, say, clock
        self._before, self._after, self._starts = before, after, starts
        self._begin = self._shown = clock()
        self._what = self._told = ""
        self._rows = 0

    def start(self, view: str, window: str) -> None:
        self._what, self._rows, self._told = f"{view} {window}", 0, ""

    def wrote(self, rows: int) -> None:
        self._rows += rows
        if self._clock() - self._shown >= PROGRESS_SECONDS:
            self._show(f"{self._rows:,} rows so far")

    def loaded(self, told: str) -> None:
        """The load has come to its end, with this account of it."""
        self._told = told

    def finish(self) -> None:
        """The load is over; one that failed or was left out has been told of."""
        self.done += 1
        if self._told:
            self._show(self._told)

    def _show(self, told: str) -> None:
        self._shown = self._clock()
        self._say(self.line(told))

    def line(self, told: str) -> str:
        """The line as it is now; what is left is reckoned for the whole plan, at the pace of this process."""
        elapsed = self._clock() - self._begin
        done, left = self._before + self.done, self.total - self.done + self._after
        place = f", {self._place}" if self._place else ""
        took = f"{clock_face(elapsed)} elapsed"
        if self.done and left:
            took += f", about {clock_face(elapsed / self.done * left + self._starts)} left"
        return (
            f"[{bar(done, done + left)}] {done:,} of {done + left:,} loads done{place}; "
            f"{self._what}: {told}; {took}"
        )
