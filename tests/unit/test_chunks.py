"""A plan as an Indexed Job: its counts, what is left of it, and what its pods did together."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from job_objects import index_pod, told

from airflow_provider_feast.jobs.chunks import (
    ChunkedLoad,
    job_counts,
    latest_of_plan,
    load_annotations,
    load_arguments,
    what_is_left,
)
from airflow_provider_feast.model.lock import LockRequest
from airflow_provider_feast.model.naming import A_CHUNK_COUNT, A_CHUNKS, A_TOTALS, L_EPOCH
from airflow_provider_feast.model.plan import IncrementalPlan, choose_plan
from airflow_provider_feast.model.result import ViewTotals
from airflow_provider_feast.model.totals import Totals
from airflow_provider_feast.model.windows import Window

START = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = choose_plan(Window(START, START + timedelta(days=8)), chunk=timedelta(days=1), views=["numbers"])


def a_job(
    name: str, chunks: tuple[int, ...], state: str = "", completed: str = "", **more: Any
) -> dict[str, Any]:
    return {
        "metadata": {
            "name": name,
            "creationTimestamp": more.get("created", "2026-01-01T00:00:00Z"),
            "labels": {L_EPOCH: more.get("epoch", "0")},
            "annotations": load_annotations(ChunkedLoad(more.get("plan", PLAN), chunks)),
        },
        "spec": {"completionMode": "Indexed"},
        "status": {
            "completedIndexes": completed,
            "conditions": [{"type": state, "status": "True"}] if state else [],
        },
    }


EVERYTHING = tuple(range(8))


def test_a_job_that_loads_by_chunks_fails_at_the_first_chunk_that_cannot_be_loaded() -> None:
    assert job_counts(ChunkedLoad(PLAN, (2, 3, 7)), 4) == {
        "parallelism": 1,
        "completions": 3,
        "completionMode": "Indexed",
        "backoffLimitPerIndex": 4,
        "maxFailedIndexes": 0,
    }
    plain = {"parallelism": 1, "completions": 1, "backoffLimit": 4}
    assert job_counts(None, 4) == plain
    assert job_counts(ChunkedLoad(IncrementalPlan(START), (0,)), 4) == plain, "one chunk needs no indexes"
    assert job_counts(ChunkedLoad(PLAN, (7,)), 4)["completionMode"] == "Indexed"


@pytest.mark.parametrize(
    ("lock", "heal"),
    [
        (None, "none"),
        (LockRequest("l", "n"), "all"),
        (LockRequest("l", "n", ("numbers",)), "planned"),
    ],
)
def test_views_are_freed_as_far_as_the_lock_goes(lock: LockRequest | None, heal: str) -> None:
    arguments = load_arguments(ChunkedLoad(PLAN, (0, 1, 2, 5)), "skip", "report", lock)
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    assert json.loads(given.pop("--plan"))["digest"] == PLAN.digest
    assert given == {"--chunks": "0-2,5", "--older-windows": "skip", "--heal": heal}


def left(latest: dict[str, Any] | None, *pods: dict[str, Any]) -> tuple[int, ...]:
    return what_is_left(PLAN, latest, pods).chunks


def test_a_first_job_is_for_all_chunks_and_a_retry_for_those_that_are_left() -> None:
    assert left(None) == EVERYTHING
    first = a_job("a", EVERYTHING, "Failed", "0-2,4")
    assert left(first) == (3, 5, 6, 7)
    second = a_job("b", (3, 5, 6, 7), "Failed", "0")
    assert left(second) == (5, 6, 7)
    assert left(a_job("c", (5, 6, 7), "Failed", "0-2")) == ()


def test_a_pod_that_succeeded_counts_before_the_job_has_taken_note() -> None:
    first = a_job("a", EVERYTHING, "Failed", "0-2")
    assert left(first, index_pod(3, told(1), 3), index_pod(4, told(1), 4, code=1)) == (4, 5, 6, 7)


@pytest.mark.parametrize("state", ["", "Suspended", "FailureTarget", "Complete"])
def test_a_job_that_has_not_failed_is_the_same_job_whatever_it_has_done(state: str) -> None:
    assert left(a_job("b", (3, 5), state, "0")) == (3, 5)


def test_a_job_whose_chunks_nobody_can_read_is_followed_by_one_for_all() -> None:
    odd = a_job("b", (3, 5), "Failed", "0")
    odd["metadata"]["annotations"][A_CHUNKS] = "3,five"
    assert left(odd) == EVERYTHING


def test_the_next_job_carries_what_its_forerunners_wrote() -> None:
    first = a_job("a", EVERYTHING, "Failed", "0-1")
    load = what_is_left(PLAN, first, [index_pod(0, told(3), 0), index_pod(1, told(4), 1)])
    annotations = load_annotations(load)
    assert (annotations[A_CHUNKS], annotations[A_CHUNK_COUNT]) == ("2-7", "8")
    assert Totals.parse(annotations[A_TOTALS]) == Totals(
        frozenset({0, 1}), {"numbers": ViewTotals(7, 3.0, 2)}
    )
    second = a_job("b", load.chunks, "Failed", "0")
    second["metadata"]["annotations"] = annotations
    assert what_is_left(PLAN, second, [index_pod(0, told(5), 2)]).before.views["numbers"].rows == 12
    assert A_TOTALS not in load_annotations(ChunkedLoad(PLAN, EVERYTHING))


def test_only_the_newest_job_of_the_same_plan_and_epoch_counts() -> None:
    old = a_job("a", EVERYTHING, "Failed", "0", created="2026-01-01T00:00:00Z")
    new = a_job("b", EVERYTHING, "Failed", "0-3", created="2026-01-01T01:00:00Z")
    cleared = a_job("c", EVERYTHING, "Failed", "0-7", created="2026-01-01T02:00:00Z", epoch="1")
    other_plan = choose_plan(Window(START, START + timedelta(days=9)), chunk=timedelta(days=1))
    other = a_job("d", EVERYTHING, "Failed", "0-7", created="2026-01-01T03:00:00Z", plan=other_plan)
    leaving = a_job("e", EVERYTHING, "Failed", "0-7", created="2026-01-01T04:00:00Z")
    leaving["metadata"]["deletionTimestamp"] = "2026-01-01T05:00:00Z"
    plain = {"metadata": {"name": "f", "labels": {L_EPOCH: "0"}}}
    jobs = [new, old, cleared, other, leaving, plain]
    assert latest_of_plan(jobs, "0", PLAN.digest) is new
    assert latest_of_plan([plain], "0", PLAN.digest) is None
