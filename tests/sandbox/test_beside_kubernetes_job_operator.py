"""What plain KubernetesJobOperator gets wrong with its Job, and FeastCommandOperator right."""

import asyncio
import json
from typing import Any
from unittest import mock

import kubernetes
import kubernetes_asyncio
import pytest
from airflow.providers.cncf.kubernetes.operators.job import KubernetesJobOperator
from airflow.providers.common.compat.sdk import AirflowException
from airflow.triggers.base import BaseTrigger
from airflow_helpers import wait_for
from beside_helpers import Beside, beside, fails, flaw, image_home, quick, sandbox
from kubernetes.client import ApiException
from kubernetes_asyncio.config import ConfigException
from operator_helpers import context, deferral, execute, log_lines

from airflow_provider_feast.model.errors import FeastError
from airflow_provider_feast.triggers import feast as triggers

__all__ = ["beside", "image_home", "quick", "sandbox"]

FAIL_AT_USAGE = {
    "rules": [
        {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}},
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
    ]
}


def test_a_pod_that_cannot_be_made_yet_is_waited_for(beside: Beside) -> None:
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    beside.core.create_namespaced_resource_quota(beside.namespace, quota)
    with fails(AirflowException, "it fails when no pod is there at once") as raised:
        execute(beside.plain("true", discover_pods_retry_number=3))  # its default
    assert "No pods running with labels" in str(raised.value)
    flaw(len(beside.live_jobs()) == 1, "it leaves the Job behind when it finds no pod")
    beside.delete_jobs()

    def lift(line: str) -> None:
        if "ResourceQuota" in line:
            beside.core.delete_namespaced_resource_quota("none", beside.namespace)

    with log_lines(lift) as lines:
        assert execute(beside.ours("true"))["outcome"] == "succeeded"
    assert len([line for line in lines if "The Job has not started yet" in line]) == 1


def test_a_retry_takes_the_running_job_over(beside: Beside) -> None:
    for number, lists in ((1, 1000), (2, 3)):
        plain = beside.plain("sleep 60", retries=1, deferrable=True, discover_pods_retry_number=lists)
        deferral(plain, context(plain, try_number=number))
    flaw(len(beside.live_jobs()) == 2, "a retry submits a second Job beside the running one")
    tries = {pod.metadata.labels["try_number"] for pod in plain.pods}
    flaw("1" in tries, "a retry takes the pod of the earlier try for its own")
    beside.delete_jobs()

    uids = []
    for number in (1, 2):
        ours = beside.ours("sleep 60", retries=1, deferrable=True)
        uids.append(deferral(ours, context(ours, try_number=number)).trigger.uid)
    assert len(beside.jobs()) == len(set(uids)) == 1


def test_a_create_whose_answer_was_lost_makes_one_job(beside: Beside) -> None:
    beside.fault("jobs$", method="POST", kind="after", code=500)
    with fails(ApiException, "a create that was stored is tried again until 409 is its answer") as raised:
        execute(beside.plain("true"))
    assert raised.value.status == 409
    flaw(len(beside.jobs()) == 1, "its Job is left behind")
    beside.delete_jobs()

    beside.fault("jobs$", method="POST", kind="after", code=500)
    assert execute(beside.ours("true"))["outcome"] == "succeeded"
    assert len(beside.jobs()) == 1


def test_the_late_kill_of_an_older_try_spares_the_next_ones_job(beside: Beside) -> None:
    options = {"name": "same", "random_name_suffix": False, "deferrable": True}
    older, newer = beside.plain("sleep 60", **options), beside.plain("sleep 60", **options)
    deferral(older)
    flaw(older.job.metadata.uid is None, "it keeps its request, not the Job that the API made of it: no uid")
    beside.delete_jobs()
    deferral(newer)
    older.on_kill()
    flaw(all("deletionTimestamp" in job["metadata"] for job in beside.jobs()), "it deletes by name alone")
    beside.delete_jobs()

    older, newer = beside.ours("sleep 60", deferrable=True), beside.ours("sleep 60", deferrable=True)
    first = deferral(older).trigger
    beside.delete_jobs()
    second = deferral(newer).trigger
    assert (first.name, first.uid != second.uid) == (second.name, True)
    older.on_kill()
    (job,) = beside.jobs()
    assert (job["metadata"]["uid"], "deletionTimestamp" in job["metadata"]) == (second.uid, False)


