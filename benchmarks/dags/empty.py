"""The quickstart's shape with operators that do nothing: what a DAG file costs anyway."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, CronDataIntervalTimetable

with DAG(
    "empty",
    schedule=CronDataIntervalTimetable("@daily", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    doc_md=__doc__,
    tags=["benchmark"],
):
    apply = EmptyOperator(task_id="apply")
    load = EmptyOperator(task_id="load")
    wait = EmptyOperator(task_id="wait")
    read = EmptyOperator(task_id="read")

    apply >> load >> wait >> read
