"""The demo's feature repository: its data, the expected values, and the check against the real Feast."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from runner_file import runner_file

from airflow_provider_feast.sandbox import demo_repo

END = datetime(2026, 3, 6, tzinfo=UTC)
START = END - timedelta(days=3)


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> demo_repo.DemoRepo:
    root = tmp_path_factory.mktemp("demo")
    return demo_repo.write_demo_repo(root / "repo", end=END, data_dir=str(root / "data"))


def script(*argv: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", str(demo_repo.__file__), *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


def test_the_same_end_gives_the_same_data(repo: demo_repo.DemoRepo, tmp_path: Path) -> None:
    assert script("seed", tmp_path, "--end", "2026-03-06").returncode == 0
    for name in demo_repo.VIEWS:
        assert pq.read_table(tmp_path / f"{name}.parquet").equals(
            pq.read_table(repo.data / f"{name}.parquet")
        )


def test_all_rows_lie_in_the_five_days_and_every_entity_has_some(repo: demo_repo.DemoRepo) -> None:
    for name, view in demo_repo.VIEWS.items():
        rows = pq.read_table(repo.data / f"{name}.parquet").to_pylist()
        assert all(repo.start <= row["event_timestamp"] < repo.end for row in rows)
        assert {row[view.key] for row in rows} == set(view.keys)


def test_an_end_that_is_no_utc_midnight_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="midnight in UTC"):
        demo_repo.write_demo_repo(tmp_path, end=END + timedelta(hours=1))


def test_the_expected_row_is_the_latest_in_the_half_open_window_and_of_equal_ones_the_last_created(
    repo: demo_repo.DemoRepo, tmp_path: Path
) -> None:
    for name in demo_repo.VIEWS:
        table = pq.read_table(repo.data / f"{name}.parquet")
        pq.write_table(table.slice(0, 0), tmp_path / f"{name}.parquet")
    rows = [
        {"driver_id": 1001, "event_timestamp": when, "created": created, "rating": rating}
        for when, created, rating in [
            (START, START, 1.0),
            (END - timedelta(seconds=1), END + timedelta(hours=2), 2.0),
            (END - timedelta(seconds=1), END + timedelta(hours=1), 3.0),
            (END, END, 4.0),
            (START - timedelta(seconds=1), END, 5.0),
        ]
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "driver_daily_rating.parquet")
    assert demo_repo.expected_online_values(tmp_path, START, END)["driver_daily_rating"] == {
        1001: {"rating": 2.0}
    }
    later = END + timedelta(days=7)
    assert demo_repo.past_ttl(tmp_path, START, END, later) == {("driver_daily_rating", 1001)}
    assert demo_repo.past_ttl(tmp_path, START, END, END) == set()


def test_a_wrong_online_value_is_told(repo: demo_repo.DemoRepo) -> None:
    expected = demo_repo.expected_online_values(repo.data, repo.start, END)
    online = {
        (view, key, feature): value
        for view, rows in expected.items()
        for key, row in rows.items()
        for feature, value in row.items()
    }
    for key in demo_repo.DRIVERS:
        factors = (
            online["driver_hourly_stats", key, "conv_rate"],
            online["driver_daily_rating", key, "rating"],
        )
        online["driver_score", key, "score"] = factors[0] * factors[1]
    assert all(each.ok for each in demo_repo.compare(online, str(repo.data), repo.start, END))
    online["customer_profile", 201, "orders"] = -1
    wrong = [each for each in demo_repo.compare(online, str(repo.data), repo.start, END) if not each.ok]
    assert [(each.entity, each.feature, each.online) for each in wrong] == [
        ("customer_id=201", "customer_profile:orders", -1)
    ]
    assert demo_repo.table(wrong).splitlines()[1].endswith("NO")


def test_expect_prints_what_the_function_returns(repo: demo_repo.DemoRepo) -> None:
    printed = script("expect", repo.data, "--start", START.isoformat(), "--end", END.isoformat())
    expected = demo_repo.expected_online_values(repo.data, START, END)
    assert json.loads(printed.stdout) == json.loads(json.dumps(expected))


def test_the_real_feast_serves_exactly_the_expected_values(repo: demo_repo.DemoRepo, tmp_path: Path) -> None:
    config = tmp_path / "feature_store.yaml"
    text = demo_repo.feature_store_yaml("demo", str(tmp_path))
    config.write_text(text)
    where = ["--repo", str(repo.definitions.parent), "--config", str(config)]
    end = (END - timedelta(microseconds=1)).isoformat()
    for command in (["apply"], ["materialize", START.isoformat(), end]):
        runner = [sys.executable, runner_file(), "run", *where]
        done = subprocess.run(
            [*runner, "--termination-log", str(tmp_path / "log"), "--", *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
    checked = script("check", repo.data, "--start", START.isoformat(), "--end", END.isoformat(), *where)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "33 of 33 online values are as expected" in checked.stdout
    earlier = END - timedelta(days=1)
    wrong = script("check", repo.data, "--start", START.isoformat(), "--end", earlier.isoformat(), *where)
    assert wrong.returncode == 1
    assert "NO" in wrong.stdout
