"""The three uses (daily, by hand, backfill) and the window of each kind of run: a real Airflow and the real Feast."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow_helpers import END, Cluster, environment, wait_for
from git_server import GitServer, Origin
from standalone_helpers import Instance, Standalone, running
from use_stores import UseStore, make_stores

from airflow_provider_feast.sandbox import Sandbox, demo_repo
from airflow_provider_feast.sandbox.demo_world import World

pytestmark = pytest.mark.xdist_group("airflow-uses")
HERE = Path(__file__).resolve()
EXAMPLES = HERE.parents[2] / "example_dags"
DAY = timedelta(days=1)
DAYS = 30
LAST = END - DAY
"""Where backfills end: the scheduler itself makes the run of the day before END."""
FIRST = LAST - DAYS * DAY
VIEWS = sorted(demo_repo.VIEWS)
SINCE = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00"
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
IMPORTS = """
from airflow.providers.cncf.kubernetes.operators import job
from airflow_provider_feast.jobs import task
"""
"""A plugin: the scheduler imports it once, and not each of the tasks that are forked from it (seconds for each run)."""

AT_ONCE = 8
"""How many runs of a backfill may be active."""


def backfill(dag_id: str, *options: str) -> list[str]:
    """The command that makes a backfill of all days from FIRST up to LAST."""
    span = ["--from-date", FIRST.date().isoformat(), "--to-date", (LAST - DAY).date().isoformat()]
    return ["backfill", "create", "--dag-id", dag_id, *span, "--max-active-runs", str(AT_ONCE), *options]


BACKFILLS = [backfill("forward_days"), backfill("back_days", "--run-backwards")]
DEFINITIONS = demo_repo.definitions_text()
FEWER = DEFINITIONS.replace("customer_profile = ", "customer_profile = None and ", 1)


def example(store: str, first: datetime) -> str:
    """An example as a user would change it: other names, and the first day that is wanted."""
    name = f"feast_{USES[store]}"
    text = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8")
    for old, new in (
        (f'"{name}', f'"{store}'),
        ("feast_quickstart", f"feast_{store}"),
        ('"deferrable": True', f'"deferrable": {store != "forward"}'),
        ("timedelta(minutes=5)", "timedelta(seconds=2)"),
        ("datetime(2026, 1, 1, tzinfo=UTC)", f"datetime.fromisoformat({first.isoformat()!r})"),
    ):
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
    for name in ("dags", "plugins"):
        (home / name).mkdir()
    (home / "plugins" / "imports.py").write_text(IMPORTS, encoding="utf-8")
    windows = HERE.with_name("window_dags.py").read_text(encoding="utf-8")
    texts = {"prepare": PREPARE, "windows": windows.replace("@FIRST@", (END - DAY).isoformat())}
    texts |= {store: example(store, END - DAY if store == "daily" else FIRST) for store in USES}
    for name, text in texts.items():
        (home / "dags" / f"{name}_dags.py").write_text(text, encoding="utf-8")
    return home


@pytest.fixture(scope="module")
def standalone(airflow_home: Path, world: World, connections: dict[str, str]) -> Iterator[Standalone]:
    """Twelve tasks may run at once. Backfills are made before it: on SQLite they cannot while a scheduler runs."""
    variables = environment(airflow_home, world.kubeconfig, connections) | {
        "AIRFLOW__CORE__PARALLELISM": "12",
        "AIRFLOW__CORE__DEFAULT_TASK_RETRIES": "3",
        "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "2",
    }
    commands = [["db", "migrate"], ["dags", "reserialize"], *BACKFILLS]
    with (airflow_home / "commands.log").open("wb") as output:
        subprocess.run(
            [sys.executable, str(HERE.with_name("airflow_commands.py"))],
            input="\n".join(map(json.dumps, commands)).encode(),
            env=variables,
            stdout=output,
            stderr=output,
            check=True,
        )
    with running(variables, airflow_home) as started:
        yield started


def runs_of(airflow: Standalone, dag_id: str, kind: str, count: int = 1) -> list[dict[str, Any]]:
    """The runs of a DAG that came about in this way, by the time they were made for; once there are so many."""

    def look() -> list[dict[str, Any]] | None:
        found = airflow.ask("GET", f"dags/{dag_id}/dagRuns", params={"limit": 100})["dag_runs"]
        runs = [run for run in found if run["run_type"] == kind]
        return sorted(runs, key=lambda run: run["run_after"]) if len(runs) >= count else None

    return wait_for(look, f"{count} runs of {dag_id}", 120)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def window(start: datetime, end: datetime) -> str:
    return f"[{start.isoformat()}, {end.isoformat()})"


# --- the window of each kind of run ---------------------------------------------------------------


def windows_of(airflow: Standalone, dag_id: str, run: dict[str, Any]) -> dict[str, str]:
    """What the operators of a run found."""
    instance = Instance(airflow, dag_id, run["dag_run_id"])
    instance.until("success", seconds=300)
    found: dict[str, str] = instance.xcom("return_value")
    assert found["explicit"] == "[2025-12-31T22:00:00+00:00, 2026-01-01T22:00:00+00:00)"
    return found


def assert_ends_at(end: datetime, found: dict[str, str]) -> None:
    """What loads up to an end, without a start of its own, takes this one for the run's."""
    assert found["incremental"] == end.isoformat()
    assert found["repair"] == window(end - timedelta(hours=6), end)


