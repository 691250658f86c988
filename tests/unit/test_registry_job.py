"""A Job that asks the registry: its answer is read from its pod's log, and it is deleted, whatever came of it."""

from __future__ import annotations

import json
import logging
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from job_plans import IMAGE

from airflow_provider_feast.jobs import task
from airflow_provider_feast.jobs.registry_job import Question, RegistryRun
from airflow_provider_feast.model.errors import FeastTransientError, OutOfMemoryError
from airflow_provider_feast.model.outcome import JobState, Outcome, Problem
from airflow_provider_feast.model.settings import read_settings

JOB = {
    "metadata": {"name": "feast-inspect", "namespace": "features", "uid": "uid-1"},
    "spec": {},
    "status": {"conditions": [{"type": "Complete", "status": "True"}]},
}
DONE, KILLED = (
    Outcome(JobState.SUCCEEDED),
    Outcome(JobState.FAILED, Problem("out_of_memory", "killed", "more")),
)


def pod(name: str, phase: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "status": {"phase": phase}}


class Cluster:
    """A Job, its pods and their logs."""

    def __init__(self, pods: list[dict[str, Any]], logs: dict[str, str]) -> None:
        self._pods, self._logs = pods, logs
        self.asked: list[tuple[str, str]] = []

    def read_job(self, name: str) -> dict[str, Any]:
        return JOB

    def patch_job(self, name: str, patch: Any) -> None:
        """Its time to live."""

    def with_patience(self, seconds: float) -> Cluster:
        return self

    def list_pods(self, uid: str) -> list[dict[str, Any]]:
        assert uid == "uid-1"
        return self._pods

    def read_log(self, name: str, container: str) -> str:
        self.asked.append((name, container))
        return self._logs[name]


class Hook:
    """In place of FeastHook."""

    namespace = "features"

    def __init__(self, cluster: Cluster) -> None:
        self.settings = read_settings("feast_default", {"image": IMAGE, "config_map": "feast-config"})
        self.cluster = cluster
        self.deleted: list[str] = []

    def delete(self, job: dict[str, Any]) -> None:
        self.deleted.append(job["metadata"]["uid"])


def asking(monkeypatch: pytest.MonkeyPatch, cluster: Cluster) -> tuple[Any, Hook]:
    """A task that asks."""
    hook = Hook(cluster)
    monkeypatch.setattr(task, "FeastHook", lambda conn_id, **overrides: hook)
    sensor = SimpleNamespace(
        feast_conn_id="feast_default",
        deferrable=True,
        log=logging.getLogger("test"),
        execution_timeout=timedelta(hours=1),
        retries=0,
    )
    question = Question(sensor, ["drivers"], {}, lambda **_: None)
    run = RegistryRun(question, {"ti": SimpleNamespace(xcom_push=lambda key, value: None)})
    return run, hook


def event(outcome: Outcome) -> dict[str, Any]:
    return {"version": 1, "job": "feast-inspect", "uid": "uid-1", "outcome": outcome.to_dict()}


LOG = "\n".join(
    json.dumps(line)
    for line in (
        {
            "feast_event": "registry_object",
            "kind": "feature_view",
            "name": "drivers",
            "online": True,
            "intervals": [],
        },
        {"feast_event": "registry_finished", "objects": 1, "errors": 0},
    )
)


def test_the_answer_is_that_of_the_pod_that_succeeded(monkeypatch: pytest.MonkeyPatch) -> None:
    pods = [pod("first", "Failed"), pod("second", "Succeeded")]
    cluster = Cluster(pods, {"first": "", "second": LOG})
    run, hook = asking(monkeypatch, cluster)
    assert run.resume(event(DONE))["drivers"].loadable
    assert (cluster.asked, hook.deleted) == ([("second", "feast")], ["uid-1"])


@pytest.mark.parametrize(("pods", "log"), [([], ""), ([pod("only", "Succeeded")], LOG[:-40])])
def test_a_job_whose_answer_is_lost_is_not_asked_again(
    monkeypatch: pytest.MonkeyPatch, pods: list[dict[str, Any]], log: str
) -> None:
    """It would be taken over by every later try."""
    run, hook = asking(monkeypatch, Cluster(pods, {"only": log}))
    with pytest.raises(FeastTransientError, match="not complete") as caught:
        run.resume(event(DONE))
    assert caught.value.where == "Job feast-inspect in namespace features"
    assert hook.deleted == ["uid-1"]


def test_a_job_that_failed_is_kept_as_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    run, hook = asking(monkeypatch, Cluster([], {}))
    with pytest.raises(OutOfMemoryError):
        run.resume(event(KILLED))
    assert hook.deleted == []
