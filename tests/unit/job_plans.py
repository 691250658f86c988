"""Plans of Jobs, as a task would make them, and the context of that task."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from airflow_provider_feast.jobs.manifest import JobPlan
from airflow_provider_feast.model.command import FeastCommand
from airflow_provider_feast.model.lock import LockRequest
from airflow_provider_feast.model.naming import TaskKey, job_name
from airflow_provider_feast.model.settings import read_settings

IMAGE = "quay.io/feastdev/feature-server:0.67.0"
STORE = {"project": "demo", "registry": "data/registry.db", "provider": "local"}
LOAD = FeastCommand.materialize(
    "2026-01-01T00:00:00", "2026-01-01T23:59:59.999999", feature_views=["driver_stats"]
)


def make_plan(
    command: FeastCommand = LOAD,
    *,
    try_number: int = 1,
    allow_empty: bool = False,
    digest: str = "",
    **extra: Any,
) -> JobPlan:
    """The plan of a task of the DAG `features`.

    :param extra: fields of the connection.
    """
    key = TaskKey("", "features", "load", "scheduled__2026-01-01T00:00:00+00:00")
    return JobPlan(
        name=job_name(command.subcommand, key, "0", 0),
        key=key,
        epoch="0",
        try_number=try_number,
        command=command,
        settings=read_settings("feast_production", {"image": IMAGE, "config_map": "feast-config", **extra}),
        namespace="features",
        runner="feast-runner-0123456789abcdef",
        config_digest=digest,
        allow_empty=allow_empty,
        window="[2026-01-01T00:00:00+00:00, 2026-01-02T00:00:00+00:00)" if command is LOAD else "",
        lock=LockRequest("feast-production", "features"),
    )


def make_context(try_number: int = 1) -> dict[str, Any]:
    """What KubernetesJobOperator reads of a task's context."""
    run_id = "scheduled__2026-01-01T00:00:00+00:00"
    ti = SimpleNamespace(
        dag_id="features", task_id="load", map_index=-1, try_number=try_number, run_id=run_id
    )
    return {"ti": ti, "run_id": run_id, "dag": SimpleNamespace(dag_id="features")}
