"""Plans in the pod, with the real Feast: chunks, failures, older windows, the registry, deletions."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from feast_stores import (
    DAY_0,
    DEFINITIONS,
    PROJECT,
    VIEW,
    Repo,
    Row,
    Zygote,
    dsn,
    expected,
    online_values,
    write_rows,
)
from store_kinds import StoreKinds, killed_after_a_write

from airflow_provider_feast.model.plan import Plan
from airflow_provider_feast.model.result import CommandResult
from airflow_provider_feast.model.windows import Window

DAY = timedelta(days=1)
DAY_MICROSECONDS = 86_400 * 10**6
ROWS = [
    Row(thing, day * DAY_MICROSECONDS + part, 10 * day + thing)
    for thing in (1, 2)
    for day in range(6)
    for part in (0, DAY_MICROSECONDS - 1_000_000)
]
DOUBLED = """
def doubled(frame):
    return frame.assign(double=frame["value"] * 2)[["id", "double", "at"]]
"""
MORE = (
    DOUBLED
    + """
from feast import BatchFeatureView, FeatureService
from feast.on_demand_feature_view import on_demand_feature_view

extra = FeatureView(
    name="extra", entities=[thing], ttl=timedelta(days=3650), online=True,
    schema=[Field(name="value", dtype=Int64)],
    source=FileSource(name="extra_source", path="extra.parquet", timestamp_field="at"),
)

@on_demand_feature_view(sources=[numbers], schema=[Field(name="score", dtype=Int64)], mode="python")
def score(inputs):
    return {"score": [2 * value for value in inputs["value"]]}

a_derived = BatchFeatureView(
    name="a_derived", entities=[thing], ttl=timedelta(days=3650), online=True, mode="pandas", udf=doubled,
    schema=[Field(name="double", dtype=Int64)], source=[numbers], udf_string="doubled",
    sink_source=FileSource(name="derived_sink", path="extra.parquet", timestamp_field="at"),
)

service = FeatureService(name="service", features=[numbers, extra])
"""
)


def window(first: float, last: float) -> Window:
    return Window(DAY_0 + first * DAY, DAY_0 + last * DAY)


def plan(first: float, last: float, per_chunk: int = 1, views: tuple[str, ...] = (VIEW,)) -> str:
    return Plan(*window(first, last), DAY, per_chunk, views).to_json()


@pytest.fixture(scope="module")
def kinds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StoreKinds]:
    found = StoreKinds(tmp_path_factory.mktemp("servers"))
    yield found
    found.close()


everywhere = pytest.mark.parametrize("repo", ["file", "postgres", "redis"], indirect=True)
"""Else a test runs on a file registry and SQLite alone."""


def make_repo(home: Path, zygote: Zygote, kinds: StoreKinds, kind: str = "file", **more: Any) -> Repo:
    repo = Repo(home, zygote, *kinds.make(kind, home), **more)
    write_rows(repo.parquet, ROWS)
    write_rows(repo.home / "extra.parquet", ROWS)
    (repo.home / "definitions.py").write_text(DEFINITIONS + MORE)
    assert repo.feast("apply") == 0, repo.log.read_text()
    return repo


@pytest.fixture
def repo(request: pytest.FixtureRequest, tmp_path: Path, zygote: Zygote, kinds: StoreKinds) -> Repo:
    return make_repo(tmp_path, zygote, kinds, getattr(request, "param", "file"))


def result_of(repo: Repo) -> CommandResult:
    found = CommandResult.parse((repo.home / "termination-log").read_text())
    assert found is not None
    return found


def objects(repo: Repo, *views: str) -> dict[str, dict[str, Any]]:
    """What ``inspect`` prints of each object, without the time at which it printed it."""
    repo.log.unlink(missing_ok=True)
    assert repo.runner("inspect", *(part for view in views for part in ("--view", view))) == 0, (
        repo.log.read_text()
    )
    found = [event for event in repo.events() if event["feast_event"] == "registry_object"]
    return {event["name"]: {key: event[key] for key in event.keys() - {"time"}} for event in found}


def starts(repo: Repo) -> list[tuple[str, str]]:
    """Which windows of which views were loaded, in this order."""
    ends = [event for event in repo.events() if event["feast_event"] == "view_finished"]
    return [(event["view"], event.get("start", "")[:10]) for event in ends]


@everywhere
def test_a_pod_loads_its_own_chunk_and_no_row_twice(repo: Repo) -> None:
    text = plan(0, 5, per_chunk=2)
    assert repo.runner("materialize", "--plan", text, "--index", "1") == 0, repo.log.read_text()
    assert starts(repo) == [(VIEW, "2026-03-03"), (VIEW, "2026-03-04")]
    result = result_of(repo)
    assert (result.verdict, result.chunk, result.steps) == ("succeeded", 1, (2, 2))
    assert (result.views[VIEW].rows, result.views[VIEW].windows) == (4, 2)
    assert online_values(repo) == expected(repo.parquet, [window(2, 4)], repo.unit)
    assert repo.runner("materialize", "--plan", text, "--chunks", "0,2", "--index", "1") == 0
    assert result_of(repo).chunk == 2
    assert objects(repo)[VIEW]["intervals"] == [
        ["2026-03-03T00:00:00+00:00", "2026-03-05T23:59:59.999999+00:00"]
    ]


def test_views_are_loaded_by_name_but_after_what_they_are_derived_from(repo: Repo) -> None:
    assert repo.runner("materialize", "--plan", plan(0, 2, views=())) == 0, repo.log.read_text()
    assert [view for view, _ in starts(repo)] == ["numbers", "a_derived", "extra"] * 2
    said = repo.log.read_text()
    assert "Materializing" not in said
    assert "] 1 of 6 loads done; numbers [2026-03-01, 2026-03-02): 2 rows in 0." in said
    assert "[####################] 6 of 6 loads done, chunk" not in said


def drop_table(repo: Repo, view: str) -> None:
    """The view's online table vanishes: its loads fail in the database, and leave a failed transaction."""
    statement = f"DROP TABLE {PROJECT}_{view}"
    if repo.online["type"] == "sqlite":
        with sqlite3.connect(repo.online["path"]) as connection:
            connection.execute(statement)
    else:
        import psycopg

        with psycopg.connect(dsn(repo.online)) as connection:
            connection.execute(statement)


