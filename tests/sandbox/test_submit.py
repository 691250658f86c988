"""Submission against a Kubernetes API: exactly one live Job per task, whoever died when."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cluster_helpers import true_conditions, wait_for
from kubernetes import client, config, watch

from airflow_provider_feast.jobs.api import ClusterApi
from airflow_provider_feast.jobs.builder import manifest_digest
from airflow_provider_feast.jobs.manifest import JobPlan, build_job
from airflow_provider_feast.jobs.submit import (
    Submission,
    Wanted,
    create_or_adopt,
    delete_and_wait,
    ended,
    ensure_runner,
    runner_config_map_name,
    runner_source,
)
from airflow_provider_feast.model import naming
from airflow_provider_feast.model.command import FeastCommand
from airflow_provider_feast.model.errors import FeastClusterError, NameTakenError, SupersededError
from airflow_provider_feast.model.settings import read_settings
from airflow_provider_feast.sandbox.handle import Sandbox

KEY = naming.TaskKey("", "features", "load", "run-1")
YAML = "project: demo\nregistry: registry.db\nprovider: local\n"


@dataclass
class Task:
    """A task instance that submits Jobs; its container runs Python code instead of Feast."""

    cluster: ClusterApi
    code: str = "import time; time.sleep(300)"
    epoch: str = "0"
    yaml: str = YAML
    said: list[str] = field(default_factory=list)
    key: naming.TaskKey = KEY
    plan: str = ""

    def name(self, count: int) -> str:
        return naming.job_name("apply", self.key, self.epoch, count)

    def build(self, name: str) -> dict[str, Any]:
        extra = {"image": "feast-sandbox:local", "configuration": self.yaml, "command_mode": "cli"}
        settings = read_settings("feast_test", extra)
        digest = naming.digest(self.yaml)[:40]
        plan = JobPlan(
            name,
            self.key,
            self.epoch,
            1,
            FeastCommand.apply(),
            settings,
            self.cluster.namespace,
            "none",
            digest,
        )
        job = build_job(plan)
        pod = job["spec"]["template"]["spec"]
        pod["containers"][0]["command"] = ["python3", "-c", self.code]
        pod["terminationGracePeriodSeconds"] = 1
        job["metadata"]["annotations"] |= {naming.A_PLAN: self.plan} if self.plan else {}
        job["metadata"]["annotations"][naming.A_MANIFEST_DIGEST] = manifest_digest(job)
        return job

    def submit(self) -> Submission:
        """Submit, and let the Job run as a wait does."""
        files = {"feature_store.yaml": self.yaml}
        wanted = Wanted(self.key, self.epoch, self.name, self.build, files, plan=self.plan)
        made = create_or_adopt(self.cluster, wanted, say=self.said.append)
        if ended(made.job):
            return made
        resumed = self.cluster.patch_job(made.job["metadata"]["name"], {"spec": {"suspend": False}})
        assert resumed is not None
        return made._replace(job=resumed)

    def jobs(self) -> list[dict[str, Any]]:
        return self.cluster.list_jobs(f"{naming.L_KEY}={self.key.digest}")


@pytest.fixture(scope="module")
def api_client(feast_sandbox: Sandbox) -> Iterator[Any]:
    api = config.new_client_from_config(str(Path(feast_sandbox.kubeconfig)))
    yield api
    api.close()


@pytest.fixture
def cluster(api_client: Any) -> Iterator[ClusterApi]:
    name = f"submit-{uuid.uuid4().hex[:10]}"
    core = client.CoreV1Api(api_client)
    core.create_namespace({"metadata": {"name": name}})
    yield ClusterApi(api_client, name)
    core.delete_namespace(name)


@pytest.fixture
def a_task(cluster: ClusterApi) -> Task:
    return Task(cluster)


def finished(api_client: Any, job: dict[str, Any], kind: str) -> None:
    metadata = job["metadata"]
    selector = f"metadata.name={metadata['name']}"
    lister = client.BatchV1Api(api_client).list_namespaced_job
    wait_for(
        lister, metadata["namespace"], lambda found: kind in true_conditions(found), field_selector=selector
    )


def uid(job: dict[str, Any]) -> str:
    found: str = job["metadata"]["uid"]
    return found


def test_a_task_without_a_job_gets_one_that_runs_and_owns_its_configuration(a_task: Task) -> None:
    made = a_task.submit()
    assert made.adopted is False
    assert made.job["spec"]["suspend"] is False
    config_map = a_task.cluster.read_config_map(made.job["metadata"]["name"])
    assert config_map is not None
    assert config_map["data"] == {"feature_store.yaml": YAML}
    assert config_map["immutable"] is True
    assert [owner["uid"] for owner in config_map["metadata"]["ownerReferences"]] == [uid(made.job)]


def test_a_retry_adopts_the_live_job(a_task: Task) -> None:
    first = a_task.submit()
    second = a_task.submit()
    assert second.adopted
    assert uid(second.job) == uid(first.job)
    assert "taking it over" in a_task.said[-1]


def test_a_job_that_a_crash_left_suspended_is_adopted_completed_and_resumed(a_task: Task) -> None:
    left = a_task.cluster.create_job(a_task.build(a_task.name(0)))
    assert left is not None
    assert left["spec"]["suspend"] is True
    found = a_task.submit()
    assert found.adopted
    assert (uid(found.job), found.job["spec"]["suspend"]) == (uid(left), False)
    assert a_task.cluster.read_config_map(left["metadata"]["name"]) is not None


def test_a_crash_between_configuration_and_start_changes_nothing(a_task: Task) -> None:
    first = a_task.submit()
    a_task.cluster.patch_job(first.job["metadata"]["name"], {"spec": {"suspend": True}})
    again = a_task.submit()
    assert (uid(again.job), again.job["spec"]["suspend"]) == (uid(first.job), False)


@pytest.mark.parametrize("code", [500, 503])
def test_a_create_whose_answer_was_lost_leaves_one_job(
    feast_sandbox: Sandbox, a_task: Task, code: int
) -> None:
    path = f"/namespaces/{a_task.cluster.namespace}/jobs$"
    feast_sandbox.fault(path, kind="after", method="POST", code=code)
    made = a_task.submit()
    assert [uid(job) for job in a_task.jobs()] == [uid(made.job)]
    assert made.job["spec"]["suspend"] is False


@pytest.mark.parametrize("resource", ["jobs", "configmaps"])
def test_a_conflict_over_a_quota_does_not_count_as_a_name_that_is_taken(
    feast_sandbox: Sandbox, a_task: Task, resource: str
) -> None:
    """The API server's quota plugin answers 409 when others use the same quota at the same moment."""
    path = f"/namespaces/{a_task.cluster.namespace}/{resource}$"
    feast_sandbox.fault(path, method="POST", code=409, times=7)
    made = a_task.submit()
    assert [uid(job) for job in a_task.jobs()] == [uid(made.job)]
    assert a_task.cluster.read_config_map(made.job["metadata"]["name"]) is not None


