"""The runner beside the real Feast: a file registry, a SQLite online store, parquet."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from runner_file import runner_file

from airflow_provider_feast.model.plan import Plan
from airflow_provider_feast.model.result import CommandResult
from airflow_provider_feast.sandbox.demo_repo import write_demo_repo

END = datetime(2026, 3, 6, tzinfo=UTC)
WINDOW = ("2026-03-02", "2026-03-05")
CONFIGURATION = """\
project: demo
provider: local
registry: ${DEMO_STORE}/registry.db
online_store:
  type: slow_store.SlowSqliteOnlineStore
  path: ${DEMO_STORE}/online.db
entity_key_serialization_version: 3  # not $THIS_ONE
"""
SLOW_STORE = """
import os, threading
from typing import Literal
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig

class SlowSqliteOnlineStoreConfig(SqliteOnlineStoreConfig):
    type: Literal["slow_store.SlowSqliteOnlineStore"] = "slow_store.SlowSqliteOnlineStore"

class SlowSqliteOnlineStore(SqliteOnlineStore):
    def online_write_batch(self, config, table, data, progress):
        if os.environ.get("DEMO_SLOW"):
            print("\\033[1mwriting\\033[0m", table.name)
            threading.Event().wait(60)
        super().online_write_batch(config, table, data, progress)