@pytest.mark.parametrize("repo", ["file", "postgres"], indirect=True)
def test_a_view_that_fails_leaves_the_others_their_result(repo: Repo) -> None:
    drop_table(repo, "extra")
    code = repo.runner("materialize", "--plan", plan(0, 2, views=("extra", "numbers")))
    result = result_of(repo)
    assert (code, result.verdict, result.failed) == (1, "failed", ("extra",))
    assert result.message.startswith("1 feature view failed: extra [2026-03-01, 2026-03-02): ")
    assert (result.steps, result.views["numbers"].windows, "extra" in result.views) == ((4, 4), 2, False)
    assert online_values(repo) == expected(repo.parquet, [window(0, 2)], repo.unit)
    found = objects(repo, "extra", "numbers")
    assert found["extra"]["intervals"] == []
    assert "MATERIALIZING" not in {found["extra"]["state"], found["numbers"]["state"]}


@pytest.fixture
def ahead(repo: Repo) -> Repo:
    """Day 3 is loaded; days before it are older."""
    assert repo.runner("materialize", "--plan", plan(3, 4)) == 0
    repo.log.unlink()
    return repo


@everywhere
def test_an_older_window_is_refused_with_its_cost(ahead: Repo) -> None:
    before = online_values(ahead)
    code = ahead.runner("materialize", "--plan", plan(1, 2), "--older-windows", "refuse")
    result = result_of(ahead)
    assert (code, result.kind) == (68, "older_window")
    assert "2 days, 0:00:00 more" in result.message
    assert online_values(ahead) == before
    assert ahead.runner("materialize", "--plan", plan(3, 5), "--older-windows", "refuse") == 0


@everywhere
def test_an_older_window_is_skipped_or_extended_or_overwrites(ahead: Repo) -> None:
    before = online_values(ahead)
    assert ahead.runner("materialize", "--plan", plan(1, 2), "--older-windows", "skip") == 0
    assert (online_values(ahead), starts(ahead)) == (before, [])
    assert any(event["feast_event"] == "view_skipped" for event in ahead.events())
    assert ahead.runner("materialize", "--plan", plan(1, 2), "--older-windows", "extend") == 0
    assert online_values(ahead) == before
    assert objects(ahead)[VIEW]["intervals"] == [
        ["2026-03-02T00:00:00+00:00", "2026-03-04T23:59:59.999999+00:00"]
    ]
    assert ahead.runner("materialize", "--plan", plan(0, 1), "--older-windows", "overwrite") == 0
    overwritten = expected(ahead.parquet, [window(0, 1)], ahead.unit)
    assert online_values(ahead) == (before if compares_itself(ahead) else overwritten)
    assert overwritten != before


