"""One run of one task, beside a cluster that only notes what is asked of it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import pytest
from airflow.sdk.exceptions import AirflowRescheduleException, AirflowTaskTimeout, TaskDeferred
from job_objects import index_pod, told
from job_plans import IMAGE

from airflow_provider_feast.hooks.feast import FeastHook
from airflow_provider_feast.jobs import deferral, killing, task
from airflow_provider_feast.jobs.api import ClusterApi
from airflow_provider_feast.jobs.preflight import Preflight
from airflow_provider_feast.jobs.sources import Resolved, config_map_text, resolve
from airflow_provider_feast.jobs.submit import ended
from airflow_provider_feast.jobs.task import TaskRun
from airflow_provider_feast.model.errors import (
    ApiUnavailableError,
    DeadlineExceededError,
    FeastConfigurationError,
    FeastDagError,
    FeastTransientError,
    ForbiddenError,
    JobDeletedError,
    MissingObjectError,
    OutOfMemoryError,
    RegistryLockedError,
)
from airflow_provider_feast.model.outcome import JobState, Outcome, Problem
from airflow_provider_feast.model.result import CommandResult, ViewTotals
from airflow_provider_feast.model.settings import read_settings
from airflow_provider_feast.model.sources import ConfigMapConfiguration, InlineConfiguration
from airflow_provider_feast.model.totals import PlanProgress, Totals
from airflow_provider_feast.model.windows import Window
from airflow_provider_feast.operators.command import TRIGGER_GIVEN_UP
from airflow_provider_feast.operators.feast import FeastApplyOperator, FeastMaterializeOperator
from airflow_provider_feast.triggers import feast as triggers
from airflow_provider_feast.triggers.feast import FeastJobTrigger, error_event, outcome_event

D1, D2 = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)
DONE = Outcome(
    JobState.SUCCEEDED,
    result=CommandResult("succeeded", feast="0.67.0", views={"driver_stats": ViewTotals(7, 1.5, 1)}),
)
KILLED = Outcome(
    JobState.FAILED, Problem("out_of_memory", "killed at 2Gi", "raise memory_limit"), pod="pod-1"
)


class Cluster:
    """One Job, and the changes that were asked for."""

    def __init__(self, job: dict[str, Any] | None) -> None:
        self.job = job
        self.patched: list[Any] = []
        self.deleted: list[str] = []
        self.patience: list[float] = []
        self.config_maps: dict[str, Any] = {}

    def read_job(self, name: str) -> dict[str, Any] | None:
        return self.job

    def patch_job(self, name: str, patch: Any) -> None:
        self.patched.append(patch)

    def delete_job(self, name: str, uid: str) -> None:
        self.deleted.append(uid)
        if self.job is not None and self.job["metadata"]["uid"] == uid:
            self.job = None

    def with_patience(self, seconds: float) -> Cluster:
        self.patience.append(seconds)
        return self

    namespace = "features"

    def read_namespace(self) -> dict[str, Any]:
        return {"metadata": {"name": "features"}}

    def read_config_map(self, name: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = self.config_maps.get(name)
        return found


class Hook:
    """In place of FeastHook."""

    namespace = "features"
    kubernetes = None

    def __init__(self, job: dict[str, Any] | None = None, yaml: str | None = None, **extra: Any) -> None:
        self.settings = read_settings(
            "feast_production", {"image": IMAGE, "config_map": "feast-config", **extra}
        )
        self.cluster = Cluster(job)
        self.lines: list[str] = []
        self._yaml = yaml

    @property
    def resolved(self) -> Resolved:
        settings = self.settings
        if self._yaml:
            settings = settings._replace(configuration=InlineConfiguration(self._yaml))
        return resolve(settings, self.cluster)

    def readable_configuration(self) -> str | None:
        if self._yaml:
            return self._yaml
        source = self.settings.configuration
        return (
            config_map_text(cast(ClusterApi, self.cluster), source)
            if isinstance(source, ConfigMapConfiguration)
            else None
        )

    feast_conn_id = "feast_production"

    def check_settings(self) -> None:
        """All is there."""

    @property
    def preflight(self) -> Preflight:
        return Preflight(cast(FeastHook, self))

    def watch(self, *_: Any) -> None:
        """The Job runs on when the worker's patience ends."""

    def read_logs(self, job: dict[str, Any], say: Any, positions: Any) -> None:
        self.lines.append(f"{job['metadata']['uid']} from {positions}")
        raise ApiUnavailableError("it is away", remedy="wait")

    def delete(self, job: dict[str, Any]) -> None:
        self.cluster.delete_job(job["metadata"]["name"], job["metadata"]["uid"])

    @property
    def deleted(self) -> list[str]:
        return self.cluster.deleted

    def diagnose(self, job: dict[str, Any], patience: float | None = None) -> Outcome:
        return DONE if ended(job) else Outcome(JobState.RUNNING)