def test_a_run_of_an_interval_timetable_loads_its_interval(standalone: Standalone) -> None:
    standalone.unpause("window_interval")
    found = windows_of(standalone, "window_interval", runs_of(standalone, "window_interval", "scheduled")[0])
    assert found["plain"] == found["lookback"] == window(END - DAY, END)
    assert_ends_at(END, found)


def test_a_run_of_a_cron_trigger_has_no_interval_and_needs_a_lookback(standalone: Standalone) -> None:
    standalone.unpause("window_trigger")
    run = runs_of(standalone, "window_trigger", "scheduled", 2)[-1]
    found = windows_of(standalone, "window_trigger", run)
    assert run["data_interval_start"] == run["data_interval_end"]
    assert f"starts and ends at {END.isoformat()} and has no length" in found["plain"]
    assert "lookback=" in found["plain"]
    assert "CronDataIntervalTimetable" in found["plain"]
    assert found["lookback"] == window(END - timedelta(hours=6), END)
    assert_ends_at(END, found)


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
    assert_ends_at(at(run["run_after"]), found)


def test_a_run_that_an_asset_triggered_needs_a_lookback(standalone: Standalone) -> None:
    standalone.unpause("window_asset")
    standalone.trigger("window_producer")
    run = runs_of(standalone, "window_asset", "asset_triggered")[0]
    found = windows_of(standalone, "window_asset", run)
    assert "no data interval (a manual or asset-triggered run)" in found["plain"]
    assert found["lookback"] == window(at(run["run_after"]) - timedelta(hours=6), at(run["run_after"]))
    assert_ends_at(at(run["run_after"]), found)


def test_a_partitioned_run_loads_its_partition(standalone: Standalone) -> None:
    standalone.unpause("window_partition")
    run = runs_of(standalone, "window_partition", "scheduled")[0]
    found = windows_of(standalone, "window_partition", run)
    start = at(run["partition_date"])
    assert found["plain"] == found["lookback"] == window(start, start + DAY)
    assert_ends_at(start + DAY, found)


def test_a_run_at_the_beginning_of_its_partition_loads_nothing_and_says_how_to_start_later(
    standalone: Standalone,
) -> None:
    standalone.unpause("window_begins")

    def look() -> dict[str, Any] | None:
        last = runs_of(standalone, "window_begins", "scheduled")[-1]
        return last if at(last["partition_date"]) + DAY > datetime.now(UTC) else None

    run = wait_for(look, "the run of the partition that has begun", 120)
    found = windows_of(standalone, "window_begins", run)
    assert f"ends at {(at(run['partition_date']) + DAY).isoformat()}, in the future" in found["plain"]
    assert "run_offset=-1" in found["plain"]


# --- the three uses --------------------------------------------------------------------------------


def test_every_day_is_loaded_and_the_definitions_are_applied_when_their_commit_changed(
    standalone: Standalone, stores: dict[str, UseStore], origin: Origin
) -> None:
    standalone.unpause("daily")
    run = runs_of(standalone, "daily", "scheduled")[0]["dag_run_id"]
    tasks = {
        name: Instance(standalone, "daily", run, name)
        for name in ("look", "changed", "apply", "remember", "load", "loaded")
    }
    tasks["loaded"].until("success", seconds=300)
    assert {name: task.state for name, task in tasks.items()} == dict.fromkeys(tasks, "success")
    first = tasks["apply"].xcom("return_value")["commit"]
    assert standalone.ask("GET", "variables/feast_daily_applied_commit")["value"] == first
    assert stores["daily"].intervals("customer_profile") == [(END - DAY, END)]
    assert stores["daily"].wrong_values(END - DAY, END) == []

    def again() -> dict[str, str]:
        # the scheduler that ends a run at the moment in which it is cleared takes the clear for nothing
        wait_for(lambda: tasks["loaded"].dag_run["state"] == "success", "the run to be over")
        standalone.ask("POST", f"dags/daily/dagRuns/{run}/clear", json={"dry_run": False})
        tasks["loaded"].until("success", seconds=300)
        return {name: task.state for name, task in tasks.items()}

    states = again()
    assert (states["apply"], states["remember"]) == ("skipped", "skipped")
    second = origin.commit({"README.md": "Features\n"})
    assert again() == dict.fromkeys(tasks, "success")
    assert second != first
    assert standalone.ask("GET", "variables/feast_daily_applied_commit")["value"] == second


