"""A pod that is killed in the middle of a chunk, and the next try: whatever the policy, it comes to its end."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from feast_stores import DAY_0, DEFINITIONS, VIEW, Repo, Row, Zygote, expected, online_values, write_rows

from airflow_provider_feast.model.plan import IncrementalPlan, Plan
from airflow_provider_feast.model.windows import Window

DAY = timedelta(days=1)
DAY_MICROSECONDS = 86_400 * 10**6
DAYS, KILLED_ON = 8, 4
FAR_ENGINE = """
from feast.infra.compute_engines.local.compute import LocalComputeEngine, LocalComputeEngineConfig

class FarEngineConfig(LocalComputeEngineConfig):
    type: str = "far_engine.FarEngine"

class FarEngine(LocalComputeEngine):
    pass
"""
KILLING_STORE = f"""
import os
from typing import Literal
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig

NAME = Literal["killing.KillingSqliteOnlineStore"]

class KillingSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):
    type: NAME = "killing.KillingSqliteOnlineStore"

class KillingSqliteOnlineStore(SqliteOnlineStore):
    def online_write_batch(self, config, table, data, progress):
        if max(row[2] for row in data).day >= {KILLED_ON}:
            os.kill(os.getpid(), 9)
        super().online_write_batch(config, table, data, progress)
