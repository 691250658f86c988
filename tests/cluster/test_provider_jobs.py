"""Tasks of this provider on any Kubernetes: what they leave in the cluster, how they fail, retry and are killed."""

import asyncio
import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_helpers import PATIENCE, true_conditions, until, wait_for
from provider_helpers import STORE, WAITS, Provider, connection_as

from airflow_provider_feast import __version__
from airflow_provider_feast.hooks.feast import FeastHook
from airflow_provider_feast.jobs import task
from airflow_provider_feast.jobs.api import ClusterApi
from airflow_provider_feast.model.errors import (
    ApiUnavailableError,
    FeastUsageError,
    ForbiddenError,
    ImageError,
    MissingObjectError,
    UnexpandedVariablesError,
)
from airflow_provider_feast.model.lock import A_HOLDERS, Holder, write_holders
from airflow_provider_feast.model.naming import L_MANAGED_BY, MANAGED_BY
from airflow_provider_feast.model.sources import ConfigMapDefinitions
from airflow_provider_feast.operators.feast import FeastApplyOperator, FeastCommandOperator

pytestmark = pytest.mark.cluster

GOLDEN = sorted((Path(__file__).resolve().parents[1] / "golden").glob("*.yaml"))


def pod_spec() -> dict[str, Any]:
    """A pod that the restricted standard admits."""
    job = yaml.safe_load(GOLDEN[0].read_text(encoding="utf-8"))
    spec: dict[str, Any] = job["spec"]["template"]["spec"]
    return spec


def version(**more: Any) -> FeastCommandOperator:
    return FeastCommandOperator(task_id="version", feast_conn_id="feast_inline", command=["version"], **more)


def test_a_command_runs_to_its_end_and_leaves_a_job_that_says_whose_it_is(
    provider: Provider, image: str
) -> None:
    result, pushed = provider.run(version())
    assert result == pushed["result"]
    assert (result["schema"], result["outcome"], result["command"]) == (1, "succeeded", ["version"])
    assert (result["namespace"], result["image"], result["window"]) == (provider.namespace, image, None)
    assert result["feast_version"]
    [job] = provider.jobs()
    assert job.metadata.name == result["job"] == pushed["job_name"]
    assert job.metadata.name.startswith("feast-version-on-any-cluster-version-")
    expected = {
        "app.kubernetes.io/name": "feast",
        "app.kubernetes.io/component": "version",
        "app.kubernetes.io/managed-by": "airflow-provider-feast",
        "airflow-provider-feast/feature-store": "inline",
        "airflow-provider-feast/dag": "on_any_cluster",
        "airflow-provider-feast/task": "version",
    }
    [pod] = provider.pods()
    assert expected.items() <= job.metadata.labels.items()
    assert expected.items() <= pod.metadata.labels.items()
    assert {
        "airflow-provider-feast/run-id": "manual__2026-01-01T00:00:00+00:00",
        "airflow-provider-feast/try-number": "1",
        "airflow-provider-feast/command": '["version"]',
        "airflow-provider-feast/provider-version": __version__,
    }.items() <= job.metadata.annotations.items()
    assert job.spec.ttl_seconds_after_finished == 24 * 3600
    assert not pod.spec.automount_service_account_token


def test_apply_works_from_a_config_map_and_an_inline_configuration_that_the_job_owns(
    provider: Provider,
) -> None:
    definitions = ConfigMapDefinitions("definitions")
    result, _ = provider.run(
        FeastApplyOperator(task_id="apply", feast_conn_id="feast_inline", definitions=definitions)
    )
    assert result["outcome"] == "succeeded"
    [job] = provider.jobs()
    owned = provider.cluster.core.read_namespaced_config_map(job.metadata.name, provider.namespace)
    assert [owner.uid for owner in owned.metadata.owner_references] == [job.metadata.uid]
    assert owned.immutable
    assert yaml.safe_load(owned.data["feature_store.yaml"]) == STORE
    assert owned.metadata.creation_timestamp <= job.status.start_time
    [pod] = provider.pods()
    log = provider.cluster.core.read_namespaced_pod_log(
        pod.metadata.name, provider.namespace, container="feast", _preload_content=False
    )
    assert "Created entity driver" in log.data.decode()
    provider.cluster.batch.delete_namespaced_job(
        job.metadata.name, provider.namespace, propagation_policy="Background"
    )
    listed = provider.cluster.core.list_namespaced_config_map
    provider.until_gone(listed, label_selector="airflow-provider-feast/task=apply")