def a_job(condition: str = "Complete", **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "feast-load", "namespace": "features", "uid": "uid-1"},
        "spec": {"ttlSecondsAfterFinished": 604800, "activeDeadlineSeconds": 21600, **spec},
        "status": {
            "conditions": [{"type": condition, "status": "True"}],
            "startTime": "2026-01-02T00:00:00Z",
            "completionTime": "2026-01-02T00:00:09Z",
        },
    }


def make_run(
    monkeypatch: pytest.MonkeyPatch, hook: Hook, operator: Any = None
) -> tuple[TaskRun, dict[str, Any]]:
    """A run whose XComs are collected."""
    monkeypatch.setattr(task, "FeastHook", lambda conn_id, **overrides: hook)
    pushed: dict[str, Any] = {}
    names = {"dag_id": "features", "task_id": "load", "run_id": "r", "map_index": -1}
    ti = SimpleNamespace(
        xcom_push=lambda key, value: pushed.update({key: value}), **names, try_number=1, max_tries=0
    )
    context = {"ti": ti, "data_interval_start": D1, "data_interval_end": D2}
    return TaskRun(operator or FeastMaterializeOperator(task_id="load"), context), pushed


def event(outcome: Outcome) -> dict[str, Any]:
    return {"version": 1, "job": "feast-load", "outcome": outcome.to_dict()}


def test_a_succeeded_job_gives_one_small_result(monkeypatch: pytest.MonkeyPatch) -> None:
    run, pushed = make_run(monkeypatch, Hook(a_job()))
    result = run.resume(event(DONE))
    assert pushed["result"] == result
    assert result == {
        "schema": 1,
        "outcome": "succeeded",
        "kind": "",
        "job": "feast-load",
        "namespace": "features",
        "feature_store": "production",
        "command": ["materialize", "2026-01-01T00:00:00", "2026-01-01T23:59:59.999999"],
        "window": ["2026-01-01T00:00:00+00:00", "2026-01-02T00:00:00+00:00"],
        "started": "2026-01-02T00:00:00Z",
        "finished": "2026-01-02T00:00:09Z",
        "duration_seconds": 9.0,
        "image": IMAGE,
        "feast_version": "0.67.0",
        "commit": "",
        "security_profile": "restricted",
        "kubernetes_api_access": False,
        "views": {"driver_stats": {"rows": 7, "seconds": 1.5, "windows": 1}},
        "views_omitted": 0,
        "chunks": None,
        "gaps": {},
        "gaps_omitted": 0,
        "changes": None,
    }


def test_a_failed_job_is_the_error_of_its_cause_and_still_leaves_a_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, pushed = make_run(monkeypatch, Hook(a_job("Failed")))
    with pytest.raises(OutOfMemoryError) as caught:
        run.resume(event(KILLED))
    assert caught.value.where == "Job feast-load in namespace features, pod pod-1"
    assert (pushed["result"]["outcome"], pushed["result"]["kind"]) == ("failed", "out_of_memory")


