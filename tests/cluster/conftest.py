"""A cluster for tests that must hold on any Kubernetes: the sandbox, or the one that KUBECONFIG names."""

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster_helpers import REAL, Cluster, Jobs, wait_for
from kubernetes import config


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


@pytest.fixture(autouse=True)
def _needs_isolation(request: pytest.FixtureRequest) -> None:
    """Tests marked `isolation` run where the sandbox has namespaces of the kernel, and on every real cluster."""
    marked = request.node.get_closest_marker("isolation") is not None
    if marked and not REAL and not request.getfixturevalue("feast_sandbox").isolated:
        pytest.skip("containers are not isolated here")
