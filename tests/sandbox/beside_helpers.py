"""The same command by plain KubernetesJobOperator and by FeastCommandOperator, on one sandbox with an image of `sh`."""

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest
from airflow.providers.cncf.kubernetes.operators.job import KubernetesJobOperator
from airflow_helpers import feast_connection, wait_for
from kubernetes import client, config

from airflow_provider_feast.operators.feast import FeastCommandOperator
from airflow_provider_feast.sandbox import Sandbox

IMAGE = "light:1"
FEAST = '#!/bin/sh\neval "$SCRIPT"\n'
"""What the image calls Feast: it runs the text in the environment."""


def flaw(shown: object, what: str) -> None:
    """Say so when a later release of the Kubernetes provider has mended what a test compares with.

    :param what: what plain KubernetesJobOperator did in 10.25.0.
    """
    assert shown, f"plain KubernetesJobOperator no longer does this: {what}. Correct the comparison and the documents."


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox of the module's own, whose faults disturb nobody; both operators' connections lead to it."""
    program = tmp_path_factory.mktemp("light") / "bin" / "feast"
    program.parent.mkdir()
    program.write_text(FEAST)
    program.chmod(0o755)
    with Sandbox({IMAGE: str(program.parent.parent), "busybox": "/usr"}, time_scale=0.05) as found:
        extra = {"kube_config_path": str(found.kubeconfig)}
        variables = {
            "AIRFLOW_CONN_KUBERNETES_DEFAULT": json.dumps({"conn_type": "kubernetes", "extra": extra}),
            "AIRFLOW_CONN_FEAST_DEFAULT": feast_connection(definitions_path="/repo"),
        }
        with mock.patch.dict("os.environ", variables):
            yield found


@pytest.fixture
def beside(sandbox: Sandbox) -> Iterator["Beside"]:
    """A namespace for one test."""
    found = Beside(sandbox)
    yield found
    sandbox.clear_faults()
    found.core.delete_namespace(found.namespace)
    found.api.close()


class Beside:
    """A namespace in which the two are compared."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox, self.namespace = sandbox, f"beside-{uuid.uuid4().hex[:8]}"
        self.api = config.new_client_from_config(str(sandbox.kubeconfig))
        self.batch, self.core = client.BatchV1Api(self.api), client.CoreV1Api(self.api)
        self.core.create_namespace({"metadata": {"name": self.namespace}})
        read = self.core.list_namespaced_service_account
        wait_for(lambda: read(self.namespace).items, "the namespace's service account")

    def plain(self, script: str, **options: Any) -> KubernetesJobOperator:
        """The unmodified operator, set to wait for its Job."""
        wait = {"wait_until_job_complete": True, "job_poll_interval": 0.1, "backoff_limit": 0}
        common = {"task_id": "plain", "namespace": self.namespace, "image": IMAGE, "cmds": ["feast"]}
        env = {"SCRIPT": script, **options.pop("env_vars", {})}
        return KubernetesJobOperator(**{**common, **wait, "env_vars": env, **options})

    def ours(self, script: str, **options: Any) -> FeastCommandOperator:
        """Our operator, with the plain command as in the other one's Job."""
        common = {"task_id": "ours", "namespace": self.namespace, "image": IMAGE, "command": ["version"]}
        quick = {"command_mode": "cli", "backoff_limit": 0, "log_interval": 0.1}
        env = {"SCRIPT": script, **options.pop("env", {})}
        return FeastCommandOperator(**{**common, **quick, "env": env, **options})

    def jobs(self) -> list[Any]:
        """The Jobs of the namespace."""
        return list(self.batch.list_namespaced_job(self.namespace).items)

    def job(self) -> Any:
        """The one Job of the namespace as it is in the API, JSON."""
        jobs = self.jobs()
        assert len(jobs) == 1, [job.metadata.name for job in jobs]
        return self.api.sanitize_for_serialization(jobs[0])

    def live_jobs(self) -> list[str]:
        """The names of Jobs that have not ended."""
        return [job.metadata.name for job in self.jobs() if not job.status.conditions]

    def pods(self) -> list[Any]:
        """The pods of the namespace."""
        return list(self.core.list_namespaced_pod(self.namespace).items)

    def delete_jobs(self) -> None:
        """As a person or a time to live does; returns when they are gone."""
        for job in self.jobs():
            self.batch.delete_namespaced_job(
                job.metadata.name, self.namespace, propagation_policy="Background", grace_period_seconds=0
            )
        wait_for(lambda: not self.jobs() and not self.pods(), "the end of the Jobs and their pods")

    def fault(self, resource: str, **options: Any) -> None:
        """Disturb requests for a resource of this namespace."""
        self.sandbox.fault(f"/namespaces/{self.namespace}/{resource}", **options)

    def when_running(self, act: Callable[[str], None]) -> threading.Thread:
        """Do something to the namespace's first pod, given its name, as soon as it runs."""

        def running() -> str | None:
            names = [pod.metadata.name for pod in self.pods() if pod.status.phase == "Running"]
            return names[0] if names else None

        thread = threading.Thread(target=lambda: act(wait_for(running, "a running pod")), daemon=True)
        thread.start()
        return thread