def test_workers_that_race_end_up_with_one_job(a_task: Task) -> None:
    with ThreadPoolExecutor(4) as pool:
        made = [done.result() for done in [pool.submit(a_task.submit) for _ in range(4)]]
    assert len({uid(found.job) for found in made}) == 1
    assert len(a_task.jobs()) == 1


def test_the_outcome_of_a_succeeded_job_is_taken_and_nothing_runs_twice(
    api_client: Any, a_task: Task
) -> None:
    a_task.code = "pass"
    first = a_task.submit()
    finished(api_client, first.job, "Complete")
    second = a_task.submit()
    assert second.adopted
    assert [uid(job) for job in a_task.jobs()] == [uid(second.job)] == [uid(first.job)]


def test_a_succeeded_job_of_another_plan_is_no_answer_and_stays_as_a_record(
    api_client: Any, a_task: Task
) -> None:
    """A worker dies after the load, and the author changes its range before the retry."""
    a_task.code, a_task.plan = "pass", "first"
    first = a_task.submit().job
    finished(api_client, first, "Complete")
    a_task.plan = "second"
    second = a_task.submit()
    assert (second.adopted, uid(second.job) != uid(first)) == (False, True)
    assert len(a_task.jobs()) == 2
    finished(api_client, second.job, "Complete")
    assert uid(a_task.submit().job) == uid(second.job)


def test_a_failed_job_stays_as_a_record_and_the_retry_gets_a_new_one(api_client: Any, a_task: Task) -> None:
    a_task.code = "raise SystemExit(1)"
    first = a_task.submit()
    finished(api_client, first.job, "Failed")
    second = a_task.submit()
    assert not second.adopted
    assert second.job["metadata"]["name"] == a_task.name(1) != first.job["metadata"]["name"]
    assert {uid(job) for job in a_task.jobs()} == {uid(first.job), uid(second.job)}


def test_a_live_job_that_would_do_something_else_is_replaced(a_task: Task) -> None:
    first = a_task.submit()
    a_task.code += "  # changed"
    second = a_task.submit()
    assert not second.adopted
    assert [uid(job) for job in a_task.jobs()] == [uid(second.job)] != [uid(first.job)]


def test_a_live_job_with_an_older_inline_configuration_is_replaced(a_task: Task) -> None:
    first = a_task.submit()
    a_task.yaml = YAML + "online_store: redis\n"
    second = a_task.submit()
    assert uid(second.job) != uid(first.job)
    config_map = a_task.cluster.read_config_map(second.job["metadata"]["name"])
    assert config_map is not None
    assert config_map["data"] == {"feature_store.yaml": a_task.yaml}


