"""The judge objects to every history that must not be, and to none that may."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chaos.history import L_KEY, L_REGISTRY, L_TASK, History, Job, Pod
from chaos.judge import (
    DOUBLES,
    FALSE_VERDICTS,
    LOSSES,
    ORPHANS,
    PROVIDER,
    Case,
    Finding,
    TaskRow,
    judge,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
RUN = "00000000-0000-4000-8000-000000000001"
OTHER_RUN = "00000000-0000-4000-8000-000000000002"


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def job(
    uid: str = "a",
    *,
    task: str = "load",
    created: float = 0,
    resumed: float | None = 1,
    ended: float | None = 5,
    outcome: str = "Complete",
    deleting: float | None = None,
    by: str = PROVIDER,
    removed: float | None = None,
    registry: str = "store",
) -> Job:
    made = Job(uid, f"job-{uid}", "ns", task, f"key-{task}", registry, at(created))
    made.resumed = None if resumed is None else at(resumed)
    if ended is not None:
        made.ended, made.outcome = at(ended), outcome
    if deleting is not None:
        made.deleting, made.deleted_by = at(deleting), by
    made.removed = None if removed is None else at(removed)
    return made


def lines(last: int = 3, length: int = 3, run: str = RUN) -> list[str]:
    return [f"chaos {run} {number} of {length}" for number in range(1, last + 1)]


def row(state: str = "success", **more: Any) -> TaskRow:
    return TaskRow("load", state, 1, **more)


GOOD = Case("success", False, [job()], [row()], {"load": lines()})


def kinds(case: Case) -> list[str]:
    return [finding.kind for finding in judge(case)]


def test_a_run_with_one_job_that_succeeded_is_in_order() -> None:
    assert judge(GOOD) == []


def test_a_second_job_of_a_task_while_the_first_one_is_live_is_a_double() -> None:
    assert kinds(replace(GOOD, jobs=[job(), job("b", created=4, resumed=6, ended=9)])) == [DOUBLES]


def test_a_second_job_is_a_double_even_while_both_are_suspended() -> None:
    first = job(resumed=None, ended=None, deleting=3, removed=4)
    assert kinds(replace(GOOD, jobs=[first, job("b", created=2, resumed=5, ended=9)])) == [DOUBLES]


@pytest.mark.parametrize(
    "first",
    [
        job(outcome="Failed", ended=3),
        job(ended=None, deleting=2, by="person", removed=3),
    ],
    ids=["failed", "removed"],
)
def test_a_job_that_follows_a_dead_one_is_none(first: Job) -> None:
    assert kinds(replace(GOOD, jobs=[first, job("b", created=4, resumed=5, ended=9)])) == []


def two_tasks(second: Job, first: Job | None = None) -> Case:
    rows = [row(), TaskRow("apply", "success", 1)]
    logs = {"load": lines(), "apply": lines()}
    return Case("success", False, [first or job(), second], rows, logs)


def test_two_jobs_at_work_in_one_registry_are_a_double() -> None:
    assert kinds(two_tasks(job("b", task="apply", created=0, resumed=4, ended=9))) == [DOUBLES]


def test_a_registry_is_at_work_until_the_last_pod_is_gone() -> None:
    first = job()
    first.pods["p"] = Pod("p", at(1), at(1), at(7))
    assert kinds(two_tasks(job("b", task="apply", resumed=6, ended=9), first)) == [DOUBLES]


def test_a_job_that_waits_suspended_for_the_registry_is_no_double() -> None:
    assert kinds(two_tasks(job("b", task="apply", created=0, resumed=6, ended=9))) == []


def test_two_registries_are_independent() -> None:
    assert kinds(two_tasks(job("b", task="apply", resumed=1, registry="other"))) == []


@pytest.mark.parametrize("jobs", [[], [job(outcome="Failed")]], ids=["no job", "a failed one"])
def test_a_success_without_a_succeeded_job_is_a_false_verdict(jobs: list[Job]) -> None:
    assert kinds(replace(GOOD, jobs=jobs)) == [FALSE_VERDICTS]


def test_a_success_that_a_person_set_needs_no_job() -> None:
    assert kinds(replace(GOOD, marked=True, jobs=[], logs={})) == []


def test_a_success_after_a_clear_needs_a_job_that_succeeded_since() -> None:
    cleared = [row(acts=[at(7)], clears=[at(7)])]
    assert kinds(replace(GOOD, tasks=cleared)) == [FALSE_VERDICTS]
    assert kinds(replace(GOOD, tasks=cleared, jobs=[job(), job("b", created=8, resumed=8, ended=9)])) == []


def test_a_failure_of_a_job_that_succeeded_is_a_false_verdict() -> None:
    assert FALSE_VERDICTS in kinds(replace(GOOD, tasks=[row("failed")]))


def test_a_failure_that_should_have_been_a_success_is_a_loss() -> None:
    assert kinds(replace(GOOD, tasks=[row("failed")], jobs=[job(outcome="Failed")])) == [LOSSES]


def test_a_failure_that_was_to_be_is_in_order() -> None:
    case = replace(GOOD, expected="failed", tasks=[row("failed")], jobs=[job(outcome="Failed")])
    assert kinds(case) == []


def test_a_task_that_never_ends_is_a_loss() -> None:
    assert kinds(replace(GOOD, tasks=[row("deferred")])) == [LOSSES]


@pytest.mark.parametrize("resumed", [None, 1.0])
def test_a_job_that_is_left_is_an_orphan(resumed: float | None) -> None:
    left = job("b", created=6, resumed=resumed, ended=None)
    assert kinds(replace(GOOD, jobs=[job(), left])) == [ORPHANS]


def test_a_pod_that_is_left_is_an_orphan() -> None:
    left = job()
    left.pods["p"] = Pod("p", at(1), at(1))
    assert kinds(replace(GOOD, jobs=[left])) == [ORPHANS]


def after_a_deleted_job(deleted: Job, **more: Any) -> Case:
    return replace(GOOD, jobs=[deleted, job("b", created=4, resumed=5, ended=9)], tasks=[row(**more)])


def test_a_job_at_work_that_airflow_deletes_for_no_reason_is_a_loss() -> None:
    assert kinds(after_a_deleted_job(job(ended=None, deleting=2, removed=3))) == [LOSSES]


def test_a_delete_that_came_too_late_and_hit_the_next_job_is_a_loss() -> None:
    case = after_a_deleted_job(job(created=1, ended=None, deleting=2, removed=3), acts=[at(0.5)])
    assert kinds(case) == [LOSSES]


@pytest.mark.parametrize(
    ("deleted", "acts"),
    [
        (job(ended=None, deleting=2, removed=3, by="person"), []),
        (job(ended=None, deleting=2, removed=3), [at(1.5)]),
        (job(ended=None, resumed=None, deleting=2, removed=3), []),
        (job(ended=1.5, outcome="Failed", deleting=2, removed=3), []),
    ],
    ids=["by a person", "after a person's act", "never started", "over"],
)
def test_other_deletions_are_in_order(deleted: Job, acts: list[datetime]) -> None:
    assert kinds(after_a_deleted_job(deleted, acts=acts)) == []


def log(*texts: str) -> Case:
    return replace(GOOD, logs={"load": texts})


def test_a_line_that_is_there_twice_is_a_double() -> None:
    assert kinds(log(*lines(), lines()[1])) == [DOUBLES]


def test_a_missing_line_is_a_loss() -> None:
    one, _, three = lines()
    assert kinds(log(one, three)) == [LOSSES]


def test_lines_out_of_order_are_a_loss() -> None:
    one, two, three = lines()
    assert kinds(log(one, three, two)) == [LOSSES]


def test_a_success_whose_log_stops_before_the_end_is_a_loss() -> None:
    assert kinds(log(*lines(2))) == [LOSSES]


@pytest.mark.parametrize(("spared", "found"), [(True, [LOSSES]), (False, [])])
def test_a_failure_whose_log_stops_before_the_end_is_a_loss_where_nobody_disturbed_it(
    spared: bool, found: list[str]
) -> None:
    failed = replace(
        GOOD, expected="failed", tasks=[row("failed")], jobs=[job(outcome="Failed")], spared=spared
    )
    assert kinds(replace(failed, logs={"load": lines(2)})) == found
    assert kinds(replace(failed, logs={"load": lines()})) == []


def test_the_lines_of_a_pod_that_was_killed_may_stop_anywhere() -> None:
    assert kinds(log("header", *lines(2, run=OTHER_RUN), *lines())) == []


def record(resource: str, uid: str, seconds: float, stored: str = "MODIFIED", **more: Any) -> str:
    metadata = {
        "uid": uid,
        "labels": {L_TASK: "load", L_KEY: "k", L_REGISTRY: "r"},
        **more.pop("metadata", {}),
    }
    user = more.pop("user", "system:controllers")
    found = {"time": at(seconds).isoformat(), "stored": stored, "user": user, "resource": resource}
    obj = {"metadata": metadata, "spec": {}, "status": {}, **more}
    return json.dumps({**found, "namespace": "ns", "name": f"job-{uid}", "object": obj})


def test_a_jobs_life_is_read_from_the_audit_log() -> None:
    history = History()
    complete = {"conditions": [{"type": "Complete", "status": "True"}]}
    owned = {"metadata": {"ownerReferences": [{"uid": "a"}]}}
    history.feed(
        [
            json.dumps({"time": "2026-01-01T00:00:00Z", "verb": "list", "path": "/jobs", "code": 200}),
            record("jobs", "a", 1, "ADDED", spec={"suspend": True}),
            record("jobs", "a", 2, spec={"suspend": False}),
            record("pods", "p", 3, "ADDED", status={"phase": "Pending"}, **owned),
            record("pods", "p", 4, status={"phase": "Running"}, **owned),
            record("pods", "p", 5, status={"phase": "Succeeded"}, **owned),
            record("jobs", "a", 6, status=complete),
            record("jobs", "a", 7, status=complete, user="person", metadata={"deletionTimestamp": "x"}),
            record("jobs", "a", 8, "DELETED", status=complete),
        ]
    )
    [found] = history.of("ns", "load")
    assert (found.created, found.resumed, found.ended, found.outcome) == (at(1), at(2), at(6), "Complete")
    assert (found.deleting, found.deleted_by, found.removed) == (at(7), "person", at(8))
    assert list(found.pods.values()) == [Pod("job-p", at(3), at(4), at(5))]


@pytest.mark.parametrize("status", ["False", "Unknown"])
def test_a_condition_that_is_not_true_is_no_outcome(status: str) -> None:
    history = History()
    history.feed([record("jobs", "a", 1, status={"conditions": [{"type": "Complete", "status": status}]})])
    assert history.jobs["a"].outcome == ""


def test_findings_name_the_job() -> None:
    [finding] = judge(replace(GOOD, jobs=[job(), job("b", created=6, ended=None)]))
    assert finding == Finding(ORPHANS, "job-b is still there, running")
