"""DAGs for each way in which a run comes about: a task of each says what window an operator finds for it.

A file of the DAG folder, see test_airflow_uses.py. @FIRST@ is replaced by the day before the last one with data.
"""

from datetime import datetime
from typing import Any

from airflow.sdk import (
    DAG,
    Asset,
    CronDataIntervalTimetable,
    CronPartitionTimetable,
    get_current_context,
    task,
)

from airflow_provider_feast.model.errors import FeastDagError
from airflow_provider_feast.operators.feast import FeastMaterializeOperator

FIRST = datetime.fromisoformat("@FIRST@")
DAYS = Asset("days")


def found(**options: Any) -> str:
    """The window of this run, or why it has none."""
    operator = FeastMaterializeOperator(task_id="found", **options)
    try:
        return str(operator.window(get_current_context(), None))
    except FeastDagError as error:
        return str(error)


@task
def run() -> dict[str, str]:
    """What the run's window is without any argument, with lookback=, and with start= and end=."""
    explicit = {"start": "2026-01-01T00:00:00+02:00", "end": "2026-01-02T00:00:00+02:00"}
    return {"plain": found(), "lookback": found(lookback="6h"), "explicit": found(**explicit)}


@task(outlets=[DAYS])
def make() -> None:
    """Update the asset."""


SCHEDULES = {
    "window_interval": CronDataIntervalTimetable("@daily", timezone="UTC"),
    "window_trigger": "@daily",
    "window_partition": CronPartitionTimetable("0 0 * * *", timezone="Europe/Berlin", run_offset=-1),
    "window_begins": CronPartitionTimetable("0 0 * * *", timezone="Europe/Berlin"),
    "window_manual": None,
    "window_asset": DAYS,
}
for dag_id, schedule in SCHEDULES.items():
    with DAG(dag_id, schedule=schedule, start_date=FIRST, catchup=True, max_active_runs=1):
        run()

with DAG("window_producer", schedule=None):
    make()