def backfill_runs(airflow: Standalone, dag_id: str, days: int, seconds: float = 600) -> list[dict[str, Any]]:
    """The runs of a backfill in the order of their days, when all have succeeded."""

    def look() -> list[dict[str, Any]] | None:
        runs = runs_of(airflow, dag_id, "backfill", days)
        failed = [run["dag_run_id"] for run in runs if run["state"] == "failed"]
        assert not failed, Instance(airflow, dag_id, failed[0], "load").log()
        return runs if all(run["state"] == "success" for run in runs) else None

    return wait_for(look, f"the backfill of {dag_id}", seconds)


def most_at_once(runs: list[dict[str, Any]]) -> int:
    """How many of the runs were active at the same time."""
    changes = [(at(run["start_date"]), 1) for run in runs] + [(at(run["end_date"]), -1) for run in runs]
    active, most = 0, 0
    for _, change in sorted(changes):
        active += change
        most = max(most, active)
    return most


@pytest.fixture(scope="module")
def prepared(standalone: Standalone) -> Standalone:
    """The definitions are applied to the stores whose DAGs do not apply."""
    run = standalone.trigger("prepare")
    applied = Instance(standalone, "prepare", run)
    wait_for(lambda: applied.dag_run["state"] == "success", "the definitions to be applied", 400)
    return standalone


@pytest.fixture(scope="module")
def backfilling(prepared: Standalone) -> Standalone:
    """Both backfills are under way; they fill every slot, so what else there is comes first."""
    for dag_id in ("forward_days", "back_days"):
        prepared.unpause(dag_id)
    return prepared


def test_a_form_that_is_filled_in_badly_is_refused(standalone: Standalone) -> None:
    for dag_id in ("manual", "range_range"):
        standalone.unpause(dag_id)
    whole = {"start": "2026-01-01T00:00:00Z", "end": "2026-01-02T00:00:00+01:00"}
    for dag_id, conf in (
        ("manual", {"command": "teardown"}),
        ("manual", {"feature_store": "a b"}),
        ("manual", {"start": "2026-01-01T00:00:00"}),
        ("manual", {"end": "yesterday"}),
        ("manual", {"feature_views": [""]}),
        ("manual", {"feature_views": "driver_hourly_stats"}),
        ("manual", {"older_windows": "later"}),
        ("manual", {"chunk": "soon"}),
        ("manual", {"dry_run": "yes"}),
        ("range_range", {**whole, "start": "2026-01-01T00:00:00"}),
        ("range_range", {**whole, "end": "2026-01-02"}),
        ("range_range", {"start": whole["start"]}),
    ):
        body = {"logical_date": None, "conf": conf}
        answer = standalone.request("POST", f"dags/{dag_id}/dagRuns", json=body)
        assert answer.status_code == 400, (dag_id, conf, answer.text)


def test_a_range_is_loaded_by_hand_after_a_dry_run(
    prepared: Standalone, stores: dict[str, UseStore], cluster: Cluster
) -> None:
    start, end = END - 2 * DAY, END
    form = {"start": start.isoformat(), "end": end.isoformat(), "chunk": "1d", "feature_views": VIEWS}
    dry = Instance(prepared, "manual", prepared.trigger("manual", dry_run=True, **form), "show")
    dry.until("success", seconds=300)
    unfolded, _, _ = dry.log().partition("::group::Post Execute")
    assert f"Would load {', '.join(VIEWS)} for {window(start, end)}" in unfolded
    assert "in 2 chunks, older windows: guard." in unfolded
    assert stores["manual"].intervals("driver_hourly_stats") == []
    run = Instance(prepared, "manual", prepared.trigger("manual", **form), "materialize")
    run.until("success", seconds=300)
    assert cluster.job(run.xcom("job_name")).status.completed_indexes == "0,1"
    assert stores["manual"].intervals("driver_hourly_stats") == [(start, start + DAY), (start + DAY, end)]
    assert stores["manual"].wrong_values(start, end) == []


