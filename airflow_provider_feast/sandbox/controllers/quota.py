"""The status of resource quotas: what is used of what they limit."""

from airflow_provider_feast.sandbox import actors, quantity, resources
from airflow_provider_feast.sandbox.admission import quota
from airflow_provider_feast.sandbox.api import Api
from airflow_provider_feast.sandbox.controllers.queue import WorkQueue
from airflow_provider_feast.sandbox.shapes import Obj
from airflow_provider_feast.sandbox.store import Change


class QuotaController:
    """Counts again whenever something changes in a namespace that has a quota."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._limited: set[str] = set()
        self.queue: WorkQueue[str] = WorkQueue(self._reconcile, actors.QUOTA_CONTROLLER)
        api.store.listen(self._changed)

    def _changed(self, change: Change) -> None:
        if change.key == resources.QUOTAS.key and change.type == "ADDED":
            self._limited.add(change.namespace)
        if change.namespace in self._limited and change.key != resources.EVENTS.key:
            self.queue.add(change.namespace)

    def _reconcile(self, namespace: str) -> None:
        found = self._api.store.objects(resources.QUOTAS.key, namespace)
        if not found:
            self._limited.discard(namespace)
        for obj in found:
            self._api.modify(resources.QUOTAS, namespace, obj["metadata"]["name"], self._count)

    def _count(self, obj: Obj) -> None:
        amounts = quota.used(self._api.store, obj)
        used = {name: quantity.write(name, amount) for name, amount in amounts.items()}
        obj["status"] = {"hard": dict(obj["spec"].get("hard") or {}), "used": used}
