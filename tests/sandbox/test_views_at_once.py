"""`concurrency="view"`: Jobs that load different views of one SQL registry write at once, and nothing is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from airflow_helpers import wait_for
from database_servers import Server, postgres_server
from feast_stores import (
    PROJECT,
    Row,
    Zygote,
    dsn,
    expected,
    online_values,
    postgres_registry,
    postgres_store,
)
from kubernetes.client import CoordinationV1Api
from operator_helpers import context, deferral, first_event
from plan_world import ANOTHER, VIEW, VIEWS, PlanWorld, days

from airflow_provider_feast.jobs import task
from airflow_provider_feast.model.lock import read_holders
from airflow_provider_feast.operators.feast import FeastMaterializeOperator
from airflow_provider_feast.sandbox import Sandbox

DAYS = 12
DAY = timedelta(days=1)
ROWS = [
    Row(thing, day * 86_400 * 10**6 + thing, 100 * day + thing) for day in range(DAYS) for thing in range(5)
]
START, END = days(0, DAYS)
BLOCKED = """
SELECT count(DISTINCT relation) FROM pg_locks
WHERE NOT granted AND relation IN ('{0}_{1}'::regclass, '{0}_{2}'::regclass)
"""


class PostgresWorld(PlanWorld):
    """Registry and online values in a Postgres, views that are written side by side."""

    concurrency = "view"

    def __init__(self, server: Server, *arguments: Any) -> None:
        self.server = server
        super().__init__(*arguments)

    def configuration(self, data: str) -> dict[str, Any]:
        stores = {"registry": postgres_registry(self.server), "online_store": postgres_store(self.server)}
        return super().configuration(data) | stores

    def connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(dsn(postgres_store(self.server)))

    def intervals(self, view: str) -> list[tuple[datetime, datetime]]:
        """What the registry says was loaded of a view, each load by itself: by SQL and protobuf's own decoder."""
        from feast.protos.feast.core.FeatureView_pb2 import FeatureView

        question = "SELECT feature_view_proto FROM feature_views WHERE feature_view_name = %s"
        with self.connect() as connection:
            ((packed,),) = connection.execute(question, [view]).fetchall()
        loads = FeatureView.FromString(bytes(packed)).meta.materialization_intervals
        return [
            (load.start_time.ToDatetime(tzinfo=UTC), load.end_time.ToDatetime(tzinfo=UTC)) for load in loads
        ]

    def online(self) -> dict[int, tuple[int, int, str]]:
        store: Any = SimpleNamespace(online=postgres_store(self.server))
        return online_values(store)

    def expected(self, start: datetime, end: datetime) -> dict[int, tuple[int, int, str]]:
        return expected(self.data / "data.parquet", [(start, end)])

    def held_by(self) -> list[tuple[str, ...]]:
        """What the Jobs that hold the registry's lock write."""
        lease = CoordinationV1Api(self.api).read_namespaced_lease("feast-default", self.namespace)
        holders = read_holders(self.api.sanitize_for_serialization(lease))
        return sorted(holder.views for holder in holders.values())


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PostgresWorld]:
    monkeypatch.setattr(task.TaskRun, "defer_after", 1.0)
    (tmp_path / "server").mkdir()
    with postgres_server(tmp_path / "server") as server, Sandbox(time_scale=0.05) as sandbox:
        zygote = Zygote()
        made = PostgresWorld(server, sandbox, zygote, tmp_path, ROWS)
        with made.connected():
            yield made
        made.close()
        zygote.stop()


def test_two_views_of_a_sql_registry_are_loaded_at_once_and_no_interval_is_lost(world: PostgresWorld) -> None:
    """Both Jobs meet at their first look into the online store: the test holds its tables until both have come."""
    tasks = []
    with world.connect() as keeper:
        keeper.execute(f"LOCK TABLE {PROJECT}_{VIEW}, {PROJECT}_{ANOTHER} IN ACCESS EXCLUSIVE MODE")
        for view in VIEWS:
            operator = FeastMaterializeOperator(
                task_id=view, start=START, end=END, chunk=END - START, feature_views=[view], deferrable=True
            )
            given = context(operator)
            tasks.append((operator, given, deferral(operator, given).trigger))
        with world.connect() as looking:
            question = BLOCKED.format(PROJECT, *VIEWS)
            wait_for(lambda: looking.execute(question).fetchone() == (2,), "both Jobs to come to their view")
        assert world.held_by() == [(view,) for view in sorted(VIEWS)]
    for operator, given, trigger in tasks:
        result = operator.resume(given, event=asyncio.run(first_event(trigger)))
        totals = result["views"][operator.task_id]
        assert (totals["rows"], totals["windows"]) == (len(ROWS), DAYS)
    for view in VIEWS:
        loads = sorted(world.intervals(view))
        assert [start for start, _ in loads] == [START + number * DAY for number in range(DAYS)]
    assert world.online() == world.expected(START, END)
