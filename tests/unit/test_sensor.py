"""What the sensor makes of Jobs that others started."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_feast.model.errors import FeastTransientError, OutOfMemoryError
from airflow_provider_feast.model.outcome import JobState, Outcome, Problem
from airflow_provider_feast.sensors.feast import FeastJobSensor

JOB = {"metadata": {"name": "cron-1", "uid": "u1", "creationTimestamp": "2026-01-01T10:00:00Z"}}
KILLED = Problem("out_of_memory", "Container main ran out of memory.", "Raise its limit.")


class Hook:
    """A cluster with one Job, or none."""

    namespace = "jobs-of-others"

    def __init__(self, job: dict[str, Any] | None, outcome: Outcome) -> None:
        self.job, self.outcome = job, outcome
        self.asked: list[Any] = []

    def newest_job(self, name: str | None, labels: dict[str, str]) -> dict[str, Any] | None:
        self.asked.append((name, labels))
        return self.job

    def diagnose(self, job: dict[str, Any]) -> Outcome:
        return self.outcome


def sensor(monkeypatch: pytest.MonkeyPatch, hook: Hook, **arguments: Any) -> FeastJobSensor:
    made = FeastJobSensor(task_id="wait", **(arguments or {"job_name": "cron-1"}))
    monkeypatch.setattr(made, "_hook", lambda: hook)
    return made


@pytest.mark.parametrize(
    ("outcome", "done"),
    [
        (Outcome(JobState.SUCCEEDED), True),
        (Outcome(JobState.RUNNING), False),
        (Outcome(JobState.SUSPENDED), False),
        (Outcome(JobState.STARTING, KILLED._replace(can_mend=True)), False),
    ],
)
def test_only_a_success_ends_the_wait(monkeypatch: pytest.MonkeyPatch, outcome: Outcome, done: bool) -> None:
    assert sensor(monkeypatch, Hook(JOB, outcome)).poke({}) is done  # type: ignore[typeddict-item]


def test_a_job_that_does_not_exist_yet_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert sensor(monkeypatch, Hook(None, Outcome(JobState.SUCCEEDED))).poke({}) is False  # type: ignore[typeddict-item]


def test_no_label_of_ours_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = Hook(JOB, Outcome(JobState.SUCCEEDED))
    labels = {"feast.dev/name": "store", "batch.kubernetes.io/cronjob": "nightly"}
    assert sensor(monkeypatch, hook, labels=labels).poke({})  # type: ignore[typeddict-item]
    assert hook.asked == [(None, labels)]


def test_a_job_of_another_time_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = Hook(JOB, Outcome(JobState.SUCCEEDED))
    for after, done in (("2026-01-01T10:00:00Z", True), ("2026-01-01T12:00:00+01:00", False)):
        found = sensor(monkeypatch, hook, labels={"a": "b"}, created_after=after)
        assert found.poke({}) is done  # type: ignore[typeddict-item]


def test_a_failure_says_which_job_and_why(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OutOfMemoryError) as raised:
        sensor(monkeypatch, Hook(JOB, Outcome(JobState.FAILED, KILLED))).poke({})  # type: ignore[typeddict-item]
    assert raised.value.where == "Job cron-1 in namespace jobs-of-others"


@pytest.mark.parametrize("event", [{"job": "cron-1", "uid": "u1"}, {"job": "cron-1"}])
def test_after_a_deferral_the_job_is_read_again(
    monkeypatch: pytest.MonkeyPatch, event: dict[str, Any]
) -> None:
    """The event of an older release has no uid."""
    sensor(monkeypatch, Hook(JOB, Outcome(JobState.SUCCEEDED))).resume({}, event)  # type: ignore[typeddict-item]
    with pytest.raises(OutOfMemoryError):
        sensor(monkeypatch, Hook(JOB, Outcome(JobState.FAILED, KILLED))).resume({}, event)  # type: ignore[typeddict-item]


@pytest.mark.parametrize(
    ("job", "outcome", "says"),
    [
        (None, Outcome(JobState.SUCCEEDED), "was deleted before its outcome could be read"),
        (
            JOB | {"metadata": JOB["metadata"] | {"uid": "u2"}},
            Outcome(JobState.SUCCEEDED),
            "was deleted before",
        ),
        (JOB, Outcome(JobState.RUNNING), "has not ended, although the triggerer said so"),
    ],
    ids=["gone", "a later one of its name", "not ended"],
)
def test_what_the_triggerer_saw_and_is_no_more_is_no_success(
    monkeypatch: pytest.MonkeyPatch, job: dict[str, Any] | None, outcome: Outcome, says: str
) -> None:
    event = {"job": "cron-1", "uid": "u1"}
    with pytest.raises(FeastTransientError, match=says):
        sensor(monkeypatch, Hook(job, outcome)).resume({}, event)  # type: ignore[typeddict-item]