def test_a_worker_that_dies_before_the_start_leaves_a_suspended_job_that_the_next_try_takes(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = ClusterApi.create_config_map

    def dies(self: ClusterApi, body: Any) -> Any:
        if body["metadata"].get("ownerReferences"):
            raise ApiUnavailableError("the worker lost its network")
        return create(self, body)

    with monkeypatch.context() as patched, pytest.raises(ApiUnavailableError):
        patched.setattr(ClusterApi, "create_config_map", dies)
        provider.run(version())
    suspended = wait_for(
        provider.cluster.batch.list_namespaced_job,
        provider.namespace,
        lambda job: "Suspended" in true_conditions(job),
    )
    assert provider.pods() == []
    result, _ = provider.run(version(), try_number=2)
    assert result["outcome"] == "succeeded"
    assert [job.metadata.uid for job in provider.jobs()] == [suspended["metadata"]["uid"]]


def test_a_command_that_feast_does_not_know_is_a_usage_error(provider: Provider) -> None:
    operator = FeastCommandOperator(task_id="typo", feast_conn_id="feast_inline", command=["aply"])
    with pytest.raises(FeastUsageError) as raised:
        provider.run(operator)
    [job] = provider.jobs()
    assert "aply" in raised.value.what
    assert f"Job {job.metadata.name} in namespace {provider.namespace}" in raised.value.where
    assert raised.value.remedy
    assert job.spec.ttl_seconds_after_finished == 7 * 24 * 3600


def test_what_no_further_pod_could_mend_is_not_repeated_inside_the_job(provider: Provider) -> None:
    unset = {**STORE, "online_store": {"type": "sqlite", "path": "/tmp/${NOT_SET_ANYWHERE}.db"}}
    with pytest.raises(UnexpandedVariablesError) as raised:
        provider.run(version(configuration=unset, backoff_limit=3))
    assert "NOT_SET_ANYWHERE" in raised.value.what
    assert len(provider.pods()) == 1
    [job] = provider.jobs()
    assert [condition.reason for condition in job.status.conditions if condition.type == "Failed"] == [
        "PodFailurePolicy"
    ]


@pytest.mark.parametrize(
    ("connection", "cause"),
    [
        ("feast_nowhere", "the ConfigMap 'nowhere', which should hold feature_store.yaml, does not exist"),
        ("feast_key", "the ConfigMap 'definitions' has no key 'feature_store.yaml'; it has definitions.py"),
    ],
)
def test_a_missing_configuration_is_told_before_a_job_is_made(
    provider: Provider, connection: str, cause: str
) -> None:
    with pytest.raises(MissingObjectError) as raised:
        provider.run(FeastApplyOperator(task_id="apply", feast_conn_id=connection))
    assert raised.value.what == cause
    assert f"namespace {provider.namespace!r}, connection {connection!r}" in raised.value.where
    assert provider.jobs() == []
    works, message = FeastHook(connection).test_connection()
    assert (works, cause in message) == (False, True)


def test_an_image_that_cannot_be_pulled_fails_the_task_and_removes_the_job(provider: Provider) -> None:
    with pytest.raises(ImageError) as raised:
        provider.run(FeastCommandOperator(task_id="image", feast_conn_id="feast_image", command=["version"]))
    assert raised.value.what.startswith("The image registry.invalid/feast:none cannot be pulled")
    assert raised.value.remedy
    assert provider.jobs() == []


def test_a_retry_takes_over_a_running_job_and_killing_the_task_removes_it_with_its_pods(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task.TaskRun, "defer_after", 0.5)
    provider.defer(version(deferrable=True, job_overrides=WAITS))
    [first] = provider.jobs()
    again = version(deferrable=True, job_overrides=WAITS)
    provider.defer(again, try_number=2)
    assert [job.metadata.uid for job in provider.jobs()] == [first.metadata.uid]
    assert first.metadata.annotations["airflow-provider-feast/try-number"] == "1"
    wait_for(
        provider.cluster.core.list_namespaced_pod,
        provider.namespace,
        lambda pod: pod["status"].get("phase") == "Running",
    )
    again.on_kill()
    provider.until_gone(provider.cluster.batch.list_namespaced_job)
    assert provider.pods() == []


def test_a_changed_task_replaces_its_running_job(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task.TaskRun, "defer_after", 0.5)
    provider.defer(version(deferrable=True, job_overrides=WAITS))
    [first] = provider.jobs()
    result, _ = provider.run(version(), try_number=2)
    assert result["outcome"] == "succeeded"
    [second] = provider.jobs()
    assert second.metadata.uid != first.metadata.uid


def test_a_deferred_task_concludes_with_what_its_trigger_saw(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task.TaskRun, "defer_after", 0.0)
    operator = version(deferrable=True)
    deferred = provider.defer(operator)

    async def first_event() -> Any:
        return await anext(aiter(deferred.trigger.run()))

    event = asyncio.run(first_event())
    assert json.loads(json.dumps(event.payload)) == event.payload
    context = provider.context(operator)
    result = getattr(operator, deferred.method_name)(context, event=event.payload)
    assert result["outcome"] == "succeeded"
    assert result["feast_version"]
    assert context["ti"].pushed["result"] == result


def test_without_rights_the_first_missing_rule_is_named(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster, namespace = provider.cluster, provider.namespace
    cluster.core.create_namespaced_service_account(namespace, {"metadata": {"name": "powerless"}})
    monkeypatch.setenv("AIRFLOW_CONN_THE_CLUSTER", connection_as(cluster, namespace, "powerless"))
    with pytest.raises(ForbiddenError, match="powerless") as raised:
        provider.run(version())
    assert "verbs: [" in raised.value.remedy
    assert provider.jobs() == []


def test_a_writer_waits_until_the_lock_is_free(provider: Provider, capfd: pytest.CaptureFixture[str]) -> None:
    cluster, namespace = provider.cluster, provider.namespace
    hold = {"suspend": True, "template": {"spec": pod_spec()}}
    body = {"metadata": {"name": "other", "labels": {L_MANAGED_BY: MANAGED_BY}}, "spec": hold}
    other = cluster.batch.create_namespaced_job(namespace, body)
    times = [(datetime.now(UTC) - timedelta(seconds=s)).isoformat() for s in (3, 2, 1)]

    def lease(since: str) -> dict[str, Any]:
        holder = Holder(other.metadata.uid, "other", namespace, since=since)
        annotations = {A_HOLDERS: write_holders({holder.uid: holder})}
        return {"metadata": {"name": "feast-inline", "annotations": annotations}}

    log: list[str] = []

    def told(since: str) -> bool:
        log.append(capfd.readouterr().out)
        return f"Job other in namespace {namespace} has held the whole registry since {since}" in "".join(log)

    cluster.leases.create_namespaced_lease(namespace, lease(times[0]))
    operator = FeastApplyOperator(
        task_id="apply", feast_conn_id="feast_inline", definitions=ConfigMapDefinitions("definitions")
    )
    found: list[Any] = []
    waiter = threading.Thread(target=lambda: found.append(provider.run(operator)[0]), daemon=True)
    waiter.start()
    for since in times:
        cluster.leases.patch_namespaced_lease("feast-inline", namespace, lease(since))
        until(lambda since=since: told(since), f"the waiter to see the holder of {since}")
    assert [job.metadata.name for job in provider.jobs() if not job.spec.suspend] == []
    cluster.batch.delete_namespaced_job("other", namespace, propagation_policy="Background")
    waiter.join(PATIENCE)
    assert [result["outcome"] for result in found] == ["succeeded"]


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_the_server_admits_every_golden_manifest(provider: Provider, path: Path) -> None:
    job = yaml.safe_load(path.read_text(encoding="utf-8"))
    job["metadata"]["namespace"] = provider.namespace
    admitted, _ = FeastHook("feast_inline").cluster.try_job(job)
    assert admitted["spec"]["template"]["spec"]["containers"][0]["name"] == "feast"
    assert provider.jobs() == []
