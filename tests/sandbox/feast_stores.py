"""A feature repository with one view on each kind of store, and its online values read without Feast's help."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from database_servers import PASSWORD, Server
from runner_file import runner_file

VIEW, PROJECT = "numbers", "demo"
DAY_0 = datetime(2026, 3, 1, tzinfo=UTC)
DEFINITIONS = """
from datetime import timedelta
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Int64

thing = Entity(name="thing", join_keys=["id"], value_type=ValueType.INT64)
numbers = FeatureView(
    name="numbers", entities=[thing], ttl=timedelta(days=3650), online=True,
    schema=[Field(name="value", dtype=Int64), Field(name="twice", dtype=Int64)],
    source=FileSource(name="numbers_source", path="data.parquet", timestamp_field="at"),
)
"""


class Row(NamedTuple):
    """One row of the parquet file; ``at`` counts microseconds from DAY_0."""

    thing: int
    at: int
    value: int

    @property
    def time(self) -> datetime:
        return DAY_0 + timedelta(microseconds=self.at)


def write_rows(path: Path, rows: Iterable[Row]) -> None:
    frame = pd.DataFrame(
        [(row.thing, row.value, 2 * row.value, row.time) for row in rows],
        columns=["id", "value", "twice", "at"],
    )
    frame.astype({"id": "int64", "value": "int64", "twice": "int64", "at": "datetime64[us, UTC]"}).to_parquet(
        path
    )


def expected(
    path: Path, windows: Iterable[tuple[datetime, datetime]], unit: str = "us"
) -> dict[int, tuple[int, int, str]]:
    """The latest row of each entity over the union of half-open windows, from the parquet by pandas alone.

    :param unit: how exactly the store keeps event times.
    """
    frame = pd.read_parquet(path)
    inside = pd.Series(data=False, index=frame.index)
    for start, end in windows:
        inside |= (frame["at"] >= start) & (frame["at"] < end)
    latest = frame[inside].sort_values("at").groupby("id").last()
    return {
        int(thing): (int(row["value"]), int(row["twice"]), row["at"].floor(unit).to_pydatetime().isoformat())
        for thing, row in latest.iterrows()
    }


class Zygote:
    """The process that forks the runner and Feast's command line; see feast_zygote.py."""

    def __init__(self) -> None:
        here = Path(__file__).with_name("feast_zygote.py")
        self._process = subprocess.Popen(
            [sys.executable, str(here), runner_file()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONWARNINGS": "ignore", "FEAST_USAGE": "False"},
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def run(self, argv: list[str], cwd: Path, log: Path, *, plain: bool) -> int:
        request = {"argv": argv, "plain": plain, "cwd": str(cwd), "env": {}, "log": str(log)}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def stop(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)


class Repo:
    """The repository in a directory of its own.

    :param registry: the value of ``registry`` in feature_store.yaml.
    :param online: the value of ``online_store``.
    :param configuration: more fields of feature_store.yaml.
    """

    def __init__(
        self, home: Path, zygote: Zygote, registry: Any, online: dict[str, Any], **configuration: Any
    ) -> None:
        self.home, self._zygote, self.online = home, zygote, online
        self.parquet = home / "data.parquet"
        self.log = home / "log"
        configuration |= {
            "project": PROJECT,
            "provider": "local",
            "registry": registry,
            "online_store": online,
            "entity_key_serialization_version": 3,
        }
        (home / "definitions.py").write_text(DEFINITIONS)
        (home / "feature_store.yaml").write_text(json.dumps(configuration))
        write_rows(self.parquet, [Row(0, 0, 0)])
        assert self.feast("apply") == 0, self.log.read_text()

    @property
    def unit(self) -> str:
        """How exactly its online store keeps event times: a unit of pandas."""
        return "s" if self.online["type"] == "sqlite" else "us"

    def feast(self, *argv: str) -> int:
        """Feast's own command line."""
        return self._zygote.run(["-c", str(self.home), *argv], self.home, self.log, plain=True)

    def runner(self, command: str, *argv: str) -> int:
        """The runner, as a container would start it."""
        own = [command, "--repo", str(self.home), "--config", str(self.home / "feature_store.yaml")]
        own += ["--termination-log", str(self.home / "termination-log"), *argv]
        return self._zygote.run(own, self.home, self.log, plain=False)

    def events(self) -> list[dict[str, Any]]:
        return [
            json.loads(line)
            for line in self.log.read_text().splitlines()
            if line.startswith('{"feast_event":')
        ]

    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.home / "termination-log").read_text())
        return found


