"""What a DAG run knows of its own time, read from a task's context."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from airflow_provider_feast.model.errors import FeastDagError
from airflow_provider_feast.model.windows import RunTimes, parse_instant


def run_times(context: Any) -> RunTimes:
    """What a run knows of its time: a context lacks the keys of what its run does not know.

    :param context: the task's context, or nothing.
    """
    get = context.get if context else {}.get
    dag_run = get("dag_run")
    return RunTimes(
        interval_start=get("data_interval_start"),
        interval_end=get("data_interval_end"),
        partition_date=get("partition_date"),
        partition_end=_partition_end(get("dag"), get("partition_date")),
        run_time=get("logical_date")
        or getattr(dag_run, "run_after", None)
        or getattr(dag_run, "start_date", None),
    )


def end_of(given: Any, context: Any) -> datetime:
    """Up to when a run loads that has no start of its own, excluded.

    :param given: the author's ``end``: aware datetime, ISO 8601 text, or nothing for the end of the run's data interval
        or partition, else the run's time.
    :raises FeastDagError: when nothing says, or it is no instant.
    """
    times = run_times(context)
    end = given or times.interval_end or times.partition_end or times.run_time
    if end in (None, ""):
        raise FeastDagError("this run has no time that could be the end", remedy="give end=")
    return parse_instant(end, "end")


def _partition_end(dag: Any, date: datetime | None) -> datetime | None:
    """Where a partition of a cron timetable ends: at the next tick; ``None`` for any other timetable."""
    timetable = getattr(dag, "timetable", None)
    expression = getattr(timetable, "expression", None)
    if date is None or not isinstance(expression, str):
        return None
    from croniter import croniter

    zone = getattr(timetable, "timezone", "UTC")
    local = date.astimezone(ZoneInfo(zone) if isinstance(zone, str) else zone)
    end: datetime = croniter(expression, local).get_next(datetime)
    return end
