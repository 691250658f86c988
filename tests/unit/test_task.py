"""One run of one task, beside a cluster that only notes what is asked of it."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from airflow_versions import AirflowRescheduleException
from job_objects import index_pod, told
from job_plans import IMAGE
from task_runs import (
    D1,
    D2,
    DONE,
    KILLED,
    RUNNING,
    Hook,
    a_job,
    event,
    executing,
    failing_when_patched,
    make_run,
    running_chunks,
)

from airflow_provider_feast.jobs import killing, task
from airflow_provider_feast.model.errors import (
    ApiUnavailableError,
    DeadlineExceededError,
    FeastConfigurationError,
    FeastDagError,
    FeastTransientError,
    MissingObjectError,
    OutOfMemoryError,
    RegistryLockedError,
)
from airflow_provider_feast.model.outcome import JobState, Outcome, Problem
from airflow_provider_feast.model.result import CommandResult, ViewTotals
from airflow_provider_feast.model.totals import PlanProgress, Totals
from airflow_provider_feast.model.windows import Window
from airflow_provider_feast.operators.feast import FeastApplyOperator, FeastMaterializeOperator
from airflow_provider_feast.triggers.feast import outcome_event


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
        "ahead": {},
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
    ("limit", "seconds"), [(None, 21600), (timedelta(hours=1), 3600), (timedelta(days=9), 21600)]
)
def test_airflows_timeout_shortens_the_jobs_deadline_since_nothing_else_ends_a_deferred_task(
    monkeypatch: pytest.MonkeyPatch, limit: timedelta | None, seconds: int
) -> None:
    operator = FeastApplyOperator(task_id="apply", execution_timeout=limit)
    run, _ = make_run(monkeypatch, Hook(), operator)
    assert run.settings.deadline_seconds == seconds


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


def test_a_worker_that_is_replaced_hands_its_job_to_the_next_one_in_the_same_try(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hook = Hook(RUNNING)
    monkeypatch.setattr(task, "task_state", lambda ti: "running")
    run = executing(monkeypatch, hook, lambda run: run.kill())
    with pytest.raises(AirflowRescheduleException):
        run.execute()
    assert hook.deleted == []


def test_what_follows_from_a_verdict_waits_only_briefly_for_an_api_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hook = Hook(a_job())
    run, _ = make_run(monkeypatch, hook)
    run.resume(event(DONE))
    assert hook.cluster.patience == [30.0]


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
    monkeypatch.setattr(hook.cluster, "list_pods", lambda uid: [pod])
    run, pushed = make_run(monkeypatch, hook, operator)
    result = run.execute()
    assert (result["outcome"], result["job"], pushed["job_name"]) == ("succeeded", "feast-load", "feast-load")
    assert result["chunks"] == {"total": 2, "done": 2, "unknown": "0"}
    assert result["views"] == {"numbers": {"rows": 5, "seconds": 1.5, "windows": 1}}
    assert hook.deleted == []


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
