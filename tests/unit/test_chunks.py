"""A plan as an Indexed Job: its counts, what is left of it, and what its pods did together."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from job_objects import ended, job, pod

from airflow_provider_feast.jobs.chunks import (
    ChunkedLoad,
    chunks_left,
    job_counts,
    latest_of_plan,
    load_annotations,
    load_arguments,
)
from airflow_provider_feast.jobs.diagnose import diagnose
from airflow_provider_feast.model.lock import LockRequest
from airflow_provider_feast.model.naming import L_EPOCH
from airflow_provider_feast.model.outcome import JobState
from airflow_provider_feast.model.plan import IncrementalPlan, choose_plan
from airflow_provider_feast.model.result import CommandResult, ViewTotals, summed
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
    arguments = load_arguments(ChunkedLoad(PLAN, (0, 1, 2, 5)), "skip", lock)
    given = dict(zip(arguments[::2], arguments[1::2], strict=True))
    assert json.loads(given.pop("--plan"))["digest"] == PLAN.digest
    assert given == {"--chunks": "0-2,5", "--older-windows": "skip", "--heal": heal}


def test_a_first_job_is_for_all_chunks_and_a_retry_for_those_that_are_left() -> None:
    assert chunks_left(None, 8) == EVERYTHING
    first = a_job("a", EVERYTHING, "Failed", "0-2,4")
    assert chunks_left(first, 8) == (3, 5, 6, 7)
    second = a_job("b", (3, 5, 6, 7), "Failed", "0")
    assert chunks_left(second, 8) == (5, 6, 7)
    assert chunks_left(a_job("c", (5, 6, 7), "Failed", "0-2"), 8) == ()


@pytest.mark.parametrize("state", ["", "Suspended", "FailureTarget", "Complete"])
def test_a_job_that_has_not_failed_is_the_same_job_whatever_it_has_done(state: str) -> None:
    assert chunks_left(a_job("b", (3, 5), state, "0"), 8) == (3, 5)


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


def told(rows: int | None, **more: Any) -> str:
    views = {"numbers": ViewTotals(rows, 1.5, 1)}
    return json.dumps(CommandResult("succeeded", views=views, steps=(1, 1), **more).to_dict())


def index_pod(index: int, message: str, minute: int, code: int = 0) -> dict[str, Any]:
    phase = "Failed" if code else "Succeeded"
    finished = ended(code, message, "Error" if code else "Completed", f"2026-01-01T00:{minute:02d}:00Z")
    annotations = {"batch.kubernetes.io/job-completion-index": str(index)}
    status = {"name": "feast", "state": finished}
    return pod(f"load-{index}-{minute}", phase, status, metadata={"annotations": annotations})


def test_the_result_of_an_indexed_job_is_the_sum_of_its_chunks_each_counted_once() -> None:
    complete = job(("Complete", "True", ""), spec={"completions": 11, "completionMode": "Indexed"})
    pods = [index_pod(index, told(index, started=f"t{index:02d}"), 10 + index) for index in range(11)]
    pods.append(index_pod(4, told(1000), 5, code=1))
    outcome = diagnose(complete, pods, [])
    assert outcome.state is JobState.SUCCEEDED
    assert outcome.result is not None
    assert outcome.result.views == {"numbers": ViewTotals(55, 16.5, 11)}
    assert (outcome.result.steps, outcome.result.started) == ((11, 11), "t00")


def test_an_unknown_number_of_rows_makes_the_sum_unknown() -> None:
    results = [CommandResult.parse(told(rows)) for rows in (1, None, 2)]
    total = summed([result for result in results if result is not None])
    assert total is not None
    assert total.views["numbers"] == ViewTotals(None, 4.5, 3)
    assert summed([]) is None
