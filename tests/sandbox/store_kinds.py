"""Feature stores of each kind for tests of the runner; a server is started when the first test asks for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

from database_servers import Server, create_database, postgres_server, redis_server
from feast_stores import Repo, postgres_registry, postgres_store

KINDS = ("file", "sql", "postgres", "redis")
"""A file registry with SQLite, a SQL registry with SQLite, both in Postgres, and a file registry with Redis."""

KILLING = """
import os, signal
from feast.infra.passthrough_provider import PassthroughProvider

class KillingProvider(PassthroughProvider):
    def materialize_single_feature_view(self, **given):
        super().materialize_single_feature_view(**given)
        if given["end_date"].day == {day}:
            os.kill(os.getpid(), signal.SIGKILL)
"""


class StoreKinds:
    """Makes empty stores, each in a database of its own; Redis has one, which is emptied."""

    def __init__(self, home: Path) -> None:
        self._home, self._servers = home, dict[str, Server]()
        self._stack, self._count = ExitStack(), 0

    def close(self) -> None:
        """Stop what was started."""
        self._stack.close()

    def make(self, kind: str, home: Path) -> tuple[Any, dict[str, Any]]:
        """The values of ``registry`` and ``online_store`` in feature_store.yaml.

        :param home: where files of this store go.
        """
        if kind == "postgres":
            server = self._server(kind, postgres_server)
            self._count += 1
            database = f"store_{self._count}"
            create_database(server, database)
            return postgres_registry(server, database), postgres_store(server, database)
        registry: Any = str(home / "registry.db")
        if kind == "sql":
            where = f"sqlite:///{home / 'registry.sqlite'}"
            registry = {"registry_type": "sql", "path": where, "cache_ttl_seconds": 0}
        if kind == "redis":
            return registry, self._redis()
        return registry, {"type": "sqlite", "path": str(home / "online.db")}

    def _redis(self) -> dict[str, Any]:
        server = self._server("redis", redis_server)
        import redis

        with redis.Redis(*server) as client:
            client.flushall()
        return {"type": "redis", "connection_string": f"{server.host}:{server.port}"}

    def _server(self, kind: str, start: Callable[[Path], AbstractContextManager[Server]]) -> Server:
        if kind not in self._servers:
            directory = self._home / kind
            directory.mkdir()
            self._servers[kind] = self._stack.enter_context(start(directory))
        return self._servers[kind]


@contextmanager
def killed_after_a_write(repo: Repo, day: int) -> Iterator[None]:
    """Whoever loads this day of the month is killed when its rows are online, before the registry knows it."""
    (repo.home / "killing.py").write_text(KILLING.format(day=day))
    file = repo.home / "feature_store.yaml"
    text = file.read_text()
    file.write_text(json.dumps({**json.loads(text), "provider": "killing.KillingProvider"}))
    try:
        yield
    finally:
        file.write_text(text)
