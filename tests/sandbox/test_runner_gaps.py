"""Gaps in the pod, with the real Feast: what incremental passes over, repairs, and readers that change nothing."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from feast_stores import (
    DAY_0,
    DEFINITIONS,
    VIEW,
    Repo,
    Row,
    Zygote,
    expected,
    online_values,
    write_rows,
)
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from store_kinds import KINDS, StoreKinds, killed_after_a_write

from airflow_provider_feast.model.plan import IncrementalPlan
from airflow_provider_feast.model.result import CommandResult
from airflow_provider_feast.runner.intervals import TICK, missing

DAY = timedelta(days=1)
DAY_MICROSECONDS = 86_400 * 10**6
ROWS = [
    Row(thing, day * DAY_MICROSECONDS + thing * 10**6, 10 * day + thing)
    for thing in range(3)
    for day in range(8)
]
ROWS.append(
    Row(9, 2 * DAY_MICROSECONDS + 5 * 10**6, 99)
)  # the others have a row a day; this one only of 3 March
MORE = """
other = FeatureView(
    name="other", entities=[thing], ttl=timedelta(days=3650), online=True,
    schema=[Field(name="value", dtype=Int64)],
    source=FileSource(name="other_source", path="other.parquet", timestamp_field="at"),
)
"""
FAR_ENGINE = (
    "from feast.infra.compute_engines.local.compute import LocalComputeEngine, LocalComputeEngineConfig\n"
    "class FarEngineConfig(LocalComputeEngineConfig):\n    type: str = 'far_engine.FarEngine'\n"
    "class FarEngine(LocalComputeEngine):\n    pass\n"
)


def at(day: float) -> datetime:
    return DAY_0 + day * DAY


def iso(day: float) -> str:
    return at(day).isoformat()


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreKinds]:
    found = StoreKinds(tmp_path_factory.mktemp("servers"))
    yield found
    found.close()


everywhere = pytest.mark.parametrize("repo", KINDS, indirect=True)
"""Else a test runs on SQLite alone, with a file registry and with a SQL registry."""


def make_repo(home: Path, zygote: Zygote, kinds: StoreKinds, kind: str = "file", **more: Any) -> Repo:
    repo = Repo(home, zygote, *kinds.make(kind, home), **more)
    write_rows(repo.parquet, ROWS)
    write_rows(home / "other.parquet", ROWS)
    (home / "definitions.py").write_text(DEFINITIONS + MORE)
    assert repo.feast("apply") == 0, repo.log.read_text()
    return repo


@pytest.fixture(params=("file", "sql"))
def repo(request: pytest.FixtureRequest, tmp_path: Path, zygote: Zygote, kinds: StoreKinds) -> Repo:
    return make_repo(tmp_path, zygote, kinds, request.param)


def load(repo: Repo, first: float, last: float, *views: str) -> None:
    """Load days as plain Feast does, with the half-open window's end."""
    times = [
        moment.replace(tzinfo=None).isoformat()
        for moment in (at(first), at(last) - timedelta(microseconds=1))
    ]
    named = [part for view in views or (VIEW,) for part in ("-v", view)]
    assert repo.feast("materialize", *times, *named) == 0, repo.log.read_text()
    repo.log.unlink()


def incremental(repo: Repo, end: float, gaps: str, *views: str) -> int:
    plan = IncrementalPlan(at(end), views or (VIEW,))
    return repo.runner("materialize", "--plan", plan.to_json(), "--older-windows", "guard", "--gaps", gaps)


def repair(repo: Repo, first: float, last: float, *more: str) -> int:
    return repo.runner("repair", "--start", iso(first), "--end", iso(last), *more)


def result_of(repo: Repo) -> CommandResult:
    found = CommandResult.parse((repo.home / "termination-log").read_text())
    assert found is not None
    return found


def intervals(repo: Repo) -> dict[str, list[list[str]]]:
    """What the registry says is loaded of each view, by `inspect`."""
    repo.log.unlink(missing_ok=True)
    assert repo.runner("inspect") == 0, repo.log.read_text()
    told = [event for event in repo.events() if event["feast_event"] == "registry_object"]
    return {event["name"]: event["intervals"] for event in told if event["kind"] == "feature_view"}


