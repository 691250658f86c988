"""What plain KubernetesJobOperator gets wrong while it waits, and FeastCommandOperator right."""

from typing import Any

import pytest
from airflow.providers.cncf.kubernetes import kube_client
from airflow.providers.cncf.kubernetes.hooks.kubernetes import AsyncKubernetesHook
from airflow.providers.common.compat.sdk import AirflowException
from beside_helpers import Beside, beside, fails, flaw, image_home, quick, sandbox
from kubernetes.client import ApiException
from kubernetes.client import models as k8s
from kubernetes_asyncio.client import ApiClient as AsyncApiClient
from kubernetes_asyncio.client import ApiException as AsyncApiException
from operator_helpers import execute, log_lines

from airflow_provider_feast.jobs import stream
from airflow_provider_feast.jobs.submit import ended
from airflow_provider_feast.jobs.watch import JobWatch
from airflow_provider_feast.model.errors import FeastError
from airflow_provider_feast.triggers import feast as triggers

__all__ = ["beside", "image_home", "quick", "sandbox"]

CLAIM = {
    "metadata": {"name": "mark"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
}
"""A volume on which the first pod leaves a mark for the second."""

FAILS_ONCE = "test -e /mark/seen && echo second try && exit 0; touch /mark/seen; echo first try; exit 1"


@pytest.mark.parametrize("deferrable", [False, True])
def test_the_log_comes_while_the_job_runs(beside: Beside, deferrable: bool) -> None:
    def ended_at_line(operator: Any) -> list[bool]:
        found: list[bool] = []

        def look(line: str) -> None:
            if line.endswith("tick"):
                found.append(ended(beside.jobs()[-1]))

        with log_lines(look):
            execute(operator)
        return found

    script = "sleep 1; echo tick; sleep 4"
    late = ended_at_line(beside.plain(script, deferrable=deferrable))
    flaw(late == [True], "logs come only after the Job's end")
    beside.delete_jobs()
    assert ended_at_line(beside.ours(script, deferrable=deferrable)) == [False]


def test_the_log_of_a_deferred_job_that_fails_is_there(beside: Beside) -> None:
    script = "sleep 1; echo the store is on fire; exit 3"
    with log_lines() as lines, fails(AirflowException, "a failed Job fails the task") as raised:
        execute(beside.plain(script, deferrable=True))
    flaw("on fire" not in f"{lines}{raised.value}", "it never reads the log of a deferred Job that failed")
    flaw(not beside.pods(), "it deletes the failed pod, and the log with it")
    beside.delete_jobs()

    with log_lines() as lines, pytest.raises(FeastError) as failed:
        execute(beside.ours(script, deferrable=True))
    assert lines.count("the store is on fire") == 1
    assert "the store is on fire" in str(failed.value)
    assert len(beside.pods()) == 1


def test_the_log_of_a_replacement_pod_is_there(beside: Beside) -> None:
    claim = k8s.V1PersistentVolumeClaimVolumeSource("mark")
    options = {
        "volumes": [k8s.V1Volume(name="mark", persistent_volume_claim=claim)],
        "volume_mounts": [k8s.V1VolumeMount(name="mark", mount_path="/mark")],
    }
    beside.core.create_namespaced_persistent_volume_claim(beside.namespace, CLAIM)
    with log_lines() as lines:
        execute(beside.plain(FAILS_ONCE, backoff_limit=1, **options))
    flaw(not any("second try" in line for line in lines), "it never reads the log of a replacement pod")
    beside.delete_jobs()

    other = {**CLAIM, "metadata": {"name": "other"}}
    beside.core.create_namespaced_persistent_volume_claim(beside.namespace, other)
    claim.claim_name = "other"
    with log_lines() as lines:
        execute(beside.ours(FAILS_ONCE, backoff_limit=1, pod_options=options))
    assert [line for line in lines if line.endswith("try")] == ["first try", "second try"]


def test_an_out_of_memory_kill_is_called_that(beside: Beside) -> None:
    def out_of_memory(pod: str) -> None:
        beside.sandbox.oom_kill(beside.namespace, pod)

    with beside.when_running(out_of_memory), fails(AirflowException, "a failed Job fails the task") as raised:
        execute(beside.plain("sleep 60"))
    assert "BackoffLimitExceeded" in str(raised.value)
    flaw("memory" not in str(raised.value).lower(), "only the condition's reason reaches the user")
    beside.delete_jobs()

    with beside.when_running(out_of_memory), pytest.raises(FeastError) as failed:
        execute(beside.ours("sleep 60", memory_request="32Mi", memory_limit="64Mi"))
    assert failed.value.kind == "out_of_memory"
    assert "64Mi" in str(failed.value)


@pytest.mark.parametrize("kind", ["Complete", "Failed"])
def test_a_condition_that_is_not_true_ends_no_wait(beside: Beside, kind: str) -> None:
    def deny(_: str) -> None:
        condition = {"type": kind, "status": "False", "reason": "NotYet"}
        (name,) = beside.live_jobs()
        body = {"status": {"conditions": [condition]}}
        beside.batch.patch_namespaced_job_status(name, beside.namespace, body)

    plain = beside.plain("sleep 60", get_logs=False, on_finish_action="keep_pod")
    with beside.when_running(deny):
        if kind == "Failed":
            with fails(AirflowException, "Failed=False is taken for Failed") as raised:
                execute(plain)
            assert "NotYet" in str(raised.value)
        else:
            execute(plain)
    flaw(len(beside.live_jobs()) == 1, f"{kind}=False is taken for {kind}")
    beside.delete_jobs()

    with beside.when_running(deny), log_lines() as lines:
        assert execute(beside.ours("sleep 3; echo the end"))["outcome"] == "succeeded"
    assert lines.count("the end") == 1


def test_a_job_that_is_deleted_while_it_is_waited_for_is_said_to_be(beside: Beside) -> None:
    what = "a Job that is gone is a raw 404"
    with beside.when_running(lambda _: beside.delete_jobs()), fails(ApiException, what) as raised:
        execute(beside.plain("sleep 60"))
    assert raised.value.status == 404

    with beside.when_running(lambda _: beside.delete_jobs()), pytest.raises(FeastError) as failed:
        execute(beside.ours("sleep 60"))
    assert failed.value.kind == "job_deleted"


@pytest.mark.parametrize("deferrable", [False, True])
def test_an_api_that_is_away_for_a_while_loses_nothing(beside: Beside, deferrable: bool) -> None:
    def away(_: str) -> None:
        beside.fault("(jobs|pods)", method="GET", code=503, times=6)
        beside.sandbox.cut_watches()

    kind = (ApiException, AsyncApiException)
    with (
        beside.when_running(away),
        fails(kind, "it gives up after five requests without an answer") as raised,
    ):
        execute(beside.plain("sleep 60", backoff_limit=1, deferrable=deferrable))
    assert raised.value.status == 503
    beside.sandbox.clear_faults()
    flaw(len(beside.live_jobs()) == 1, "it leaves the Job running when it gives up")
    beside.delete_jobs()

    with beside.when_running(away), log_lines() as lines:
        ours = beside.ours("sleep 3; echo the end", deferrable=deferrable)
        assert execute(ours)["outcome"] == "succeeded"
    assert lines.count("the end") == 1


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize("code", [401, 410])
def test_an_answer_that_asks_for_a_new_start_gets_one(beside: Beside, code: int, deferrable: bool) -> None:
    """A token that has expired, a history that is no longer kept."""

    def refuse(_: str) -> None:
        beside.fault("(jobs|pods)", method="GET", code=code)

    def refuse_watch(_: str) -> None:
        beside.fault("(jobs|pods)$", method="GET", code=code)
        beside.sandbox.cut_watches()

    kind = (ApiException, AsyncApiException)
    with beside.when_running(refuse), fails(kind, f"{code} is not tried again") as raised:
        execute(beside.plain("sleep 60", backoff_limit=1, deferrable=deferrable))
    assert raised.value.status == code
    beside.sandbox.clear_faults()
    flaw(len(beside.live_jobs()) == 1, "it leaves the Job running when it is refused")
    beside.delete_jobs()

    with beside.when_running(refuse_watch), log_lines() as lines:
        ours = beside.ours("sleep 3; echo the end", deferrable=deferrable)
        assert execute(ours)["outcome"] == "succeeded"
    assert lines.count("the end") == 1


def test_a_request_that_is_not_answered_in_time_is_sent_again(
    beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both sides are made to wait for a second only; an answer takes four."""
    monkeypatch.setattr(kube_client, "API_TIMEOUT", 1)
    monkeypatch.setattr(stream, "SILENCE_SECONDS", 1.0)

    def stall(_: str) -> None:
        beside.fault("jobs", method="GET", kind="slow", seconds=4, times=2)

    def stall_watches(_: str) -> None:
        beside.fault("(jobs|pods)$", method="GET", kind="slow", seconds=4, times=2)
        beside.sandbox.cut_watches()

    with beside.when_running(stall), fails(TimeoutError, "aiohttp's TimeoutError is not tried again"):
        execute(beside.plain("sleep 60", backoff_limit=1, deferrable=True))
    beside.sandbox.clear_faults()
    flaw(len(beside.live_jobs()) == 1, "it leaves the Job running when an answer takes too long")
    beside.delete_jobs()

    with beside.when_running(stall_watches), log_lines() as lines:
        assert execute(beside.ours("sleep 3; echo the end", deferrable=True))["outcome"] == "succeeded"
    assert lines.count("the end") == 1


def test_a_wait_makes_no_new_client_for_each_look(beside: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Any] = []
    real = AsyncApiClient.__init__

    def count(self: Any, *args: Any, **kwargs: Any) -> None:
        made.append(self)
        real(self, *args, **kwargs)

    monkeypatch.setattr(AsyncApiClient, "__init__", count)
    execute(beside.plain("sleep 3", deferrable=True))
    flaw(len(made) > 10, "each poll builds a new client")
    beside.delete_jobs()

    made.clear()
    assert execute(beside.ours("sleep 3", deferrable=True))["outcome"] == "succeeded"
    assert len(made) <= 3, "one of the worker, one of the triggerer, and one that reads the log's end"


def test_a_flaw_of_a_trigger_is_no_verdict_on_its_job(
    beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def flawed(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError("a flaw of the trigger")

    real, failed = JobWatch.outcome, []

    async def flawed_twice(self: JobWatch, timeout: float | None = None) -> Any:
        if self._shared and len(failed) < 2:
            failed.append(self)
            await real(self, 1.0)
            raise ZeroDivisionError("a flaw of the trigger")
        return await real(self, timeout)

    monkeypatch.setattr(AsyncKubernetesHook, "get_job_status", flawed)
    with fails(ZeroDivisionError, "an unexpected exception in its trigger fails the task"):
        execute(beside.plain("sleep 60", deferrable=True))
    flaw(len(beside.live_jobs()) == 1, "it leaves the Job running when its trigger fails")
    beside.delete_jobs()

    monkeypatch.setattr(triggers, "AGAIN_SECONDS", 0.1)
    monkeypatch.setattr(triggers, "SAFE_SECONDS", 0.1)
    monkeypatch.setattr(JobWatch, "outcome", flawed_twice)
    script = "for n in 1 2 3 4 5 6; do echo tick $n; sleep 1; done"
    with log_lines() as lines:
        assert execute(beside.ours(script, deferrable=True))["outcome"] == "succeeded"
    assert len(failed) == 2
    assert len(beside.jobs()) == 1
    assert [line for line in lines if line.startswith("tick")] == [f"tick {n}" for n in range(1, 7)]
    assert sum("ZeroDivisionError" in line for line in lines) == 2


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_permission_that_is_missing_is_named(beside: Beside, deferrable: bool) -> None:
    def refuse(_: str) -> None:
        beside.fault("pods", method="GET", code=403, times=-1)
        beside.sandbox.cut_watches()

    with fails(ApiException, "a 403 is raw") as raised:
        beside.fault("pods", method="GET", code=403, times=-1)
        execute(beside.plain("sleep 60", deferrable=deferrable))
    assert raised.value.status == 403
    flaw("verbs" not in str(raised.value), "it does not say which rule is missing")
    beside.sandbox.clear_faults()
    flaw(len(beside.live_jobs()) == 1, "it leaves the Job running of which it may not see the end")
    beside.delete_jobs()

    with beside.when_running(refuse), pytest.raises(FeastError) as failed:
        execute(beside.ours("sleep 60", deferrable=deferrable))
    assert failed.value.kind == "forbidden"
    assert "pods" in str(failed.value)
    assert "verbs" in str(failed.value)
    assert "Its Job was ended" in str(failed.value)
    assert beside.jobs() == []


def test_what_keeps_a_pod_from_starting_is_told_as_it_happens(beside: Beside) -> None:
    image = f"{beside.namespace}:1"
    with (
        beside.when_event("Failed", beside.delete_jobs),
        log_lines() as lines,
        fails(ApiException, "it waits on while its pod cannot start"),
    ):
        execute(beside.plain("true", image=image))
    flaw(not any("pull" in line.lower() and image in line for line in lines), "no Event reaches the log")

    def push(line: str) -> None:
        if "The Job has not started yet" in line and image in line:
            beside.push(image)

    with log_lines(push) as lines:
        assert execute(beside.ours("true", image=image))["outcome"] == "succeeded"
    assert any("The Job has not started yet" in line and image in line for line in lines)


@pytest.mark.parametrize("succeeds", [True, False])
def test_a_job_that_is_gone_before_the_worker_resumes_has_left_outcome_and_log(
    beside: Beside, succeeds: bool
) -> None:
    script = "sleep 1; echo the end" + ("" if succeeds else "; exit 3")

    def vanish(_: Any) -> None:
        beside.delete_jobs()

    def run(operator: Any) -> str:
        try:
            return str(execute(operator, before_resume=vanish))
        except (AirflowException, FeastError) as error:
            return str(error)

    with log_lines() as lines:
        run(beside.plain(script, deferrable=True))
    flaw(not any("the end" in line for line in lines), "the log of a Job that is gone at the resume is lost")

    with log_lines() as lines:
        told = run(beside.ours(script, deferrable=True))
    assert lines.count("the end") == 1
    assert ("succeeded" in told) == succeeds
    assert ("exit code 3" in told) != succeeds