"""
"""An online store whose process is killed when rows of that day are written."""

BEHIND = """
behind = FeatureView(
    name="behind", entities=[thing], ttl=timedelta(days=3650), online=True,
    schema=[Field(name="value", dtype=Int64)],
    source=FileSource(name="behind_source", path="data.parquet", timestamp_field="at"),
)
"""
FAR = {"batch_engine": {"type": "far_engine.FarEngine", "backend": "pandas"}}


def make_repo(home: Path, zygote: Zygote, **configuration: Any) -> Repo:
    """Each thing has a row a day, but the third thing none after the second day."""
    (home / "far_engine.py").write_text(FAR_ENGINE)
    (home / "killing.py").write_text(KILLING_STORE)
    online = {"type": "sqlite", "path": str(home / "online.db")}
    repo = Repo(home, zygote, str(home / "registry.db"), online, **configuration)
    rows = [(thing, day) for thing in range(3) for day in range(DAYS) if thing < 2 or day < 2]
    write_rows(repo.parquet, [Row(thing, day * DAY_MICROSECONDS, 10 * day + thing) for thing, day in rows])
    return repo


def window(first: int, last: int) -> Window:
    return Window(DAY_0 + first * DAY, DAY_0 + last * DAY)


def load(repo: Repo, policy: str, first: int, last: int, per_chunk: int, *more: str) -> int:
    repo.log.unlink(missing_ok=True)
    plan = Plan(*window(first, last), DAY, per_chunk, (VIEW,))
    arguments = ("--plan", plan.to_json(), "--older-windows", policy, "--heal", "all", *more)
    return repo.runner("materialize", *arguments)


def killed(repo: Repo, policy: str, *plan: int) -> int:
    """As `load`, by a process that is killed when it comes to the fourth day."""
    settings = repo.home / "feature_store.yaml"
    text = settings.read_text()
    settings.write_text(text.replace('"type": "sqlite"', '"type": "killing.KillingSqliteOnlineStore"'))
    code = load(repo, policy, *plan)
    settings.write_text(text)
    return code


def loaded(repo: Repo) -> list[tuple[str, str]]:
    """Start and end of each load."""
    done = [event for event in repo.events() if event["feast_event"] == "view_finished"]
    return [(event["start"][:10], event["end"][:10]) for event in done]


def skipped(repo: Repo) -> list[str]:
    """Starts of the windows that were left out."""
    return [event["start"][:10] for event in repo.events() if event["feast_event"] == "view_skipped"]


def intervals(repo: Repo) -> list[list[str]]:
    repo.log.unlink()
    assert repo.runner("inspect") == 0
    (view,) = (event for event in repo.events() if event.get("name") == VIEW)
    found: list[list[str]] = view["intervals"]
    return found


def days(first: int, last: int) -> list[str]:
    start, end = window(first, last)
    return [start.isoformat(), (end - timedelta(microseconds=1)).isoformat()]


@pytest.mark.parametrize(
    ("policy", "configuration"),
    [("guard", FAR), ("refuse", {}), ("refuse", FAR), ("extend", {}), ("guard", {}), ("skip", {})],
    ids=["guard-far", "refuse-local", "refuse-far", "extend-local", "guard-local", "skip-local"],
)
def test_a_chunk_that_was_killed_in_its_middle_can_be_loaded_again(
    policy: str, configuration: dict[str, Any], tmp_path: Path, zygote: Zygote
) -> None:
    repo = make_repo(tmp_path, zygote, **configuration)
    assert killed(repo, policy, 0, 7, 7) not in (0, 1, 68)
    assert load(repo, policy, 0, 7, 7) == 0, repo.result()["message"]
    assert online_values(repo) == expected(repo.parquet, [window(0, 7)], "s")
    assert intervals(repo) == [days(0, 7)]


@pytest.mark.parametrize("policy", ["refuse", "guard"])
def test_where_older_rows_cannot_be_left_out_a_chunk_is_one_window(
    policy: str, tmp_path: Path, zygote: Zygote
) -> None:
    repo = make_repo(tmp_path, zygote, **FAR)
    assert load(repo, policy, 0, 5, 2) == 0
    assert [start for start, _ in loaded(repo)] == ["2026-03-01", "2026-03-03", "2026-03-05"]
    assert load(repo, policy, 6, 8, 2) == 0, "what comes later is not older"
    assert load(repo, policy, 6, 8, 2) == 0, "the same again is not older"
    assert load(repo, policy, 5, 6, 1) == 68
    assert load(repo, "overwrite", 5, 7, 2) == 0
    assert len(loaded(repo)) == 2, "where it does not matter, windows are what the plan says"


def test_a_plan_of_older_chunks_is_extended_once(tmp_path: Path, zygote: Zygote) -> None:
    repo = make_repo(tmp_path, zygote)
    assert load(repo, "guard", 6, 8, 1) == 0
    assert load(repo, "extend", 0, 5, 1, "--index", "0") == 0
    assert loaded(repo) == [("2026-03-01", "2026-03-08")]
    said = repo.log.read_text()
    cost = "loads [2026-03-01, 2026-03-09) of it at once, 3 days, 0:00:00 more than the plan asks for"
    assert said.index(cost) < said.index('"view_started"'), "the cost is told before the first load"
    for chunk in range(1, 5):
        assert load(repo, "extend", 0, 5, 1, "--index", str(chunk)) == 0
        assert (loaded(repo), len(skipped(repo))) == ([], 1), f"chunk {chunk} is online already"
    assert online_values(repo) == expected(repo.parquet, [window(0, 8)], "s")
    assert intervals(repo) == [days(0, 8)]


def test_a_plan_in_one_process_is_extended_once_and_goes_on_with_what_is_new(
    tmp_path: Path, zygote: Zygote
) -> None:
    repo = make_repo(tmp_path, zygote)
    assert load(repo, "guard", 3, 4, 1) == 0
    assert load(repo, "extend", 0, 6, 1) == 0
    assert loaded(repo) == [
        ("2026-03-01", "2026-03-04"),
        *((f"2026-03-0{day}", f"2026-03-0{day}") for day in (4, 5, 6)),
    ]
    assert skipped(repo) == ["2026-03-02", "2026-03-03"]
    assert "no more than the plan asks for" in repo.log.read_text()
    assert online_values(repo) == expected(repo.parquet, [window(0, 6)], "s")


def test_what_was_extended_before_is_loaded_again_when_that_is_asked_for(
    tmp_path: Path, zygote: Zygote
) -> None:
    """A person clears the task because the data were mended: nothing may be left out for what the registry says."""
    repo = make_repo(tmp_path, zygote)
    assert load(repo, "guard", 6, 8, 1) == 0
    for _ in range(2):
        assert load(repo, "extend", 0, 3, 1) == 0
        assert loaded(repo) == [("2026-03-01", "2026-03-08")]
    assert load(repo, "extend", 1, 3, 1) == 0
    assert loaded(repo) == [("2026-03-02", "2026-03-08")]


def test_a_view_that_is_ahead_is_left_alone_by_what_another_one_still_needs(
    tmp_path: Path, zygote: Zygote
) -> None:
    """A run that catches up, on an engine whose rows cannot be left out: one view has nothing new, which is no error."""
    repo = make_repo(tmp_path, zygote, **FAR)
    (tmp_path / "definitions.py").write_text(DEFINITIONS + BEHIND)
    assert repo.feast("apply") == 0, repo.log.read_text()
    assert load(repo, "guard", 0, 6, 6) == 0
    plan = IncrementalPlan(DAY_0 + 4 * DAY, ()).to_json()
    assert repo.runner("materialize", "--plan", plan) == 0, repo.result()["message"]
    assert set(repo.result()["views"]) == {"behind"}
    assert f"{VIEW}: nothing is new" in repo.log.read_text()