def days(first: float, last: float) -> list[str]:
    """An interval as the registry has it, both ends included."""
    return [iso(first), (at(last) - timedelta(microseconds=1)).isoformat()]


def right(repo: Repo, *windows: tuple[float, float]) -> bool:
    return online_values(repo) == expected(
        repo.parquet, [(at(first), at(last)) for first, last in windows], repo.unit
    )


# --- incremental ---------------------------------------------------------------------------------


@pytest.fixture
def gap(repo: Repo) -> Repo:
    """Days 0 and 3 are loaded, 1 and 2 are not."""
    load(repo, 0, 1)
    load(repo, 3, 4)
    return repo


@everywhere
def test_a_gap_is_told_in_the_log_and_in_the_result_and_passed_over(gap: Repo) -> None:
    assert incremental(gap, 5, "report") == 0, gap.log.read_text()
    assert (
        f"WARNING: {VIEW} was never loaded for [2026-03-02, 2026-03-04); materialize-incremental goes on from 2026-03-05"
        in gap.log.read_text()
    )
    result = result_of(gap)
    assert (result.verdict, result.gaps) == ("succeeded", {VIEW: [(iso(1), iso(3))]})
    (event,) = (event for event in gap.events() if event["feast_event"] == "view_gaps")
    assert (event["view"], event["gaps"]) == (VIEW, [[iso(1), iso(3)]])
    assert intervals(gap)[VIEW] == [days(0, 1), days(3, 5)]


@everywhere
def test_a_gap_is_filled_after_what_is_new_and_older_values_stay_out(gap: Repo) -> None:
    assert incremental(gap, 5, "fill") == 0, gap.log.read_text()
    result = result_of(gap)
    assert (result.gaps, result.gaps_omitted) == ({}, 0)
    assert result.views[VIEW].windows == 3
    assert intervals(gap)[VIEW] == [days(0, 5)]
    assert right(gap, (0, 5))


@everywhere
def test_gaps_are_left_alone_when_nobody_asks(gap: Repo) -> None:
    assert incremental(gap, 5, "ignore") == 0
    assert "never loaded" not in gap.log.read_text()
    assert result_of(gap).gaps == {}


def test_views_without_a_gap_and_views_never_loaded_are_not_told(repo: Repo) -> None:
    load(repo, 0, 2)
    load(repo, 1, 3)
    assert incremental(repo, 4, "report", VIEW, "other") == 0, repo.log.read_text()
    assert "never loaded" not in repo.log.read_text()
    assert result_of(repo).gaps == {}


def test_a_gap_that_cannot_be_loaded_keeps_nothing_new_from_the_online_store(gap: Repo) -> None:
    """The online store refuses rows of the gap, and takes newer ones."""
    with sqlite3.connect(gap.online["path"]) as connection:
        connection.execute(
            "CREATE TRIGGER late BEFORE INSERT ON demo_numbers WHEN NEW.event_ts < "
            f"{int((at(3)).replace(tzinfo=None).timestamp())} BEGIN SELECT RAISE(ABORT, 'too old'); END"
        )
        connection.execute("DELETE FROM demo_numbers")
    assert incremental(gap, 5, "fill") == 1
    assert right(gap, (4, 5))
    result = result_of(gap)
    assert (result.verdict, result.gaps) == ("failed", {VIEW: [(iso(1), iso(3))]})


def test_an_engine_that_writes_past_the_runner_fills_no_gap(
    tmp_path: Path, zygote: Zygote, kinds: StoreKinds
) -> None:
    (tmp_path / "far_engine.py").write_text(FAR_ENGINE)
    repo = make_repo(
        tmp_path, zygote, kinds, batch_engine={"type": "far_engine.FarEngine", "backend": "pandas"}
    )
    load(repo, 0, 1)
    load(repo, 3, 4)
    assert incremental(repo, 5, "fill") == 68
    result = result_of(repo)
    assert result.kind == "older_window"
    assert "FeastRepairOperator(older_windows='extend') closes them" in result.message
    assert incremental(repo, 5, "report") == 0