def test_a_manual_apply_that_deletes_waits_for_approval_of_its_plan(
    prepared: Standalone, stores: dict[str, UseStore], cluster: Cluster
) -> None:
    def views() -> set[str]:
        return {view.spec.name for view in stores["manual"].registry().feature_views}

    def decide(option: str) -> tuple[str, str]:
        """Start an apply, answer the question; what was asked, and the state of the apply."""
        run = prepared.trigger("manual", command="apply")
        question, apply = (Instance(prepared, "manual", run, name) for name in ("approve", "apply"))
        path = f"dags/manual/dagRuns/{run}/taskInstances/approve/-1/hitlDetails"
        question.until("awaiting_input", "deferred", seconds=300)
        question.until_off_the_executor()  # no person is as quick as a test
        body = prepared.ask("GET", path)["body"]
        prepared.ask("PATCH", path, json={"chosen_options": [option], "params_input": {}})
        wait_for(lambda: apply.dag_run["state"] != "running", "the end", 300)
        assert apply.dag_run["state"] == "success", question.log()
        return body, apply.state

    cluster.core.patch_namespaced_config_map("mine", cluster.namespace, {"data": {"definitions.py": FEWER}})
    before = views()
    asked, state = decide("Reject")
    assert "* delete **FeatureView customer_profile**" in asked
    assert "feast_manual" in asked
    assert (state, views()) == ("skipped", before)
    asked, state = decide("Approve")
    assert (state, views()) == ("success", before - {"customer_profile"})


def test_a_range_of_thirty_days_is_one_job(
    prepared: Standalone, stores: dict[str, UseStore], cluster: Cluster
) -> None:
    run_id = prepared.trigger("range_range", start=FIRST.isoformat(), end=END.isoformat())
    run = Instance(prepared, "range_range", run_id, "load")
    run.until("success", seconds=400)
    job = cluster.job(run.xcom("job_name"))
    assert job.status.succeeded == job.spec.completions == 5
    for view in VIEWS:
        loaded = stores["range"].intervals(view)
        assert (loaded[0][0], loaded[-1][1], len(loaded)) == (FIRST, END, DAYS + 1)
    assert stores["range"].wrong_values(FIRST, END) == []


@pytest.mark.parametrize(("store", "backwards"), [("back", True), ("forward", False)])
def test_eight_runs_of_a_backfill_at_once_lose_no_interval(
    backfilling: Standalone, stores: dict[str, UseStore], store: str, backwards: bool
) -> None:
    runs = backfill_runs(backfilling, f"{store}_days", DAYS)
    days = [(FIRST + number * DAY, FIRST + (number + 1) * DAY) for number in range(DAYS)]
    assert [(at(run["data_interval_start"]), at(run["data_interval_end"])) for run in runs] == days
    assert most_at_once(runs) == AT_ONCE, "the scheduler starts as many as may be active in one go"
    first, last = (at(run["start_date"]) for run in (runs[0], runs[-1]))
    assert (last < first) is backwards
    scheduled = runs_of(backfilling, f"{store}_days", "scheduled")[0]["dag_run_id"]
    Instance(backfilling, f"{store}_days", scheduled, "load").until("success", seconds=300)
    for view in VIEWS:
        assert stores[store].intervals(view) == [*days, (LAST, END)]
    assert stores[store].wrong_values(FIRST, END) == []


def test_a_run_that_must_wait_says_in_its_log_who_holds_the_lock_and_since_when(
    backfilling: Standalone, cluster: Cluster
) -> None:
    """The runs of this backfill are deferred while they wait, so what is told after that comes from the triggerer."""
    runs = backfill_runs(backfilling, "back_days", DAYS)
    told = re.compile(
        r"Waiting for the lock feast-back: Job feast-materialize-back-days-load-\S+ in namespace "
        rf"{cluster.namespace} has held the whole registry since {SINCE}"
    )
    loads = [Instance(backfilling, "back_days", run["dag_run_id"], "load") for run in runs]
    logs = [load.log(load.tries) for load in loads]
    deferred = [log.partition("this task waits for it in the triggerer")[2] for log in logs]
    waited = [log for log in deferred if told.search(log)]
    assert waited, logs[0]
    assert all("The lock feast-back is free now." in log for log in waited)