def test_a_cleared_task_deletes_the_job_of_its_earlier_life(a_task: Task) -> None:
    first = a_task.submit()
    a_task.epoch = "1"
    second = a_task.submit()
    assert not second.adopted
    assert [uid(job) for job in a_task.jobs()] == [uid(second.job)] != [uid(first.job)]
    assert "earlier state of this task" in a_task.said[0]


def test_a_worker_that_wakes_up_after_its_task_was_cleared_touches_nothing(a_task: Task) -> None:
    a_task.epoch = "1"
    current = a_task.submit()
    a_task.epoch = "0"
    with pytest.raises(SupersededError, match="later state of this task"):
        a_task.submit()
    assert [uid(job) for job in a_task.jobs()] == [uid(current.job)]


def test_airflows_that_share_a_namespace_keep_their_jobs_apart(cluster: ClusterApi) -> None:
    one = Task(cluster, key=KEY._replace(deployment="production"))
    two = Task(cluster, key=KEY._replace(deployment="staging"), epoch="1")
    first, second = one.submit(), two.submit()
    assert [uid(job) for job in one.jobs()] == [uid(first.job)]
    assert [uid(job) for job in two.jobs()] == [uid(second.job)] != [uid(first.job)]


@pytest.mark.parametrize("code", ["", "raise SystemExit(1)"])
def test_a_finished_job_that_its_time_to_live_removed_between_tries_is_followed_by_one_new_job(
    api_client: Any, a_task: Task, code: str
) -> None:
    a_task.code = code
    first = a_task.submit()
    finished(api_client, first.job, "Failed" if code else "Complete")
    patched = a_task.cluster.patch_job(
        first.job["metadata"]["name"], {"spec": {"ttlSecondsAfterFinished": 0}}
    )
    assert patched is not None
    since = {"resource_version": patched["metadata"]["resourceVersion"], "timeout_seconds": 60}
    stream = watch.Watch().stream(
        client.BatchV1Api(api_client).list_namespaced_job, a_task.cluster.namespace, **since
    )
    assert any(change["type"] == "DELETED" for change in stream)
    second = a_task.submit()
    assert not second.adopted
    assert [uid(job) for job in a_task.jobs()] == [uid(second.job)] != [uid(first.job)]


def test_a_foreign_job_of_our_name_is_refused_and_left_alone(a_task: Task) -> None:
    foreign = a_task.build(a_task.name(0))
    foreign["metadata"]["labels"] = {"app": "else"}
    there = a_task.cluster.create_job(foreign)
    assert there is not None
    with pytest.raises(NameTakenError, match="that this task did not create") as caught:
        a_task.submit()
    assert "kubectl" in caught.value.remedy
    still = a_task.cluster.read_job(a_task.name(0))
    assert still is not None
    assert uid(still) == uid(there)


def test_a_foreign_config_map_of_our_name_is_refused(a_task: Task) -> None:
    name = a_task.name(0)
    a_task.cluster.create_config_map({"metadata": {"name": name}, "data": {"feature_store.yaml": YAML}})
    with pytest.raises(NameTakenError, match="does not belong to this task's Job"):
        a_task.submit()
    assert a_task.jobs()[0]["spec"]["suspend"] is True


def test_deleting_names_the_very_job_not_a_later_one_of_its_name(a_task: Task) -> None:
    made = a_task.submit()
    name = made.job["metadata"]["name"]
    assert a_task.cluster.delete_job(name, "another-uid") is None
    assert a_task.cluster.read_job(name) is not None
    delete_and_wait(a_task.cluster, made.job)
    assert a_task.cluster.read_job(name) is None


def test_a_jobs_configuration_disappears_with_it(api_client: Any, a_task: Task) -> None:
    made = a_task.submit()
    name = made.job["metadata"]["name"]
    delete_and_wait(a_task.cluster, made.job)
    lister = client.CoreV1Api(api_client).list_namespaced_config_map
    here = {"namespace": a_task.cluster.namespace, "field_selector": f"metadata.name={name}"}
    listed = lister(**here)
    if listed.items:
        stream = watch.Watch().stream(
            lister, **here, resource_version=listed.metadata.resource_version, timeout_seconds=30
        )
        assert any(event["type"] == "DELETED" for event in stream)
    assert a_task.cluster.read_config_map(name) is None


def test_the_runner_is_shared_and_immutable(cluster: ClusterApi) -> None:
    name = ensure_runner(cluster)
    assert ensure_runner(cluster) == name == runner_config_map_name()
    there = cluster.read_config_map(name)
    assert there is not None
    assert there["immutable"] is True
    assert there["data"] == {"feast_runner.py": runner_source()}


def test_a_runner_that_does_not_hold_what_its_name_says_is_refused(cluster: ClusterApi) -> None:
    name = runner_config_map_name()
    cluster.create_config_map({"metadata": {"name": name}, "data": {"feast_runner.py": "import evil\n"}})
    with pytest.raises(FeastClusterError, match="somebody changed it") as caught:
        ensure_runner(cluster)
    assert f"delete configmap {name}" in caught.value.remedy
