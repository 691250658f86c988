"""Fixtures of tests with a real Airflow: a namespace with data on the sandbox, and an Airflow beside it."""

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from airflow_helpers import DagServer, environment
from kubernetes import client, config

from airflow_provider_feast.sandbox import Sandbox
from airflow_provider_feast.sandbox.demo_world import World, prepare, remove

IMAGE = "feast-sandbox:local"
END = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
"""Where the five days of data end."""


@dataclass(frozen=True)
class Cluster:
    """The objects of the tests' namespace."""

    world: World

    @property
    def namespace(self) -> str:
        return self.world.namespace

    @property
    def batch(self) -> client.BatchV1Api:
        return client.BatchV1Api(self.world.api)

    @property
    def core(self) -> client.CoreV1Api:
        return client.CoreV1Api(self.world.api)

    def job(self, name: str) -> Any:
        """A Job, or None."""
        return _or_none(self.batch.read_namespaced_job, name, self.namespace)

    def config_map(self, name: str) -> Any:
        """A ConfigMap, or None."""
        return _or_none(self.core.read_namespaced_config_map, name, self.namespace)

    def start(self, name: str, code: str, labels: dict[str, str]) -> None:
        """A Job that is none of ours and runs Python code, as a CronJob would make it."""
        container = {
            "name": "main",
            "image": self.world.image,
            "command": ["python3", "-c", code],
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
        locked = {"runAsNonRoot": True, "runAsUser": 1001, "seccompProfile": {"type": "RuntimeDefault"}}
        pod = {"restartPolicy": "Never", "securityContext": locked, "containers": [container]}
        body = {
            "metadata": {"name": name, "labels": labels},
            "spec": {"backoffLimit": 0, "template": {"spec": pod}},
        }
        self.batch.create_namespaced_job(self.namespace, body)


def _or_none(read: Callable[..., Any], *args: str) -> Any:
    try:
        return read(*args)
    except client.ApiException as error:
        if error.status != 404:
            raise
        return None


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
