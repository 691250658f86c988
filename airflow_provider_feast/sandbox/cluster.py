"""The whole cluster in one process: the API's state, its controllers and its one node."""

import asyncio
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from airflow_provider_feast.sandbox import authz, clock, resources, roles
from airflow_provider_feast.sandbox.admission import validation
from airflow_provider_feast.sandbox.api import Api
from airflow_provider_feast.sandbox.audit import Audit
from airflow_provider_feast.sandbox.clock import Backoff
from airflow_provider_feast.sandbox.controllers.crd import CustomResources
from airflow_provider_feast.sandbox.controllers.gc import GarbageCollector
from airflow_provider_feast.sandbox.controllers.job import JobController
from airflow_provider_feast.sandbox.controllers.namespace import NamespaceController
from airflow_provider_feast.sandbox.controllers.quota import QuotaController
from airflow_provider_feast.sandbox.deletion import DeleteOptions, delete
from airflow_provider_feast.sandbox.faults import Faults
from airflow_provider_feast.sandbox.images import Image, Images
from airflow_provider_feast.sandbox.pods import isolation
from airflow_provider_feast.sandbox.pods.container import Runtime
from airflow_provider_feast.sandbox.pods.kubelet import Kubelet
from airflow_provider_feast.sandbox.pods.plan import Node
from airflow_provider_feast.sandbox.pods.process import start_mapped
from airflow_provider_feast.sandbox.pods.scheduler import Scheduler, node
from airflow_provider_feast.sandbox.pods.volumes import VolumeHost
from airflow_provider_feast.sandbox.pods.worker import NodeServices
from airflow_provider_feast.sandbox.recorder import NODE, Recorder
from airflow_provider_feast.sandbox.resources import Registry
from airflow_provider_feast.sandbox.shapes import Obj
from airflow_provider_feast.sandbox.store import Store

_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_STARTS_AT_ONCE = 16
_POD_TOKEN_SECONDS = 365 * 24 * 3600.0  # as long as a pod may live: the file is not renewed


@dataclass(frozen=True)
class Settings:
    """How a sandbox is set up.

    Attributes:
        directory: where pods, volumes and logs live.
        images: image names (or patterns) and what they are here.
        time_scale: factor of all back-off delays; 1.0 is a cluster's.
        isolated: real mount paths by namespaces of the kernel; `None`: see `isolation.wanted`.
    """

    directory: Path
    images: dict[str, Image] = field(default_factory=dict)
    time_scale: float = 1.0
    isolated: bool | None = None


class Cluster:
    """Everything that a request can reach."""

    def __init__(self, settings: Settings, host: str, port: int) -> None:
        self.settings = settings
        self.address = f"{host}:{port}"
        self.isolated = isolation.wanted() if settings.isolated is None else settings.isolated
        self.token = secrets.token_urlsafe(24)
        self.store = Store()
        self.registry = Registry()
        self.api = Api(self.store, self.registry)
        self.tokens = authz.Tokens(self.store, self.token)
        self.authorizer = authz.Authorizer(self.store)
        self.faults = Faults()
        self.images = Images(settings.images)
        settings.directory.mkdir(parents=True, exist_ok=True)
        self.audit = Audit(settings.directory / "audit.jsonl")
        self.store.listen(self.audit.record)  # before those that write in turn
        backoff = Backoff(settings.time_scale)
        events = Recorder(self.api, "kubelet", NODE)
        self.scheduler = Scheduler(self.api)
        runtime = Runtime(
            images=self.images,
            start=isolation.start if self.isolated else start_mapped,
            events=events,
            backoff=backoff,
            slots=asyncio.Semaphore(_STARTS_AT_ONCE),
        )
        shared = Node(
            host=VolumeHost(self.store, settings.directory / "claims", self._pod_token),
            root=settings.directory,
            api_address=(host, port),
            isolated=self.isolated,
            find_image=self.images.find,
        )
        self.kubelet = Kubelet(NodeServices(self.api, shared, events, backoff, runtime))
        self._collector = GarbageCollector(self.api)
        self._namespaces = NamespaceController(self.api)
        self._quotas = QuotaController(self.api)
        self._jobs = JobController(self.api, backoff)
        self._custom = CustomResources(self.api)
        self._seed()

    def _seed(self) -> None:
        for name in _NAMESPACES:
            self.api.admit(resources.NAMESPACES, "", {"metadata": {"name": name}})
        self.store.put(resources.NODES.key, self._node())
        standard: Obj = {
            "metadata": {
                "name": "standard",
                "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
            },
            "provisioner": "sandbox.feast.dev/directory",
        }
        self.api.admit(resources.STORAGECLASSES, "", standard)
        for name, value in validation.SYSTEM_PRIORITIES.items():
            self.api.admit(resources.PRIORITYCLASSES, "", {"metadata": {"name": name}, "value": value})
        for role in roles.cluster_roles():
            self.api.admit(resources.CLUSTERROLES, "", role)
        for binding in roles.cluster_role_bindings():
            self.api.admit(resources.CLUSTERROLEBINDINGS, "", binding)

    def _node(self) -> Obj:
        found = {"apiVersion": "v1", "kind": "Node", **node()}
        found["metadata"] |= {"uid": f"node-{NODE}", "creationTimestamp": clock.stamp()}
        return found

    def _pod_token(self, pod: Obj) -> str:
        namespace, name = pod["metadata"]["namespace"], pod["spec"]["serviceAccountName"]
        account = self.api.get(resources.SERVICEACCOUNTS, namespace, name)
        return self.tokens.issue(account, _POD_TOKEN_SECONDS)[0]

    def evict(self, namespace: str, name: str, why: tuple[str, str], grace: int | None) -> None:
        """Mark a pod as disrupted and delete it, as the eviction API does."""

        def mark(pod: Obj) -> None:
            condition = {
                "type": "DisruptionTarget",
                "observedGeneration": pod["metadata"].get("generation", 1),
                "status": "True",
                "lastProbeTime": None,
                "lastTransitionTime": clock.stamp(),
                "reason": why[0],
                "message": why[1],
            }
            pod["status"].setdefault("conditions", []).append(condition)

        self.api.modify(resources.PODS, namespace, name, mark)
        delete(self.api, resources.PODS, namespace, name, DeleteOptions(grace=grace))

    def lose(self, namespace: str, name: str) -> None:
        """The node is gone: the pod is marked, and force-deleted without anybody confirming its end."""
        why = ("DeletionByPodGC", "PodGC: node no longer exists")
        self.evict(namespace, name, why, 0)

    async def close(self) -> None:
        """Stop the controllers, kill all pods."""
        for queue in (self._collector.queue, self._namespaces.queue, self._jobs.queue, self._jobs.orphans):
            queue.close()
        self._quotas.queue.close()
        self.scheduler.queue.close()
        await self.kubelet.close()
        self.audit.close()
