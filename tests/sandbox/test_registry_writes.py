"""Registry files with the real Feast: who only reads saves nothing, and who is killed while writing loses nothing."""

from __future__ import annotations

import os
import stat
import time
from datetime import timedelta
from pathlib import Path

import pytest
from feast_stores import DAY_0, VIEW, Repo, Row, Zygote, write_rows

from airflow_provider_feast.model.command import FeastCommand
from airflow_provider_feast.model.lock import only_reads
from airflow_provider_feast.model.plan import Plan

DAY = timedelta(days=1)
KILLING = """
import builtins, os
from typing import Literal
from feast.infra.online_stores.sqlite import SqliteOnlineStore, SqliteOnlineStoreConfig
from feast.infra.registry import file

NAME = Literal["killing_writer.KillingWriterOnlineStore"]

class KillingWriterOnlineStoreConfig(SqliteOnlineStoreConfig):
    type: NAME = "killing_writer.KillingWriterOnlineStore"

class KillingWriterOnlineStore(SqliteOnlineStore):
    pass

def opening(path, *args, **kwargs):
    opened = builtins.open(path, *args, **kwargs)
    if opened.writable():
        os.kill(os.getpid(), 9)
    return opened

file.open = opening
"""
"""An online store that has its process killed when a registry file is opened to be written, and is empty for a moment."""


@pytest.fixture
def repo(tmp_path: Path, zygote: Zygote) -> Repo:
    online = {"type": "sqlite", "path": str(tmp_path / "online.db")}
    made = Repo(tmp_path, zygote, str(tmp_path / "registry.db"), online)
    write_rows(made.parquet, [Row(1, day * 86_400 * 10**6, day) for day in range(4)])
    return made


def load(repo: Repo, first: int, last: int) -> int:
    repo.log.unlink(missing_ok=True)
    plan = Plan(DAY_0 + first * DAY, DAY_0 + last * DAY, DAY, 9, (VIEW,)).to_json()
    return repo.runner("materialize", "--plan", plan, "--heal", "all")


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["plan"], 0),
        (["feature-views", "list"], 0),
        (["registry-dump"], 0),
        (["get-online-features", "-e", "id=1", "-f", f"{VIEW}:value"], 1),
    ],
    ids=["plan", "list", "dump", "online"],
)
def test_a_command_that_takes_no_lock_saves_nothing(repo: Repo, argv: list[str], code: int) -> None:
    """It would write beside the first apply of another DAG, and could take its registry away.

    :param code: how Feast ends it where there is no registry.
    """
    registry = repo.home / "registry.db"
    assert only_reads(FeastCommand.read(argv))
    before = registry.read_bytes()
    assert repo.runner("run", "--read-only", "--", *argv) == 0, repo.log.read_text()
    assert registry.read_bytes() == before
    registry.unlink()
    assert repo.runner("run", "--read-only", "--", *argv) == code, repo.log.read_text()
    assert not registry.exists()
    repo.runner("run", "--", *argv)
    assert registry.exists(), "Feast itself makes one"


def test_a_registry_survives_who_is_killed_while_writing_it(repo: Repo) -> None:
    assert load(repo, 0, 2) == 0
    registry, settings = repo.home / "registry.db", repo.home / "feature_store.yaml"
    before, text = registry.read_bytes(), settings.read_text()
    (repo.home / "killing_writer.py").write_text(KILLING)
    settings.write_text(text.replace('"type": "sqlite"', '"type": "killing_writer.KillingWriterOnlineStore"'))
    assert load(repo, 2, 4) not in (0, 1), "it was killed"
    settings.write_text(text)
    assert registry.read_bytes() == before
    (left,) = repo.home.glob(".registry.db.*")
    another = left.with_name(f".registry.db.{'a' * 32}")
    another.touch()
    hours_ago = time.time() - 2 * 3600
    os.utime(left, (hours_ago, hours_ago))
    assert load(repo, 2, 4) == 0, repo.result()["message"]
    assert list(repo.home.glob(".registry.db.*")) == [another], "that one's writer may be at it"
    assert repo.runner("inspect") == 0
    (view,) = (event for event in repo.events() if event.get("name") == VIEW)
    assert len(view["intervals"]) == 1, "and with it what was loaded before"


def test_a_registry_stays_what_and_where_it_was(repo: Repo) -> None:
    """A link to a file of its own mode; nothing is left beside it."""
    elsewhere = repo.home / "elsewhere"
    elsewhere.mkdir()
    registry = (repo.home / "registry.db").rename(elsewhere / "kept.db")
    registry.chmod(0o640)
    (repo.home / "registry.db").symlink_to(registry)
    before = registry.read_bytes()
    assert load(repo, 0, 2) == 0
    assert (repo.home / "registry.db").is_symlink()
    assert stat.S_IMODE(registry.stat().st_mode) == 0o640
    assert registry.read_bytes() != before
    assert [path.name for path in elsewhere.iterdir()] == ["kept.db"]