def test_a_job_carries_its_labels_limits_and_restrictions(
    beside: Beside, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = beside.plain("true", backoff_limit=None)
    execute(plain)
    flaw(not plain.job_request_obj.metadata.labels, "its Job has no labels of its own")
    (job,) = beside.jobs()
    limits = {"ttlSecondsAfterFinished", "activeDeadlineSeconds", "podFailurePolicy"} & set(job["spec"])
    flaw(not limits, "its Job has no time to live, no deadline and no pod failure policy")
    pod = job["spec"]["template"]["spec"]
    flaw(not pod["securityContext"], "its pod has no security context")
    flaw("securityContext" not in pod["containers"][0], "its container has no security context")
    beside.delete_jobs()
    plain = beside.plain("true", active_deadline_seconds=600)
    execute(plain)
    (job,) = beside.jobs()
    deadlines = [spec.get("activeDeadlineSeconds") for spec in (job["spec"], job["spec"]["template"]["spec"])]
    flaw(deadlines == [600, 600], "a deadline is set on the Job and on its pod, and the two race")
    beside.delete_jobs()
    capsys.readouterr()
    plain.dry_run()
    flaw("kind: Pod" in capsys.readouterr().out, "its dry run shows a pod instead of its Job")

    ours = beside.ours("true", backoff_limit=None, deadline="10m")
    execute(ours)
    (job,) = beside.jobs()
    assert job["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "airflow-provider-feast"
    assert job["spec"]["activeDeadlineSeconds"] == 600
    assert job["spec"]["ttlSecondsAfterFinished"] > 0
    assert job["spec"]["podFailurePolicy"]["rules"]
    pod = job["spec"]["template"]["spec"]
    assert "activeDeadlineSeconds" not in pod
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["containers"][0]["securityContext"]["allowPrivilegeEscalation"] is False
    capsys.readouterr()
    ours.dry_run()
    assert "kind: Pod" not in capsys.readouterr().out


def test_a_person_who_ends_a_deferred_task_ends_its_job(
    beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triggers, "task_state", lambda ti: "failed")
    asyncio.run(_end_by_a_person(deferral(beside.plain("sleep 60", deferrable=True)).trigger))
    flaw(len(beside.live_jobs()) == 1, "the Job of a deferred task that is ended runs on")
    beside.delete_jobs()

    asyncio.run(_end_by_a_person(deferral(beside.ours("sleep 60", deferrable=True)).trigger))
    wait_for(lambda: not beside.live_jobs(), "the end of the Job")


async def _end_by_a_person(trigger: BaseTrigger) -> None:
    """What the triggerer does with a trigger whose task was cleared or set to another state."""
    trigger.task_instance = mock.MagicMock(dag_id="d", task_id="t", run_id="r", map_index=-1)
    end = getattr(trigger, "on_kill", trigger.cleanup)  # Airflow below 3.3 has cleanup alone
    await end()


def test_all_of_a_jobs_fields_can_be_set_and_templated(beside: Beside) -> None:
    with fails(TypeError, "it has no parameter for a pod failure policy"):
        beside.plain("true", pod_failure_policy=FAIL_AT_USAGE)
    flaw("full_job_spec" not in KubernetesJobOperator.template_fields, "full_job_spec is not templated")

    values = {"podFailurePolicy": FAIL_AT_USAGE, "podReplacementPolicy": "Failed"}
    ours = beside.ours(
        "exit 42",
        backoff_limit=3,
        job_overrides={"metadata": {"annotations": {"example.org/owner": "{{ owner }}"}}, "spec": values},
    )
    ours.render_template_fields({"owner": "risk"})
    with pytest.raises(FeastError):
        execute(ours)
    (job,) = beside.jobs()
    rules = job["spec"]["podFailurePolicy"]["rules"]
    assert [rule["action"] for rule in rules] == ["FailJob", "Ignore"]
    assert job["spec"]["podReplacementPolicy"] == "Failed"
    assert job["metadata"]["annotations"]["example.org/owner"] == "risk"
    assert [c["reason"] for c in job["status"]["conditions"] if c["type"] == "Failed"] == ["PodFailurePolicy"]
    assert len(beside.pods()) == 1


def test_a_load_in_chunks_stops_at_the_first_that_fails(beside: Beside) -> None:
    for field in ("backoff_limit_per_index", "max_failed_indexes", "pod_replacement_policy"):
        with fails(TypeError, f"it has no parameter {field}"):
            beside.plain("true", **{field: 0})

    three_days = {"start": "2026-01-01T00:00Z", "end": "2026-01-04T00:00Z", "chunk": "1d"}
    ours = beside.chunked('test "$JOB_COMPLETION_INDEX" != 1 || exit 3', **three_days)
    with pytest.raises(FeastError):
        execute(ours)
    (job,) = beside.jobs()
    assert (job["spec"]["backoffLimitPerIndex"], job["spec"]["maxFailedIndexes"]) == (1, 0)
    assert job["spec"]["backoffLimit"] == 2**31 - 1, (
        "what the API makes of none: else it would end the Job first"
    )
    assert (job["status"]["completedIndexes"], job["status"]["failedIndexes"]) == ("0", "1")
    indexes = [pod["metadata"]["labels"]["batch.kubernetes.io/job-completion-index"] for pod in beside.pods()]
    assert sorted(indexes) == ["0", "1", "1"], (
        "one more try of the chunk that failed, and none of the last one"
    )


def test_no_value_of_the_environment_gets_into_xcom(beside: Beside) -> None:
    secret = {"STORE_PASSWORD": "correct horse"}
    plain = beside.plain("true", env_vars=secret)
    given = context(plain)
    execute(plain, given)
    flaw("correct horse" in str(given["ti"].xcoms["job"]), "XCom shows the plain values of the environment")

    ours = beside.ours("true", env=secret)
    given = context(ours)
    returned = execute(ours, given)
    assert "result" in given["ti"].xcoms
    assert "correct horse" not in f"{given['ti'].xcoms}{returned}"


def test_the_triggerer_finds_the_cluster_that_the_worker_found(
    beside: Beside, monkeypatch: pytest.MonkeyPatch
) -> None:
    _run_in_cluster(beside, monkeypatch)
    options: dict[str, Any] = {}
    for where in ("it runs in", "of config_file="):
        with fails(ConfigException, f"its triggerer does not find the cluster {where}"):
            execute(beside.plain("sleep 1", deferrable=True, **options))
        assert len(beside.jobs()) == 1
        beside.delete_jobs()
        options["config_file"] = str(beside.sandbox.kubeconfig)

    assert execute(beside.ours("sleep 1", deferrable=True))["outcome"] == "succeeded"


def _run_in_cluster(beside: Beside, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a pod of the cluster: a service account's credentials for both clients, and no kubeconfig in the home."""
    load_file, kubeconfig = kubernetes_asyncio.config.load_kube_config, str(beside.sandbox.kubeconfig)

    def load(client_configuration: Any = None, **_: Any) -> None:
        kubernetes.config.load_kube_config(kubeconfig, client_configuration=client_configuration)

    def load_async(client_configuration: Any, **_: Any) -> None:
        client_configuration.host = beside.sandbox.url
        client_configuration.api_key["BearerToken"] = f"Bearer {beside.sandbox.token}"

    async def load_named_file(config_file: str | None = None, **options: Any) -> None:
        if config_file is None:
            raise ConfigException("no kubeconfig")
        await load_file(config_file, **options)

    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps({"conn_type": "kubernetes"}))
    monkeypatch.setattr(kubernetes.config, "load_incluster_config", load)
    monkeypatch.setattr(kubernetes_asyncio.config, "load_incluster_config", load_async)
    monkeypatch.setattr(kubernetes_asyncio.config, "load_kube_config", load_named_file)
