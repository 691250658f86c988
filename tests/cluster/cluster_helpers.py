"""What tests of a cluster share: clients, waiting by watches, Jobs that the restricted standard accepts."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes import client, watch

REAL = bool(os.environ.get("KUBECONFIG") and os.environ.get("FEAST_TEST_IMAGE"))
SECURITY = {
    "runAsNonRoot": True,
    "allowPrivilegeEscalation": False,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}
PATIENCE = 180 if REAL else 30


@dataclass(frozen=True)
class Cluster:
    """A kubeconfig, and clients made from it."""

    kubeconfig: Path
    api: client.ApiClient

    @property
    def version(self) -> tuple[int, int]:
        """Major and minor version of the server; some clouds write the minor one as "33+"."""
        code = client.VersionApi(self.api).get_code()
        return int(code.major), int(code.minor.rstrip("+"))

    @property
    def two_steps(self) -> bool:
        """Whether a Job's end is announced by a condition of its own until its pods have ended: since 1.31."""
        return self.version >= (1, 31)

    @property
    def core(self) -> client.CoreV1Api:
        return client.CoreV1Api(self.api)

    @property
    def batch(self) -> client.BatchV1Api:
        return client.BatchV1Api(self.api)

    @property
    def leases(self) -> client.CoordinationV1Api:
        return client.CoordinationV1Api(self.api)

    @property
    def rbac(self) -> client.RbacAuthorizationV1Api:
        return client.RbacAuthorizationV1Api(self.api)

    @property
    def custom(self) -> client.CustomObjectsApi:
        return client.CustomObjectsApi(self.api)


def wait_for(
    lister: Callable[..., Any], namespace: str, condition: Callable[[dict[str, Any]], bool], **options: Any
) -> dict[str, Any]:
    """Watch a list until an object fulfils a condition, and return it."""
    seen: list[Any] = []
    stream = watch.Watch().stream(lister, namespace, timeout_seconds=PATIENCE, **options)
    for event in stream:
        seen.append((event["type"], event["raw_object"].get("status")))
        if event["type"] != "DELETED" and condition(event["raw_object"]):
            found: dict[str, Any] = event["raw_object"]
            stream.close()
            return found
    raise AssertionError(f"nothing fulfilled the condition within {PATIENCE} s; seen: {seen[-5:]}")


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait for something that no watch tells of."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, f"waited {PATIENCE} s for {what}"
        time.sleep(0.05)


def true_conditions(obj: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The conditions of an object that are true, by type."""
    return {c["type"]: c for c in obj.get("status", {}).get("conditions", []) if c["status"] == "True"}


@dataclass(frozen=True)
class Jobs:
    """Makes Jobs that the restricted standard accepts, and waits for them."""

    cluster: Cluster
    namespace: str
    image: str

    def manifest(self, code: str, name: str = "job", **spec: Any) -> dict[str, Any]:
        """A Job whose container runs Python code; `pod` and `container` are merged into the template."""
        pod, container = spec.pop("pod", {}), spec.pop("container", {})
        main = {
            "name": "main",
            "image": self.image,
            "command": ["python3", "-c", code],
            "securityContext": SECURITY,
        }
        template = {"restartPolicy": "Never", "containers": [{**main, **container}], **pod}
        template.setdefault("terminationGracePeriodSeconds", 2)
        return {
            "metadata": {"name": name},
            "spec": {"backoffLimit": 0, "template": {"spec": template}, **spec},
        }

    def create(self, code: str = "pass", name: str = "job", **spec: Any) -> Any:
        return self.cluster.batch.create_namespaced_job(self.namespace, self.manifest(code, name, **spec))

    def until(self, condition: Callable[[dict[str, Any]], bool], name: str = "job") -> dict[str, Any]:
        lister = self.cluster.batch.list_namespaced_job
        return wait_for(lister, self.namespace, condition, field_selector=f"metadata.name={name}")

    def finished(self, name: str = "job") -> dict[str, Any]:
        return self.until(lambda job: bool({"Complete", "Failed"} & set(true_conditions(job))), name)

    def run(self, code: str = "pass", name: str = "job", **spec: Any) -> dict[str, Any]:
        self.create(code, name, **spec)
        return self.finished(name)

    def pods(self, name: str = "job") -> list[Any]:
        found = self.cluster.core.list_namespaced_pod(self.namespace, label_selector=f"job-name={name}")
        return list(found.items)

    def pod_until(self, condition: Callable[[dict[str, Any]], bool], name: str = "job") -> dict[str, Any]:
        lister = self.cluster.core.list_namespaced_pod
        return wait_for(lister, self.namespace, condition, label_selector=f"job-name={name}")

    def until_no_pod(self, name: str = "job") -> None:
        """Wait by a watch until no pod of a Job is left: a Job may have ended a moment before its last pod is gone."""
        lister, selector = self.cluster.core.list_namespaced_pod, f"job-name={name}"
        found = lister(self.namespace, label_selector=selector)
        left = {pod.metadata.uid for pod in found.items}
        options = {"label_selector": selector, "resource_version": found.metadata.resource_version}
        stream = watch.Watch().stream(lister, self.namespace, timeout_seconds=PATIENCE, **options)
        while left:
            event = next(stream, None)
            assert event is not None, f"{len(left)} pods are still there after {PATIENCE} s"
            if event["type"] == "DELETED":
                left.discard(event["raw_object"]["metadata"]["uid"])
        stream.close()

    def terminated(self, name: str = "job") -> Any:
        return self.pods(name)[0].status.container_statuses[0].state.terminated

    def log(self, name: str = "job", **options: Any) -> str:
        pod = self.pods(name)[0].metadata.name
        response = self.cluster.core.read_namespaced_pod_log(
            pod, self.namespace, _preload_content=False, **options
        )
        return str(response.data.decode())

    def events(self, reason: str) -> list[dict[str, Any]]:
        """Waits for an Event with this reason; returns all that have it."""
        lister = self.cluster.core.list_namespaced_event
        wait_for(lister, self.namespace, lambda event: event["reason"] == reason)
        found = self.cluster.core.list_namespaced_event(self.namespace).items
        return [event for event in found if event.reason == reason]
