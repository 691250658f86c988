"""The same command by plain KubernetesJobOperator and by FeastCommandOperator, on one sandbox with an image of `sh`."""

import json
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import tenacity
from airflow.providers.cncf.kubernetes import kubernetes_helper_functions
from airflow.providers.cncf.kubernetes.operators.job import KubernetesJobOperator
from airflow_helpers import feast_connection, wait_for
from kubernetes import client, config

from airflow_provider_feast.jobs import task
from airflow_provider_feast.jobs.submit import ended
from airflow_provider_feast.operators.feast import FeastCommandOperator, FeastMaterializeOperator
from airflow_provider_feast.sandbox import Sandbox

IMAGE = "light:1"
FEAST = '#!/bin/sh\ntrap "exit 143" TERM\neval "$SCRIPT" &\nwait $!\n'
"""What the image calls Feast, and Python: it runs the text in the environment; the trap ends a PID 1 at SIGTERM."""


MENDED = "plain KubernetesJobOperator no longer does this; correct the comparison and the documents"


def flaw(shown: object, what: str) -> None:
    """Say so when a later release of the Kubernetes provider has mended what a test compares with.

    :param what: what plain KubernetesJobOperator did in 10.25.0.
    """
    assert shown, f"{MENDED}: {what}"


@contextmanager
def fails(kind: type[Any] | tuple[type[Any], ...], what: str) -> Iterator[Any]:
    """As ``pytest.raises`` for what plain KubernetesJobOperator fails with; see :func:`flaw`."""
    with pytest.raises(kind) as raised:
        yield raised
        flaw(False, what)


@pytest.fixture(scope="module")
def image_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is in the image."""
    home = tmp_path_factory.mktemp("light")
    (home / "bin").mkdir()
    for name in ("feast", "python3"):
        program = home / "bin" / name
        program.write_text(FEAST)
        program.chmod(0o755)
    return home


@pytest.fixture(scope="module")
def sandbox(image_home: Path) -> Iterator[Sandbox]:
    """A sandbox of the module's own, whose faults disturb nobody; both operators' connections lead to it."""
    with Sandbox({IMAGE: str(image_home)}, time_scale=0.05) as found:
        extra = {"kube_config_path": str(found.kubeconfig)}
        variables = {
            "AIRFLOW_CONN_KUBERNETES_DEFAULT": json.dumps({"conn_type": "kubernetes", "extra": extra}),
            "AIRFLOW_CONN_FEAST_DEFAULT": feast_connection(definitions_path="/repo"),
        }
        with mock.patch.dict("os.environ", variables):
            yield found


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither side is slow: retries of its API requests do not pause, ours defers soon."""
    monkeypatch.setattr(kubernetes_helper_functions, "_default_wait", tenacity.wait_none())
    monkeypatch.setattr(task.TaskRun, "defer_after", 0.3)


@pytest.fixture
def beside(sandbox: Sandbox, image_home: Path) -> Iterator["Beside"]:
    """A namespace for one test."""
    found = Beside(sandbox, image_home)
    yield found
    sandbox.clear_faults()
    found.core.delete_namespace(found.namespace)
    found.api.close()


class Beside:
    """A namespace in which the two are compared."""

    def __init__(self, sandbox: Sandbox, image_home: Path) -> None:
        self.sandbox, self.namespace = sandbox, f"beside-{uuid.uuid4().hex[:8]}"
        self._image_home = image_home
        self.api = config.new_client_from_config(str(sandbox.kubeconfig))
        self.batch, self.core = client.BatchV1Api(self.api), client.CoreV1Api(self.api)
        self.core.create_namespace({"metadata": {"name": self.namespace}})
        read = self.core.list_namespaced_service_account
        wait_for(lambda: read(self.namespace).items, "the namespace's service account")

    def plain(self, script: str, **options: Any) -> KubernetesJobOperator:
        """The unmodified operator, set to wait for its Job."""
        wait = {"wait_until_job_complete": True, "job_poll_interval": 0.1, "backoff_limit": 0}
        wait["discover_pods_retry_number"] = 1000  # else it fails by chance where a pod takes a moment
        common = {"task_id": "plain", "namespace": self.namespace, "image": IMAGE, "cmds": ["feast"]}
        env = {"SCRIPT": script, **options.pop("env_vars", {})}
        return KubernetesJobOperator(**{**common, **wait, "env_vars": env, **options})

    def ours(self, script: str, **options: Any) -> FeastCommandOperator:
        """Our operator, with the plain command as in the other one's Job."""
        common = {"task_id": "ours", "namespace": self.namespace, "image": IMAGE, "command": ["version"]}
        quick = {"command_mode": "cli", "backoff_limit": 0, "log_interval": 0.1}
        env = {"SCRIPT": script, **options.pop("env", {})}
        return FeastCommandOperator(**{**common, **quick, "env": env, **options})

    def chunked(self, script: str, **options: Any) -> FeastMaterializeOperator:
        """Our operator that loads in chunks, with the script in the runner's place; a chunk is tried twice."""
        common = {"task_id": "chunked", "namespace": self.namespace, "image": IMAGE, "backoff_limit": 1}
        return FeastMaterializeOperator(**{**common, "env": {"SCRIPT": script}, **options})

    def jobs(self) -> list[Any]:
        """The Jobs of the namespace, as JSON."""
        found = self.batch.list_namespaced_job(self.namespace)
        return list(self.api.sanitize_for_serialization(found)["items"])

    def live_jobs(self) -> list[str]:
        """The names of Jobs that have not ended."""
        return [job["metadata"]["name"] for job in self.jobs() if not ended(job)]

    def pods(self) -> list[Any]:
        """The pods of the namespace, as JSON."""
        found = self.core.list_namespaced_pod(self.namespace)
        return list(self.api.sanitize_for_serialization(found)["items"])

    def delete_jobs(self) -> None:
        """As a person or a time to live does; returns when they are gone."""
        for job in self.jobs():
            name, options = job["metadata"]["name"], {"propagation_policy": "Background"}
            self.batch.delete_namespaced_job(name, self.namespace, **options)
        wait_for(lambda: not self.jobs() and not self.pods(), "the end of the Jobs and their pods")

    def push(self, image: str) -> None:
        """Make the image exist under another name too."""
        self.sandbox.add_image(image, str(self._image_home))

    def fault(self, resource: str, **options: Any) -> None:
        """Disturb requests for a resource of this namespace."""
        self.sandbox.fault(f"/namespaces/{self.namespace}/{resource}", **options)

    @contextmanager
    def when_running(self, act: Callable[[str], None]) -> Iterator[None]:
        """Do something to the namespace's first pod, given its name, as soon as it runs."""

        def running() -> str | None:
            names = [pod["metadata"]["name"] for pod in self.pods() if pod["status"]["phase"] == "Running"]
            return names[0] if names else None

        with self._meanwhile(lambda: act(wait_for(running, "a running pod"))):
            yield

    @contextmanager
    def when_event(self, reason: str, act: Callable[[], None]) -> Iterator[None]:
        """Do something as soon as the namespace has an Event with this reason."""

        def told() -> bool:
            return any(
                event.reason == reason for event in self.core.list_namespaced_event(self.namespace).items
            )

        def wait() -> None:
            wait_for(told, f"an Event {reason}")
            act()

        with self._meanwhile(wait):
            yield

    @contextmanager
    def _meanwhile(self, act: Callable[[], None]) -> Iterator[None]:
        """Do something in a thread; what it raises is raised at the end of the block."""
        with ThreadPoolExecutor(1) as pool:
            done = pool.submit(act)
            yield
            done.result()
