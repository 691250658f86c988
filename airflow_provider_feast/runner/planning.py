"""The plan of a materialization, as the pod gets it: which windows, in which order."""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta, timezone
from typing import Any, NamedTuple, Sequence

from airflow_provider_feast.runner.basics import USAGE, Failure
from airflow_provider_feast.runner.intervals import TICK, brief, span_text


class Load(NamedTuple):
    """One window to load; half-open. No views means all of the registry, no start each view's last end."""

    start: datetime | None
    end: datetime
    views: tuple[str, ...]

    @property
    def last(self) -> datetime:
        """The end as Feast takes it: it includes both ends."""
        return self.end - TICK

    def __str__(self) -> str:
        return span_text((self.start, self.end)) if self.start else f"up to {brief(self.end)}"


def instant(text: str) -> datetime:
    value = datetime.fromisoformat(text.replace("Z", "+00:00"))
    if value.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return value.astimezone(timezone.utc)


def read_plan(text: str) -> tuple[str, list[list[Load]]]:
    """The digest of a plan and its chunks, in its order.

    :param text: the plan as JSON.
    :raises Failure: when it is none.
    """
    try:
        plan = json.loads(text)
        return str(plan.get("digest", "")), chunks_of(plan)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = f"{type(error).__name__}: {error}"
        raise Failure(USAGE, "usage_error", f"the plan cannot be read: {what}") from error


def chunks_of(plan: dict[str, Any]) -> list[list[Load]]:
    if "until" in plan:
        return [[Load(None, instant(plan["until"]), tuple(plan["views"]))]]
    return written_out(plan)


def written_out(rule: dict[str, Any]) -> list[list[Load]]:
    """The windows of a rule: one every ``step`` seconds from start to end, ``per_chunk`` of them in a chunk."""
    start, end = instant(rule["start"]), instant(rule["end"])
    step, size, views = timedelta(seconds=rule["step"]), int(rule["per_chunk"]), tuple(rule["views"])
    if step <= timedelta(0) or size < 1:
        raise ValueError("step and per_chunk must be larger than zero")
    windows = []
    while start < end:
        windows.append(Load(start, min(start + step, end), views))
        start += step
    return [windows[first : first + size] for first in range(0, len(windows), size)]


def as_one(chunk: list[Load]) -> list[Load]:
    """The windows of a chunk, which follow on one another, as one."""
    return [Load(chunk[0].start, chunk[-1].end, chunk[0].views)]


def numbers(text: str) -> list[int]:
    """``0,2,4-6`` as numbers."""
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found.extend(range(int(first), int(last or first) + 1))
    return found


def selected(count: int, chunks: str, index: str) -> list[int]:
    """Which chunks this process loads.

    :param count: how many the plan has.
    :param chunks: those the Job is for, e.g. ``0,2,4-6``, or "" for all.
    :param index: the pod's completion index, or "" when one process does all of them.
    :raises Failure: when there is no such chunk.
    """
    try:
        wanted = numbers(chunks) if chunks else list(range(count))
        found = [wanted[int(index)]] if index else wanted
    except (ValueError, IndexError) as error:
        raise Failure(USAGE, "usage_error", f"no chunk {index} of {chunks or count}: {error}") from error
    if any(number >= count for number in found):
        raise Failure(USAGE, "usage_error", f"the plan has {count} chunks, but {chunks} are asked for")
    return found


def around(
    chunks: list[list[Load]], mine: list[int], listed: str
) -> tuple[list[list[Load]], list[list[Load]]]:
    """The chunks that are done already, and those that are left to pods that come later.

    :param mine: this process's own chunks.
    :param listed: those that the Job is for, ascending, as text.
    """
    wanted = numbers(listed) if listed else range(len(chunks))
    later = {number for number in wanted if number > mine[-1]}
    done = set(range(len(chunks))) - later - set(mine)
    return [chunks[number] for number in sorted(done)], [chunks[number] for number in sorted(later)]


def completion_index() -> str:
    """The index of a pod of an Indexed Job, or ""."""
    return os.environ.get("JOB_COMPLETION_INDEX", "")


def in_order(views: Sequence[Any]) -> list[Any]:
    """Feature views by name, but each after those that it is derived from."""
    by_name = {view.name: view for view in sorted(views, key=lambda view: str(view.name))}
    ordered: dict[str, Any] = {}

    def visit(name: str, above: tuple[str, ...]) -> None:
        if name in ordered or name in above or name not in by_name:
            return
        for source in sorted(sources_of(by_name[name])):
            visit(source, (*above, name))
        ordered[name] = by_name[name]

    for name in by_name:
        visit(name, ())
    return list(ordered.values())


def sources_of(view: Any) -> list[str]:
    """Names of the feature views that a view is derived from."""
    projections = getattr(view, "source_feature_view_projections", None) or {}
    direct = getattr(view, "source_views", None) or []
    return [str(source.name) for source in [*projections.values(), *direct]]
