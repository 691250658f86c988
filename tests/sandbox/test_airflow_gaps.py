"""Gaps, repairs and the sensor of loaded feature views in a real Airflow (`dag.test()`) with the real Feast."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow_helpers import END, Cluster, DagServer, Run, feast_connection, store, wait_for
from kubernetes import client

from airflow_provider_feast.sandbox.demo_world import World

pytestmark = pytest.mark.xdist_group("airflow-gaps")
DAY = timedelta(days=1)
VIEWS = ("customer_profile", "driver_daily_rating", "driver_hourly_stats")
IMPORTS = """
from airflow.providers.standard.sensors.python import PythonSensor
from airflow_provider_feast.sensors.materialized import FeatureViewMaterializedSensor
"""


def iso(days: int) -> str:
    """So many days before the end of the data."""
    return (END - days * DAY).isoformat()


def shown(days: int) -> str:
    return (END - days * DAY).date().isoformat()


@pytest.fixture(scope="module")
def connections(world: World) -> dict[str, str]:
    """One feature store for each test, with a registry of its own."""
    known = json.loads(world.connection)["extra"]
    bare = {key: value for key, value in known.items() if key in ("namespace", "image", "job_overrides")}
    return {
        f"feast_{name}": feast_connection(
            **bare,
            definitions_config_map="feast-demo-definitions",
            configuration=json.dumps(store(name)),
        )
        for name in ("holes", "sensed", "waited", "absent")
    }


def load(task: str, first: int, last: int, conn: str) -> str:
    window = f'start="{iso(first)}", end="{iso(last)}"'
    return f'{task} = FeastMaterializeOperator(task_id="{task}", feast_conn_id="{conn}", {window})'


@pytest.fixture(scope="module")
def holes(airflow: DagServer) -> Run:
    """Of five days the first and the last but one are loaded, then what is new, then the rest."""
    return airflow.run(f"""
common = dict(feast_conn_id="feast_holes")
apply = FeastApplyOperator(task_id="apply", **common)
{load("first", 5, 4, "feast_holes")}
{load("later", 2, 1, "feast_holes")}
new = FeastMaterializeIncrementalOperator(task_id="new", end="{iso(0)}", **common)
plan = FeastRepairOperator(task_id="plan", lookback="5d", end="{iso(0)}", dry_run=True, **common)
repair = FeastRepairOperator(task_id="repair", start="{iso(5)}", end="{iso(0)}", **common)
nothing = FeastRepairOperator(task_id="nothing", start="{iso(5)}", end="{iso(0)}", deferrable=True, **common)
apply >> first >> later >> new >> plan >> repair >> nothing
""")


def test_what_incremental_passes_over_is_a_warning_and_in_the_result(holes: Run) -> None:
    assert holes["new"].state == "success", holes["new"].error
    result = holes["new"].xcoms["result"]
    assert result["gaps"] == {view: [[iso(4), iso(2)]] for view in VIEWS}
    gap = f"[{shown(4)}, {shown(2)})"
    assert f"WARNING: customer_profile was never loaded for {gap}" in holes["new"].log
    assert set(result["views"]) == set(VIEWS)


def test_a_dry_run_shows_a_table_and_loads_nothing(holes: Run, cluster: Cluster) -> None:
    assert holes["plan"].state == "success", holes["plan"].error
    for view in VIEWS:
        for day in (4, 3):
            window = f"[{shown(day)}, {shown(day - 1)})"
            assert f"{view:<19}  {window}  unknown" in holes["plan"].log
    result = holes["plan"].xcoms["result"]
    assert (result["views"], result["gaps"]) == ({}, {view: [[iso(4), iso(2)]] for view in VIEWS})
    annotations = cluster.job(result["job"]).metadata.annotations
    assert "airflow-provider-feast/lock" not in annotations, "who only reads takes no lock"


def test_a_repair_loads_what_is_missing_under_the_lock(holes: Run, cluster: Cluster) -> None:
    assert holes["repair"].state == "success", holes["repair"].error
    result = holes["repair"].xcoms["result"]
    assert {view: totals["windows"] for view, totals in result["views"].items()} == dict.fromkeys(VIEWS, 2)
    assert (result["gaps"], result["command"][0]) == ({}, "repair")
    assert result["window"] == [iso(5), iso(0)]
    job = cluster.job(result["job"])
    assert job.metadata.annotations["airflow-provider-feast/lock"].endswith("/feast-holes")
    assert job.metadata.labels["app.kubernetes.io/component"] == "repair"
    assert holes["nothing"].state == "success", holes["nothing"].error
    assert f"Nothing is missing in [{shown(5)}, {shown(0)}) of 3 feature views." in holes["nothing"].log
    assert holes["nothing"].xcoms["result"]["views"] == {}


# --- the sensor ----------------------------------------------------------------------------------


def inspecting(cluster: Cluster, store: str) -> list[str]:
    """The Jobs that ask a registry, and are not being deleted."""
    labels = f"app.kubernetes.io/component=inspect,airflow-provider-feast/feature-store={store}"
    jobs = cluster.batch.list_namespaced_job(cluster.namespace, label_selector=labels).items
    return [job.metadata.name for job in jobs if job.metadata.deletion_timestamp is None]


def sensor(task: str, conn: str, first: int, last: int, **more: Any) -> str:
    options = "".join(f", {name}={value!r}" for name, value in more.items())
    return (
        f'{task} = FeatureViewMaterializedSensor(task_id="{task}", feast_conn_id="{conn}", '
        f'start="{iso(first)}", end="{iso(last)}"{options})'
    )


def test_a_sensor_that_is_rescheduled_waits_for_a_load_of_the_same_run(
    airflow: DagServer, cluster: Cluster
) -> None:
    run = airflow.run(f"""
{IMPORTS}
apply = FeastApplyOperator(task_id="apply", feast_conn_id="feast_sensed")
{sensor("wait", "feast_sensed", 3, 2, feature_views=["customer_profile"], poke_interval=0.1, timeout=300)}
def looked(ti):
    return ti.xcom_pull(task_ids="wait", key="result") is not None
