"""One run of a task beside a cluster that only notes what is asked of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest
from airflow.providers.common.compat.sdk import AirflowTaskTimeout
from job_plans import IMAGE

from airflow_provider_feast.hooks.feast import FeastHook
from airflow_provider_feast.jobs import task
from airflow_provider_feast.jobs.api import ClusterApi
from airflow_provider_feast.jobs.preflight import Preflight
from airflow_provider_feast.jobs.sources import Resolved, config_map_text, resolve
from airflow_provider_feast.jobs.submit import ended
from airflow_provider_feast.jobs.task import TaskRun
from airflow_provider_feast.model.errors import (
    ApiUnavailableError,
    ForbiddenError,
)
from airflow_provider_feast.model.outcome import JobState, Outcome, Problem
from airflow_provider_feast.model.result import CommandResult, ViewTotals
from airflow_provider_feast.model.settings import read_settings
from airflow_provider_feast.model.sources import ConfigMapConfiguration, InlineConfiguration
from airflow_provider_feast.operators.feast import FeastMaterializeOperator

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

    def list_pods(self, job_uid: str) -> list[dict[str, Any]]:
        return []

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

    def newest_job(self, name: str | None, labels: dict[str, str]) -> dict[str, Any] | None:
        return FeastHook.newest_job(cast(FeastHook, self), name, labels)

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


RUNNING = {**a_job(), "status": {"active": 1}}


def executing(
    monkeypatch: pytest.MonkeyPatch, hook: Hook, during: Callable[[TaskRun], Any], operator: Any = None
) -> TaskRun:
    """A run that has its Job and meets something while it waits for it."""
    monkeypatch.setattr(task, "create_or_adopt", lambda *_, **__: SimpleNamespace(job=RUNNING))
    monkeypatch.setattr(TaskRun, "_wanted", lambda self, load: None)
    run, _ = make_run(monkeypatch, hook, operator)
    monkeypatch.setattr(hook, "watch", lambda *_: during(run))
    return run


def strike(*_: Any, **__: Any) -> Any:
    raise AirflowTaskTimeout("Timeout, PID: 1")


FORBIDDEN = ForbiddenError("Airflow may not get pods/log", remedy="give it the rule")


def refused(*_: Any) -> Any:
    raise FORBIDDEN


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
