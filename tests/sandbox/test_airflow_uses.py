"""The three uses (daily, by hand, backfill) and the window of each kind of run: a real Airflow and the real Feast."""

import subprocess
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow_helpers import END, Cluster, environment, wait_for
from database_servers import PASSWORD, Server, postgres_server
from git_server import GitServer, Origin
from standalone_helpers import Instance, Standalone
from use_stores import UseStore, make_stores

from airflow_provider_feast.sandbox import Sandbox, demo_repo
from airflow_provider_feast.sandbox.demo_world import World

pytestmark = pytest.mark.xdist_group("airflow-uses")
HERE = Path(__file__).resolve()
EXAMPLES = HERE.parents[2] / "example_dags"
DAY = timedelta(days=1)
DAYS = 30
FIRST = END - DAYS * DAY
USES = {"daily": "daily", "manual": "manual", "forward": "backfill", "back": "backfill", "range": "backfill"}
"""Stores, and the example that loads each: its DAGs are named after the store here."""

PREPARE = """
from airflow.sdk import DAG
from airflow_provider_feast.operators.feast import FeastApplyOperator

with DAG("prepare", schedule=None):
    FeastApplyOperator.partial(task_id="run").expand(
        feast_conn_id=["feast_manual", "feast_forward", "feast_back", "feast_range"]
    )
"""
DEFINITIONS = demo_repo.definitions_text()
FEWER = DEFINITIONS.replace("customer_profile = ", "customer_profile = None and ", 1)


def example(store: str, first: datetime) -> str:
    """An example as a user would change it: other names, and the first day that is wanted."""
    name = f"feast_{USES[store]}"
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    for old, new in (
        (f'"{name}', f'"{store}'),
        ("feast_quickstart", f"feast_{store}"),
        ("datetime(2026, 1, 1, tzinfo=UTC)", f"datetime.fromisoformat({first.isoformat()!r})"),
    ):
        assert old in text or store == "manual"
        text = text.replace(old, new)
    return text


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Origin:
    """The demo's definitions in Git."""
    made = Origin(tmp_path_factory.mktemp("git"))
    made.commit({"definitions.py": DEFINITIONS})
    return made


@pytest.fixture(scope="module")
def stores(
    feast_sandbox: Sandbox, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, UseStore]:
    """One store for each use."""
    return make_stores(list(USES), feast_sandbox, cluster, tmp_path_factory.mktemp("stores"))


@pytest.fixture(scope="module")
def connections(
    world: World, cluster: Cluster, stores: dict[str, UseStore], origin: Origin
) -> Iterator[dict[str, str]]:
    """A connection to each store. `daily` has its definitions in Git, `manual` in a ConfigMap of its own."""
    server = GitServer(origin.bare.parent)
    for name, data in (
        ("git-ca", {"ca-bundle.crt": server.ca}),
        ("mine", {"definitions.py": DEFINITIONS}),
    ):
        body = {"metadata": {"name": name}, "data": data}
        cluster.core.create_namespaced_config_map(cluster.namespace, body)
    more: dict[str, dict[str, Any]] = {
        "daily": {
            "definitions_config_map": None,
            "definitions_git_url": f"{server.url}/features.git",
            "definitions_git_image": world.image,
            "ca_bundle_config_map": "git-ca",
        },
        "manual": {"definitions_config_map": "mine"},
    }
    yield {
        f"feast_{name}": store.connection(world.connection, cpu_request="100m", **more.get(name, {}))
        for name, store in stores.items()
    }
    server.stop()


@pytest.fixture(scope="module")
def airflow_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DAG folder with the examples and the DAGs of windows."""
    home = tmp_path_factory.mktemp("uses")
    (home / "dags").mkdir()
    windows = HERE.with_name("window_dags.py").read_text(encoding="utf-8")
    texts = {"prepare": PREPARE, "windows": windows.replace("@FIRST@", (END - DAY).isoformat())}
    texts |= {store: example(store, END - DAY if store == "daily" else FIRST) for store in USES}
    for name, text in texts.items():
        (home / "dags" / f"{name}_dags.py").write_text(text, encoding="utf-8")
    return home


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Postgres for Airflow's metadata: on SQLite, making a backfill ends the scheduler (StaleDataError)."""
    with postgres_server(tmp_path_factory.mktemp("metadata")) as server:
        yield server


@pytest.fixture(scope="module")
def variables(
    airflow_home: Path, world: World, connections: dict[str, str], database: Server
) -> dict[str, str]:
    """Airflow's environment; eight tasks may run at once."""
    address = f"postgresql+psycopg://feast:{PASSWORD}@{database.host}:{database.port}/feast"
    return environment(airflow_home, world.kubeconfig, connections) | {
        "AIRFLOW__CORE__PARALLELISM": "8",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": address,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_ASYNC": address,
    }


@pytest.fixture(scope="module")
def standalone(airflow_home: Path, variables: dict[str, str]) -> Iterator[Standalone]:
    started = Standalone(variables, airflow_home)
    try:
        started.start()
        yield started
    finally:
        started.stop()