"""


class Run(NamedTuple):
    """One run of the runner: what a container would leave."""

    code: int
    out: str
    err: str
    result: CommandResult

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines() if line.startswith('{"feast_event":')]

    @property
    def lines(self) -> list[str]:
        return [line for line in self.out.splitlines() if not line.startswith('{"feast_event":')]


class Shop(NamedTuple):
    """A feature repository with its own registry and online store."""

    repo: Path
    store: Path
    config: Path

    def copy(self, to: Path) -> Shop:
        shutil.copytree(self.store, to / "store")
        return self._replace(store=to / "store")

    def start(
        self, *argv: str, options: tuple[str, ...] = (), command: str = "run", **env: str
    ) -> subprocess.Popen[str]:
        paths = (self.repo, self.config, "termination-log")  # relative ones must work, too
        repo, config, log = (os.path.relpath(self.store / path, self.store) for path in paths)
        own = [command, "--repo", repo, "--config", config, "--termination-log", log]
        return subprocess.Popen(
            [sys.executable, runner_file(), *own, *options, *(["--", *argv] if argv else [])],
            cwd=self.store,
            env={**os.environ, "DEMO_STORE": str(self.store), "PYTHONWARNINGS": "ignore", **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def finish(self, process: subprocess.Popen[str]) -> Run:
        out, err = process.communicate(timeout=120)
        result = CommandResult.parse((self.store / "termination-log").read_text())
        assert result is not None
        return Run(process.returncode, out, err, result)

    def run(self, *argv: str, options: tuple[str, ...] = (), command: str = "run", **env: str) -> Run:
        return self.finish(self.start(*argv, options=options, command=command, **env))

    def states_now(self) -> dict[str, str]:
        """As the registry has them, told by ``inspect``, while another process may be at work."""
        log = self.store / "inspection-log"
        own = ["--repo", str(self.repo), "--config", str(self.config), "--termination-log", str(log)]
        done = subprocess.run(
            [sys.executable, runner_file(), "inspect", *own],
            env={**os.environ, "DEMO_STORE": str(self.store), "PYTHONWARNINGS": "ignore"},
            capture_output=True,
            text=True,
            check=True,
        )
        events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"feast_event":')]
        return {event["name"]: event["state"] for event in events if event.get("kind") == "feature_view"}

    def states(self) -> dict[str, str]:
        dump = json.loads("\n".join(self.run("registry-dump").lines))
        return {view["spec"]["name"]: view["meta"].get("state", "") for view in dump.get("featureViews", [])}


@pytest.fixture(scope="module")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    root = tmp_path_factory.mktemp("feast")
    write_demo_repo(root / "repo", end=END, data_dir=str(root / "data"))
    (root / "repo" / "slow_store.py").write_text(SLOW_STORE)
    (root / "feature_store.yaml").write_text(CONFIGURATION)
    (root / "store").mkdir()
    return Shop(root / "repo", root / "store", root / "feature_store.yaml")


@pytest.fixture(scope="module")
def applied(blank: Shop, tmp_path_factory: pytest.TempPathFactory) -> tuple[Shop, Run]:
    shop = blank.copy(tmp_path_factory.mktemp("applied"))
    return shop, shop.run("apply")


@pytest.fixture(scope="module")
def loaded(applied: tuple[Shop, Run], tmp_path_factory: pytest.TempPathFactory) -> tuple[Shop, Run]:
    shop = applied[0].copy(tmp_path_factory.mktemp("loaded"))
    return shop, shop.run("materialize", *WINDOW)


@pytest.fixture
def fresh(applied: tuple[Shop, Run], tmp_path: Path) -> Iterator[Shop]:
    yield applied[0].copy(tmp_path)


def plain(text: str) -> list[str]:
    return sorted(re.sub(r"\x1b\[[0-9;]*m", "", text).split("\n"))


def test_apply_says_what_the_plain_command_line_says(
    blank: Shop, applied: tuple[Shop, Run], tmp_path: Path
) -> None:
    shop, run = applied
    other = blank.copy(tmp_path)
    feast = Path(sys.executable).with_name("feast")
    cli = subprocess.run(
        [feast, "-c", other.repo, "-f", other.config, "apply"],
        env={**os.environ, "DEMO_STORE": str(other.store), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.code, cli.returncode) == (0, 0)
    assert [line for line in plain("\n".join(run.lines)) if line] == [
        line for line in plain(cli.stdout) if line
    ]
    assert "\x1b" not in run.out
    assert run.result.verdict == "succeeded"
    assert run.result.feast == run.events[0]["feast"] != ""
    assert [event["feast_event"] for event in run.events] == ["command_started", "command_finished"]
    assert (shop.store / "registry.db").exists()


def test_materialize_tells_rows_and_seconds_of_each_view(loaded: tuple[Shop, Run]) -> None:
    _, run = loaded
    assert run.code == 0
    views = run.result.views
    assert {name: (totals.rows, totals.windows) for name, totals in views.items()} == {
        "driver_hourly_stats": (5, 1),
        "driver_daily_rating": (5, 1),
        "customer_profile": (4, 1),
    }
    assert all(totals.seconds > 0 for totals in views.values())
    done = [event for event in run.events if event["feast_event"] == "view_finished"]
    assert {event["view"]: event["rows"] for event in done} == {name: t.rows for name, t in views.items()}
    assert {event["start"] for event in done} == {"2026-03-02T00:00:00+00:00"}


def test_a_window_without_rows_is_a_success_with_a_warning(fresh: Shop) -> None:
    run = fresh.run("materialize", "2020-01-01", "2020-01-02", "-v", "customer_profile")
    assert (run.code, run.result.views["customer_profile"].rows) == (0, 0)
    assert "0 rows" in run.err


def test_incremental_plan_and_teardown_work(loaded: tuple[Shop, Run], tmp_path: Path) -> None:
    shop = loaded[0].copy(tmp_path)
    incremental = shop.run("materialize-incremental", "2026-03-06", options=("--slow-start",))
    assert incremental.code == 0
    assert incremental.result.views["driver_hourly_stats"].rows == 5
    plan = shop.run("plan")
    assert plan.code == 0
    assert any("driver" in line or "No changes" in line for line in plan.lines)
    assert shop.run("teardown").code == 0
    assert shop.states() == {}


def test_a_missing_registry_is_nothing_materialized_and_no_registry_is_made(
    blank: Shop, tmp_path: Path
) -> None:
    shop = blank.copy(tmp_path)
    run = shop.run("materialize", *WINDOW)
    assert (run.code, run.result.kind) == (65, "nothing_materialized")
    assert "apply" in run.result.message
    assert not (shop.store / "registry.db").exists()
    assert shop.run("materialize", *WINDOW, options=("--allow-empty",)).code == 0


def test_an_unknown_view_and_a_wrong_call_are_told_apart(fresh: Shop) -> None:
    unknown = fresh.run("materialize", *WINDOW, "-v", "no_such_view")
    assert (unknown.code, unknown.result.kind) == (1, "unknown_feature_view")
    assert "no_such_view" in unknown.result.message
    assert "FeatureViewNotFoundException" in unknown.err
    wrong = fresh.run("materialize", "--no-such-option")
    assert (wrong.code, wrong.result.kind) == (2, "usage_error")
    assert fresh.run("version").code == 0


@pytest.mark.parametrize(
    ("configuration", "code"),
    [
        ("project: demo\n  registry: [", 66),
        ("project: demo\nregistry: r.db\nprovider: no_such_provider\n", 1),
    ],
    ids=["bad YAML", "unknown provider"],
)
def test_a_bad_configuration_is_named(blank: Shop, tmp_path: Path, configuration: str, code: int) -> None:
    bad = tmp_path / "feature_store.yaml"
    bad.write_text(configuration)
    run = blank.copy(tmp_path)._replace(config=bad).run("apply")
    assert (run.code, run.result.kind) == (code, "configuration_invalid")


def test_a_project_that_does_not_match_is_a_configuration_error(blank: Shop, tmp_path: Path) -> None:
    shutil.copytree(blank.repo, tmp_path / "repo")
    definitions = tmp_path / "repo" / "definitions.py"
    definitions.write_text(
        definitions.read_text() + '\nfrom feast import Project\nother = Project(name="other")\n'
    )
    run = blank.copy(tmp_path)._replace(repo=tmp_path / "repo").run("apply")
    assert (run.code, run.result.kind) == (1, "configuration_invalid")
    assert "Project" in run.result.message


@pytest.mark.parametrize(
    ("code", "where"),
    [("import pandas\nimport no_such_module\n", "broken.py, line 2"), ("x = (\n", "broken.py, line 1")],
    ids=["import", "syntax"],
)
def test_broken_definitions_are_named_with_file_and_line(
    blank: Shop, tmp_path: Path, code: str, where: str
) -> None:
    shutil.copytree(blank.repo, tmp_path / "repo")
    (tmp_path / "repo" / "broken.py").write_text(code)
    run = blank.copy(tmp_path)._replace(repo=tmp_path / "repo").run("apply")
    assert (run.code, run.result.kind) == (1, "definitions_invalid")
    assert where in run.result.message


def test_values_of_the_configuration_s_variables_are_never_printed(
    loaded: tuple[Shop, Run], tmp_path: Path
) -> None:
    shop = loaded[0].copy(tmp_path)
    config = tmp_path / "feature_store.yaml"
    config.write_text(CONFIGURATION.replace("project: demo", "project: ${DEMO_PROJECT}"))
    run = shop._replace(config=config).run("materialize", *WINDOW, "-v", "zzz", DEMO_PROJECT="topsecret")
    assert run.code == 1
    assert "topsecret" not in run.out + run.err + str(run.result)
    assert "project ***" in run.result.message


@pytest.mark.parametrize("before", ["AVAILABLE_ONLINE", "GENERATED"])
def test_sigterm_stops_a_materialize_and_heals_the_view(
    applied: tuple[Shop, Run], loaded: tuple[Shop, Run], tmp_path: Path, before: str
) -> None:
    shop = (loaded if before == "AVAILABLE_ONLINE" else applied)[0].copy(tmp_path)
    states = shop.states()
    process = shop.start("materialize", *WINDOW, "-v", "customer_profile", DEMO_SLOW="1")
    assert process.stdout is not None
    head = ""
    while "writing customer_profile" not in head:
        head += (line := process.stdout.readline())
        assert line, process.stderr and process.stderr.read()
    running = CommandResult.parse((shop.store / "termination-log").read_text())
    assert running is not None
    assert running.verdict == "running"
    process.send_signal(signal.SIGTERM)
    run = shop.finish(process)
    assert (run.code, run.result.verdict, run.result.exit_code) == (143, "interrupted", 143)
    assert "SIGTERM" in run.result.message
    assert shop.states() == states
    assert "MATERIALIZING" not in str(states)
    assert run.events[-1]["verdict"] == "interrupted"


PLAN = Plan(END - timedelta(days=3), END, timedelta(days=1), 3, ("customer_profile",)).to_json()


def wait_for_a_batch(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    head = ""
    while "writing customer_profile" not in head:
        head += (line := process.stdout.readline())
        assert line, process.stderr and process.stderr.read()


def test_sigterm_stops_a_plan_heals_the_view_and_leaves_how_far_it_got(
    loaded: tuple[Shop, Run], tmp_path: Path
) -> None:
    shop = loaded[0].copy(tmp_path)
    states = shop.states()
    process = shop.start(command="materialize", options=("--plan", PLAN), DEMO_SLOW="1")
    wait_for_a_batch(process)
    assert shop.states_now()["customer_profile"] == "MATERIALIZING"
    process.send_signal(signal.SIGTERM)
    run = shop.finish(process)
    assert (run.code, run.result.verdict, run.result.steps) == (143, "interrupted", (1, 3))
    assert shop.states() == states


def test_a_view_that_a_killed_writer_left_is_freed_when_we_hold_the_lock(
    loaded: tuple[Shop, Run], tmp_path: Path
) -> None:
    shop = loaded[0].copy(tmp_path)
    process = shop.start(command="materialize", options=("--plan", PLAN), DEMO_SLOW="1")
    wait_for_a_batch(process)
    process.kill()
    process.communicate(timeout=60)
    other = Plan(END - timedelta(days=3), END, timedelta(days=3), 1, ("driver_daily_rating",)).to_json()
    assert shop.run(command="materialize", options=("--plan", other)).code == 0
    assert shop.states_now()["customer_profile"] == "MATERIALIZING", "somebody may be at work on it"
    healing = shop.run(command="materialize", options=("--plan", other, "--heal", "all"))
    assert healing.code == 0
    assert "customer_profile: was left MATERIALIZING by a writer that died" in healing.out
    assert shop.states_now()["customer_profile"] == "AVAILABLE_ONLINE"
