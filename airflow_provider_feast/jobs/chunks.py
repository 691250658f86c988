"""A plan as an Indexed Job: one index for each chunk that is left, one pod at a time, in order. Pure.

Kubernetes keeps the progress (``status.completedIndexes``) and retries a chunk that failed before it goes on; the next
Job of the same plan is made for what is left.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from airflow_provider_feast.jobs.pod_view import condition
from airflow_provider_feast.model.indexes import done_chunks, format_indexes, parse_indexes
from airflow_provider_feast.model.lock import ALL, LockRequest
from airflow_provider_feast.model.naming import A_CHUNKS, A_PLAN, L_EPOCH
from airflow_provider_feast.model.plan import Plan


class ChunkedLoad(NamedTuple):
    """What an Indexed Job loads.

    :param plan: all chunks.
    :param chunks: those that this Job is for, ascending; its n-th index loads the n-th of them.
    """

    plan: Plan
    chunks: tuple[int, ...]


def job_counts(load: ChunkedLoad | None, backoff_limit: int) -> dict[str, Any]:
    """The part of a Job's spec that says how many pods there are and how often they may fail.

    With ``backoffLimitPerIndex``, ``backoffLimit`` stays unset: any value would fail the Job at that many failed pods.
    ``maxFailedIndexes: 0`` ends the Job at the first chunk that cannot be loaded: the later ones would go on without it.
    """
    if load is None:
        return {"parallelism": 1, "completions": 1, "backoffLimit": backoff_limit}
    return {
        "parallelism": 1,
        "completions": len(load.chunks),
        "completionMode": "Indexed",
        "backoffLimitPerIndex": backoff_limit,
        "maxFailedIndexes": 0,
    }


def load_arguments(load: ChunkedLoad, older_windows: str, lock: LockRequest | None) -> list[str]:
    """What the runner is told of a plan."""
    chunks = format_indexes(load.chunks)
    return ["--plan", load.plan.to_json(), "--chunks", chunks, *loading_arguments(older_windows, lock)]


def loading_arguments(older_windows: str, lock: LockRequest | None) -> list[str]:
    """What the runner is told of any load. Views that a dead writer left are freed as far as the lock goes."""
    heal = "none" if lock is None else "all" if ALL in lock.views else "planned"
    return ["--older-windows", older_windows, "--heal", heal]


def load_annotations(load: ChunkedLoad | None) -> dict[str, str]:
    """What a later Job of the same plan has to know."""
    return {} if load is None else {A_PLAN: load.plan.digest, A_CHUNKS: format_indexes(load.chunks)}


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


def chunks_left(latest: dict[str, Any] | None, count: int) -> tuple[int, ...]:
    """The chunks that the next Job is for.

    :param latest: the newest Job of the plan; one that has not failed is for all of its own, which makes it the same Job.
    :param count: chunks of the plan.
    """
    if latest is None:
        return tuple(range(count))
    mine = sorted(parse_indexes(latest["metadata"]["annotations"].get(A_CHUNKS)))
    if not condition(latest, "Failed"):
        return tuple(mine)
    done = done_chunks(mine, (latest.get("status") or {}).get("completedIndexes"))
    return tuple(chunk for chunk in mine if chunk not in done)
