"""What plain KubernetesJobOperator gets wrong on one scenario, and FeastCommandOperator right: one Job, and its end."""

from typing import Any

import pytest
import tenacity
from airflow.providers.cncf.kubernetes import kubernetes_helper_functions
from airflow.sdk.exceptions import AirflowException
from beside_helpers import Beside, beside, flaw, sandbox
from kubernetes.client import ApiException
from operator_helpers import context, deferral, execute, first_event, log_lines

from airflow_provider_feast.jobs import task
from airflow_provider_feast.model.errors import FeastError

__all__ = ["beside", "sandbox"]
CLAIM = {
    "metadata": {"name": "mark"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
}
"""A volume on which the first pod leaves a mark for the second."""
FAILS_ONCE = "test -e /mark/seen && echo second try && exit 0; touch /mark/seen; echo first try; exit 1"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither side is slow: retries of its API requests do not pause, ours defers soon."""
    monkeypatch.setattr(kubernetes_helper_functions, "_default_wait", tenacity.wait_none())
    monkeypatch.setattr(task, "DEFER_AFTER_SECONDS", 0.3)


def test_a_pod_that_cannot_be_made_yet_is_waited_for(beside: Beside) -> None:
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    beside.core.create_namespaced_resource_quota(beside.namespace, quota)
    with pytest.raises(AirflowException) as raised:
        execute(beside.plain("true"))
    flaw("No pods running with labels" in str(raised.value), "fails when no pod is there at once")
    flaw(len(beside.live_jobs()) == 1, "leaves the Job behind when it finds no pod")
    beside.delete_jobs()

    def lift(line: str) -> None:
        if "exceeded quota" in line and beside.core.list_namespaced_resource_quota(beside.namespace).items:
            beside.core.delete_namespaced_resource_quota("none", beside.namespace)

    with log_lines(lift) as lines:
        assert execute(beside.ours("true"))["outcome"] == "succeeded"
    assert any("exceeded quota" in line for line in lines)


def test_a_retry_takes_the_running_job_over(beside: Beside) -> None:
    for number in (1, 2):
        plain = beside.plain("sleep 60", retries=1, deferrable=True)
        deferral(plain, context(plain, try_number=number))
    flaw(len(beside.live_jobs()) == 2, "a retry submits a second Job beside the running one")
    flaw(len(plain.pods) == 2, "a retry takes pods of the earlier try for its own")
    beside.delete_jobs()

    uids = []
    for number in (1, 2):
        ours = beside.ours("sleep 60", retries=1, deferrable=True)
        uids.append(deferral(ours, context(ours, try_number=number)).trigger.uid)
    assert len(beside.jobs()) == len(set(uids)) == 1


def test_a_create_whose_answer_was_lost_makes_one_job(beside: Beside) -> None:
    beside.fault("jobs$", method="POST", kind="after", code=500)
    with pytest.raises(ApiException) as raised:
        execute(beside.plain("true"))
    flaw(raised.value.status == 409, "a create that was stored is tried again until 409 is its answer")
    flaw(len(beside.jobs()) == 1, "its Job is left behind")
    beside.delete_jobs()

    beside.fault("jobs$", method="POST", kind="after", code=500)
    assert execute(beside.ours("true"))["outcome"] == "succeeded"
    assert len(beside.jobs()) == 1


def test_the_late_kill_of_an_older_try_spares_the_next_ones_job(beside: Beside) -> None:
    options = {"name": "same", "random_name_suffix": False, "deferrable": True}
    older, newer = beside.plain("sleep 60", **options), beside.plain("sleep 60", **options)
    deferral(older)
    flaw(older.job.metadata.uid is None, "keeps its request, not the Job that the API made of it: no uid")
    beside.delete_jobs()
    deferral(newer)
    older.on_kill()
    flaw(beside.jobs()[0].metadata.deletion_timestamp if beside.jobs() else True, "deletes by name alone")
    beside.delete_jobs()

    older, newer = beside.ours("sleep 60", deferrable=True), beside.ours("sleep 60", deferrable=True)
    first = deferral(older).trigger
    beside.delete_jobs()
    second = deferral(newer).trigger
    assert (first.name, first.uid != second.uid) == (second.name, True)
    older.on_kill()
    (job,) = beside.jobs()
    assert (job.metadata.uid, job.metadata.deletion_timestamp) == (second.uid, None)


@pytest.mark.parametrize("deferrable", [False, True])
def test_the_log_comes_while_the_job_runs(beside: Beside, deferrable: bool) -> None:
    def active_at_line(operator: Any) -> list[int]:
        found: list[int] = []

        def look(line: str) -> None:
            if line.endswith("tick"):
                found.append(beside.jobs()[-1].status.active or 0)

        with log_lines(look):
            execute(operator)
        return found

    script = "sleep 1; echo tick; sleep 2"
    flaw(
        active_at_line(beside.plain(script, deferrable=deferrable)) == [0],
        "logs come only after the Job's end",
    )
    beside.delete_jobs()
    assert active_at_line(beside.ours(script, deferrable=deferrable)) == [1]


def test_the_log_of_a_deferred_job_that_fails_is_there(beside: Beside) -> None:
    script = "sleep 1; echo the store is on fire; exit 3"
    with log_lines() as lines, pytest.raises(AirflowException) as raised:
        execute(beside.plain(script, deferrable=True))
    flaw("on fire" not in f"{lines}{raised.value}", "never reads the log of a deferred Job that failed")
    flaw(not beside.pods(), "deletes the failed pod, and the log with it")
    beside.delete_jobs()

    with log_lines() as lines, pytest.raises(FeastError) as failed:
        execute(beside.ours(script, deferrable=True))
    assert lines.count("the store is on fire") == 1
    assert "the store is on fire" in str(failed.value)
    assert len(beside.pods()) == 1


def test_an_out_of_memory_kill_is_called_that(beside: Beside) -> None:
    def out_of_memory(pod: str) -> None:
        beside.sandbox.oom_kill(beside.namespace, pod)

    beside.when_running(out_of_memory)
    with pytest.raises(AirflowException) as raised:
        execute(beside.plain("sleep 60"))
    flaw(
        "BackoffLimitExceeded" in str(raised.value) and "memory" not in str(raised.value),
        "only the Job condition's reason reaches the user",
    )
    beside.delete_jobs()

    beside.when_running(out_of_memory)
    with pytest.raises(FeastError) as failed:
        execute(beside.ours("sleep 60", memory_limit="64Mi"))
    assert failed.value.kind == "out_of_memory"
    assert "64Mi" in str(failed.value)


def test_the_log_of_a_replacement_pod_is_there(beside: Beside) -> None:
    beside.core.create_namespaced_persistent_volume_claim(beside.namespace, CLAIM)
    volume = {"name": "mark", "persistentVolumeClaim": {"claimName": "mark"}}
    mount = {"name": "mark", "mountPath": "/mark"}
    spec = beside.api.deserialize
    assert spec
    options = {"volumes": [volume], "volume_mounts": [mount]}
    with log_lines() as lines:
        execute(beside.plain(FAILS_ONCE, backoff_limit=1, **_models(options)))
    flaw(not any("second try" in line for line in lines), "never reads the log of a replacement pod")
    beside.delete_jobs()
    beside.core.delete_namespaced_persistent_volume_claim("mark", beside.namespace)
    beside.core.create_namespaced_persistent_volume_claim(beside.namespace, CLAIM)

    with log_lines() as lines:
        execute(beside.ours(FAILS_ONCE, backoff_limit=1, pod_options=options))
    assert [line for line in lines if line.endswith("try")] == ["first try", "second try"]


def _models(options: dict[str, Any]) -> dict[str, Any]:
    from airflow.providers.cncf.kubernetes.backcompat import backwards_compat_converters as converters

    return {
        "volumes": [converters.convert_volume(volume) for volume in options["volumes"]],
        "volume_mounts": [converters.convert_volume_mount(mount) for mount in options["volume_mounts"]],
    }


def test_a_job_that_is_deleted_while_it_is_waited_for_is_said_to_be(beside: Beside) -> None:
    beside.when_running(lambda _: beside.delete_jobs())
    with pytest.raises(ApiException) as raised:
        execute(beside.plain("sleep 60"))
    flaw(raised.value.status == 404, "a Job that is gone is a raw 404")

    beside.when_running(lambda _: beside.delete_jobs())
    with pytest.raises(FeastError) as failed:
        execute(beside.ours("sleep 60"))
    assert failed.value.kind == "job_deleted"


def test_an_api_that_is_away_for_a_while_loses_nothing(beside: Beside) -> None:
    def away(_: str) -> None:
        beside.fault("(jobs|pods)", method="GET", code=503, times=6)
        beside.sandbox.cut_watches()

    beside.when_running(away)
    with pytest.raises(ApiException) as raised:
        execute(beside.plain("sleep 60"))
    flaw(raised.value.status == 503, "gives up after five requests without an answer")
    beside.sandbox.clear_faults()
    flaw(len(beside.live_jobs()) == 1, "leaves the Job running when it gives up")
    beside.delete_jobs()

    beside.when_running(away)
    assert execute(beside.ours("sleep 3"))["outcome"] == "succeeded"


def test_a_job_that_is_gone_before_the_worker_resumes_has_left_its_outcome_and_log(beside: Beside) -> None:
    script = "sleep 1; echo the end"

    def vanish(_: Any) -> None:
        beside.delete_jobs()

    with log_lines() as lines:
        execute(beside.plain(script, deferrable=True), before_resume=vanish)
    flaw(not any("the end" in line for line in lines), "the log of a Job that is gone at the resume is lost")

    with log_lines() as lines:
        assert execute(beside.ours(script, deferrable=True), before_resume=vanish)["outcome"] == "succeeded"
    assert lines.count("the end") == 1


__all__ += ["first_event"]
