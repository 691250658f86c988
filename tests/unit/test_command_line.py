"""The command line's definitions and what it prints."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from airflow.cli.cli_config import GroupCommand

from airflow_provider_feast.__main__ import add_commands
from airflow_provider_feast.cli.definition import age, get_feast_cli_commands
from airflow_provider_feast.cli.tables import rendered, short, table
from airflow_provider_feast.get_provider_info import get_provider_info
from airflow_provider_feast.jobs.inventory import HolderEntry, Inventory, JobEntry, LockEntry
from airflow_provider_feast.model import naming
from airflow_provider_feast.model.lock import Holder
from airflow_provider_feast.model.outcome import JobState, Outcome, Problem

NOW = datetime(2026, 1, 2, tzinfo=UTC)
KEY = naming.TaskKey("", "features", "load", "manual__1", 3)


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("90s", timedelta(seconds=90)),
        ("30m", timedelta(minutes=30)),
        ("1h", timedelta(hours=1)),
        ("2d", timedelta(2)),
    ],
)
def test_an_age_is_a_number_with_a_unit(text: str, length: timedelta) -> None:
    assert age(text) == length


@pytest.mark.parametrize("text", ["", "1", "h", "-1h", "1 hour", "1w"])
def test_another_age_says_how_to_write_it(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"write e\.g\. 30m, 1h or 2d"):
        age(text)


def test_airflow_and_the_module_have_the_same_commands() -> None:
    (path,) = get_provider_info()["cli"]
    module, _, name = path.rpartition(".")
    assert getattr(sys.modules[module], name) is get_feast_cli_commands
    (feast,) = get_feast_cli_commands()
    jobs, *others = feast.subcommands
    assert [command.name for command in others] == ["manifests", "preflight"]
    assert isinstance(jobs, GroupCommand)
    assert [command.name for command in jobs.subcommands] == ["list", "clean"]
    parser = argparse.ArgumentParser()
    add_commands(parser, feast.subcommands)
    args = parser.parse_args(["jobs", "clean", "--older-than", "2d", "--dry-run"])
    assert (args.older_than, args.dry_run, args.yes, args.conn_id) == (
        timedelta(2),
        True,
        False,
        "feast_default",
    )
    assert parser.parse_args(["jobs", "list", "-a", "-o", "json"]).output == "json"


def test_the_definitions_load_nothing_heavy() -> None:
    code = (
        "import sys, airflow.cli.cli_config; before = set(sys.modules)\n"
        "import airflow_provider_feast.cli.definition\n"
        "print(*sorted({m for m in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {name for name in loaded if not name.startswith("airflow_provider_feast")} == set()
    assert not {name for name in loaded if ".jobs" in name or ".hooks" in name}


# --- what is printed -----------------------------------------------------------------------------


def entry(name: str, state: JobState, *, suspend: bool = False, problem: Problem | None = None) -> JobEntry:
    annotations = {
        naming.A_INSTANCE: json.dumps(KEY._asdict()),
        naming.A_RUN: KEY.run_id,
        naming.A_TRY: "2",
        naming.A_COMMAND: '["materialize", "a", "b"]',
        naming.A_LOCK: "ns/feast-x",
    }
    metadata = {
        "name": name,
        "uid": f"uid-of-{name}",
        "creationTimestamp": "2026-01-01T21:00:00Z",
        "labels": naming.job_labels("materialize", KEY, "0", "x"),
        "annotations": annotations,
    }
    done = [{"type": "Complete", "status": "True"}] if state is JobState.SUCCEEDED else []
    raw = {"metadata": metadata, "spec": {"suspend": suspend}, "status": {"conditions": done}}
    return JobEntry(raw, Outcome(state, problem))


STUCK = Problem("missing_object", "The ServiceAccount x does not exist.", "Create it.")
HELD = Holder("uid-of-runs", "runs", "ns", ("*",), "2026-01-01T21:00:05+00:00")
DEAD = Holder("uid-of-nobody", "nobody", "ns", ("v1", "v2"), "2026-01-01T20:00:00+00:00")
INVENTORY = Inventory(
    "ns",
    (
        entry("runs", JobState.RUNNING),
        entry("waits", JobState.SUSPENDED, suspend=True),
        entry("stuck", JobState.STARTING, problem=STUCK),
        entry("done", JobState.SUCCEEDED),
    ),
    (LockEntry("ns", "feast-x", (HolderEntry(HELD, True), HolderEntry(DEAD, False))),),
    (),
    ("Locks in namespace other are not shown: no right.",),
)


def printed(output: str, *, ended: bool = False, inventory: Inventory = INVENTORY) -> str:
    return rendered(inventory, output, ended=ended, now=NOW)


def test_a_table_shows_each_job_its_task_its_lock_and_what_is_wrong() -> None:
    lines = printed("table").splitlines()
    assert lines[0] == "Jobs in namespace ns:"
    assert [line.split()[0] for line in lines[2:5]] == ["runs", "waits", "stuck"]
    assert (
        "materialize a b  features.load[3]  manual__1  2    3h   holds ns/feast-x since 2026-01-01T21:00:05"
        in lines[2]
    )
    assert lines[3].endswith("waits for ns/feast-x since 2026-01-01T21:00:00Z")
    assert "  stuck: The ServiceAccount x does not exist. Create it." in lines
    assert [line.split()[-1] for line in lines if "feast-x" in line and "ns " in line][-2:] == ["yes", "no"]
    assert "feature views v1, v2" in printed("table")
    assert lines[-1] == "  Locks in namespace other are not shown: no right."


@pytest.mark.parametrize(("output", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_scripts_get_the_same_as_data(output: str, read: Any) -> None:
    body = read(printed(output, ended=True))
    assert [job["job"] for job in body["jobs"]] == ["runs", "waits", "stuck", "done"]
    assert body["jobs"][0]["command"] == ["materialize", "a", "b"]
    assert (body["jobs"][0]["dag_id"], body["jobs"][0]["map_index"]) == ("features", 3)
    assert body["jobs"][2]["problem"]["retryable"] is False
    assert body["jobs"][3]["lock"] == "-"
    assert [lock["alive"] for lock in body["locks"]] == [True, False]


def test_an_empty_namespace_says_so() -> None:
    text = printed("table", inventory=Inventory("ns", (), (LockEntry("ns", "feast-y"),), ()))
    assert text.splitlines() == ["Jobs in namespace ns:", "  none", "", "Locks:", "  nobody holds any"]


@pytest.mark.parametrize(
    ("seconds", "text"), [(-5, "0s"), (59, "59s"), (60, "1m"), (7199, "1h"), (86400, "1d"), (200000, "2d")]
)
def test_an_age_is_shown_in_its_largest_unit(seconds: int, text: str) -> None:
    assert short(timedelta(seconds=seconds)) == text


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    rows = [{"run_id": "a", "try": "1"}, {"run_id": "longer-than-that", "try": "2"}]
    assert table(("run_id", "try"), rows).splitlines() == [
        "  RUN ID            TRY",
        "  a                 1",
        "  longer-than-that  2",
    ]
