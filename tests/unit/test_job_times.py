"""How long a Job has been starting, and has left."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_feast.jobs.job_times import StartupClock, seconds_to_deadline, starting_for
from airflow_provider_feast.model.outcome import JobState

BEGAN = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = BEGAN + timedelta(seconds=90)


def job(deadline: int | None = None, *, began: bool = True, **status: Any) -> dict[str, Any]:
    spec = {} if deadline is None else {"activeDeadlineSeconds": deadline}
    return {"spec": spec, "status": ({"startTime": "2026-01-01T12:00:00Z"} if began else {}) | status}


def test_a_job_that_has_run_nothing_has_been_starting_since_it_began_whoever_waited() -> None:
    assert starting_for(job(), LATER) == 90


@pytest.mark.parametrize(
    "found",
    [job(ready=1), job(failed=1), job(succeeded=2), job(terminating=1), job(began=False), {}],
    ids=["ready", "failed", "succeeded", "terminating", "suspended", "unknown"],
)
def test_any_other_job_starts_only_now(found: dict[str, Any]) -> None:
    assert starting_for(found, LATER) == 0


def test_a_clock_that_is_behind_the_clusters_counts_from_now() -> None:
    assert starting_for(job(), BEGAN - timedelta(seconds=5)) == 0


def test_what_runs_starts_anew_and_an_outage_does_not_count() -> None:
    clock = StartupClock(100.0, job(began=False))
    clock.tick(110.0, JobState.STARTING, away=False)
    clock.tick(700.0, JobState.STARTING, away=True)
    clock.tick(705.0, JobState.STARTING, away=False)
    assert clock.seconds == 15
    clock.tick(706.0, JobState.RUNNING, away=False)
    assert clock.seconds == 0


@pytest.mark.parametrize(
    ("found", "left"),
    [(job(100), 10), (job(60), -30), (job(), math.inf), (job(100, began=False), math.inf), ({}, math.inf)],
    ids=["soon", "over", "no deadline", "not begun", "unknown"],
)
def test_the_time_until_a_deadline(found: dict[str, Any], left: float) -> None:
    assert seconds_to_deadline(found, LATER) == left