first_look = PythonSensor(task_id="first_look", python_callable=looked, mode="reschedule", poke_interval=0.1)
{load("load", 3, 2, "feast_sensed")}
{sensor("now", "feast_sensed", 3, 2, deferrable=True, timeout=300)}
apply >> [wait, first_look]
first_look >> load >> now
""")
    assert run.state == "success", {name: task.error for name, task in run.tasks.items()}
    assert (
        f"Not yet loaded of [{shown(3)}, {shown(2)}): customer_profile [{shown(3)}, {shown(2)})"
        in run["wait"].log
    ), run["wait"].log
    wait_for(lambda: not inspecting(cluster, "sensed"), "the end of the Jobs that ask")


def test_a_deferred_sensor_waits_for_a_load_of_somebody_else(airflow: DagServer, cluster: Cluster) -> None:
    first = airflow.run(f"""
apply = FeastApplyOperator(task_id="apply", feast_conn_id="feast_waited")
{load("load", 3, 2, "feast_waited")}
apply >> load
""")
    assert first.state == "success", first["load"].error
    seen: list[list[str]] = []

    def somebody() -> None:
        wait_for(
            lambda: f"Not yet loaded of [{shown(3)}, {shown(1)})" in airflow.log.read_text(), "the first look"
        )
        seen.append(inspecting(cluster, "waited"))
        again(cluster, first["load"].xcoms["job_name"], {shown(3): shown(2), shown(2): shown(1)})

    with thread(somebody):
        run = airflow.run(f"""
{IMPORTS}
{sensor("wait", "feast_waited", 3, 1, deferrable=True, poke_interval=1, timeout=300)}
""")
    assert run["wait"].state == "success", run["wait"].error
    lacks = "; ".join(f"{view} [{shown(2)}, {shown(1)})" for view in VIEWS)
    assert f"Not yet loaded of [{shown(3)}, {shown(1)}): {lacks}" in run["wait"].log
    assert all(len(names) <= 1 for names in seen)
    wait_for(lambda: not inspecting(cluster, "waited"), "the end of the Jobs that ask")


def test_a_sensor_that_waits_in_vain_says_so_and_leaves_nothing(airflow: DagServer, cluster: Cluster) -> None:
    run = airflow.run(f"""
{IMPORTS}
{sensor("wait", "feast_absent", 3, 2, feature_views=["nobody"], mode="poke", poke_interval=0.2, timeout=20)}
""")
    assert run["wait"].state == "failed"
    assert run["wait"].error.startswith("AirflowSensorTimeout: ")
    lines = [line for line in run["wait"].log.splitlines() if "nobody (not in the registry yet)" in line]
    assert lines, run["wait"].log
    names = {
        line.split("Job ", 1)[1].split()[0]
        for line in run["wait"].log.splitlines()
        if "runs `inspect" in line
    }
    assert names
    wait_for(lambda: not inspecting(cluster, "absent"), "the end of the Jobs that ask")


class thread:  # noqa: N801  (used like a function)
    """Does something beside the body of a `with`, and raises what it raised."""

    def __init__(self, work: Callable[[], None]) -> None:
        self._work, self._error = work, None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:  # noqa: BLE001  (raised in the test's own thread)
            self._error = error

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._thread.join(120)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error


def again(cluster: Cluster, name: str, dates: dict[str, str]) -> None:
    """Run a Job once more as nobody's, with other dates in its command."""
    job = client.ApiClient().sanitize_for_serialization(cluster.job(name))
    spec = {"template": job["spec"]["template"], "backoffLimit": 0}
    spec["template"]["metadata"] = {}
    container = spec["template"]["spec"]["containers"][0]
    container["command"] = [other_date(part, dates) for part in container["command"]]
    body = {"metadata": {"name": f"{name[:40]}-again"}, "spec": spec}
    cluster.batch.create_namespaced_job(cluster.namespace, body)


def other_date(part: str, dates: dict[str, str]) -> str:
    return re.sub("|".join(dates), lambda found: dates[found[0]], part)
