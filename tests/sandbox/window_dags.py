"""DAGs for each way in which a run comes about: a task of each says what window an operator finds for it.

A file of the DAG folder, see test_airflow_uses.py. @FIRST@ is replaced by the day before the last one with data.
"""

from collections.abc import Callable
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
from airflow_provider_feast.operators.feast import (
    FeastMaterializeIncrementalOperator,
    FeastMaterializeOperator,
    FeastRepairOperator,
)

FIRST = datetime.fromisoformat("@FIRST@")
DAYS = Asset("days")


def answer(ask: Callable[[Any], Any]) -> str:
    """What an operator says for this run, or why it says nothing."""
    try:
        return str(ask(get_current_context()))
    except FeastDagError as error:
        return str(error)


def window(**options: Any) -> str:
    """The window of this run."""
    operator = FeastMaterializeOperator(task_id="found", **options)
    return answer(lambda context: operator.window(context, None))


@task
def run() -> dict[str, str]:
    """The run's window without any argument, with lookback=, and with start= and end=; then what has only an end."""
    explicit = {"start": "2026-01-01T00:00:00+02:00", "end": "2026-01-02T00:00:00+02:00"}
    incremental = FeastMaterializeIncrementalOperator(task_id="incremental")
    repair = FeastRepairOperator(task_id="repair", lookback="6h")
    return {
        "plain": window(),
        "lookback": window(lookback="6h"),
        "explicit": window(**explicit),
        "incremental": answer(lambda context: incremental.last_end(context).isoformat()),
        "repair": answer(repair.window),
    }


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
