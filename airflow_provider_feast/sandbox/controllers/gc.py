"""Garbage collection by ownerReferences: background, foreground and orphan."""

from collections.abc import Callable

from airflow_provider_feast.sandbox import actors
from airflow_provider_feast.sandbox.api import Api
from airflow_provider_feast.sandbox.controllers.queue import WorkQueue
from airflow_provider_feast.sandbox.deletion import (
    BACKGROUND,
    FOREGROUND,
    FOREGROUND_FINALIZER,
    ORPHAN_FINALIZER,
    DeleteOptions,
    delete,
)
from airflow_provider_feast.sandbox.shapes import Obj
from airflow_provider_feast.sandbox.store import Change, Key

At = tuple[Key, str, str]


class GarbageCollector:
    """Follows ownerReferences, as kube-controller-manager's garbage collector does."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self.queue: WorkQueue[At] = WorkQueue(self._reconcile, actors.GARBAGE_COLLECTOR)
        api.store.listen(self._changed)

    def _changed(self, change: Change) -> None:
        meta = change.obj["metadata"]
        if change.type == "DELETED":
            for key, obj in self._api.store.dependents(meta["uid"]):
                self.queue.add(_at(key, obj))
            for owner in meta.get("ownerReferences") or ():
                found = self._api.store.by_uid(owner["uid"])
                if found and FOREGROUND_FINALIZER in (found["metadata"].get("finalizers") or ()):
                    self._add_owner(found)
        elif meta.get("ownerReferences") or (meta.get("deletionTimestamp") and meta.get("finalizers")):
            self.queue.add((change.key, change.namespace, change.name))

    def _add_owner(self, owner: Obj) -> None:
        resource = self._api.registry.of_kind(owner["apiVersion"], owner["kind"])
        if resource:
            self.queue.add(_at(resource.key, owner))

    def _reconcile(self, at: At) -> None:
        key, namespace, name = at
        obj = self._api.store.get(key, namespace, name)
        if obj is None:
            return
        finalizers = obj["metadata"].get("finalizers") or ()
        if obj["metadata"].get("deletionTimestamp") and ORPHAN_FINALIZER in finalizers:
            self._orphan(at, obj)
        elif obj["metadata"].get("deletionTimestamp") and FOREGROUND_FINALIZER in finalizers:
            self._foreground(at, obj)
        elif obj["metadata"].get("ownerReferences"):
            self._collect(at, obj)

    def _orphan(self, at: At, owner: Obj) -> None:
        uid = owner["metadata"]["uid"]
        for key, obj in self._api.store.dependents(uid):
            self._drop_owners(_at(key, obj), {uid})
        self._drop_finalizer(at, ORPHAN_FINALIZER)

    def _foreground(self, at: At, owner: Obj) -> None:
        uid = owner["metadata"]["uid"]
        blocked = False
        for key, obj in self._api.store.dependents(uid):
            reference = next(o for o in obj["metadata"]["ownerReferences"] if o["uid"] == uid)
            blocked = blocked or bool(reference.get("blockOwnerDeletion"))
            if not obj["metadata"].get("deletionTimestamp"):
                self._collect(_at(key, obj), obj)
        if blocked:
            blocked = any(
                reference["uid"] == uid and reference.get("blockOwnerDeletion")
                for _, obj in self._api.store.dependents(uid)
                for reference in obj["metadata"]["ownerReferences"]
            )
        if not blocked:
            self._drop_finalizer(at, FOREGROUND_FINALIZER)

    def _collect(self, at: At, obj: Obj) -> None:
        """Delete an object none of whose owners is left; forget owners that are gone."""
        owners = [owner["uid"] for owner in obj["metadata"]["ownerReferences"]]
        gone = {uid for uid in owners if self._leaving(uid)}
        if not gone:
            return
        if len(gone) < len(set(owners)):
            self._drop_owners(at, {uid for uid in gone if self._api.store.by_uid(uid) is None})
        elif not obj["metadata"].get("deletionTimestamp"):
            resource = self._api.registry.of_key(at[0])
            if resource is not None:
                policy = FOREGROUND if self._api.store.dependents(obj["metadata"]["uid"]) else BACKGROUND
                options = DeleteOptions(policy=policy, uid=obj["metadata"]["uid"])
                delete(self._api, resource, at[1], at[2], options)

    def _leaving(self, uid: str) -> bool:
        owner = self._api.store.by_uid(uid)
        if owner is None:
            return True
        meta = owner["metadata"]
        return bool(meta.get("deletionTimestamp")) and FOREGROUND_FINALIZER in (meta.get("finalizers") or ())

    def _drop_owners(self, at: At, uids: set[str]) -> None:
        def drop(obj: Obj) -> None:
            left = [
                owner for owner in obj["metadata"].get("ownerReferences") or () if owner["uid"] not in uids
            ]
            if left:
                obj["metadata"]["ownerReferences"] = left
            else:
                obj["metadata"].pop("ownerReferences", None)

        self._modify(at, drop)

    def _drop_finalizer(self, at: At, finalizer: str) -> None:
        def drop(obj: Obj) -> None:
            obj["metadata"]["finalizers"] = [f for f in obj["metadata"]["finalizers"] if f != finalizer]

        self._modify(at, drop)

    def _modify(self, at: At, change: Callable[[Obj], None]) -> None:
        resource = self._api.registry.of_key(at[0])
        if resource is not None:
            self._api.modify(resource, at[1], at[2], change)


def _at(key: Key, obj: Obj) -> At:
    return (key, obj["metadata"].get("namespace", ""), obj["metadata"]["name"])
