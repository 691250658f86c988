"""Postgres and Redis for tests: servers of their own on loopback, with a directory of their own."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import pytest

PASSWORD = "feast-tests"


class Server(NamedTuple):
    """Where a server listens."""

    host: str
    port: int


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def program(name: str, *places: str) -> str:
    """Where a server's program is; skips the test on a machine that lacks it.

    :param places: patterns below the root directory, tried before the PATH.
    """
    for pattern in places:
        if found := sorted(Path("/").glob(pattern)):
            return str(found[-1])
    if found_on_path := shutil.which(name):
        return found_on_path
    pytest.skip(f"{name} is not installed: apt-get install postgresql redis-server")


def wait_for(server: Server, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until the port is open."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the server ended:\n{log.read_text()[-2000:]}")
        with suppress(OSError), socket.create_connection(server, timeout=1):
            return
    raise RuntimeError(f"the server did not listen within 60 s:\n{log.read_text()[-2000:]}")


@contextmanager
def started(command: list[str], server: Server, log: Path, user: int | None = None) -> Iterator[Server]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, user=user, start_new_session=True)
    try:
        wait_for(server, process, log)
        yield server
    finally:
        process.terminate()
        process.wait(timeout=30)


@contextmanager
def redis_server(directory: Path) -> Iterator[Server]:
    """A Redis that keeps nothing on disk."""
    server = Server("127.0.0.1", free_port())
    options = ["--bind", server.host, "--port", str(server.port), "--save", "", "--appendonly", "no"]
    command = [program("redis-server"), *options, "--dir", str(directory)]
    with started(command, server, directory / "redis.log"):
        yield server


@contextmanager
def postgres_server(directory: Path) -> Iterator[Server]:
    """A Postgres with the user and database `feast`; it refuses to run as root, so then it runs as `postgres`."""
    places = "usr/lib/postgresql/*/bin/"
    initdb, postgres = program("initdb", f"{places}initdb"), program("postgres", f"{places}postgres")
    user = pwd.getpwnam("postgres").pw_uid if os.geteuid() == 0 else None
    data, secret = directory / "data", directory / "password"
    secret.write_text(PASSWORD)
    if user is not None:
        for path in (directory, secret):
            os.chown(path, user, -1)
        for parent in [directory, *directory.parents]:
            if parent.stat().st_uid == 0 and parent.stat().st_mode & 0o011 != 0o011:
                parent.chmod(parent.stat().st_mode | 0o011)
    subprocess.run(
        [initdb, "-D", str(data), "-U", "feast", "-A", "md5", f"--pwfile={secret}", "--no-sync"],
        check=True,
        capture_output=True,
        user=user,
        cwd="/",
    )
    server = Server("127.0.0.1", free_port())
    options = ["-h", server.host, "-p", str(server.port), "-k", str(directory), "-c", "fsync=off"]
    with started([postgres, "-D", str(data), *options], server, directory / "postgres.log", user):
        create_database(server, "feast")
        yield server


def create_database(server: Server, name: str) -> None:
    """Make a database of Postgres, once it has started up: it listens before that."""
    import psycopg

    where = f"host={server.host} port={server.port} user=feast password={PASSWORD} dbname=postgres"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(psycopg.OperationalError), psycopg.connect(where, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
            return
    raise RuntimeError("Postgres took no connection within 60 s")