def compares_itself(repo: Repo) -> bool:
    """Whether the online store takes no older rows, whoever writes them."""
    return repo.online["type"] == "redis"


@everywhere
def test_older_rows_are_left_out_and_counted(ahead: Repo) -> None:
    before = online_values(ahead)
    assert ahead.runner("materialize", "--plan", plan(1, 2)) == 0
    assert online_values(ahead) == before
    (done,) = (event for event in ahead.events() if event["feast_event"] == "view_finished")
    assert (done["rows"], done["older"]) == (0, 2)
    assert "2 older than what is online were left out" in ahead.log.read_text()


@everywhere
def test_the_plain_command_line_can_be_guarded_too(ahead: Repo) -> None:
    before = online_values(ahead)
    times = [moment.replace(tzinfo=None).isoformat() for moment in window(1, 2)]
    argv = ["--older-windows", "guard", "--", "materialize", *times, "-v", VIEW]
    assert ahead.runner("run", *argv) == 0
    assert online_values(ahead) == before


@everywhere
def test_a_chunk_that_was_killed_in_the_middle_is_loaded_again(repo: Repo) -> None:
    """The first day is done; the second is online, and the registry does not know that."""
    text = plan(0, 2, per_chunk=2)
    with killed_after_a_write(repo, day=2):
        assert repo.runner("materialize", "--plan", text) == -signal.SIGKILL, repo.log.read_text()
    told = result_of(repo)
    assert (told.verdict, told.steps) == ("running", (1, 2))
    repo.log.unlink()
    assert repo.runner("materialize", "--plan", text, "--heal", "all") == 0, repo.log.read_text()
    assert starts(repo) == [(VIEW, "2026-03-01"), (VIEW, "2026-03-02")]
    assert online_values(repo) == expected(repo.parquet, [window(0, 2)], repo.unit)
    found = objects(repo)[VIEW]
    assert found["intervals"] == [["2026-03-01T00:00:00+00:00", "2026-03-02T23:59:59.999999+00:00"]]
    assert found["state"] != "MATERIALIZING"


def test_an_engine_that_writes_past_the_runner_cannot_be_guarded(
    tmp_path: Path, zygote: Zygote, kinds: StoreKinds
) -> None:
    (tmp_path / "far_engine.py").write_text(
        "from feast.infra.compute_engines.local.compute import LocalComputeEngine, LocalComputeEngineConfig\n"
        "class FarEngineConfig(LocalComputeEngineConfig):\n    type: str = 'far_engine.FarEngine'\n"
        "class FarEngine(LocalComputeEngine):\n    pass\n"
    )
    repo = make_repo(
        tmp_path, zygote, kinds, batch_engine={"type": "far_engine.FarEngine", "backend": "pandas"}
    )
    assert repo.runner("materialize", "--plan", plan(3, 4)) == 0, repo.log.read_text()
    code = repo.runner("materialize", "--plan", plan(1, 2))
    assert (code, result_of(repo).kind) == (68, "older_window")
    assert "writes past the runner" in result_of(repo).message
    times = [moment.replace(tzinfo=None).isoformat() for moment in window(1, 2)]
    argv = ["--older-windows", "guard", "--", "materialize", *times, "-v", VIEW]
    assert repo.runner("run", *argv) == 68
    assert result_of(repo).kind == "older_window"
    later = [
        "--older-windows",
        "guard",
        "--",
        "materialize-incremental",
        window(5, 6).end.isoformat(),
        "-v",
        VIEW,
    ]
    assert repo.runner("run", *later) == 0, repo.log.read_text()


def test_an_unknown_view_and_an_empty_registry_are_told(repo: Repo) -> None:
    assert repo.runner("materialize", "--plan", plan(0, 1, views=("nobody",))) == 1
    assert result_of(repo).kind == "unknown_feature_view"
    (repo.home / "registry.db").unlink()
    assert repo.runner("materialize", "--plan", plan(0, 1, views=())) == 65
    assert result_of(repo).kind == "nothing_materialized"
    assert not (repo.home / "registry.db").exists()


