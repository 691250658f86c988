"""What needs all of Airflow's parts: deferring, killing a deferred task, runs of the scheduler."""

import importlib.util
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from airflow_helpers import END, PREAMBLE, Cluster, environment, feast_connection, wait_for
from standalone_helpers import TICKS, Instance, Standalone, running

from airflow_provider_feast.sandbox.demo_world import World

pytestmark = pytest.mark.xdist_group("airflow-standalone")

ENDLESS = "import time\nprint('waiting', flush=True)\ntime.sleep(600)\n"
DEFINITIONS = {
    "slow": TICKS,
    "cursed": TICKS + "\nraise RuntimeError('the definitions are cursed')\n",
    "endless": ENDLESS,
    "recreated": ENDLESS,
}
RETRIES = 3 if importlib.util.find_spec("airflow.sdk.definitions.retry_policy") else 0
"""Before Airflow 3.3 nothing tells it which failures a retry cannot help."""

EVENING = (END - timedelta(days=1)).isoformat()
DAGS = (
    (
        PREAMBLE
        + """
class Dag(DAG):
    def __init__(self, dag_id, schedule=None, **more):
        super().__init__(dag_id, schedule=schedule, start_date=datetime.fromisoformat("START"), catchup=False, **more)

with Dag("slow"):
    FeastApplyOperator(task_id="run", feast_conn_id="feast_slow", deferrable=True)

with Dag("cursed"):
    FeastApplyOperator(task_id="run", feast_conn_id="feast_cursed", deferrable=True, retries=RETRIES)

with Dag("marked"):
    FeastApplyOperator(task_id="run", feast_conn_id="feast_endless", deferrable=True)

with Dag("cleared"):
    FeastApplyOperator(task_id="run", feast_conn_id="feast_endless", deferrable=True)

with Dag("recreated"):
    FeastApplyOperator(task_id="run", feast_conn_id="feast_recreated", deferrable=True)

with Dag("sensed"):
    FeastJobSensor(
        task_id="run", feast_conn_id="feast_plain", labels={"example.org/cron": "nightly"}, deferrable=True, timeout=120
    )

with Dag("at_once"):
    FeastMaterializeOperator(
        task_id="run", feast_conn_id="feast_plain", lookback="3h", allow_empty=True, deferrable=True, defer_after=0
    )

with Dag("lookback"):
    FeastMaterializeOperator(task_id="run", feast_conn_id="feast_plain", lookback="3h", allow_empty=True)

with Dag("interval", schedule=CronDataIntervalTimetable("@daily", timezone="UTC")):
    FeastMaterializeOperator(task_id="run", feast_conn_id="feast_plain", allow_empty=True)
"""
    )
    .replace("START", EVENING)
    .replace("RETRIES", str(RETRIES))
)


@pytest.fixture(scope="module")
def connections(world: World, cluster: Cluster) -> dict[str, str]:
    """A connection for each set of definitions; each has a store of its own in its pod's /tmp."""
    store = {
        "project": "standalone",
        "provider": "local",
        "registry": "/tmp/registry.db",
        "online_store": {"type": "sqlite", "path": "/tmp/online.db"},
        "entity_key_serialization_version": 3,
    }
    common = {
        "namespace": world.namespace,
        "image": world.image,
        "configuration": json.dumps(store),
        "cpu_request": "50m",
    }
    for name, text in DEFINITIONS.items():
        body = {"metadata": {"name": name}, "data": {"definitions.py": text}}
        cluster.core.create_namespaced_config_map(world.namespace, body)
    return {
        "feast_plain": feast_connection(**common),
        **{f"feast_{n}": feast_connection(**common, definitions_config_map=n) for n in DEFINITIONS},
    }


@pytest.fixture(scope="module")
def standalone(
    world: World, connections: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Standalone]:
    """`airflow standalone` with the DAGs above."""
    home: Path = tmp_path_factory.mktemp("standalone")
    (home / "dags").mkdir()
    (home / "dags" / "dags.py").write_text(DAGS)
    with running(environment(home, world.kubeconfig, connections), home) as started:
        yield started


@pytest.fixture(scope="module")
def instances(standalone: Standalone) -> dict[str, Instance]:
    """One run of each DAG that has no schedule, all started at once: they wait side by side."""
    names = ("cursed", "at_once", "marked", "cleared", "recreated", "sensed", "lookback")
    return {name: Instance(standalone, name, standalone.trigger(name)) for name in names}


def test_a_run_without_a_logical_date_looks_back_from_its_time(instances: dict[str, Instance]) -> None:
    instance = instances["lookback"]
    instance.until("success")
    start, end = map(datetime.fromisoformat, instance.xcom("result")["window"])
    assert end - start == timedelta(hours=3)
    assert end == datetime.fromisoformat(instance.dag_run["run_after"])


