"""Apply the definitions, load one day into the online store, wait for the Job, read features back."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG

from airflow_provider_feast.operators.feast import (
    FeastApplyOperator,
    FeastCommandOperator,
    FeastMaterializeOperator,
)
from airflow_provider_feast.sensors.feast import FeastJobSensor

try:
    from airflow.sdk import CronDataIntervalTimetable
except ImportError:  # older than Airflow 3.2
    from airflow.timetables.interval import CronDataIntervalTimetable

with DAG(
    "feast_quickstart",
    schedule=CronDataIntervalTimetable("@daily", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    doc_md=__doc__,
    tags=["feast", "example"],
):
    apply = FeastApplyOperator(task_id="apply", feast_conn_id="feast_quickstart")

    # The window is the run's data interval: one day.
    load = FeastMaterializeOperator(task_id="load", feast_conn_id="feast_quickstart")

    # A sensor is for Jobs that somebody else started; here it shows how one is found by its name.
    wait = FeastJobSensor(
        task_id="wait",
        feast_conn_id="feast_quickstart",
        job_name="{{ ti.xcom_pull(task_ids='load', key='job_name') }}",
    )

    read = FeastCommandOperator(
        task_id="read",
        feast_conn_id="feast_quickstart",
        command=[
            "get-online-features",
            *("-e", "driver_id=1001"),
            *("-f", "driver_hourly_stats:conv_rate"),
            *("-f", "driver_hourly_stats:trips"),
            *("-f", "driver_daily_rating:rating"),
        ],
    )

    apply >> load >> wait >> read
