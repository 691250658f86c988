"""A feature server loads the values: the runner asks it view by view, counts no rows, and never goes back in time."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from feast_stores import DAY_0, DEFINITIONS, VIEW, Repo, Row, Zygote, write_rows

from airflow_provider_feast.model.plan import IncrementalPlan, Plan

DAY = timedelta(days=1)
AND_ANOTHER = """
another = FeatureView(
    name="another", entities=[thing], ttl=timedelta(days=3650), online=True,
    schema=[Field(name="value", dtype=Int64)],
    source=FileSource(name="another_source", path="data.parquet", timestamp_field="at"),
)
"""


class Server(ThreadingHTTPServer):
    """As much of a feature server as a client that materializes asks for."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, dict[str, Any]]] = []


class Handler(BaseHTTPRequestHandler):
    """Takes down what is asked; the view `another` cannot be loaded."""

    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path.partition("?")[0], body))
        self.send_response(500 if body["feature_views"] == ["another"] else 200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield found
        found.shutdown()
        thread.join()


@pytest.fixture
def repo(tmp_path: Path, zygote: Zygote, server: Server) -> Repo:
    """Its third day is in the registry already; from now on a feature server is asked."""
    made = Repo(
        tmp_path, zygote, str(tmp_path / "registry.db"), {"type": "sqlite", "path": str(tmp_path / "o.db")}
    )
    write_rows(made.parquet, [Row(1, day * 86_400 * 10**6, day) for day in range(5)])
    (tmp_path / "definitions.py").write_text(DEFINITIONS + AND_ANOTHER)
    assert made.feast("apply") == 0, made.log.read_text()
    assert made.runner("materialize", "--plan", Plan(DAY_0 + 2 * DAY, DAY_0 + 3 * DAY, DAY).to_json()) == 0
    config = json.loads((tmp_path / "feature_store.yaml").read_text())
    config["online_store"] = {"type": "remote", "path": f"http://127.0.0.1:{server.server_port}"}
    (tmp_path / "feature_store.yaml").write_text(json.dumps(config))
    made.log.unlink()
    return made


def plan(first: int, last: int) -> str:
    return Plan(DAY_0 + first * DAY, DAY_0 + last * DAY, DAY, 9).to_json()


def test_each_window_of_each_view_is_asked_for_and_its_rows_are_unknown(repo: Repo, server: Server) -> None:
    for policy in ("guard", "overwrite"):
        server.asked.clear()
        assert repo.runner("materialize", "--plan", plan(3, 5), "--older-windows", policy) == 1
        asked = [(path, body["feature_views"], body["start_ts"][:10]) for path, body in server.asked]
        assert asked == [
            ("/materialize", ["another"], "2026-03-04"),
            ("/materialize", [VIEW], "2026-03-04"),
            *([("/materialize", [VIEW], "2026-03-05")] if policy == "overwrite" else []),
        ], "a view that failed is not asked for again"
        result = repo.result()
        assert (result["failed"], set(result["views"])) == (["another"], {VIEW})
        windows = 2 if policy == "overwrite" else 1
        assert (result["views"][VIEW]["rows"], result["views"][VIEW]["windows"]) == (None, windows)
    assert "an unknown number of rows" in repo.log.read_text()


def test_an_older_window_is_refused_for_the_server_would_write_older_values(
    repo: Repo, server: Server
) -> None:
    assert repo.runner("materialize", "--plan", plan(0, 1)) == 68
    assert (repo.result()["kind"], server.asked) == ("older_window", [])
    assert repo.runner("materialize", "--plan", plan(0, 1), "--older-windows", "overwrite") == 1
    assert len(server.asked) == 2


def test_what_is_new_is_asked_for_view_by_view(repo: Repo, server: Server) -> None:
    assert repo.runner("materialize", "--plan", IncrementalPlan(DAY_0 + 5 * DAY, (VIEW,)).to_json()) == 0
    ((path, body),) = server.asked
    assert (path, body["feature_views"]) == ("/materialize", [VIEW])
    assert (body["start_ts"], body["end_ts"]) == (
        (DAY_0 + 3 * DAY).isoformat(),
        (DAY_0 + 5 * DAY - timedelta(microseconds=1)).isoformat(),
    )
