"""Load many days at once: one Job for the whole range, or one DAG run for each day.

Prefer the range: one Job, which pays Feast's start once for each chunk of days and goes on where it stopped. The days are
for those who want each of them as a DAG run of its own. See docs/backfill.md.
"""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import DAG, Param

from airflow_provider_feast.operators.feast import FeastMaterializeOperator

try:
    from airflow.sdk import CronDataIntervalTimetable
except ImportError:  # older than Airflow 3.2
    from airflow.timetables.interval import CronDataIntervalTimetable

COMMON = {"feast_conn_id": "feast_quickstart", "deferrable": True, "retries": 2}
# Airflow checks "format" only where a library for it is installed; the pattern always holds. A time zone is a must.
MOMENT = {
    "type": "string",
    "format": "date-time",
    "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)$",
}

with DAG(
    "feast_backfill_range",
    schedule=None,
    default_args=COMMON,
    doc_md=__doc__,
    tags=["feast", "example"],
    params={
        "start": Param(
            **MOMENT,
            title="From",
            description="The first moment that is loaded.",
        ),
        "end": Param(
            **MOMENT,
            title="Up to",
            description="The first moment that is no longer loaded.",
        ),
    },
):
    FeastMaterializeOperator(task_id="load", start="{{ params.start }}", end="{{ params.end }}")

with DAG(
    "feast_backfill_days",
    schedule=CronDataIntervalTimetable("@daily", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    default_args=COMMON,
    doc_md=__doc__,
    tags=["feast", "example"],
):
    FeastMaterializeOperator(task_id="load")
