"""Feast's own registry REST server: what it tells is what the registry has, and asking changes nothing."""

from __future__ import annotations

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from feast_stores import DAY_0, DEFINITIONS, PROJECT, VIEW, Repo, Zygote
from operator_helpers import log_lines

from airflow_provider_feast.jobs.coverage import lacking, loadable
from airflow_provider_feast.jobs.registry_rest import ask_rest
from airflow_provider_feast.model.errors import (
    FeastConfigurationError,
    FeastError,
    RegistryRefusedError,
    RegistryUnreachableError,
)
from airflow_provider_feast.model.registry import Records, RestAddress, read_rest_address
from airflow_provider_feast.model.windows import Window
from airflow_provider_feast.sandbox import Sandbox
from airflow_provider_feast.sensors.materialized import FeatureViewMaterializedSensor

DAY, TICK = timedelta(days=1), timedelta(microseconds=1)
MORE = """
from feast.on_demand_feature_view import on_demand_feature_view

offline = FeatureView(
    name="offline", entities=[thing], online=False, schema=[Field(name="value", dtype=Int64)],
    source=FileSource(name="offline_source", path="data.parquet", timestamp_field="at"),
)
off = FeatureView(
    name="off", entities=[thing], enabled=False, schema=[Field(name="value", dtype=Int64)],
    source=FileSource(name="off_source", path="data.parquet", timestamp_field="at"),
)
many = [
    FeatureView(
        name=f"view_{number}", entities=[thing], schema=[Field(name="value", dtype=Int64)],
        source=FileSource(name=f"source_{number}", path="data.parquet", timestamp_field="at"),
    )
    for number in range(120)
]
globals().update({view.name: view for view in many})

@on_demand_feature_view(sources=[numbers], schema=[Field(name="score", dtype=Int64)], mode="python")
def score(inputs):
    return {"score": [2 * value for value in inputs["value"]]}
"""


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def rest_server(repo: Repo) -> Iterator[str]:
    """`feast serve_registry --rest-api` of a repository."""
    port = free_port()
    served = ("serve_registry", "--no-grpc", "--rest-api", "--rest-port", str(port), "--host", "127.0.0.1")
    log = repo.home / "rest.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [str(Path(sys.executable).with_name("feast")), "-c", str(repo.home), *served],
            stdout=output,
            stderr=output,
            env={**os.environ, "FEAST_USAGE": "False"},
        )
    try:
        end = time.monotonic() + 120
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="module")
def repo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Repo]:
    zygote = Zygote()
    home = tmp_path_factory.mktemp("rest")
    made = Repo(home, zygote, str(home / "registry.db"), {"type": "sqlite", "path": str(home / "online.db")})
    (home / "definitions.py").write_text(DEFINITIONS + MORE)
    assert made.feast("apply") == 0, made.log.read_text()
    yield made
    zygote.stop()


@pytest.fixture(scope="module")
def server(repo: Repo) -> Iterator[str]:
    with rest_server(repo) as url:
        yield url


def load(repo: Repo, first: int, last: int) -> None:
    times = [
        moment.replace(tzinfo=None).isoformat() for moment in (DAY_0 + first * DAY, DAY_0 + last * DAY - TICK)
    ]
    assert repo.feast("materialize", *times, "-v", VIEW) == 0, repo.log.read_text()


def asked(server: str) -> Records:
    address = read_rest_address(server)
    return ask_rest(address, address.project or PROJECT)


def test_it_tells_what_is_loaded_at_once_and_writes_nothing(repo: Repo, server: str) -> None:
    range_ = Window(DAY_0, DAY_0 + 3 * DAY)
    assert lacking(asked(server), [VIEW, "nobody"], range_) == {VIEW: [tuple(range_)], "nobody": None}
    load(repo, 0, 1)
    load(repo, 2, 3)
    before = (repo.home / "registry.db").read_bytes()
    assert lacking(asked(server), [VIEW], range_) == {VIEW: [(DAY_0 + DAY, DAY_0 + 2 * DAY)]}
    assert (repo.home / "registry.db").read_bytes() == before, "the server notes visits of single views"
    load(repo, 1, 2)
    assert lacking(asked(f"{server}/api/v1?project={PROJECT}"), [VIEW], range_) == {}


def test_it_tells_of_all_views_which_are_ever_loaded(server: str) -> None:
    records = asked(server)
    assert set(loadable(records)) == {VIEW, *(f"view_{number}" for number in range(120))}
    assert {name for name, record in records.items() if not record.loadable} == {"offline", "off", "score"}


def test_an_unknown_project_has_no_views(server: str) -> None:
    assert asked(f"{server}?project=nobody") == {}


class Answers(http.server.BaseHTTPRequestHandler):
    """Something that is not Feast."""

    def do_GET(self) -> None:
        code = int(self.path.split("/")[1])
        body = b"<html>hello</html>" if code == 200 else b"go away"
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Location", "/200")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on standard error."""


@pytest.fixture(scope="module")
def other() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as found:
        threading.Thread(target=found.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (200, FeastConfigurationError),
        (302, FeastConfigurationError),
        (404, FeastConfigurationError),
        (401, RegistryRefusedError),
        (403, RegistryRefusedError),
        (429, RegistryUnreachableError),
        (500, RegistryUnreachableError),
    ],
)
def test_what_a_server_refuses_says_how_to_do_without_it(
    other: str, code: int, kind: type[FeastError]
) -> None:
    with pytest.raises(kind) as caught:
        ask_rest(RestAddress(f"{other}/{code}", ""), PROJECT)
    assert type(caught.value) is kind
    assert "leave registry_rest_url empty" in caught.value.remedy


def test_a_server_that_is_away_may_come_back() -> None:
    with pytest.raises(RegistryUnreachableError, match="does not answer") as caught:
        ask_rest(RestAddress(f"http://127.0.0.1:{free_port()}/api/v1", ""), PROJECT)
    assert caught.value.retryable


@pytest.mark.parametrize("named", [True, False])
def test_the_sensor_asks_the_server_that_its_connection_names(
    repo: Repo, server: str, feast_sandbox: Sandbox, named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The project is the address's, or the configuration's where Airflow may read that."""
    configuration = {} if named else {"configuration": (repo.home / "feature_store.yaml").read_text()}
    url = f"{server}?project={PROJECT}" if named else server
    extra = {"image": "feast:1", "registry_rest_url": url, **configuration}
    cluster = {"conn_type": "kubernetes", "extra": {"kube_config_path": str(feast_sandbox.kubeconfig)}}
    monkeypatch.setenv("AIRFLOW_CONN_KUBERNETES_DEFAULT", json.dumps(cluster))
    monkeypatch.setenv("AIRFLOW_CONN_FEAST_REST", json.dumps({"conn_type": "feast", "extra": extra}))
    first = 10 if named else 20
    sensor = FeatureViewMaterializedSensor(
        task_id="wait",
        feast_conn_id="feast_rest",
        feature_views=[VIEW],
        start=DAY_0 + first * DAY,
        end=DAY_0 + (first + 1) * DAY,
    )
    context: Any = {}
    with log_lines() as lines:
        assert not sensor.poke(context)
        load(repo, first, first + 1)
        assert sensor.poke(context)
    window = f"[2026-03-{first + 1}, 2026-03-{first + 2})"
    assert f"Not yet loaded of {window}: {VIEW} {window}" in lines
