"""The audit log: one JSON line for each request, and one for each state of a Job, a pod or a Lease.

*A request* has `time` (when it came), `verb`, `path`, `user`, `agent` (User-Agent), `resource` (`jobs.batch`,
`pods/log`), `namespace`, `name`, `code` of the answer; `uid` and `labels` of the object where there is one
(before a change, or as created); `query` (without what only selects); `request`: the body of a write as the
client sent it, so a delete's preconditions and a patch are there (not of ConfigMaps, Secrets and tokens). A watch
or a followed log is written when it ends.

*A state* has `verb` "stored", `stored` (ADDED, MODIFIED or DELETED: then it is gone) and `object`: its identity,
labels, annotations, owners and finalizers; `spec.suspend` of a Job, the `spec` of a Lease; the `status` of a Job
with its conditions, and of a pod phase, reason, and the state of each container. `user` is whose request it was, or
which component of the cluster wrote it: conditions come from the Job controller, a container's start (`running`
with `startedAt`) and end (`terminated` with `finishedAt`) from the kubelet. Lines are in the order in which things
became true: a process starts shortly before its pod is stored as Running, and ends shortly before that is stored.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_provider_feast.sandbox import actors, clock, resources, status
from airflow_provider_feast.sandbox.shapes import Obj, ReadOnlyObj
from airflow_provider_feast.sandbox.store import Change, encode
from airflow_provider_feast.sandbox.web.route import Target

_STORED = {resource.key: resource for resource in (resources.JOBS, resources.PODS, resources.LEASES)}
_UNREAD = frozenset({"configmaps", "secrets"})
_METADATA = (
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "labels",
    "annotations",
    "ownerReferences",
    "finalizers",
)
_POD_STATUS = ("phase", "reason", "message", "startTime")
_QUERY = ("dryRun", "propagationPolicy", "gracePeriodSeconds", "fieldSelector", "labelSelector")


class Audit:
    """Appends to a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)

    def entry(self, method: str, path: str) -> "Entry":
        return Entry(self, clock.micro_stamp(), method.lower(), path)

    def record(self, change: Change) -> None:
        """Write a state, if it is of a kind that is followed."""
        resource = _STORED.get(change.key)
        if resource is None:
            return
        line: dict[str, Any] = {
            "time": clock.micro_stamp(),
            "verb": "stored",
            "stored": change.type,
            "path": "",
            "user": actors.current(),
            "resource": status.qualified(resource.group, resource.plural),
            "namespace": change.namespace,
            "name": change.name,
            "code": 0,
            "uid": change.obj["metadata"]["uid"],
            "object": state(resource, change.obj),
        }
        self.write(line)

    def write(self, line: ReadOnlyObj) -> None:
        if not self._file.closed:
            self._file.write(encode(line) + b"\n")

    def close(self) -> None:
        self._file.close()


def state(resource: resources.Resource, obj: Obj) -> Obj:
    """What of an object's state is worth a line."""
    found: Obj = {"metadata": _some(obj["metadata"], _METADATA)}
    given = obj.get("status") or {}
    if resource == resources.LEASES:
        found["spec"] = obj.get("spec") or {}
    elif resource == resources.JOBS:
        found |= {"spec": _some(obj["spec"], ("suspend",)), "status": given}
    else:
        found["status"] = _some(given, _POD_STATUS)
        for kind in ("initContainerStatuses", "containerStatuses"):
            if kind in given:
                wanted = ("name", "state", "restartCount")
                found["status"][kind] = [_some(container, wanted) for container in given[kind]]
    return found


def _some(obj: ReadOnlyObj, keys: tuple[str, ...]) -> Obj:
    return {key: obj[key] for key in keys if key in obj}


@dataclass
class Entry:
    """One request: who, what, when, and the code of the answer."""

    log: Audit
    time: str
    verb: str
    path: str
    user: str = ""
    agent: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""
    more: dict[str, Any] = field(default_factory=dict)

    def about(self, target: Target, query: ReadOnlyObj) -> None:
        """What the request is about."""
        resource = status.qualified(target.resource.group, target.resource.plural)
        self.resource = f"{resource}/{target.subresource}" if target.subresource else resource
        self.verb, self.namespace, self.name = target.verb, target.namespace, target.name
        asked = _some(query, _QUERY)
        if asked:
            self.more["query"] = asked

    def sent(self, target: Target, body: Any) -> None:
        """The body of a write."""
        told = target.resource.plural in _UNREAD or target.subresource == "token"
        if body is not None and (target.verb.startswith("delete") or not told):
            self.more["request"] = body

    def concerns(self, obj: ReadOnlyObj | None) -> None:
        """The object itself, once it is known."""
        meta = (obj or {}).get("metadata") or {}
        if meta.get("uid"):
            self.more["uid"] = meta["uid"]
            self.more["labels"] = meta.get("labels") or {}

    def close(self, code: int) -> None:
        keys = ("time", "verb", "path", "user", "agent", "resource", "namespace", "name")
        self.log.write({**{key: getattr(self, key) for key in keys}, "code": code, **self.more})