def test_a_scheduled_run_of_an_interval_timetable_loads_its_interval(standalone: Standalone) -> None:
    def scheduled() -> str | None:
        runs = standalone.ask("GET", "dags/interval/dagRuns")["dag_runs"]
        return next((run["dag_run_id"] for run in runs if run["run_type"] == "scheduled"), None)

    standalone.unpause("interval")
    instance = Instance(standalone, "interval", wait_for(scheduled, "a scheduled run"))
    instance.until("success")
    run = instance.dag_run
    interval = [datetime.fromisoformat(run[f"data_interval_{end}"]) for end in ("start", "end")]
    assert interval == [END - timedelta(days=1), END]
    assert list(map(datetime.fromisoformat, instance.xcom("result")["window"])) == interval


def test_a_long_job_is_waited_for_in_the_triggerer_with_its_log_live(standalone: Standalone) -> None:
    instance = Instance(standalone, "slow", standalone.trigger("slow"))
    instance.until("deferred")
    wait_for(lambda: "tick 12" in instance.log(), "a line of the running Job")
    assert instance.state == "deferred"
    instance.until("success")
    log = instance.log()
    ticks = [line.strip() for line in log.splitlines() if line.startswith("tick")]
    assert ticks == [f"tick {second}" for second in range(16)], "each line once and in order"
    result = instance.xcom("return_value")
    assert (result["outcome"], result["command"]) == ("succeeded", ["apply"])
    assert result["duration_seconds"] >= 15
    assert result["feast_version"]


def test_a_long_job_that_fails_gives_its_cause_to_the_task(instances: dict[str, Instance]) -> None:
    instance = instances["cursed"]
    instance.until("failed")
    log = instance.log()
    assert "waits for it in the triggerer" in log
    assert "DefinitionsError" in log
    assert "the definitions are cursed" in log
    assert "What to do: " in log
    assert instance.xcom("result")["kind"] == "definitions_invalid"
    assert instance.tries == 1, "a retry could not have helped"


def test_a_task_that_defers_at_once_has_its_job_started_by_the_triggerer(
    instances: dict[str, Instance],
) -> None:
    instance = instances["at_once"]
    instance.until("success")
    assert "waits for it in the triggerer" in instance.log()
    assert instance.xcom("result")["outcome"] == "succeeded"
    assert instance.tries == 1


def test_a_deferred_sensor_sees_a_job_that_starts_later(
    instances: dict[str, Instance], cluster: Cluster
) -> None:
    instance = instances["sensed"]
    instance.until("deferred")
    cluster.start("nightly-1", "print('done')", {"example.org/cron": "nightly"})
    instance.until("success")


@pytest.mark.parametrize("way", ["marked", "cleared"])
def test_ending_a_deferred_task_deletes_its_job(
    instances: dict[str, Instance], cluster: Cluster, way: str
) -> None:
    instance = instances[way]
    instance.until("deferred")
    first = cluster.job(instance.xcom("job_name"))
    if way == "marked":
        instance.set_state("failed")
    else:
        instance.clear()

    def gone() -> bool:
        job = cluster.job(first.metadata.name)
        return job is None or job.metadata.uid != first.metadata.uid

    wait_for(gone, "the end of the first Job")
    uid = f"batch.kubernetes.io/controller-uid={first.metadata.uid}"
    pods = cluster.core.list_namespaced_pod(cluster.namespace, label_selector=uid)
    assert not pods.items
    if way == "cleared":
        label = "airflow-provider-feast/dag=cleared"
        jobs = cluster.batch.list_namespaced_job
        wait_for(lambda: jobs(cluster.namespace, label_selector=label).items, "the Job of the second try")
        instance.set_state("failed")


def test_a_run_that_is_deleted_and_made_again_under_its_id_has_a_job_of_its_own(
    standalone: Standalone, instances: dict[str, Instance], cluster: Cluster
) -> None:
    instance = instances["recreated"]
    instance.until("deferred")
    instance.until_off_the_executor()
    first = cluster.job(instance.xcom("job_name"))
    body = {"data": {"definitions.py": "print('the second run', flush=True)\n"}}
    cluster.core.patch_namespaced_config_map("recreated", cluster.namespace, body)
    run = f"dags/recreated/dagRuns/{instance.run_id}"
    standalone.ask("PATCH", run, json={"state": "failed"})  # a run that goes on cannot be deleted
    standalone.ask("DELETE", run)
    assert standalone.trigger("recreated", instance.run_id) == instance.run_id
    instance.until("success")
    label = "airflow-provider-feast/dag=recreated"
    (second,) = cluster.batch.list_namespaced_job(cluster.namespace, label_selector=label).items
    assert second.metadata.uid != first.metadata.uid
    assert (second.metadata.name, second.status.succeeded) == (instance.xcom("job_name"), 1)
    assert instance.xcom("return_value")["outcome"] == "succeeded"
    assert "the second run" in instance.log()


def test_the_dag_files_import_without_errors(standalone: Standalone) -> None:
    assert standalone.import_errors() == []
