"""The online store never goes back in time: windows in any order, retried and overlapping, on each kind of store."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

import pytest
from database_servers import postgres_server, redis_server
from feast_stores import (
    DAY_0,
    VIEW,
    Repo,
    Row,
    Zygote,
    empty_online_store,
    expected,
    online_values,
    postgres_registry,
    postgres_store,
    write_rows,
)
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from airflow_provider_feast.model.plan import Plan

DAYS = 5
QUARTER = 6 * 3600 * 10**6
"""Microseconds of six hours: where windows begin and end."""


class Scenario(NamedTuple):
    """Rows of a parquet file, and windows in the order in which they are loaded.

    :param by_plan: as plans of one window; else as the guarded command line of Feast.
    """

    rows: tuple[Row, ...]
    windows: tuple[tuple[datetime, datetime], ...]
    by_plan: bool


def instant(quarter: int) -> datetime:
    return DAY_0 + timedelta(microseconds=quarter * QUARTER)


def second(place: tuple[int, int]) -> tuple[int, int]:
    """SQLite keeps whole seconds, so no two rows of an entity may lie in one second."""
    return place[0], place[1] // 10**6


@st.composite
def scenarios(draw: st.DrawFn, windows_at_least: int = 1) -> Scenario:
    border = st.integers(0, DAYS * 4 - 1).map(lambda quarter: quarter * QUARTER)
    last = st.integers(1, DAYS * 4).map(lambda quarter: quarter * QUARTER - 1)
    anywhere = st.integers(0, DAYS * 4 * QUARTER - 1)
    places = st.tuples(st.integers(0, 3), st.one_of(border, last, anywhere))
    rows = draw(st.lists(places, min_size=1, max_size=16, unique_by=second))
    bounds = st.tuples(st.integers(0, DAYS * 4 - 1), st.integers(1, 8))
    windows = draw(st.lists(bounds, min_size=windows_at_least, max_size=6))
    return Scenario(
        tuple(Row(thing, at, number) for number, (thing, at) in enumerate(rows)),
        tuple((instant(start), instant(start + length)) for start, length in windows),
        draw(st.booleans()),
    )


def by_the_runner(repo: Repo, scenario: Scenario) -> None:
    for start, end in scenario.windows:
        if scenario.by_plan:
            plan = Plan(start, end, end - start, views=(VIEW,))
            code = repo.runner("materialize", "--plan", plan.to_json())
        else:
            code = repo.runner("run", "--older-windows", "guard", "--", *plain_command(start, end))
        assert code == 0, repo.log.read_text()


def plain_command(start: datetime, end: datetime) -> list[str]:
    """A half-open window as Feast's command line takes it."""
    times = (start, end - timedelta(microseconds=1))
    return ["materialize", *(moment.replace(tzinfo=None).isoformat() for moment in times), "-v", VIEW]


def by_the_plain_command_line(repo: Repo, scenario: Scenario) -> None:
    for start, end in scenario.windows:
        assert repo.feast(*plain_command(start, end)) == 0, repo.log.read_text()


def is_right(repo: Repo, scenario: Scenario, load: Callable[[Repo, Scenario], None]) -> bool:
    """Whether the online values are then the latest rows over the union of the windows."""
    write_rows(repo.parquet, scenario.rows)
    empty_online_store(repo)
    load(repo, scenario)
    return online_values(repo) == expected(repo.parquet, scenario.windows, repo.unit)


STORES = ("sqlite", "sqlite-sql-registry", "postgres", "redis", "redis-skip-dedup")


@pytest.fixture(scope="module", params=STORES)
def repo(
    request: pytest.FixtureRequest, zygote: Zygote, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Repo]:
    home = tmp_path_factory.mktemp(request.param)
    kind = request.param.split("-")[0]
    registry = str(home / "registry.db")
    if kind == "sqlite":
        if "sql-registry" in request.param:
            where = f"sqlite:///{home / 'registry.sqlite'}"
            registry = {"registry_type": "sql", "path": where, "cache_ttl_seconds": 0}
        yield Repo(home, zygote, registry, {"type": "sqlite", "path": str(home / "online.db")})
        return
    directory = tmp_path_factory.mktemp(f"{request.param}-server")
    if kind == "postgres":
        with postgres_server(directory) as server:
            yield Repo(home, zygote, postgres_registry(server), postgres_store(server))
        return
    with redis_server(directory) as server:
        online = {"type": "redis", "connection_string": f"{server.host}:{server.port}"}
        yield Repo(home, zygote, registry, online | ({"skip_dedup": True} if "skip" in request.param else {}))


def test_any_sequence_of_windows_ends_in_the_latest_rows(repo: Repo) -> None:
    @given(scenarios())
    @settings(max_examples=20)
    def check(scenario: Scenario) -> None:
        assert is_right(repo, scenario, by_the_runner)

    check()


def test_the_plain_command_line_puts_older_values_online(repo: Repo) -> None:
    if repo.online["type"] == "redis" and not repo.online.get("skip_dedup"):
        scenario = Scenario(
            (Row(0, 0, 1), Row(0, 4 * QUARTER, 2)),
            ((instant(4), instant(8)), (instant(0), instant(4))),
            by_plan=True,
        )
        assert is_right(repo, scenario, by_the_plain_command_line), "Redis compares event times by itself"
        return
    quick = settings(max_examples=200, phases=[Phase.generate], report_multiple_bugs=False)
    wrong = find(
        scenarios(3), lambda scenario: not is_right(repo, scenario, by_the_plain_command_line), settings=quick
    )
    assert is_right(repo, wrong, by_the_runner)
