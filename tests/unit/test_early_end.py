"""What becomes of a Job when its task ends before there is a verdict: its time is up, or it may not look on."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from task_runs import (
    DONE,
    FORBIDDEN,
    RUNNING,
    Hook,
    a_job,
    executing,
    failing_when_patched,
    make_run,
    refused,
    running_chunks,
    strike,
)

from airflow_provider_feast.jobs import task
from airflow_provider_feast.jobs.task import TaskRun
from airflow_provider_feast.model.errors import (
    ApiUnavailableError,
    DeadlineExceededError,
    ForbiddenError,
)
from airflow_provider_feast.operators.feast import FeastMaterializeOperator
from airflow_provider_feast.triggers.feast import error_event, outcome_event


def test_execution_timeout_deletes_the_job_and_says_whose_limit_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hook = Hook(RUNNING)
    operator = FeastMaterializeOperator(task_id="load", execution_timeout=timedelta(seconds=90))
    with pytest.raises(DeadlineExceededError, match=r"execution_timeout of 90 s .* its Job was ended"):
        executing(monkeypatch, hook, strike, operator).execute()
    assert hook.deleted == ["uid-1"]


def test_a_task_that_times_out_although_its_job_has_ended_takes_the_jobs_verdict(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hook = Hook(a_job())
    run = executing(monkeypatch, hook, strike)
    assert run.execute()["outcome"] == "succeeded"
    assert hook.deleted == []


def test_a_task_that_times_out_leaves_a_later_job_of_the_same_name_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hook = Hook({**RUNNING, "metadata": {**RUNNING["metadata"], "uid": "uid-2"}})
    with pytest.raises(DeadlineExceededError):
        executing(monkeypatch, hook, strike).execute()
    assert hook.deleted == []


def test_a_task_that_times_out_while_its_job_is_made_ends_the_one_that_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The create may have been stored although its answer never came; an earlier Job of the try failed."""
    tries = {"annotations": {"airflow-provider-feast/try-number": "1"}}
    failed = {**a_job("Failed"), "metadata": {"name": "first", "uid": "uid-0", **tries}}
    running = {**RUNNING, "metadata": {**RUNNING["metadata"], **tries}}
    hook = Hook(running)
    run = executing(monkeypatch, hook, strike)
    monkeypatch.setattr(task, "create_or_adopt", strike)
    monkeypatch.setattr(hook.cluster, "list_jobs", lambda selector: [failed, running], raising=False)
    with pytest.raises(DeadlineExceededError):
        run.execute()
    assert hook.deleted == ["uid-1"]


@pytest.mark.parametrize("during", ["the log", "the conclusion"])
def test_a_timeout_after_the_verdict_is_known_does_not_change_it(
    monkeypatch: pytest.MonkeyPatch, during: str
) -> None:
    hook, struck = Hook(a_job()), []

    def strike_once(*_: Any) -> None:
        if not struck:
            struck.append(True)
            strike()

    target: Any = hook if during == "the log" else hook.cluster
    monkeypatch.setattr(target, "read_logs" if during == "the log" else "patch_job", strike_once)
    run, pushed = make_run(monkeypatch, hook)
    told = outcome_event(DONE, "feast-load", "uid-1", {}).payload
    assert run.resume(told)["outcome"] == "succeeded"
    assert struck
    assert pushed["result"]["outcome"] == "succeeded"
    assert hook.deleted == []


def test_a_task_that_may_not_look_on_ends_its_job_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = Hook(RUNNING)
    with pytest.raises(ForbiddenError, match=r"pods/log\nIts Job was ended\.\nWhat to do: give it the rule"):
        executing(monkeypatch, hook, refused).execute()
    assert hook.deleted == ["uid-1"]


def test_a_deferred_task_whose_trigger_may_not_look_on_ends_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = Hook(RUNNING)
    run, _ = make_run(monkeypatch, hook)
    with pytest.raises(ForbiddenError, match="Its Job was ended"):
        run.resume(error_event(FORBIDDEN, "feast-load", "uid-1").payload)
    assert hook.deleted == ["uid-1"]


def test_a_job_that_cannot_be_ended_either_is_named_with_the_command_that_ends_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hook = Hook(RUNNING)
    monkeypatch.setattr(hook.cluster, "delete_job", refused)
    with pytest.raises(ForbiddenError, match=r"may still run .* kubectl -n features delete job feast-load"):
        executing(monkeypatch, hook, refused).execute()


def test_a_record_of_chunks_of_which_the_task_may_not_see_the_end_is_stopped_and_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hook = Hook(running_chunks("0"))
    failing_when_patched(monkeypatch, hook)
    with pytest.raises(ForbiddenError, match="Its Job was ended"):
        executing(monkeypatch, hook, refused).execute()
    assert [patch["spec"] for patch in hook.cluster.patched] == [{"activeDeadlineSeconds": 1}]
    assert hook.deleted == []


def test_a_job_that_a_retry_can_take_over_goes_on_when_its_wait_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def away(run: TaskRun) -> Any:
        raise ApiUnavailableError("away")

    hook = Hook(RUNNING)
    with pytest.raises(ApiUnavailableError):
        executing(monkeypatch, hook, away).execute()
    assert hook.deleted == []


@pytest.mark.parametrize(("job", "deleted"), [(a_job(), []), (RUNNING, ["uid-1"])])
def test_a_task_that_was_ended_while_its_job_was_adopted_keeps_one_that_has_ended(
    monkeypatch: pytest.MonkeyPatch, job: dict[str, Any], deleted: list[str]
) -> None:
    hook = Hook(job)
    run = executing(monkeypatch, hook, lambda run: DONE)
    run._killed = True
    run.execute()
    assert hook.deleted == deleted
