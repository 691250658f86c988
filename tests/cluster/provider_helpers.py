"""What tests share that run this provider on any Kubernetes, as the account that a platform team installs for it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from airflow.providers.common.compat.sdk import TaskDeferred
from cluster_helpers import PATIENCE, Cluster, until
from kubernetes import utils, watch
from kubernetes.client import AuthorizationV1Api

from airflow_provider_feast.model.manifests import Installation, documents

STORE = {
    "project": "on_any_cluster",
    "provider": "local",
    "registry": "/tmp/registry.db",
    "online_store": {"type": "sqlite", "path": "/tmp/online.db"},
    "entity_key_serialization_version": 3,
}
DEFINITIONS = """
from feast import Entity, ValueType

driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
"""
WAITS = {
    "spec": {
        "template": {
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [
                    {"name": "feast", "command": ["python3", "-c", "import time; time.sleep(600)"]}
                ],
            }
        }
    }
}


@dataclass
class FakeInstance:
    """As much of a task instance as a task of ours asks for."""

    task_id: str
    try_number: int = 1
    dag_id: str = "on_any_cluster"
    run_id: str = "manual__2026-01-01T00:00:00+00:00"
    map_index: int = -1
    max_tries: int = 0
    pushed: dict[str, Any] = field(default_factory=dict)

    def xcom_push(self, key: str, value: Any) -> None:
        self.pushed[key] = value


@dataclass(frozen=True)
class Provider:
    """Runs operators against the test's namespace without an Airflow around them."""

    cluster: Cluster
    namespace: str

    def context(self, operator: Any, try_number: int = 1) -> dict[str, Any]:
        instance = FakeInstance(operator.task_id, try_number)
        run = SimpleNamespace(run_id=instance.run_id, run_after=datetime(2026, 1, 1, tzinfo=UTC))
        dag = SimpleNamespace(dag_id=instance.dag_id)
        shared = {"ti": instance, "task_instance": instance, "run_id": instance.run_id}
        return {**shared, "dag_run": run, "dag": dag, "task": operator}

    def run(self, operator: Any, try_number: int = 1) -> tuple[Any, dict[str, Any]]:
        """Execute an operator; its result and its XComs."""
        context = self.context(operator, try_number)
        return operator.execute(context), context["ti"].pushed

    def defer(self, operator: Any, try_number: int = 1) -> TaskDeferred:
        """Execute an operator that defers."""
        with pytest.raises(TaskDeferred) as raised:
            self.run(operator, try_number)
        return raised.value

    def jobs(self) -> list[Any]:
        return list(self.cluster.batch.list_namespaced_job(self.namespace).items)

    def pods(self) -> list[Any]:
        return list(self.cluster.core.list_namespaced_pod(self.namespace).items)

    def until_gone(self, lister: Callable[..., Any], **selectors: str) -> None:
        """Wait by a watch until a list is empty."""
        found = lister(self.namespace, **selectors)
        left = {item.metadata.uid for item in found.items}
        if not left:
            return
        version = found.metadata.resource_version
        options = {"resource_version": version, "timeout_seconds": PATIENCE, **selectors}
        stream = watch.Watch().stream(lister, self.namespace, **options)
        for event in stream:
            if event["type"] == "DELETED":
                left.discard(event["raw_object"]["metadata"]["uid"])
            if not left:
                stream.close()
                return
        raise AssertionError(f"{len(left)} are still there after {PATIENCE} s")


ACCOUNT = "airflow"
"""The account as which every test here runs the provider: it has the rights that ``airflow feast manifests`` gives."""


def install(cluster: Cluster, namespace: str) -> None:
    """What a platform team installs, but for the namespace, which is there."""
    for document in documents(Installation(namespace=namespace, feature_store="inline")):
        if document.manifest["kind"] != "Namespace":
            utils.create_from_dict(cluster.api, document.manifest)
    until(lambda: may_list_jobs(cluster, namespace), "the server to go by Airflow's Role")


def may_list_jobs(cluster: Cluster, namespace: str, account: str = ACCOUNT) -> bool:
    """Whether an account may list Jobs: a server goes by a new binding a moment after it was stored."""
    asked = {"namespace": namespace, "verb": "list", "group": "batch", "resource": "jobs"}
    spec = {"user": f"system:serviceaccount:{namespace}:{account}", "resourceAttributes": asked}
    reviews = AuthorizationV1Api(cluster.api)
    return bool(reviews.create_subject_access_review({"spec": spec}).status.allowed)


def connection_as(cluster: Cluster, namespace: str, account: str) -> str:
    """A Kubernetes connection with a token of a service account."""
    request = {"spec": {"audiences": None, "expirationSeconds": 3600}}
    core = cluster.core
    token = core.create_namespaced_service_account_token(account, namespace, request).status.token
    known = yaml.safe_load(cluster.kubeconfig.read_text(encoding="utf-8"))
    for user in known["users"]:
        user["user"] = {"token": token}
    return json.dumps({"conn_type": "kubernetes", "extra": {"kube_config": json.dumps(known)}})