def test_a_job_that_would_never_finish_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = Hook(a_job("Suspended"))
    run, _ = make_run(monkeypatch, hook)
    with pytest.raises(OutOfMemoryError):
        run.resume(event(KILLED))
    assert hook.deleted == ["uid-1"]


def test_a_job_that_is_gone_meanwhile_changes_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = make_run(monkeypatch, Hook(None))
    assert run.resume(event(DONE))["outcome"] == "succeeded"


@pytest.mark.parametrize(
    ("outcome", "condition", "seconds"), [(DONE, "Complete", 86400), (KILLED, "Failed", None)]
)
def test_a_finished_job_is_kept_as_long_as_the_connection_says(
    monkeypatch: pytest.MonkeyPatch, outcome: Outcome, condition: str, seconds: int | None
) -> None:
    hook = Hook(a_job(condition))
    run, _ = make_run(monkeypatch, hook)
    if outcome is DONE:
        run.resume(event(outcome))
    else:
        with pytest.raises(OutOfMemoryError):
            run.resume(event(outcome))
    own = {"uid": "uid-1"}
    wanted = [{"metadata": own, "spec": {"ttlSecondsAfterFinished": seconds}}] if seconds else []
    assert hook.cluster.patched == wanted


@pytest.mark.parametrize("ttl", [60, None])
def test_a_time_to_live_of_pod_options_or_overrides_stays(
    monkeypatch: pytest.MonkeyPatch, ttl: int | None
) -> None:
    hook = Hook(a_job(ttlSecondsAfterFinished=ttl))
    run, _ = make_run(monkeypatch, hook)
    run.resume(event(DONE))
    assert hook.cluster.patched == []


@pytest.mark.parametrize(
    ("told", "error"),
    [
        (None, FeastTransientError),
        ({}, FeastTransientError),
        ({"job": "feast-load"}, FeastTransientError),
        ({"job": "feast-load", "outcome": "succeeded"}, FeastTransientError),
        ({"job": "j", "error": {"kind": "missing_object", "what": "no namespace"}}, MissingObjectError),
    ],
)
def test_an_event_that_is_no_verdict_fails_loudly(
    monkeypatch: pytest.MonkeyPatch, told: Any, error: type[Exception]
) -> None:
    run, _ = make_run(monkeypatch, Hook(a_job()))
    with pytest.raises(error):
        run.resume(told)