def runs_of(airflow: Standalone, dag_id: str, kind: str, count: int = 1) -> list[dict[str, Any]]:
    """The runs of a DAG that came about in this way, by the time they were made for; once there are so many."""

    def look() -> list[dict[str, Any]] | None:
        found = airflow.ask("GET", f"dags/{dag_id}/dagRuns", params={"limit": 100})["dag_runs"]
        runs = [run for run in found if run["run_type"] == kind]
        return sorted(runs, key=lambda run: run["run_after"]) if len(runs) >= count else None

    return wait_for(look, f"{count} runs of {dag_id}")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def window(start: datetime, end: datetime) -> str:
    return f"[{start.isoformat()}, {end.isoformat()})"


# --- the window of each kind of run ---------------------------------------------------------------


def windows_of(airflow: Standalone, dag_id: str, run: dict[str, Any]) -> dict[str, str]:
    """What the operators of a run found."""
    instance = Instance(airflow, dag_id, run["dag_run_id"])
    instance.until("success")
    found: dict[str, str] = instance.xcom("return_value")
    assert found["explicit"] == "[2025-12-31T22:00:00+00:00, 2026-01-01T22:00:00+00:00)"
    return found


def test_a_run_of_an_interval_timetable_loads_its_interval(standalone: Standalone) -> None:
    standalone.unpause("window_interval")
    found = windows_of(standalone, "window_interval", runs_of(standalone, "window_interval", "scheduled")[0])
    assert found["plain"] == found["lookback"] == window(END - DAY, END)


def test_a_run_of_a_cron_trigger_has_no_interval_and_needs_a_lookback(standalone: Standalone) -> None:
    standalone.unpause("window_trigger")
    run = runs_of(standalone, "window_trigger", "scheduled", 2)[-1]
    found = windows_of(standalone, "window_trigger", run)
    assert run["data_interval_start"] == run["data_interval_end"]
    assert f"starts and ends at {END.isoformat()} and has no length" in found["plain"]
    assert "lookback=" in found["plain"]
    assert "CronDataIntervalTimetable" in found["plain"]
    assert found["lookback"] == window(END - timedelta(hours=6), END)


def test_a_run_by_hand_without_a_logical_date_needs_start_and_end_or_a_lookback(
    standalone: Standalone,
) -> None:
    run_id = standalone.trigger("window_manual")
    run = runs_of(standalone, "window_manual", "manual")[0]
    found = windows_of(standalone, "window_manual", run)
    assert (run["dag_run_id"], run["logical_date"]) == (run_id, None)
    assert "no data interval (a manual or asset-triggered run)" in found["plain"]
    assert "give start= and end=" in found["plain"]
    assert found["lookback"] == window(at(run["run_after"]) - timedelta(hours=6), at(run["run_after"]))


def test_a_run_that_an_asset_triggered_needs_a_lookback(standalone: Standalone) -> None:
    standalone.unpause("window_asset")
    standalone.trigger("window_producer")
    run = runs_of(standalone, "window_asset", "asset_triggered")[0]
    found = windows_of(standalone, "window_asset", run)
    assert "no data interval (a manual or asset-triggered run)" in found["plain"]
    assert found["lookback"] == window(at(run["run_after"]) - timedelta(hours=6), at(run["run_after"]))


def test_a_partitioned_run_loads_its_partition(standalone: Standalone) -> None:
    standalone.unpause("window_partition")
    run = runs_of(standalone, "window_partition", "scheduled")[0]
    found = windows_of(standalone, "window_partition", run)
    start = at(run["partition_date"])
    assert found["plain"] == found["lookback"] == window(start, start + DAY)


# --- the three uses --------------------------------------------------------------------------------


def test_every_day_is_loaded_and_the_definitions_are_applied_when_their_commit_changed(
    standalone: Standalone, stores: dict[str, UseStore], origin: Origin
) -> None:
    standalone.unpause("daily")
    run = runs_of(standalone, "daily", "scheduled")[0]["dag_run_id"]
    tasks = {
        name: Instance(standalone, "daily", run, name)
        for name in ("look", "changed", "apply", "remember", "load")
    }
    tasks["load"].until("success")
    assert {name: task.state for name, task in tasks.items()} == dict.fromkeys(tasks, "success")
    first = tasks["apply"].xcom("return_value")["commit"]
    assert standalone.ask("GET", "variables/feast_daily_applied_commit")["value"] == first
    assert stores["daily"].intervals("customer_profile") == [(END - DAY, END)]
    assert stores["daily"].wrong_values(END - DAY, END) == []

    def again() -> dict[str, str]:
        standalone.ask("POST", f"dags/daily/dagRuns/{run}/clear", json={"dry_run": False})
        tasks["load"].until("success")
        return {name: task.state for name, task in tasks.items()}

    states = again()
    assert (states["apply"], states["remember"]) == ("skipped", "skipped")
    second = origin.commit({"README.md": "Features\n"})
    assert again() == dict.fromkeys(tasks, "success")
    assert second != first
    assert standalone.ask("GET", "variables/feast_daily_applied_commit")["value"] == second