# --- repair --------------------------------------------------------------------------------------


@everywhere
def test_a_repair_loads_what_each_view_lacks_and_nothing_else(gap: Repo) -> None:
    load(gap, 5, 6, "other")
    assert repair(gap, 0, 6) == 0, gap.log.read_text()
    loads = [
        (event["view"], event["start"][:10])
        for event in gap.events()
        if event["feast_event"] == "view_finished"
    ]
    assert loads == [
        *(("other", "2026-03-01"), (VIEW, "2026-03-02"), ("other", "2026-03-02"), (VIEW, "2026-03-03")),
        *(("other", "2026-03-03"), ("other", "2026-03-04"), (VIEW, "2026-03-05"), ("other", "2026-03-05")),
        (VIEW, "2026-03-06"),
    ]
    assert intervals(gap) == {VIEW: [days(0, 6)], "other": [days(0, 6)]}
    assert right(gap, (0, 6))
    assert result_of(gap).gaps == {}
    gap.log.unlink()
    assert repair(gap, 0, 6) == 0
    assert "Nothing is missing in [2026-03-01, 2026-03-07) of 2 feature views." in gap.log.read_text()
    assert not [event for event in gap.events() if event["feast_event"] == "view_started"]


def kept(repo: Repo) -> list[Any]:
    """All that the stores hold: their files, byte for byte, and the rows that are elsewhere."""
    files = [(path.name, path.read_bytes()) for path in repo.home.glob("*.db")]
    return [sorted(files), online_values(repo), intervals(repo)]


@everywhere
def test_a_dry_run_prints_a_table_and_changes_nothing(gap: Repo) -> None:
    before = kept(gap)
    assert repair(gap, 0, 4, "--dry-run", "--view", VIEW) == 0, gap.log.read_text()
    table = [line for line in gap.log.read_text().splitlines() if line.startswith((VIEW, "feature view"))]
    assert table == [
        "feature view  window                    rows",
        "numbers       [2026-03-02, 2026-03-03)  unknown",
        "numbers       [2026-03-03, 2026-03-04)  unknown",
    ]
    assert result_of(gap).gaps == {VIEW: [(iso(1), iso(3))]}
    assert kept(gap) == before


@everywhere
def test_a_repair_that_was_killed_goes_on_with_what_is_left(gap: Repo) -> None:
    """The registry is the checkpoint: what was loaded is not missing any more."""
    with killed_after_a_write(gap, day=3):
        assert repair(gap, 0, 4, "--view", VIEW) == -signal.SIGKILL, gap.log.read_text()
    gap.log.unlink()
    assert repair(gap, 0, 4, "--view", VIEW, "--heal", "all") == 0, gap.log.read_text()
    loads = [event["start"][:10] for event in gap.events() if event["feast_event"] == "view_finished"]
    assert loads == ["2026-03-03"], "the second of March was loaded before the kill"
    assert intervals(gap)[VIEW] == [days(0, 4)]
    assert right(gap, (0, 4))


def test_an_unguarded_repair_loads_from_the_gap_to_the_newest_end_at_once(
    tmp_path: Path, zygote: Zygote, kinds: StoreKinds
) -> None:
    (tmp_path / "far_engine.py").write_text(FAR_ENGINE)
    repo = make_repo(
        tmp_path, zygote, kinds, batch_engine={"type": "far_engine.FarEngine", "backend": "pandas"}
    )
    load(repo, 0, 1)
    load(repo, 3, 4)
    assert repair(repo, 0, 4, "--view", VIEW) == 68
    assert result_of(repo).kind == "older_window"
    repo.log.unlink()
    assert repair(repo, 0, 4, "--view", VIEW, "--older-windows", "extend") == 0, repo.log.read_text()
    loads = [
        (event["start"], event["end"]) for event in repo.events() if event["feast_event"] == "view_finished"
    ]
    assert loads == [tuple(days(1, 4))]
    assert intervals(repo)[VIEW] == [days(0, 4)]
    assert right(repo, (0, 4))


