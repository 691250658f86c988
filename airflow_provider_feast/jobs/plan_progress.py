"""How far the Jobs of a plan have come, from what the API says of the newest one and its pods. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, NamedTuple

from airflow_provider_feast.jobs.pod_view import PodView, at, mapping, moment, text
from airflow_provider_feast.jobs.results import result_of
from airflow_provider_feast.model.indexes import MOST_INDEXES, parse_indexes
from airflow_provider_feast.model.naming import A_CHUNK_COUNT, A_CHUNKS, A_TOTALS
from airflow_provider_feast.model.totals import PlanProgress, Totals
from airflow_provider_feast.runner.progress import bar, clock_face


def job_chunks(job: dict[str, Any]) -> list[int]:
    """The chunks that an Indexed Job is for, ascending; none where its annotation does not say."""
    return sorted(_indexes(mapping(at(job, "metadata", "annotations")).get(A_CHUNKS)))


def _indexes(value: Any) -> frozenset[int]:
    """Indexes as Kubernetes writes them; none where somebody wrote something else."""
    try:
        return parse_indexes(text(value))
    except ValueError:
        return frozenset()


def noted_totals(job: dict[str, Any]) -> Totals:
    """What a Job's annotation says of the chunks whose pods may be gone."""
    return Totals.parse(text(mapping(at(job, "metadata", "annotations")).get(A_TOTALS)))


def plan_progress(job: dict[str, Any], pods: Iterable[PodView]) -> PlanProgress | None:
    """What is done of a Job's plan, and what that wrote; ``None`` for Jobs that are not indexed by chunks.

    An annotation of the Job tells of the chunks of earlier Jobs, and of its own pods that may be gone by now.

    :param pods: the Job's pods, as last seen; also those that are gone.
    """
    mine = job_chunks(job)
    if at(job, "spec", "completionMode") != "Indexed" or not mine:
        return None
    totals, succeeded = noted_totals(job), set()
    for pod in sorted(pods, key=lambda pod: (pod.finished_at, pod.name)):
        chunk = _chunk_of(pod, mine)
        if chunk is None or pod.phase != "Succeeded":
            continue
        succeeded.add(chunk)
        if chunk not in totals.chunks and (result := result_of(pod)) is not None:
            totals = totals.plus(chunk, result)
    told = min(_number(at(job, "metadata", "annotations", A_CHUNK_COUNT)), MOST_INDEXES)
    count = max(told, mine[-1] + 1)
    before = set(range(count)) - set(mine)
    completed = {
        mine[index] for index in _indexes(at(job, "status", "completedIndexes")) if index < len(mine)
    }
    return PlanProgress(count, frozenset(completed | succeeded | before), totals)


def _chunk_of(pod: PodView, chunks: list[int]) -> int | None:
    """Which chunk a pod of an Indexed Job loads."""
    index = _number(pod.index, len(chunks))
    return chunks[index] if index < len(chunks) else None


def _number(value: Any, otherwise: int = 0) -> int:
    digits = text(value)
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else otherwise


class ProgressLine(NamedTuple):
    """A line for the task's log; the same state gives the same line, whoever says it.

    :param at: when that state was reached, ISO 8601, or "" where it is not known.
    """

    text: str
    at: str


def progress_line(job: dict[str, Any], pods: Iterable[PodView], progress: PlanProgress) -> ProgressLine:
    """How far the plan is, with the time that it has taken so far and may still take.

    :param pods: as for :func:`plan_progress`.
    """
    mine, done = set(job_chunks(job)), progress.done
    ends = [pod.finished_at for pod in pods if pod.phase == "Succeeded"]
    last, start = moment(*ends), moment(at(job, "status", "startTime"))
    parts = [f"[{bar(len(done), progress.chunks)}] {len(done)} of {progress.chunks} chunks done"]
    rows = progress.totals.rows
    if rows is not None:
        parts.append(f"{rows:,} rows" if not progress.unknown else f"{rows:,} rows in those that are known")
    if last and start:
        elapsed = max(0.0, (datetime.fromisoformat(last) - datetime.fromisoformat(start)).total_seconds())
        here, left = len(mine & done), progress.chunks - len(done)
        parts.append(f"{clock_face(elapsed)} elapsed")
        if here and left:
            parts[-1] += f", about {clock_face(elapsed / here * left)} left"
    return ProgressLine("; ".join(parts), f"{last}.999999Z" if last else "")
