"""What the example DAGs do besides the straight way of test_airflow_uses: `dag.test()` and the real Feast."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow_helpers import END, Cluster, DagServer, Run, feast_connection, store

from airflow_provider_feast.sandbox.demo_world import World

pytestmark = pytest.mark.xdist_group("airflow-examples")
EXAMPLES = Path(__file__).resolve().parents[2] / "example_dags"
DAY = timedelta(days=1)
COMMIT = "c0ffee" * 6 + "c0ff"
LIKE_A_NUMBER, ANOTHER = "2024", "1e5"
"""Ids of connections that native rendering of templates would make numbers of."""


@pytest.fixture(scope="module")
def connections(world: World) -> dict[str, str]:
    """One store for people's hands, one that plain Feast loads, and one for every day that plain Feast loads."""
    known = json.loads(world.connection)["extra"]
    common = {key: known[key] for key in ("namespace", "image", "job_overrides", "definitions_config_map")}
    more: dict[str, dict[str, Any]] = {
        LIKE_A_NUMBER: {},
        ANOTHER: {"lookback": "2d", "command_mode": "cli"},
        "feast_daily": {"command_mode": "cli"},
    }
    return {
        name: feast_connection(
            **common, configuration=json.dumps(store(f"of_{name}")), feature_store=f"of-{name}", **fields
        )
        for name, fields in more.items()
    }


def states(run: Run) -> dict[str, str]:
    return {name: task.state for name, task in run.tasks.items()}


# --- by hand ---------------------------------------------------------------------------------------


def by_hand(airflow: DagServer, **form: Any) -> Run:
    """Fill in the form of feast_manual."""
    text = (EXAMPLES / "feast_manual.py").read_text(encoding="utf-8")
    conf = {"feature_store": LIKE_A_NUMBER, **form}
    return airflow.run_file(text, "feast_manual", logical_date=None, conf=conf)


def span(days: int) -> dict[str, str]:
    """The last days with data."""
    return {"start": (END - days * DAY).isoformat(), "end": END.isoformat()}


@pytest.fixture(scope="module")
def applied(airflow: DagServer) -> Run:
    """The definitions, applied by the form."""
    return by_hand(airflow, command="apply")


def test_the_id_of_a_connection_stays_text_though_it_looks_like_a_number(
    applied: Run, cluster: Cluster
) -> None:
    assert applied["apply"].state == "success", applied["plan"].error
    assert applied["apply"].xcoms["result"]["feature_store"] == f"of-{LIKE_A_NUMBER}"


def test_a_repair_by_hand_shows_its_table_first_and_then_loads_what_is_missing(
    applied: Run, airflow: DagServer
) -> None:
    form = {**span(2), "command": "repair", "feature_views": ["customer_profile"]}
    dry = by_hand(airflow, **form, dry_run=True)
    assert (dry.state, dry["repair"].state) == ("success", "success"), dry["repair"].error
    for number in (2, 1):
        first, last = ((END - days * DAY).date() for days in (number, number - 1))
        assert f"customer_profile  [{first}, {last})  unknown" in dry["repair"].log
    assert dry["repair"].xcoms["result"]["views"] == {}
    run = by_hand(airflow, **form)
    assert run["repair"].state == "success", run["repair"].error
    result = run["repair"].xcoms["result"]
    assert {view: totals["windows"] for view, totals in result["views"].items()} == {"customer_profile": 2}
    assert {name for name, state in states(run).items() if state != "skipped"} == {"choose", "repair"}
    again = by_hand(airflow, **form, dry_run=True)
    assert "Nothing is missing in" in again["repair"].log


def test_a_dry_run_takes_window_and_mode_from_the_connection_as_the_run_itself_does(
    airflow: DagServer,
) -> None:
    dry = by_hand(airflow, feature_store=ANOTHER, dry_run=True)
    assert dry["show"].state == "success", dry["show"].error
    found = re.search(r"Would load all feature views for \[(\S+), (\S+)\)", dry["show"].log)
    assert found, dry["show"].log
    assert "in one piece, older windows: guard." in dry["show"].log
    first, last = map(datetime.fromisoformat, found.groups())
    assert last - first == 2 * DAY


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({}, "this run has no data interval"),
        ({"start": END.isoformat()}, "start= is given without end="),
        ({**span(2), "feature_store": ANOTHER, "chunk": "1d"}, "chunk, step, and older_windows"),
        ({"command": "materialize-incremental", "older_windows": "skip"}, "is not one of guard, overwrite"),
        ({"command": "materialize-incremental", "end": "9999-01-01T00:00:00Z"}, "in the future"),
        ({"feature_store": "nobody"}, "the connection 'nobody' does not exist"),
    ],
)
def test_what_the_run_itself_would_refuse_fails_in_the_dry_run_already(
    airflow: DagServer, form: dict[str, Any], says: str
) -> None:
    dry, run = by_hand(airflow, **form, dry_run=True), by_hand(airflow, **form)
    task = form.get("command", "materialize").replace("-", "_")
    assert (dry["show"].state, run[task].state) == ("failed", "failed")
    assert says in dry["show"].error
    assert says in run[task].error


def test_an_apply_by_hand_through_plain_feast_says_that_nobody_knows_what_it_would_delete(
    airflow: DagServer,
) -> None:
    run = by_hand(airflow, command="apply", feature_store=ANOTHER)
    assert (run["deletions"].state, run["plan"].state) == ("failed", "success")
    assert "Set command_mode of the connection to `runner`." in run["deletions"].error
    assert run["apply"].state == "upstream_failed"


# --- every day -------------------------------------------------------------------------------------


def every_day(airflow: DagServer, *replaced: tuple[str, str]) -> Run:
    """The last day with data."""
    text = (EXAMPLES / "feast_daily.py").read_text(encoding="utf-8")
    quick = ("timedelta(minutes=5)", "timedelta(0)")
    for old, new in (("feast_quickstart", "feast_daily"), quick, *replaced):
        assert old in text
        text = text.replace(old, new)
    return airflow.run_file(text, "feast_daily", logical_date=END.isoformat())


def test_every_day_applies_where_plain_feast_tells_neither_commit_nor_changes(airflow: DagServer) -> None:
    run = every_day(airflow)
    assert states(run) == dict.fromkeys(("look", "changed", "apply", "remember", "load", "loaded"), "success")
    told = run["look"].xcoms["result"]
    assert (told["commit"], told["changes"]) == ("", None)
    assert run["changed"].xcoms["return_value"] is True


def test_every_day_applies_when_a_commit_is_known_and_nobody_knows_what_has_changed(
    airflow: DagServer,
) -> None:
    """As with a Feast whose plan the runner cannot read: the commit was applied before, the registry may lack objects."""
    known = airflow.run(f"""
@task
def know():
    from airflow.sdk import Variable
    Variable.set("feast_daily_applied_commit", "{COMMIT}")
know()
""")
    assert known.state == "success", known["know"].error
    looking = f"""@task
    def look():
        return {{"commit": "{COMMIT}", "changes": None}}
    look = look()"""
    run = every_day(airflow, ('look = FeastPlanOperator(task_id="look")', looking), ("look.output", "look"))
    assert run["changed"].xcoms["return_value"] is True, run["changed"].error
    assert run["apply"].state == "success"
