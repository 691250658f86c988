"""Redis leaves out by itself what is older or as old: the counts say what was really written."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from database_servers import redis_server
from feast_stores import DAY_0, VIEW, Repo, Row, Zygote, expected, online_values, write_rows

from airflow_provider_feast.model.plan import Plan

DAY = timedelta(days=1)
DAY_MICROSECONDS = 86_400 * 10**6
THINGS, DAYS = 5, 3


@pytest.mark.parametrize("policy", ["guard", "overwrite"])
def test_rows_are_those_that_redis_took(policy: str, tmp_path: Path, zygote: Zygote) -> None:
    def load(first: int, last: int) -> tuple[int, str]:
        """How many rows were written, and what was said of it."""
        repo.log.unlink(missing_ok=True)
        plan = Plan(DAY_0 + first * DAY, DAY_0 + last * DAY, DAY, DAYS, (VIEW,)).to_json()
        assert repo.runner("materialize", "--plan", plan, "--older-windows", policy) == 0, (
            repo.log.read_text()
        )
        rows: int = repo.result()["views"][VIEW]["rows"]
        return rows, repo.log.read_text()

    server_home, home = tmp_path / "server", tmp_path / "home"
    server_home.mkdir()
    home.mkdir()
    with redis_server(server_home) as server:
        online = {"type": "redis", "connection_string": f"{server.host}:{server.port}"}
        repo = Repo(home, zygote, str(home / "registry.db"), online)
        rows = [
            Row(thing, day * DAY_MICROSECONDS, 10 * day + thing)
            for day in range(DAYS)
            for thing in range(THINGS)
        ]
        # one thing is not there on the last day
        write_rows(repo.parquet, rows[:-1])
        assert load(1, 2)[0] == THINGS
        written, said = load(0, 1)
        assert written == 0
        assert "5 older than what is online were left out" in said
        assert load(0, DAYS)[0] == THINGS - 1, "days that are there count for nothing"
        whole = [(DAY_0, DAY_0 + DAYS * DAY)]
        assert online_values(repo) == expected(repo.parquet, whole)