def test_what_a_trigger_said_last_is_read_again_and_changes_no_verdict(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hook, positions = Hook(a_job()), {"pod-1/feast": ["2026-01-02T00:00:05.000000000", 1, ""]}
    run, _ = make_run(monkeypatch, hook)
    told = outcome_event(DONE, "feast-load", "uid-1", positions).payload
    assert run.resume(told)["outcome"] == "succeeded"
    assert hook.lines == [f"uid-1 from {positions}"]


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


@pytest.mark.parametrize(
    ("limit", "seconds"), [(None, 21600), (timedelta(hours=1), 3600), (timedelta(days=9), 21600)]
)
def test_airflows_timeout_shortens_the_jobs_deadline_since_nothing_else_ends_a_deferred_task(
    monkeypatch: pytest.MonkeyPatch, limit: timedelta | None, seconds: int
) -> None:
    operator = FeastApplyOperator(task_id="apply", execution_timeout=limit)
    run, _ = make_run(monkeypatch, Hook(), operator)
    assert run.settings.deadline_seconds == seconds


RUNNING = {**a_job(), "status": {"active": 1}}


@pytest.mark.parametrize(
    ("state", "deletes"),
    [
        ("failed", True),
        ("success", True),
        ("restarting", True),
        ("removed", True),
        (None, True),
        ("running", False),
        ("queued", False),
        ("scheduled", False),
        ("deferred", False),
        ("up_for_retry", False),
        ("up_for_reschedule", False),
    ],
)
def test_a_killed_worker_deletes_the_job_only_if_the_task_has_no_more_use_for_it(
    monkeypatch: pytest.MonkeyPatch, state: str | None, deletes: bool
) -> None:
    hook = Hook(RUNNING)
    run, _ = make_run(monkeypatch, hook)
    run._job = RUNNING
    monkeypatch.setattr(task, "task_state", lambda ti: state)
    run.kill()
    assert hook.deleted == (["uid-1"] if deletes else [])


def test_a_state_that_cannot_be_known_in_time_keeps_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    hook, answer = Hook(RUNNING), threading.Event()
    run, _ = make_run(monkeypatch, hook)
    run._job = RUNNING
    monkeypatch.setattr(killing, "LOOKUP_SECONDS", 0.05)
    monkeypatch.setattr(task, "task_state", lambda ti: "failed" if answer.wait(30) else None)
    run.kill()
    answer.set()
    assert hook.deleted == []


def test_a_state_that_cannot_be_asked_for_keeps_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = Hook(RUNNING)
    run, _ = make_run(monkeypatch, hook)
    run._job = RUNNING

    def fail(ti: Any) -> str:
        raise OSError("no channel")

    monkeypatch.setattr(task, "task_state", fail)
    run.kill()
    assert hook.deleted == []


def test_a_finished_job_stays_as_a_record_when_its_task_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = Hook(a_job())
    run, _ = make_run(monkeypatch, hook)
    run._job = RUNNING
    monkeypatch.setattr(task, "task_state", lambda ti: "failed")
    run.kill()
    assert hook.deleted == []


def test_a_late_kill_of_an_older_try_does_not_touch_a_later_job_of_the_same_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hook = Hook({**RUNNING, "metadata": {**RUNNING["metadata"], "uid": "uid-2"}})
    run, _ = make_run(monkeypatch, hook)
    run._job = RUNNING
    monkeypatch.setattr(task, "task_state", lambda ti: "failed")
    run.kill()
    assert hook.deleted == []


def executing(
    monkeypatch: pytest.MonkeyPatch, hook: Hook, during: Callable[[TaskRun], Any], operator: Any = None
) -> TaskRun:
    """A run that has its Job and meets something while it waits for it."""
    monkeypatch.setattr(task, "create_or_adopt", lambda *_, **__: SimpleNamespace(job=RUNNING))
    monkeypatch.setattr(TaskRun, "_wanted", lambda self, load: None)
    run, _ = make_run(monkeypatch, hook, operator)
    monkeypatch.setattr(hook, "watch", lambda *_: during(run))
    return run


def test_a_worker_that_is_replaced_hands_its_job_to_the_next_one_in_the_same_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hook = Hook(RUNNING)
    monkeypatch.setattr(task, "task_state", lambda ti: "running")
    run = executing(monkeypatch, hook, lambda run: run.kill())
    with pytest.raises(AirflowRescheduleException):
        run.execute()
    assert hook.deleted == []


def strike(*_: Any) -> Any:
    raise AirflowTaskTimeout("Timeout, PID: 1")


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


def test_what_follows_from_a_verdict_waits_only_briefly_for_an_api_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hook = Hook(a_job())
    run, _ = make_run(monkeypatch, hook)
    run.resume(event(DONE))
    assert hook.cluster.patience == [30.0]


FORBIDDEN = ForbiddenError("Airflow may not get pods/log", remedy="give it the rule")


def refused(*_: Any) -> Any:
    raise FORBIDDEN


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


def test_a_job_that_ran_into_a_deadline_set_by_airflow_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = FeastMaterializeOperator(task_id="load", execution_timeout=timedelta(seconds=90))
    run, _ = make_run(monkeypatch, Hook(a_job("Failed")), operator)
    late = Outcome(
        JobState.FAILED, Problem("deadline_exceeded", "stopped at its deadline of 90 s.", "raise it")
    )
    with pytest.raises(DeadlineExceededError, match="That limit is the task's execution_timeout"):
        run.resume(event(late))


def test_a_verdict_stands_although_the_job_cannot_be_read_or_patched_any_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hook = Hook(a_job())

    def refuse(*_: Any) -> None:
        raise ApiUnavailableError("away")

    monkeypatch.setattr(hook.cluster, "patch_job", refuse)
    run, _ = make_run(monkeypatch, hook)
    assert run.resume(event(DONE))["outcome"] == "succeeded"
    monkeypatch.setattr(hook.cluster, "read_job", refuse)
    assert run.resume(event(DONE))["outcome"] == "succeeded"


def test_a_job_that_waited_for_the_lock_in_vain_is_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = Hook(RUNNING)
    run, _ = make_run(monkeypatch, hook)
    told = {"kind": "registry_locked", "what": "locked", "where": "", "remedy": ""}
    with pytest.raises(RegistryLockedError):
        run.resume({"version": 1, "job": "feast-load", "uid": "uid-1", "error": told})
    assert hook.deleted == ["uid-1"]


def test_an_event_of_an_older_release_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = make_run(monkeypatch, Hook(a_job()))
    assert (
        run.resume({"version": 1, "job": "feast-load", "outcome": DONE.to_dict()})["outcome"] == "succeeded"
    )


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


# --- a trigger that fails -------------------------------------------------------------------------

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
    assert deferral.is_timeout({"error": TriggerFailureReason.TRIGGER_TIMEOUT.value})


# --- when to defer -------------------------------------------------------------------------------


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
    early = deferred.value.trigger.not_before - run._began
    assert early == (5.0 if patience < 5 else pytest.approx(-run._began)), (
        "no event comes too soon for the scheduler"
    )


def test_a_trigger_sends_no_event_before_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    paused: list[float] = []

    async def sleep(seconds: float) -> None:
        paused.append(seconds)

    monkeypatch.setattr(triggers.asyncio, "sleep", sleep)
    monkeypatch.setattr(triggers.time, "time", lambda: 100.0)
    arguments = {**TRIGGER.serialize()[1], "not_before": 104.0}
    monkeypatch.setattr(FeastJobTrigger, "_streams", lambda self: 1 / 0)
    payload(FeastJobTrigger(**arguments))
    assert 4.0 in paused


@pytest.mark.parametrize("value", [-1, "soon", "-1s"])
def test_a_time_to_defer_after_that_is_none_is_refused(value: Any) -> None:
    with pytest.raises(FeastDagError, match=r"defer_after=.*from zero"):
        FeastMaterializeOperator(task_id="load", defer_after=value)


# --- teardown's confirmation ---------------------------------------------------------------------

YAML = "project: demo\nregistry: r\nprovider: local\n"


@pytest.mark.parametrize("inline", [True, False])
def test_the_configured_project_is_confirmed(monkeypatch: pytest.MonkeyPatch, inline: bool) -> None:
    hook = Hook(yaml=YAML if inline else None)
    hook.cluster.config_maps["feast-config"] = {"data": {"feature_store.yaml": YAML}}
    run, _ = make_run(monkeypatch, hook)
    run.confirm_project("demo")
    with pytest.raises(FeastDagError, match="is 'demo': nothing was torn down"):
        run.confirm_project("production")


def test_a_configuration_that_cannot_be_read_confirms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    hook = Hook()
    run, _ = make_run(monkeypatch, hook)
    with pytest.raises(MissingObjectError, match="'feast-config', which should hold"):
        run.confirm_project("demo")
    hook.cluster.config_maps["feast-config"] = {"data": {"feature_store.yaml": "- a list"}}
    with pytest.raises(FeastConfigurationError, match="is not a mapping"):
        run.confirm_project("demo")


def test_a_configuration_in_the_image_confirms_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = make_run(monkeypatch, Hook(config_map="", definitions_path="/repo"))
    with pytest.raises(FeastConfigurationError, match="cannot be confirmed"):
        run.confirm_project("demo")


def test_after_the_teardown_ran_its_verdict_is_not_asked_for_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run, _ = make_run(monkeypatch, Hook())
    run._job = a_job()
    run.confirm_project("demo")


def test_a_plan_of_which_nothing_is_left_is_a_success_without_another_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    operator = FeastMaterializeOperator(task_id="load", chunk="12h", retries=0)
    plan = operator.load_plan(Window(D1, D2), "runner", {})
    assert plan is not None
    failed = a_job("Failed")
    failed["metadata"] |= {
        "labels": {"airflow-provider-feast/epoch": "0"},
        "annotations": {
            "airflow-provider-feast/plan-digest": plan.digest,
            "airflow-provider-feast/chunks": "0,1",
        },
    }
    failed["spec"]["completionMode"] = "Indexed"
    failed["status"]["completedIndexes"] = "0,1"
    hook = Hook(failed)
    monkeypatch.setattr(hook.cluster, "list_jobs", lambda selector: [failed], raising=False)
    pod = index_pod(1, told(5), 1)
    pod["metadata"]["ownerReferences"] = [{"uid": "uid-1"}]
    monkeypatch.setattr(hook.cluster, "list_pods", lambda uid: [pod], raising=False)
    run, pushed = make_run(monkeypatch, hook, operator)
    result = run.execute()
    assert (result["outcome"], result["job"], pushed["job_name"]) == ("succeeded", "feast-load", "feast-load")
    assert result["chunks"] == {"total": 2, "done": 2, "unknown": "0"}
    assert result["views"] == {"numbers": {"rows": 5, "seconds": 1.5, "windows": 1}}
    assert hook.deleted == []


def running_chunks(*completed: str) -> dict[str, Any]:
    """A Job with two chunks that goes on."""
    job = a_job("Suspended", completionMode="Indexed", suspend=False)
    job["metadata"]["annotations"] = {
        "airflow-provider-feast/plan-digest": "d",
        "airflow-provider-feast/chunks": "0,1",
        "airflow-provider-feast/chunk-count": "2",
    }
    job["status"] |= {"completedIndexes": ",".join(completed)}
    return job


def failing_when_patched(monkeypatch: pytest.MonkeyPatch, hook: Hook) -> None:
    """The hook's Job fails at the first patch, as at a deadline of a second."""

    def fail_it(name: str, patch: Any) -> None:
        hook.cluster.patched.append(patch)
        assert hook.cluster.job is not None
        hook.cluster.job["status"]["conditions"] = [{"type": "Failed", "status": "True"}]

    monkeypatch.setattr(hook.cluster, "patch_job", fail_it)


def test_a_job_with_chunks_that_would_never_finish_is_stopped_and_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hook = Hook(running_chunks("0"))
    failing_when_patched(monkeypatch, hook)
    run, pushed = make_run(monkeypatch, hook)
    totals = Totals(frozenset({0}), {"numbers": ViewTotals(5, 1.0, 2)})
    part = CommandResult("running", views={"numbers": ViewTotals(3, 0.5, 1)}, chunk=1)
    stuck = KILLED._replace(result=part, progress=PlanProgress(2, frozenset({0}), totals))
    with pytest.raises(OutOfMemoryError):
        run.resume(event(stuck))
    assert [patch["spec"] for patch in hook.cluster.patched] == [{"activeDeadlineSeconds": 1}]
    assert hook.deleted == []
    assert pushed["result"]["views"] == {"numbers": {"rows": 8, "seconds": 1.5, "windows": 3}}
    assert pushed["result"]["chunks"] == {"total": 2, "done": 1, "unknown": ""}


def test_an_earlier_failure_of_a_chunk_that_is_done_counts_no_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    run, pushed = make_run(monkeypatch, Hook(a_job("Failed")))
    totals = Totals(frozenset({0}), {"numbers": ViewTotals(5, 1.0, 2)})
    part = CommandResult("failed", views={"numbers": ViewTotals(3, 0.5, 1)}, chunk=0)
    late = KILLED._replace(result=part, progress=PlanProgress(2, frozenset({0}), totals))
    with pytest.raises(OutOfMemoryError):
        run.resume(event(late))
    assert pushed["result"]["views"]["numbers"]["rows"] == 5
