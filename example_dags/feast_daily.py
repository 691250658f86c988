"""Every day: apply the definitions if they changed, load the day, and see that all feature views have it.

`look` fetches the definitions and says which commit they are from, and what an apply would create. `apply` runs when that
commit is not the one that was applied last, or when the registry lacks something. The commit that was applied last is
in a Variable, which is written after an apply that succeeded: whatever goes wrong, the worst is one apply too many.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import DAG, Variable, task

from airflow_provider_feast.operators.feast import (
    FeastApplyOperator,
    FeastMaterializeOperator,
    FeastPlanOperator,
)
from airflow_provider_feast.sensors.materialized import FeatureViewMaterializedSensor

try:
    from airflow.sdk import CronDataIntervalTimetable
except ImportError:  # older than Airflow 3.2
    from airflow.timetables.interval import CronDataIntervalTimetable

APPLIED = "feast_quickstart_applied_commit"

with DAG(
    "feast_daily",
    schedule=CronDataIntervalTimetable("@daily", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),  # the first day that is wanted
    catchup=True,  # days on which the scheduler was down are loaded, too
    max_active_runs=1,
    default_args={
        "feast_conn_id": "feast_quickstart",
        "deferrable": True,
        "retries": 2,
        "retry_delay": timedelta(minutes=5),
    },
    doc_md=__doc__,
    tags=["feast", "example"],
):
    look = FeastPlanOperator(task_id="look")

    @task.short_circuit(ignore_downstream_trigger_rules=False)
    def changed(found: dict[str, Any]) -> bool:
        """Whether to apply. Where nobody can tell (definitions that are not from Git, `command_mode: cli`), yes."""
        if not found["commit"] or found["changes"] is None:
            return True
        return found["commit"] != Variable.get(APPLIED, default=None) or bool(found["changes"]["create"])

    apply = FeastApplyOperator(task_id="apply")

    @task
    def remember(applied: dict[str, Any]) -> None:
        """Keep the commit that was applied, which may be newer than the one that was looked at."""
        Variable.set(APPLIED, applied["commit"])

    # The window is the run's data interval. It is loaded whether or not there was something to apply.
    load = FeastMaterializeOperator(task_id="load", trigger_rule="none_failed")

    # What uses the values comes after this: it also waits for days that another DAG, or a person, loads.
    loaded = FeatureViewMaterializedSensor(
        task_id="loaded",
        start="{{ data_interval_start }}",
        end="{{ data_interval_end }}",
        timeout=timedelta(hours=6),
    )

    changed(look.output) >> apply
    remember(apply.output) >> load >> loaded
