"""What a materialization loads: windows, grouped into chunks of which each is one index of an Indexed Job.

A plan is a rule, for a rule stays small however long the range is. Its digest says whether two Jobs
did parts of the same: only then does what one has completed count for the other.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from airflow_provider_feast.model.errors import FeastDagError
from airflow_provider_feast.model.windows import Window, plain_utc

PLAN_SCHEMA = 1
"""Version of the JSON that the runner reads."""

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
"""The length of a window where none is given."""

MOST_WINDOWS = 10_000
"""Windows of one plan."""

MOST_CHUNKS = 500
"""Chunks of one plan, i.e. pods of its Job."""

USUAL_CHUNKS = 50
"""Chunks that are aimed at where their length is not given."""

USUAL_CHUNK = timedelta(days=7)
"""The length of a chunk where none is given: a pod takes seconds to start, a window less."""


class Plan(NamedTuple):
    """Windows by a rule: one every ``step`` from ``start`` on, the last one cut off at ``end``.

    :param start: aware, UTC, included.
    :param end: aware, UTC, excluded.
    :param step: the length of a window, whole microseconds.
    :param per_chunk: windows of one chunk.
    :param views: feature views in any order; none means all that the registry has.
    """

    start: datetime
    end: datetime
    step: timedelta
    per_chunk: int = 1
    views: tuple[str, ...] = ()

    @property
    def window_count(self) -> int:
        """How many windows there are."""
        return -((self.start - self.end) // self.step)

    @property
    def chunk_count(self) -> int:
        """How many chunks there are."""
        return -(-self.window_count // self.per_chunk)

    def windows(self, chunk: int) -> list[Window]:
        """The windows of one chunk, ascending.

        :raises IndexError: when there is no such chunk.
        """
        if not 0 <= chunk < self.chunk_count:
            raise IndexError(f"the plan has {self.chunk_count} chunks, but no chunk {chunk}")
        first = chunk * self.per_chunk
        starts = [
            self.start + number * self.step
            for number in range(first, min(first + self.per_chunk, self.window_count))
        ]
        return [Window(start, min(start + self.step, self.end)) for start in starts]

    def span(self, chunk: int) -> Window:
        """From the first window's start of a chunk to its last one's end."""
        windows = self.windows(chunk)
        return Window(windows[0].start, windows[-1].end)

    def to_dict(self) -> dict[str, Any]:
        """What the runner reads."""
        body = {
            "v": PLAN_SCHEMA,
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "step": self.step / timedelta(seconds=1),
            "per_chunk": self.per_chunk,
            "views": sorted(self.views),
        }
        return {**body, "digest": digest_of(body)}

    @property
    def digest(self) -> str:
        """What tells one plan from another."""
        return str(self.to_dict()["digest"])

    def to_json(self) -> str:
        """:meth:`to_dict` as text."""
        return _compact(self.to_dict())


class IncrementalPlan(NamedTuple):
    """From each view's last end up to one moment: one chunk, whose windows only the registry knows.

    :param end: aware, UTC, excluded.
    :param views: feature views in any order; none means all that the registry has.
    """

    end: datetime
    views: tuple[str, ...] = ()

    @property
    def chunk_count(self) -> int:
        """One."""
        return 1

    def to_dict(self) -> dict[str, Any]:
        """What the runner reads."""
        body = {"v": PLAN_SCHEMA, "until": self.end.isoformat(), "views": sorted(self.views)}
        return {**body, "digest": digest_of(body)}

    @property
    def digest(self) -> str:
        """What tells one plan from another."""
        return str(self.to_dict()["digest"])

    def to_json(self) -> str:
        """:meth:`to_dict` as text."""
        return _compact(self.to_dict())


AnyPlan = Plan | IncrementalPlan


def _compact(body: dict[str, Any]) -> str:
    return json.dumps(body, separators=(",", ":"))


def digest_of(body: dict[str, Any]) -> str:
    """Sixteen characters that change with any part of a plan."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:16]


def choose_plan(
    range_: Window,
    *,
    window: timedelta | None = None,
    chunk: timedelta | None = None,
    views: Iterable[str] = (),
) -> Plan:
    """Cut a range into windows, and these into chunks.

    Windows are a day long; in a range of more than 10 000 days longer, and where the chunk's length is given, the longest
    that divides it and is no more than a day. Chunks are seven days long, or as long as it takes to have no more than
    fifty, in whole windows.

    :param range_: what is to be loaded.
    :param window: the length of a window.
    :param chunk: the length of a chunk, i.e. of what one pod loads; a multiple of ``window``.
    :param views: feature views; none means all.
    :raises FeastDagError: when the lengths do not fit each other, or make more windows or chunks than one plan may have.
    """
    range_ = Window(*map(plain_utc, range_))
    length = range_.end - range_.start
    usual = DAY * max(1, math.ceil(length / (DAY * MOST_WINDOWS)))
    step, per_chunk = _by_chunk(chunk, window, usual) if chunk else (window or usual, 0)
    if chunk and (chunks := math.ceil(length / chunk)) > MOST_CHUNKS:
        raise FeastDagError(
            f"chunks of {chunk} make {chunks:,} of {range_}; one Job has at most {MOST_CHUNKS}",
            remedy=f"set chunk= to {_round_up(length / MOST_CHUNKS, window or HOUR)} or longer, or load a shorter range",
        )
    count = math.ceil(length / step)
    if count > MOST_WINDOWS:
        raise FeastDagError(
            f"steps of {step} make {count:,} of {range_}; one plan has at most {MOST_WINDOWS:,}",
            remedy=f"set step= to {_round_up(length / MOST_WINDOWS, HOUR)} or longer, or load a shorter range",
        )
    per_chunk = per_chunk or max(math.ceil(USUAL_CHUNK / step), math.ceil(count / USUAL_CHUNKS))
    named = tuple(sorted(set(views)))
    return Plan(range_.start, range_.end, min(step, length), min(per_chunk, count), named)


def _by_chunk(chunk: timedelta, step: timedelta | None, usual: timedelta) -> tuple[timedelta, int]:
    """The length of a window, and how many of them make a chunk whose length is given.

    :param step: as it is given, if it is.
    :param usual: the longest window where it is not.
    :raises FeastDagError: when a chunk does not hold whole windows.
    """
    if step is None:
        parts = math.ceil(chunk / usual)
        return -(chunk // -parts), parts  # rounded up to microseconds, so that no sliver is left
    check_lengths(chunk, step)
    return step, chunk // step


def check_lengths(chunk: timedelta, step: timedelta) -> None:
    """See that a chunk holds whole windows.

    :raises FeastDagError: when it does not.
    """
    if chunk % step:
        more = _round_up(chunk, step)
        fits = f"{more - step} or {more}" if more > step else f"{more}"
        raise FeastDagError(
            f"chunk={chunk} does not hold whole windows of step={step}",
            remedy=f"set chunk= to {fits}, or leave out step= for windows that fit",
        )


def _round_up(length: timedelta, unit: timedelta) -> timedelta:
    """As many whole units as are at least ``length`` long."""
    return unit * math.ceil(length / unit)
