"""What is new, loaded by a plan with the real Feast: each view from its own last end, one failing view by itself."""

from __future__ import annotations

import sqlite3
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from feast_stores import (
    DAY_0,
    DEFINITIONS,
    PROJECT,
    VIEW,
    Repo,
    Row,
    Zygote,
    expected,
    online_values,
    write_rows,
)

from airflow_provider_feast.model.plan import IncrementalPlan, Plan
from airflow_provider_feast.model.result import CommandResult

DAY = timedelta(days=1)
ROWS = [Row(thing, day * 86_400 * 10**6, 10 * day + thing) for thing in (1, 2) for day in range(6)]
AND_ANOTHER = """
another = FeatureView(
    name="another", entities=[thing], ttl=timedelta(days=3650), online=True,
    schema=[Field(name="value", dtype=Int64)],
    source=FileSource(name="another_source", path="data.parquet", timestamp_field="at"),
)
"""


@pytest.fixture
def repo(tmp_path: Path, zygote: Zygote) -> Repo:
    """Two views, of which one is loaded up to the third day."""
    online = {"type": "sqlite", "path": str(tmp_path / "online.db")}
    made = Repo(tmp_path, zygote, str(tmp_path / "registry.db"), online)
    write_rows(made.parquet, ROWS)
    (tmp_path / "definitions.py").write_text(DEFINITIONS + AND_ANOTHER)
    assert made.feast("apply") == 0, made.log.read_text()
    first = Plan(DAY_0, DAY_0 + 2 * DAY, DAY, 2, (VIEW,)).to_json()
    assert made.runner("materialize", "--plan", first) == 0, made.log.read_text()
    made.log.unlink()
    return made


def load_up_to(repo: Repo, end: datetime, *views: str) -> CommandResult:
    repo.log.unlink(missing_ok=True)
    repo.runner("materialize", "--plan", IncrementalPlan(end, views).to_json())
    found = CommandResult.parse((repo.home / "termination-log").read_text())
    assert found is not None
    return found


def test_each_view_goes_on_where_it_stands(repo: Repo) -> None:
    result = load_up_to(repo, DAY_0 + 4 * DAY)
    assert (result.verdict, result.steps, result.chunk) == ("succeeded", (2, 2), 0)
    assert {name: (totals.rows, totals.windows) for name, totals in result.views.items()} == {
        "another": (2, 1),
        VIEW: (2, 1),
    }, "rows of each entity's latest time, once"
    assert online_values(repo) == expected(repo.parquet, [(DAY_0, DAY_0 + 4 * DAY)], "s")
    starts = {
        event["view"]: event["start"] for event in repo.events() if event["feast_event"] == "view_finished"
    }
    assert starts[VIEW] == (DAY_0 + 2 * DAY).isoformat()
    assert starts["another"] == (DAY_0 + 4 * DAY - 3650 * DAY).isoformat()


def test_a_row_of_the_last_microsecond_is_loaded_once(repo: Repo) -> None:
    write_rows(repo.parquet, [*ROWS, Row(3, 3 * 86_400 * 10**6 - 1, 7)])
    assert load_up_to(repo, DAY_0 + 3 * DAY, VIEW).views[VIEW].rows == 3
    assert load_up_to(repo, DAY_0 + 4 * DAY, VIEW).views[VIEW].rows == 2, "not the row of thing 3 once more"


@pytest.mark.parametrize("ttl", [1, 0])
def test_a_first_load_begins_where_nothing_has_expired_at_its_end(repo: Repo, ttl: int) -> None:
    """Counted from now, as Feast does, a late run would load nothing and note an interval that runs backwards."""
    text = (DEFINITIONS + AND_ANOTHER).replace("days=3650", f"days={ttl}")
    (repo.home / "definitions.py").write_text(text)
    assert repo.feast("apply") == 0, repo.log.read_text()
    for end in (2, 3):
        result = load_up_to(repo, DAY_0 + end * DAY, "another")
        assert (result.verdict, result.views["another"].rows, result.gaps) == ("succeeded", 2, {})
    first = DAY_0 + 2 * DAY - (ttl or 364) * DAY
    assert repo.runner("inspect") == 0
    (view,) = (event for event in repo.events() if event.get("name") == "another")
    assert view["intervals"] == [
        [first.isoformat(), (DAY_0 + 3 * DAY - timedelta(microseconds=1)).isoformat()]
    ]


def test_a_view_that_is_loaded_up_to_the_future_is_told_of(repo: Repo) -> None:
    """Somebody gave a wrong end: nothing would be loaded for years, and every run would be a success."""
    assert repo.feast("materialize", "2026-03-01T00:00:00", "2130-01-01T00:00:00", "-v", VIEW) == 0
    result = load_up_to(repo, DAY_0 + 6 * DAY)
    assert (result.verdict, set(result.views)) == ("succeeded", {"another"})
    assert result.ahead == {VIEW: "2130-01-01T00:00:00+00:00"}
    said = repo.log.read_text()
    assert f"WARNING: {VIEW}: the registry says that it is loaded up to 2130-01-01T00:00:00+00:00" in said
    assert load_up_to(repo, DAY_0 + 6 * DAY, "another").ahead == {}


def test_an_end_that_is_reached_already_loads_nothing_and_leaves_no_interval(repo: Repo) -> None:
    result = load_up_to(repo, DAY_0 + DAY, VIEW)
    assert (result.verdict, result.views, result.steps) == ("succeeded", {}, (1, 1))
    assert (
        f"{VIEW}: nothing is new, for it is loaded up to 2026-03-02T23:59:59.999999" in repo.log.read_text()
    )
    assert repo.runner("inspect") == 0
    (view,) = (event for event in repo.events() if event.get("name") == VIEW and "loads" in event)
    assert view["loads"] == 2


def test_a_view_that_fails_leaves_the_other_one_its_values(repo: Repo) -> None:
    with sqlite3.connect(repo.online["path"]) as connection:
        connection.execute(f"DROP TABLE {PROJECT}_another")
    result = load_up_to(repo, DAY_0 + 6 * DAY)
    assert (result.verdict, result.failed, set(result.views)) == ("failed", ("another",), {VIEW})
    assert result.message.startswith("1 feature view failed: another up to 2026-03-07: ")
    assert online_values(repo) == expected(repo.parquet, [(DAY_0, DAY_0 + 6 * DAY)], "s")
