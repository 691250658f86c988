"""Namespaces: what each new one holds, and how a deleted one is emptied. Claims are bound here too."""

from airflow_provider_feast.sandbox import actors, resources
from airflow_provider_feast.sandbox.api import Api
from airflow_provider_feast.sandbox.controllers.queue import WorkQueue
from airflow_provider_feast.sandbox.deletion import BACKGROUND, DeleteOptions, delete
from airflow_provider_feast.sandbox.shapes import Obj
from airflow_provider_feast.sandbox.store import Change

ROOT_CA = "kube-root-ca.crt"
_ROOT_CA_TEXT = "# The sandbox speaks plain HTTP on loopback: there is no certificate authority.\n"


class NamespaceController:
    """Fills new namespaces with their defaults and empties deleted ones."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.queue: WorkQueue[str] = WorkQueue(self._reconcile, actors.NAMESPACE_CONTROLLER)
        api.store.listen(self._changed)

    def _changed(self, change: Change) -> None:
        if change.key == resources.NAMESPACES.key:
            if change.type != "DELETED":
                self.queue.add(change.name)
                if change.type == "ADDED":
                    self._fill(change.name)
        elif change.type == "DELETED" and change.namespace:
            self.queue.add(change.namespace)
        elif change.key == resources.CLAIMS.key and change.type == "ADDED":
            self._api.modify(resources.CLAIMS, change.namespace, change.name, _bind)

    def _reconcile(self, name: str) -> None:
        namespace = self._api.store.get(resources.NAMESPACES.key, "", name)
        if namespace is None:
            return
        if namespace["metadata"].get("deletionTimestamp"):
            self._empty(name)
        else:
            self._fill(name)

    def _fill(self, name: str) -> None:
        store = self._api.store
        if store.get(resources.SERVICEACCOUNTS.key, name, "default") is None:
            self._api.admit(resources.SERVICEACCOUNTS, name, {"metadata": {"name": "default"}})
        if store.get(resources.CONFIGMAPS.key, name, ROOT_CA) is None:
            body = {"metadata": {"name": ROOT_CA}, "data": {"ca.crt": _ROOT_CA_TEXT}}
            self._api.admit(resources.CONFIGMAPS, name, body)

    def _empty(self, name: str) -> None:
        left = 0
        for key in self._api.store.held_keys():
            resource = self._api.registry.of_key(key)
            if resource is None or not resource.namespaced:
                continue
            for obj in self._api.store.objects(key, name):
                if not obj["metadata"].get("deletionTimestamp"):
                    delete(
                        self._api, resource, name, obj["metadata"]["name"], DeleteOptions(policy=BACKGROUND)
                    )
            left += len(self._api.store.objects(key, name))
        if not left:
            self._api.modify(resources.NAMESPACES, "", name, _release)


def _release(namespace: Obj) -> None:
    namespace["spec"] = {}


def _bind(claim: Obj) -> None:
    spec = claim["spec"]
    spec["volumeName"] = f"pvc-{claim['metadata']['uid']}"
    claim["status"] = {
        "phase": "Bound",
        "accessModes": spec["accessModes"],
        "capacity": {"storage": spec["resources"]["requests"]["storage"]},
    }
