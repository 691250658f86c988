"""The preflight's operator and the FeatureStore's sensor in a real Airflow (`dag.test()`)."""

import json
import threading
from collections.abc import Iterator

import pytest
from airflow_helpers import DagServer, feast_connection, wait_for
from feature_stores import NO_ROOM, Store, install
from kubernetes import config

from airflow_provider_feast.model.feature_store import GROUP, PLURAL
from airflow_provider_feast.sandbox import Sandbox
from airflow_provider_feast.sandbox.demo_world import World


@pytest.fixture(scope="module")
def feast_sandbox() -> Iterator[Sandbox]:
    """A cluster of the tests' own, that knows FeatureStores."""
    with Sandbox(time_scale=0.05) as sandbox:
        api = config.new_client_from_config(str(sandbox.kubeconfig))
        install(api, "v1", "v1alpha1")
        api.close()
        yield sandbox


@pytest.fixture(scope="module")
def connections(world: World) -> dict[str, str]:
    known = json.loads(world.connection)["extra"]
    return {
        "feast_good": world.connection,
        "feast_bad": feast_connection(**{**known, "config_map": "nowhere", "service_account": "nobody"}),
    }


def test_a_preflight_guards_the_tasks_behind_it(airflow: DagServer) -> None:
    run = airflow.run("""
good = FeastPreflightOperator(task_id="good", feast_conn_id="feast_good", deep="version")
good >> FeastCommandOperator(task_id="runs", feast_conn_id="feast_good", command=["version"])
bad = FeastPreflightOperator(task_id="bad", feast_conn_id="feast_bad")
bad >> FeastCommandOperator(task_id="never_runs", feast_conn_id="feast_bad", command=["version"])
FeastCommandOperator(task_id="tells", feast_conn_id="feast_bad", command=["version"])
""")
    states = {name: task.state for name, task in run.tasks.items()}
    assert states == {
        **dict.fromkeys(("good", "runs"), "success"),
        **dict.fromkeys(("bad", "tells"), "failed"),
        "never_runs": "upstream_failed",
    }, {name: task.error for name, task in run.tasks.items()}
    report = run["good"].xcoms["return_value"]
    assert report["ok"]
    assert report["checks"][-1]["check"] == "deep check"
    assert "pass: dry run: the server takes the Job" in run["good"].log
    told = run["bad"].xcoms["report"]
    assert [check["check"] for check in told["checks"] if check["status"] == "fail"] == [
        "configuration",
        "service account",
    ]
    for name in ("bad", "tells"):
        assert "MissingObjectError" in run[name].error
        assert "'nowhere'" in run[name].error
        assert "'nobody'" in run[name].error
    assert "Preflight: " in run["runs"].log


def test_the_sensor_waits_in_worker_and_triggerer_until_the_store_is_ready(
    airflow: DagServer, world: World, feast_sandbox: Sandbox
) -> None:
    store = Store(world.api, world.namespace)
    store.create("Pending")

    def watched() -> bool:
        return any(
            record["verb"] == "list" and record["resource"] == f"{PLURAL}.{GROUP}"
            for record in map(json.loads, feast_sandbox.audit_log.read_text().splitlines())
        )

    def settle() -> None:
        wait_for(watched, "the trigger to watch", 60)
        store.become("Ready", feastVersion="0.67.0")

    operator = threading.Thread(target=settle)
    operator.start()
    run = airflow.run("""
common = dict(feature_store="store", feast_conn_id="feast_good", timeout=60)
first = FeatureStoreReadySensor(task_id="deferred", deferrable=True, **common)
first >> FeatureStoreReadySensor(task_id="poked", mode="poke", poke_interval=0.2, deferrable=False, **common)
""")
    operator.join()
    assert {name: task.state for name, task in run.tasks.items()} == dict.fromkeys(
        ("deferred", "poked"), "success"
    ), {name: task.error for name, task in run.tasks.items()}
    assert "the FeatureStore 'store' is Pending" in run["deferred"].log
    store.become("Failed", NO_ROOM)
    run = airflow.run("""
FeatureStoreReadySensor(
    task_id="failed", feature_store="store", feast_conn_id="feast_good", deferrable=True, timeout=60
)
""")
    assert run["failed"].state == "failed"
    assert "FeatureStoreNotReadyError" in run["failed"].error
    assert "no storage class" in run["failed"].error