def test_a_view_that_cannot_be_repaired_leaves_the_others_their_result(gap: Repo) -> None:
    with sqlite3.connect(gap.online["path"]) as connection:
        connection.execute("DROP TABLE demo_other")
    assert repair(gap, 0, 4) == 1
    result = result_of(gap)
    assert (result.failed, list(result.gaps)) == (("other",), ["other"])
    assert intervals(gap)[VIEW] == [days(0, 4)]


def test_a_repair_of_an_unknown_view_or_a_wrong_range_says_so(repo: Repo) -> None:
    assert repair(repo, 0, 1, "--view", "nobody") == 1
    assert result_of(repo).kind == "unknown_feature_view"
    assert repair(repo, 1, 1) == 64
    assert result_of(repo).kind == "usage_error"
    assert repo.runner("repair", "--start", "2026-03-01T00:00:00", "--end", iso(1)) == 64
    assert "has no time zone" in result_of(repo).message


def test_whatever_was_loaded_in_whichever_order_a_repair_ends_in_the_latest_rows(
    tmp_path: Path, zygote: Zygote, kinds: StoreKinds
) -> None:
    """Loads and the repaired range in quarters of a day; the parquet is read by pandas, the store by SQL."""
    repo = make_repo(tmp_path, zygote, kinds)
    fresh = {path: path.read_bytes() for path in repo.home.glob("*.db")}
    spans = st.tuples(st.integers(0, 24), st.integers(1, 9))

    @given(st.lists(spans, min_size=1, max_size=4), spans)
    @settings(max_examples=5, phases=[Phase.generate])
    def check(loads: list[tuple[int, int]], range_: tuple[int, int]) -> None:
        for path, content in fresh.items():
            path.write_bytes(content)
        windows = [(first / 4, (first + length) / 4) for first, length in (*loads, range_)]
        for first, last in windows[:-1]:
            times = [moment.replace(tzinfo=None).isoformat() for moment in (at(first), at(last) - TICK)]
            argv = ("--older-windows", "guard", "--", "materialize", *times, "-v", VIEW)
            assert repo.runner("run", *argv) == 0, repo.log.read_text()
        assert repair(repo, *windows[-1], "--view", VIEW) == 0, repo.log.read_text()
        assert right(repo, *windows)
        assert result_of(repo).gaps == {}
        told = [(datetime.fromisoformat(a), datetime.fromisoformat(b)) for a, b in intervals(repo)[VIEW]]
        assert missing(told, *map(at, windows[-1])) == []

    check()


# --- reading -------------------------------------------------------------------------------------


def test_who_only_reads_makes_no_registry(tmp_path: Path, zygote: Zygote, kinds: StoreKinds) -> None:
    repo = make_repo(tmp_path, zygote, kinds)
    (repo.home / "registry.db").unlink()
    assert repo.runner("inspect") == 0, repo.log.read_text()
    assert repair(repo, 0, 1, "--dry-run") == 65, repo.log.read_text()
    assert not (repo.home / "registry.db").exists()


def test_a_registry_that_is_being_written_is_read_again(
    tmp_path: Path, zygote: Zygote, kinds: StoreKinds
) -> None:
    repo = make_repo(tmp_path, zygote, kinds)
    registry = repo.home / "registry.db"
    whole = registry.read_bytes()
    registry.write_bytes(whole[:-1])
    repo.log.unlink()
    with ThreadPoolExecutor(1) as pool:
        inspecting = pool.submit(repo.runner, "inspect")
        wait_until(lambda: repo.log.exists() and "command_started" in repo.log.read_text())
        registry.write_bytes(whole)
        assert inspecting.result(60) == 0, repo.log.read_text()
    (end,) = (event for event in repo.events() if event["feast_event"] == "registry_finished")
    assert (end["errors"], end["objects"]) == (0, 5), repo.log.read_text()
    registry.write_bytes(whole[:-1])
    repo.log.unlink()
    assert repo.runner("inspect") == 0
    told = [event["message"] for event in repo.events() if event["feast_event"] == "registry_error"]
    assert told
    assert all("DecodeError" in message for message in told), "one that stays broken is told"


def wait_until(seen: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not seen():
        assert time.monotonic() < end
        time.sleep(0.01)
