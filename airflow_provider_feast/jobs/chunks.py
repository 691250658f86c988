"""A plan as an Indexed Job: one index for each chunk that is left, one pod at a time, in order. Pure.

Kubernetes keeps the progress (``status.completedIndexes``) and retries a chunk that failed before it goes on; the next
Job of the same plan is made for what is left.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from airflow_provider_feast.jobs.plan_progress import job_chunks, plan_progress
from airflow_provider_feast.jobs.pod_view import condition, pods_of
from airflow_provider_feast.model.indexes import format_indexes
from airflow_provider_feast.model.lock import ALL, LockRequest
from airflow_provider_feast.model.naming import A_CHUNK_COUNT, A_CHUNKS, A_PLAN, A_TOTALS, L_EPOCH
from airflow_provider_feast.model.plan import AnyPlan, IncrementalPlan
from airflow_provider_feast.model.totals import Totals


class ChunkedLoad(NamedTuple):
    """What a Job loads: an Indexed one, unless its plan has one chunk only.

    :param plan: all chunks.
    :param chunks: those that this Job is for, ascending; its n-th index loads the n-th of them.
    :param before: what earlier Jobs of the plan have written.
    """

    plan: AnyPlan
    chunks: tuple[int, ...]
    before: Totals = Totals()


def job_counts(load: ChunkedLoad | None, backoff_limit: int) -> dict[str, Any]:
    """The part of a Job's spec that says how many pods there are and how often they may fail.

    With ``backoffLimitPerIndex``, ``backoffLimit`` stays unset: any value would fail the Job at that many failed pods.
    ``maxFailedIndexes: 0`` ends the Job at the first chunk that cannot be loaded: the later ones would go on without it.
    """
    if load is None or load.plan.chunk_count == 1:
        return {"parallelism": 1, "completions": 1, "backoffLimit": backoff_limit}
    return {
        "parallelism": 1,
        "completions": len(load.chunks),
        "completionMode": "Indexed",
        "backoffLimitPerIndex": backoff_limit,
        "maxFailedIndexes": 0,
    }


def load_arguments(load: ChunkedLoad, older_windows: str, gaps: str, lock: LockRequest | None) -> list[str]:
    """What the runner is told of a plan."""
    found = ["--plan", load.plan.to_json(), "--chunks", format_indexes(load.chunks)]
    if isinstance(load.plan, IncrementalPlan):
        found += ["--gaps", gaps]
    return [*found, *loading_arguments(older_windows, lock)]


def loading_arguments(older_windows: str, lock: LockRequest | None) -> list[str]:
    """What the runner is told of any load. Views that a dead writer left are freed as far as the lock goes."""
    heal = "none" if lock is None else "all" if ALL in lock.views else "planned"
    return ["--older-windows", older_windows, "--heal", heal]


def load_annotations(load: ChunkedLoad | None) -> dict[str, str]:
    """What a later Job of the same plan has to know."""
    if load is None:
        return {}
    count = load.plan.chunk_count
    found = {A_PLAN: load.plan.digest, A_CHUNKS: format_indexes(load.chunks), A_CHUNK_COUNT: str(count)}
    return {**found, A_TOTALS: load.before.to_json()} if load.before.chunks else found


def latest_of_plan(jobs: Iterable[dict[str, Any]], epoch: str, digest: str) -> dict[str, Any] | None:
    """The newest Job that did a part of a plan.

    :param jobs: Jobs of one task.
    :param epoch: the task's epoch: what was cleared does not count.
    :param digest: the plan's.
    """
    same = [
        job
        for job in jobs
        if (job["metadata"].get("annotations") or {}).get(A_PLAN) == digest
        and (job["metadata"].get("labels") or {}).get(L_EPOCH) == epoch
        and not job["metadata"].get("deletionTimestamp")
    ]
    return max(
        same,
        key=lambda job: (job["metadata"].get("creationTimestamp") or "", job["metadata"]["name"]),
        default=None,
    )


def what_is_left(plan: AnyPlan, latest: dict[str, Any] | None, pods: Iterable[dict[str, Any]]) -> ChunkedLoad:
    """What the next Job of a plan is for.

    :param latest: the newest Job of the plan; one that has not failed is for all of its own, which makes it the same Job.
    :param pods: its pods.
    """
    everything = tuple(range(plan.chunk_count))
    progress = plan_progress(latest, pods_of(latest, pods)) if latest is not None else None
    if latest is None or progress is None:
        return ChunkedLoad(plan, everything)
    mine = tuple(job_chunks(latest))
    if condition(latest, "Failed"):
        mine = tuple(chunk for chunk in mine if chunk not in progress.done)
    return ChunkedLoad(plan, mine, progress.totals)
