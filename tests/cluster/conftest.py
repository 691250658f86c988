"""A cluster for tests that must hold on any Kubernetes: the sandbox, or the one that KUBECONFIG names."""

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cluster_helpers import REAL, Cluster, Jobs, wait_for
from kubernetes import config
from provider_helpers import ACCOUNT, DEFINITIONS, STORE, Provider, connection_as, install


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The sandbox, unless KUBECONFIG and FEAST_TEST_IMAGE are set."""
    path = Path(os.environ["KUBECONFIG"]) if REAL else request.getfixturevalue("feast_sandbox").kubeconfig
    api = config.new_client_from_config(str(path))
    yield Cluster(path, api)
    api.close()


@pytest.fixture(scope="session")
def image() -> str:
    """An image with python3 and feast."""
    return os.environ["FEAST_TEST_IMAGE"] if REAL else "feast-sandbox:local"


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace of its own under the restricted Pod Security Standard, removed afterwards."""
    name = f"feast-test-{uuid.uuid4().hex[:10]}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    cluster.core.create_namespace({"metadata": {"name": name, "labels": labels}})
    wait_for(
        cluster.core.list_namespaced_service_account,
        name,
        lambda account: account["metadata"]["name"] == "default",
    )
    yield name
    cluster.core.delete_namespace(name)


@pytest.fixture
def jobs(cluster: Cluster, namespace: str, image: str) -> Jobs:
    """Jobs in the test's own namespace."""
    return Jobs(cluster, namespace, image)


@pytest.fixture
def provider(cluster: Cluster, namespace: str, image: str, monkeypatch: pytest.MonkeyPatch) -> Provider:
    """Connections to the cluster and its namespace, as an administrator would make them."""
    install(cluster, namespace)
    monkeypatch.setenv("AIRFLOW_CONN_THE_CLUSTER", connection_as(cluster, namespace, ACCOUNT))

    def connection(name: str, **extra: Any) -> None:
        common = {"kubernetes_conn_id": "the_cluster", "namespace": namespace, "image": image}
        common |= {"cpu_request": "100m", "service_account": "feast"}
        body = {"conn_type": "feast", "extra": {**common, **extra}}
        monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(body))

    connection("feast_inline", configuration=json.dumps(STORE))
    connection("feast_nowhere", config_map="nowhere")
    connection("feast_key", config_map="definitions")
    connection(
        "feast_image",
        image="registry.invalid/feast:none",
        configuration=json.dumps(STORE),
        startup_timeout_seconds=40 if REAL else 2,
    )
    body = {"metadata": {"name": "definitions"}, "data": {"definitions.py": DEFINITIONS}}
    cluster.core.create_namespaced_config_map(namespace, body)
    return Provider(cluster, namespace)


@pytest.fixture(autouse=True)
def _needs_isolation(request: pytest.FixtureRequest) -> None:
    """Tests marked `isolation` run where the sandbox has namespaces of the kernel, and on every real cluster."""
    marked = request.node.get_closest_marker("isolation") is not None
    if marked and not REAL and not request.getfixturevalue("feast_sandbox").isolated:
        pytest.skip("containers are not isolated here")
