"""How a task waits in the triggerer, when it defers, and what it does about a trigger that fails."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred
from task_runs import (
    DONE,
    RUNNING,
    Hook,
    a_job,
    executing,
    make_run,
)

from airflow_provider_feast.jobs import deferral, task
from airflow_provider_feast.jobs.task import TaskRun
from airflow_provider_feast.jobs.watch import JobWatch
from airflow_provider_feast.model.errors import (
    ApiUnavailableError,
    DeadlineExceededError,
    FeastDagError,
    FeastTransientError,
    JobDeletedError,
)
from airflow_provider_feast.model.outcome import Outcome
from airflow_provider_feast.operators.command import TRIGGER_GIVEN_UP
from airflow_provider_feast.operators.feast import FeastMaterializeOperator
from airflow_provider_feast.triggers import feast as triggers
from airflow_provider_feast.triggers.feast import FeastJobTrigger


@pytest.mark.parametrize(
    ("deadline", "timeout"),
    [
        (21600, timedelta(seconds=21600 + 600 + 21600 + 900)),
        (86400, timedelta(seconds=86400 + 600 + 21600 + 900)),
        (None, None),
    ],
)
def test_a_deferred_task_outlasts_the_deadline_that_its_job_really_has(
    monkeypatch: pytest.MonkeyPatch, deadline: int | None, timeout: timedelta | None
) -> None:
    job = a_job(activeDeadlineSeconds=deadline)
    monkeypatch.setattr(task, "create_or_adopt", lambda *_, **__: SimpleNamespace(job=job))
    monkeypatch.setattr(TaskRun, "_wanted", lambda self, load: None)
    run, pushed = make_run(monkeypatch, Hook(), FeastMaterializeOperator(task_id="load", deferrable=True))
    with pytest.raises(TaskDeferred) as deferred:
        run.execute()
    assert pushed == {"job_name": "feast-load", "job_namespace": "features"}
    assert deferred.value.timeout == timeout
    _, arguments = deferred.value.trigger.serialize()
    assert (arguments["name"], arguments["uid"]) == ("feast-load", "uid-1")
    assert "token" not in str(arguments)


def test_a_trigger_that_an_older_release_serialized_still_runs() -> None:
    older = {
        "kubernetes_conn_id": "kubernetes_default",
        "namespace": "features",
        "name": "feast-load",
        "uid": "uid-1",
        "options": {"startup_seconds": 600.0, "log_seconds": 5.0, "outage_seconds": 600.0, "unknown": 1.0},
        "positions": {"pod/feast": ["2026-01-01T00:00:00.000000000", 1]},
        "version": 1,
    }
    trigger = FeastJobTrigger(**older)
    assert trigger.serialize()[1] == {**older, "lock": None}
    assert trigger._options.log_seconds == 5.0


TRIGGER = FeastJobTrigger(
    "kubernetes_default",
    "features",
    "feast-load",
    "uid-1",
    {"log_seconds": 5.0, "deadline_at": 9e9},
    {"p/c": ["", 1]},
)


def payload(trigger: FeastJobTrigger) -> Any:
    """What a trigger's event holds."""

    async def first() -> Any:
        return (await anext(aiter(trigger.run()))).payload

    return asyncio.run(first())


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    """All triggers fail, and none holds back."""

    def explode(self: FeastJobTrigger) -> None:
        raise ZeroDivisionError("a flaw of the trigger")

    monkeypatch.setattr(triggers, "AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(triggers, "SAFE_SECONDS", 0.0)
    monkeypatch.setattr(FeastJobTrigger, "_streams", explode)


def warnings(run: TaskRun, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a run warns of from now on."""
    found: list[str] = []
    log = mock.MagicMock()
    log.warning.side_effect = lambda text, *values: found.append(text % values)
    monkeypatch.setattr(run, "_log", log)
    return found


@pytest.mark.usefixtures("failing")
def test_a_task_waits_again_after_a_trigger_that_failed_and_gives_up_after_the_fourth(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trigger, hook = TRIGGER, Hook(RUNNING)
    for number in (1, 2, 3):
        run, _ = make_run(monkeypatch, hook, FeastMaterializeOperator(task_id="load", deferrable=True))
        told = warnings(run, monkeypatch)
        with pytest.raises(TaskDeferred) as deferred:
            run.resume(json.loads(json.dumps(payload(trigger))))
        assert "ZeroDivisionError: a flaw of the trigger" in told[0], "the trace is in the log"
        assert deferred.value.timeout == timedelta(seconds=21600 + 600 + 21600 + 900)
        trigger = FeastJobTrigger(**deferred.value.trigger.serialize()[1])
        assert trigger.serialize()[1] == {**TRIGGER.serialize()[1], "failures": number}
    run, _ = make_run(monkeypatch, hook)
    with pytest.raises(
        FeastTransientError, match=r"4 times the triggerer failed .* a flaw of the trigger\nIts Job runs on"
    ):
        run.resume(payload(trigger))
    assert hook.deleted == []


@pytest.mark.usefixtures("failing")
def test_a_job_that_has_ended_when_its_trigger_fails_has_its_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = Hook(a_job())
    run, _ = make_run(monkeypatch, hook)
    assert run.resume(payload(TRIGGER))["outcome"] == "succeeded"
    assert hook.lines == [f"uid-1 from {TRIGGER.positions}"]


@pytest.mark.usefixtures("failing")
def test_an_older_release_reads_the_event_of_a_trigger_that_failed_as_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = payload(TRIGGER)
    older = {name: value for name, value in told.items() if name in ("version", "job", "uid", "error")}
    run, _ = make_run(monkeypatch, Hook(RUNNING))
    with pytest.raises(FeastTransientError, match="a flaw of the trigger"):
        run.resume(older)


GIVEN_UP = {"error": "Trigger failure", "traceback": ["Traceback:\n", "ImportError: no such trigger\n"]}


def resumed(run: TaskRun, operator: Any, monkeypatch: pytest.MonkeyPatch, told: dict[str, Any]) -> Any:
    """As Airflow resumes a task whose trigger brought no event."""
    monkeypatch.setattr(type(operator), "_task_run", lambda self, context: run)
    return operator.resume_execution("__fail__", told, {})


@pytest.mark.parametrize("found", [True, False])
def test_a_worker_waits_itself_for_the_job_of_a_trigger_that_airflow_gave_up(
    monkeypatch: pytest.MonkeyPatch, found: bool
) -> None:
    hook, operator = Hook(RUNNING), FeastMaterializeOperator(task_id="load", deferrable=True)
    run, _ = make_run(monkeypatch, hook, operator)
    jobs = [{**a_job("Failed"), "metadata": {"name": "old", "uid": "0", "creationTimestamp": "1"}}, RUNNING]
    monkeypatch.setattr(hook.cluster, "list_jobs", lambda selector: jobs if found else [], raising=False)
    waits: list[Any] = []
    monkeypatch.setattr(
        hook, "watch", lambda job, say, options, patience, *_: waits.append((job, patience)) or DONE
    )
    told = warnings(run, monkeypatch)
    if not found:
        with pytest.raises(JobDeletedError, match="gone"):
            resumed(run, operator, monkeypatch, GIVEN_UP)
        return
    assert resumed(run, operator, monkeypatch, GIVEN_UP)["outcome"] == "succeeded"
    assert waits == [(RUNNING, None)], "the newest Job, to its end"
    assert "no such trigger" in told[0]


@pytest.mark.parametrize(("job", "deleted"), [(RUNNING, ["uid-1"]), (a_job(), [])])
def test_a_task_that_stayed_too_long_in_the_triggerer_ends_its_job_unless_that_has_ended(
    monkeypatch: pytest.MonkeyPatch, job: dict[str, Any], deleted: list[str]
) -> None:
    hook, operator = Hook(job), FeastMaterializeOperator(task_id="load", deferrable=True)
    run, _ = make_run(monkeypatch, hook, operator)
    monkeypatch.setattr(hook.cluster, "list_jobs", lambda selector: [job], raising=False)
    monkeypatch.setattr(hook, "watch", lambda *_: DONE)
    if deleted:
        with pytest.raises(DeadlineExceededError, match="in the triggerer reached its last limit"):
            resumed(run, operator, monkeypatch, {"error": "Trigger timeout"})
    else:
        assert resumed(run, operator, monkeypatch, {"error": "Trigger timeout"})["outcome"] == "succeeded"
    assert hook.deleted == deleted


def test_any_other_resume_is_airflows_own(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = FeastMaterializeOperator(task_id="load")
    monkeypatch.setattr(type(operator), "resume", lambda self, context, event: event)
    assert operator.resume_execution("resume", {"event": {"job": "j"}}, {}) == {"job": "j"}


def test_what_is_the_method_of_a_task_whose_trigger_airflow_gave_up() -> None:
    from airflow.sdk.bases.operator import TRIGGER_FAIL_REPR, TriggerFailureReason

    assert (TRIGGER_GIVEN_UP, GIVEN_UP["error"]) == (
        TRIGGER_FAIL_REPR,
        TriggerFailureReason.TRIGGER_FAILURE.value,
    )
    for timeout in (TriggerFailureReason.TRIGGER_TIMEOUT, TriggerFailureReason.TRIGGER_TIMEOUT.value):
        assert deferral.is_timeout({"error": timeout})
    assert not deferral.is_timeout({"error": TriggerFailureReason.TRIGGER_FAILURE})


@pytest.mark.parametrize(
    ("connection", "operator", "patience"),
    [({}, None, 10.0), ({"defer_after_seconds": 30}, None, 30.0), ({}, "2m", 120.0), ({}, 0, 0.0)],
)
def test_how_long_a_worker_watches_before_it_defers_is_the_connections_or_the_operators(
    monkeypatch: pytest.MonkeyPatch, connection: dict[str, int], operator: Any, patience: float
) -> None:
    asked: list[float] = []
    given = FeastMaterializeOperator(task_id="load", deferrable=True, defer_after=operator)
    hook = Hook(RUNNING, **connection)
    hook.settings = hook.settings.override(**given.overrides())
    run = executing(monkeypatch, hook, lambda run: None, given)
    monkeypatch.setattr(hook, "watch", lambda job, say, options, seconds, *_: asked.append(seconds))
    with pytest.raises(TaskDeferred) as deferred:
        run.execute()
    assert asked == [patience]
    early = deferred.value.trigger.not_before - time.time()
    assert 4 < early <= 5 if patience < 5 else early < 0, "no event comes too soon for the scheduler"


@pytest.mark.parametrize(("verdict", "waits"), [(True, 4.0), (False, 5.0)])
def test_a_trigger_sends_no_event_before_its_time(
    monkeypatch: pytest.MonkeyPatch, verdict: bool, waits: float
) -> None:
    paused: list[float] = []

    async def sleep(seconds: float) -> None:
        paused.append(seconds)

    async def outcome(self: JobWatch) -> Outcome:
        if verdict:
            return DONE
        raise ApiUnavailableError("away")

    monkeypatch.setattr(triggers.asyncio, "sleep", sleep)
    monkeypatch.setattr(triggers.time, "time", lambda: 100.0)
    monkeypatch.setattr(JobWatch, "outcome", outcome)
    payload(FeastJobTrigger(**{**TRIGGER.serialize()[1], "not_before": 104.0}))
    assert paused == [0.0, waits]


@pytest.mark.parametrize("value", [-1, "soon", "-1s"])
def test_a_time_to_defer_after_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(FeastDagError, match=r"defer_after=.*from zero"):
        FeastMaterializeOperator(task_id="load", defer_after=value)
