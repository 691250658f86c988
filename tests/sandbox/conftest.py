"""Fixtures of several modules: runners on the real Feast, a namespace with data on the sandbox, an Airflow beside it."""

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from airflow_helpers import END, Cluster, DagServer, environment
from kubernetes import config

from airflow_provider_feast.sandbox import Sandbox
from airflow_provider_feast.sandbox.demo_world import World, prepare, remove

if TYPE_CHECKING:
    from feast_stores import Zygote

IMAGE = "feast-sandbox:local"


@pytest.fixture(scope="module")
def zygote() -> "Iterator[Zygote]":
    """A process that has imported Feast, to fork runners from."""
    from feast_stores import Zygote  # pandas, which most modules do without

    found = Zygote()
    yield found
    found.stop()


@pytest.fixture(scope="module")
def cluster(world: World) -> Cluster:
    """The objects of the tests' namespace."""
    return Cluster(world)


@pytest.fixture(scope="module")
def world(feast_sandbox: Sandbox) -> Iterator[World]:
    """A namespace with the demo's parquet files on a volume, its definitions and its configuration."""
    api = config.new_client_from_config(str(feast_sandbox.kubeconfig))
    made = World(api, f"airflow-{uuid.uuid4().hex[:10]}", IMAGE, feast_sandbox.kubeconfig, False)
    prepare(made, END, lambda _: None)
    yield made
    remove(made)
    api.close()


@pytest.fixture(scope="module")
def airflow(
    world: World, connections: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DagServer]:
    """An Airflow that runs one DAG after the other; `connections` is the test module's own fixture."""
    home = tmp_path_factory.mktemp("airflow")
    server = DagServer(home, environment(home, world.kubeconfig, connections))
    yield server
    server.stop()