def online_values(repo: Repo) -> dict[int, tuple[int, int, str]]:
    """What is online, by SQL or Redis commands: value, twice, event time of each entity."""
    kind = repo.online["type"]
    if kind == "redis":
        return _redis_values(repo)
    question = f"SELECT entity_key, feature_name, value, event_ts FROM {PROJECT}_{VIEW}"
    if kind == "sqlite":
        with sqlite3.connect(repo.online["path"]) as connection:
            rows = connection.execute(question).fetchall()
    else:
        import psycopg

        with psycopg.connect(dsn(repo.online)) as connection:
            rows = connection.execute(question).fetchall()
    found: dict[int, dict[str, Any]] = {}
    for key, name, value, time in rows:
        entry = found.setdefault(int.from_bytes(bytes(key)[-8:], "little", signed=True), {})
        # SQLite holds the naive UTC time, taken for local, in whole seconds.
        moment = datetime.fromtimestamp(time) if isinstance(time, int) else time  # noqa: DTZ006
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        entry[name] = (_number(bytes(value)), moment.isoformat())
    assert all(entry["value"][1] == entry["twice"][1] for entry in found.values())
    return {thing: (e["value"][0], e["twice"][0], e["value"][1]) for thing, e in found.items()}


def dsn(online: dict[str, Any]) -> str:
    return f"host={online['host']} port={online['port']} user=feast password={PASSWORD} dbname={online['database']}"


def _number(packed: bytes) -> int:
    """An int64 out of Feast's Value message: by protobuf's own decoder."""
    from feast.protos.feast.types.Value_pb2 import Value

    return int(Value.FromString(packed).int64_val)


def _redis_values(repo: Repo) -> dict[int, tuple[int, int, str]]:
    import mmh3
    import redis
    from google.protobuf.timestamp_pb2 import Timestamp

    host, port = repo.online["connection_string"].split(":")
    client = redis.Redis(host=host, port=int(port))
    found = {}
    for key in client.scan_iter(b"*"):
        fields = client.hgetall(key)
        values = [
            _number(fields[mmh3.hash(f"{VIEW}:{name}", signed=False).to_bytes(4, "little")])
            for name in ("value", "twice")
        ]
        time = Timestamp.FromString(fields[f"_ts:{VIEW}".encode()]).ToDatetime(tzinfo=UTC)
        thing = int.from_bytes(key.removesuffix(PROJECT.encode())[-8:], "little", signed=True)
        found[thing] = (values[0], values[1], time.isoformat())
    client.close()
    return found


def empty_online_store(repo: Repo) -> None:
    """Delete all online values; the registry keeps its intervals."""
    if repo.online["type"] == "redis":
        import redis

        host, port = repo.online["connection_string"].split(":")
        with redis.Redis(host=host, port=int(port)) as client:
            client.flushall()
    elif repo.online["type"] == "sqlite":
        with sqlite3.connect(repo.online["path"]) as connection:
            connection.execute(f"DELETE FROM {PROJECT}_{VIEW}")
    else:
        import psycopg

        with psycopg.connect(dsn(repo.online)) as connection:
            connection.execute(f"DELETE FROM {PROJECT}_{VIEW}")
    shutil.rmtree(repo.log, ignore_errors=True)


def postgres_store(server: Server, database: str = "feast") -> dict[str, Any]:
    return {
        "type": "postgres",
        "host": server.host,
        "port": server.port,
        "database": database,
        "db_schema": "public",
        "user": "feast",
        "password": PASSWORD,
        "sslmode": "disable",
    }


def postgres_registry(server: Server, database: str = "feast") -> dict[str, Any]:
    where = f"postgresql+psycopg://feast:{PASSWORD}@{server.host}:{server.port}/{database}"
    return {"registry_type": "sql", "path": where, "cache_ttl_seconds": 0}