@pytest.mark.parametrize("repo", ["file", "postgres"], indirect=True)
def test_inspect_tells_the_registry_where_registry_dump_crashes(repo: Repo) -> None:
    assert repo.runner("run", "--", "registry-dump") == 1
    found = objects(repo)
    assert {
        name: found[name]["kind"] for name in ("thing", "numbers", "score", "service", "extra_source")
    } == {
        "thing": "entity",
        "numbers": "feature_view",
        "score": "on_demand_feature_view",
        "service": "feature_service",
        "extra_source": "data_source",
    }
    assert found["score"]["source_views"] == found["a_derived"]["source_views"] == ["numbers"]
    assert found["service"]["views"] == ["extra", "numbers"]
    assert (found["numbers"]["ttl_seconds"], found["numbers"]["features"]) == (
        3650 * 86400,
        ["value", "twice"],
    )
    assert (found["numbers"]["intervals"], found["numbers"]["online"]) == ([], True)
    (end,) = (event for event in repo.events() if event["feast_event"] == "registry_finished")
    assert (end["objects"], end["errors"]) == (len(found), 0)
    assert set(objects(repo, "extra")) == {"extra"}
    (repo.home / "definitions.py").unlink()
    assert objects(repo).keys() == found.keys(), "functions of views need definitions that a pod may lack"


def test_apply_refuses_deletions_and_lists_them_unless_they_are_allowed(repo: Repo) -> None:
    assert repo.runner("run", "--", "apply") == 0, "applying the same again deletes nothing"
    (repo.home / "definitions.py").write_text(DEFINITIONS + DOUBLED)
    assert repo.runner("run", "--", "apply") == 68, repo.log.read_text()
    result = result_of(repo)
    assert result.kind == "deletions_refused"
    for name in ("FeatureView extra", "FeatureService service", "OnDemandFeatureView score"):
        assert name in result.message
    assert set(objects(repo)) > {"extra", "service", "score"}
    assert repo.runner("run", "--allow-deletions", "--", "apply") == 0
    assert not {"extra", "service", "score"} & set(objects(repo))


def test_a_plan_says_what_apply_deletes_and_apply_deletes_no_more_than_was_agreed(repo: Repo) -> None:
    (repo.home / "definitions.py").write_text(DEFINITIONS + DOUBLED)
    before = objects(repo)
    assert repo.runner("run", "--", "plan") == 0, repo.log.read_text()
    changes = result_of(repo).changes
    assert changes is not None
    gone = {"FeatureView extra", "FeatureService service", "OnDemandFeatureView score"}
    assert gone < set(changes["delete"])
    assert changes["omitted"] == 0
    assert objects(repo) == before, "a plan changes nothing"
    agreed = [f"--allow-deletion={name}" for name in changes["delete"]]
    assert repo.runner("run", *agreed[1:], "--", "apply") == 68
    message = result_of(repo).message
    assert changes["delete"][0] in message
    assert changes["delete"][1] not in message
    assert repo.runner("run", *agreed, "--", "apply") == 0, repo.log.read_text()
    assert not {"extra", "service", "score"} & set(objects(repo))
    assert result_of(repo).changes is None


def test_the_batches_are_bounded_unless_the_configuration_says_otherwise(
    tmp_path: Path, zygote: Zygote
) -> None:
    sizes = tmp_path / "sizes"
    store = (
        "from typing import Literal\n"
        "from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig\n"
        "class CountingSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):\n"
        "    type: Literal['counting.CountingSqliteOnlineStore'] = 'counting.CountingSqliteOnlineStore'\n"
        "class CountingSqliteOnlineStore(SqliteOnlineStore):\n"
        "    def online_write_batch(self, config, table, data, progress):\n"
        f"        open({str(sizes)!r}, 'a').write(f'{{len(data)}}\\n')\n"
        "        super().online_write_batch(config, table, data, progress)\n"
    )
    for configured, first in ((None, 10_000), (2_000, 2_000)):
        home = tmp_path / f"home-{first}"
        home.mkdir()
        (home / "counting.py").write_text(store)
        online = {"type": "counting.CountingSqliteOnlineStore", "path": str(home / "online.db")}
        more = {"materialization": {"online_write_batch_size": configured}} if configured else {}
        repo = Repo(home, zygote, str(home / "registry.db"), online, **more)
        write_rows(repo.parquet, [Row(thing, 0, thing) for thing in range(12_000)])
        assert repo.runner("materialize", "--plan", plan(0, 1)) == 0, repo.log.read_text()
        assert sizes.read_text().splitlines()[0] == str(first)
        sizes.unlink()


def test_the_digest_of_the_plan_and_its_chunks_are_in_the_log(repo: Repo) -> None:
    text = plan(0, 5, per_chunk=2)
    assert repo.runner("materialize", "--plan", text, "--index", "2") == 0
    (event,) = (event for event in repo.events() if event["feast_event"] == "plan_started")
    assert (event["digest"], event["chunks"], event["of"]) == (json.loads(text)["digest"], [2], 3)
