"""The objects, one global resourceVersion, and what happened to them (for watches).

Stored objects are never changed in place: a write replaces the object, so readers and watchers may keep
what they were given.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from airflow_provider_feast.sandbox import status
from airflow_provider_feast.sandbox.shapes import Obj, ReadOnlyObj

Key = tuple[str, str]
HISTORY = 20_000


def encode(obj: ReadOnlyObj) -> bytes:
    return json.dumps(obj, separators=(",", ":"), ensure_ascii=False).encode()


@dataclass(slots=True)
class Change:
    """One write: `type` is ADDED, MODIFIED or DELETED; `before` is the object it replaced."""

    version: int
    type: str
    key: Key
    namespace: str
    name: str
    obj: Obj
    before: Obj | None
    _bytes: bytes | None = None

    def encoded(self) -> bytes:
        """The object as JSON; made once, shared by all watches."""
        if self._bytes is None:
            self._bytes = encode(self.obj)
        return self._bytes


Listener = Callable[[Change], None]


def position(obj: ReadOnlyObj) -> str:
    """Where an object stands in a list: by its key in etcd, so `a-b/x` comes before `a/x`."""
    meta = obj["metadata"]
    return "/".join(filter(None, (meta.get("namespace", ""), meta["name"])))


def _ordered(found: dict[tuple[str, str], Obj], namespace: str) -> list[Obj]:
    return [found[at] for at in sorted(found, key="/".join) if not namespace or at[0] == namespace]


class Store:
    """Everything the API knows, in memory."""

    def __init__(self) -> None:
        self.version = 1000
        self._objects: dict[Key, dict[tuple[str, str], Obj]] = {}
        self._history: dict[Key, deque[Change]] = {}
        self._compacted = self.version
        self._compacted_of: dict[Key, int] = {}
        self._listeners: list[Listener] = []
        self._watchers: dict[Key, dict[object, Listener]] = {}
        self._dependents: dict[str, dict[tuple[Key, str, str], None]] = {}
        self._uids: dict[str, tuple[Key, str, str]] = {}

    def listen(self, listener: Listener) -> None:
        """Call `listener` with every change (a controller)."""
        self._listeners.append(listener)

    def subscribe(self, key: Key, listener: Listener) -> Callable[[], None]:
        """Call `listener` with the changes of one resource until the returned function is called."""
        token = object()
        watchers = self._watchers.setdefault(key, {})
        watchers[token] = listener

        def stop() -> None:
            watchers.pop(token, None)

        return stop

    def get(self, key: Key, namespace: str, name: str) -> Obj | None:
        return self._objects.get(key, {}).get((namespace, name))

    def objects(self, key: Key, namespace: str = "") -> list[Obj]:
        """Objects of a resource in the order of their keys, of one namespace or of all."""
        return _ordered(self._objects.get(key, {}), namespace)

    def objects_at(self, key: Key, version: int, namespace: str = "") -> list[Obj]:
        """Objects as they were at an earlier version: what happened since is undone.

        Raises:
            ApiError: 410 when that version is too old to know.
        """
        found = dict(self._objects.get(key, {}))
        for change in reversed(self.since(key, version)):
            if change.before is None:
                found.pop((change.namespace, change.name), None)
            else:
                found[(change.namespace, change.name)] = change.before
        return _ordered(found, namespace)

    def by_uid(self, uid: str) -> Obj | None:
        at = self._uids.get(uid)
        return self.get(*at) if at else None

    def dependents(self, uid: str) -> list[tuple[Key, Obj]]:
        """Objects whose ownerReferences name this uid."""
        found = []
        for key, namespace, name in list(self._dependents.get(uid, {})):
            obj = self.get(key, namespace, name)
            if obj is not None:
                found.append((key, obj))
        return found

    def held_keys(self) -> Iterable[Key]:
        return list(self._objects)

    def put(self, key: Key, obj: Obj) -> Obj:
        """Store a new object or a new version of it; the resourceVersion is set here."""
        meta = obj["metadata"]
        at = (meta.get("namespace", ""), meta["name"])
        objects = self._objects.setdefault(key, {})
        before = objects.get(at)
        self.version += 1
        meta["resourceVersion"] = str(self.version)
        objects[at] = obj
        if before is not None:
            self._unlink(key, before)
        self._link(key, obj)
        self._tell(Change(self.version, "MODIFIED" if before else "ADDED", key, *at, obj, before))
        return obj

    def remove(self, key: Key, obj: Obj) -> Obj:
        """Take an object out; its last state carries the version of the deletion."""
        meta = obj["metadata"]
        at = (meta.get("namespace", ""), meta["name"])
        before = self._objects[key].pop(at)
        self._unlink(key, before)
        self.version += 1
        last = {**obj, "metadata": {**meta, "resourceVersion": str(self.version)}}
        self._tell(Change(self.version, "DELETED", key, *at, last, before))
        return last

    def since(self, key: Key, version: int) -> list[Change]:
        """Changes of a resource after a version.

        Raises:
            ApiError: 410 when that version is too old to know.
        """
        oldest = max(self._compacted, self._compacted_of.get(key, 0))
        if version < oldest:
            raise status.expired(version, oldest)
        return [change for change in self._history.get(key, ()) if change.version > version]

    def compact(self) -> None:
        """Forget all history: watches from an older version get 410 Gone."""
        self._compacted = self.version
        self._history.clear()

    def _tell(self, change: Change) -> None:
        history = self._history.setdefault(change.key, deque())
        history.append(change)
        while len(history) > HISTORY:
            self._compacted_of[change.key] = history.popleft().version
        for listener in tuple(self._watchers.get(change.key, {}).values()):
            listener(change)
        for listener in self._listeners:
            listener(change)

    def _link(self, key: Key, obj: Obj) -> None:
        meta = obj["metadata"]
        at = (key, meta.get("namespace", ""), meta["name"])
        self._uids[meta["uid"]] = at
        for owner in meta.get("ownerReferences", ()):
            self._dependents.setdefault(owner["uid"], {})[at] = None

    def _unlink(self, key: Key, obj: Obj) -> None:
        meta = obj["metadata"]
        at = (key, meta.get("namespace", ""), meta["name"])
        self._uids.pop(meta["uid"], None)
        for owner in meta.get("ownerReferences", ()):
            linked = self._dependents.get(owner["uid"], {})
            linked.pop(at, None)
            if not linked:
                self._dependents.pop(owner["uid"], None)
