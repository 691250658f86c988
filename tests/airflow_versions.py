"""What tests use of Airflow, from where the installed version keeps it (3.1 to 3.3)."""

from __future__ import annotations

from typing import Any

import pytest

try:
    from airflow.sdk import CronDataIntervalTimetable
except ImportError:  # Airflow 3.1
    from airflow.timetables.interval import CronDataIntervalTimetable  # type: ignore[assignment]
try:
    from airflow.sdk import CronPartitionTimetable
except ImportError:  # Airflow 3.1
    CronPartitionTimetable: Any = None  # type: ignore[no-redef]
try:
    from airflow.serialization.serialized_objects import DagSerialization
except ImportError:  # Airflow 3.1
    from airflow.serialization.serialized_objects import SerializedDAG as DagSerialization
try:
    from airflow.sdk.exceptions import AirflowRescheduleException
except ImportError:  # Airflow 3.1
    from airflow.exceptions import AirflowRescheduleException

__all__ = [
    "AirflowRescheduleException",
    "CronDataIntervalTimetable",
    "CronPartitionTimetable",
    "DagSerialization",
    "needs_partitions",
]

needs_partitions = pytest.mark.skipif(
    CronPartitionTimetable is None, reason="runs of partitions come with Airflow 3.2"
)
