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


class Progress:
    """Says how far the work is; one step is one window of one view.

    :param total: steps in all.
    :param place: which chunk this is, in words, or "".
    :param say: what takes a line.
    """

    def __init__(
        self,
        total: int,
        place: str,
        say: Callable[[str], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.done, self.total = 0, total
        self._place, self._say, self._clock = place, say, clock
        self._begin = self._shown = clock()
        self._what = ""
        self._rows = 0

    def start(self, view: str, window: str) -> None:
        self._what, self._rows = f"{view} {window}", 0
        self._show()

    def wrote(self, rows: int) -> None:
        self._rows += rows
        self._show()

    def finish(self) -> None:
        self.done += 1
        self._show()

    def _show(self) -> None:
        now = self._clock()
        if now - self._shown >= PROGRESS_SECONDS:
            self._shown = now
            self._say(self.line())

    def line(self) -> str:
        """The line as it is now."""
        elapsed = self._clock() - self._begin
        filled = BAR * self.done // max(1, self.total)
        bar = "#" * filled + "-" * (BAR - filled)
        left = (
            f", about {clock_face(elapsed / self.done * (self.total - self.done))} left" if self.done else ""
        )
        place = f"{self._place}, " if self._place else ""
        return (
            f"[{bar}] {place}{self.done}/{self.total} loads done; {self._what}: {self._rows:,} rows; "
            f"{clock_face(elapsed)} elapsed{left}"
        )
