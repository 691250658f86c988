"""Validation of objects: metadata for all kinds, then the rules of each kind."""

import base64
import binascii
from collections.abc import Iterator

from airflow_provider_feast.sandbox import quantity
from airflow_provider_feast.sandbox.admission import jobs, names, pods, rbac
from airflow_provider_feast.sandbox.resources import Resource
from airflow_provider_feast.sandbox.shapes import Obj
from airflow_provider_feast.sandbox.status import Cause, forbidden_field, required, wrong

_HIGHEST_PRIORITY = 1_000_000_000
SYSTEM_PRIORITIES = {"system-cluster-critical": 2_000_000_000, "system-node-critical": 2_000_001_000}
_DATA_LIMIT = 1024 * 1024
_SECRET_KEYS = {
    "kubernetes.io/dockercfg": (".dockercfg",),
    "kubernetes.io/dockerconfigjson": (".dockerconfigjson",),
    "kubernetes.io/ssh-auth": ("ssh-privatekey",),
    "kubernetes.io/tls": ("tls.crt", "tls.key"),
}
_LABEL_NAMED = frozenset({"Namespace"})
_PATH_NAMED = frozenset({"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"})


def create(resource: Resource, obj: Obj) -> list[Cause]:
    """What is wrong with a new object (defaults are filled in already)."""
    found = list(_metadata(resource, obj["metadata"]))
    check = {
        "Job": jobs.create,
        "Pod": _pod,
        "ConfigMap": _config_map,
        "Secret": _secret,
        "PersistentVolumeClaim": _claim,
        "Lease": _lease,
        "PriorityClass": _priority_class,
        "Event": _event,
        "Role": rbac.role,
        "ClusterRole": rbac.cluster_role,
        "RoleBinding": rbac.binding,
        "ClusterRoleBinding": rbac.binding,
    }.get(resource.kind)
    if check is not None and not resource.custom:
        found += check(obj)
    return found


def update(resource: Resource, before: Obj, after: Obj) -> list[Cause]:
    """What is wrong with a change of an object."""
    found = list(_metadata(resource, after["metadata"]))
    for field in ("uid", "creationTimestamp", "deletionTimestamp"):
        old, new = before["metadata"].get(field), after["metadata"].get(field)
        if old != new:
            found.append(wrong(f"metadata.{field}", new, "field is immutable"))
    if resource.custom:
        return found
    if resource.kind == "Job":
        found += jobs.update(before, after)
    elif resource.kind == "Pod":
        found += pods.update("spec", before["spec"], after["spec"])
    elif resource.kind in {"ConfigMap", "Secret"}:
        found += _immutable_data(resource.kind, before, after)
        found += _config_map(after) if resource.kind == "ConfigMap" else _secret(after)
    elif resource.kind == "PriorityClass" and before["value"] != after["value"]:
        found.append(forbidden_field("value", "may not be changed in an update."))
    elif resource.kind == "Lease":
        found += _lease(after)
    elif resource.group == rbac.GROUP:
        found += rbac.update(before, after)
    return found


def _metadata(resource: Resource, meta: Obj) -> Iterator[Cause]:
    name = meta.get("name") or ""
    if not name:
        yield required("metadata.name", "name or generateName is required")
    elif resource.kind in _LABEL_NAMED:
        yield from names.dns_label("metadata.name", name)
    elif resource.kind in _PATH_NAMED:
        if name in {".", ".."} or "/" in name or "%" in name:
            yield wrong("metadata.name", name, "may not be '.', '..' or contain '/' or '%'")
    else:
        yield from names.dns_subdomain("metadata.name", name)
    yield from names.labels("metadata.labels", meta.get("labels"))
    yield from names.annotations("metadata.annotations", meta.get("annotations"))
    for at, owner in enumerate(meta.get("ownerReferences") or ()):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                yield wrong(f"metadata.ownerReferences[{at}].{field}", "", f"{field} must not be empty")
    for finalizer in meta.get("finalizers") or ():
        yield from names.qualified_name("metadata.finalizers", finalizer)


def _pod(pod: Obj) -> Iterator[Cause]:
    yield from pods.spec("spec", pod["spec"])


def _config_map(obj: Obj) -> Iterator[Cause]:
    size = 0
    for kind in ("data", "binaryData"):
        for key, value in (obj.get(kind) or {}).items():
            yield from names.config_key(f"{kind}[{key}]", key)
            size += len(value.encode()) if kind == "data" else len(base64.b64decode(value))
            if kind == "binaryData" and key in (obj.get("data") or {}):
                yield wrong(f"binaryData[{key}]", key, "duplicate of key present in data")
    if size > _DATA_LIMIT:
        message = f"Too long: may not be more than {_DATA_LIMIT} bytes"
        yield Cause("FieldValueTooLong", message, "[]")


def _secret(obj: Obj) -> Iterator[Cause]:
    for key in _SECRET_KEYS.get(obj.get("type", ""), ()):
        if key not in (obj.get("data") or {}):
            yield required(f"data[{key}]")
    size = 0
    for key, value in (obj.get("data") or {}).items():
        yield from names.config_key(f"data[{key}]", key)
        try:
            size += len(base64.b64decode(value, validate=True))
        except binascii.Error:
            yield wrong(f"data[{key}]", "<redacted>", "must be base64")
    if size > _DATA_LIMIT:
        yield Cause("FieldValueTooLong", f"Too long: may not be more than {_DATA_LIMIT} bytes", "data")


def _event(event: Obj) -> Iterator[Cause]:
    """An Event of something that has no namespace is kept in `default`."""
    involved = event["involvedObject"].get("namespace") or ""
    if event["metadata"].get("namespace") not in ({involved} if involved else {"", "default"}):
        yield wrong("involvedObject.namespace", involved, "does not match event.namespace")


def _priority_class(found: Obj) -> Iterator[Cause]:
    name, value = found["metadata"].get("name", ""), found["value"]
    if name.startswith("system-"):
        if SYSTEM_PRIORITIES.get(name) != value:
            why = "priority class names with 'system-' prefix are reserved for system use only"
            yield forbidden_field("metadata.name", why)
    elif value > _HIGHEST_PRIORITY:
        why = f"maximum allowed value of a user defined priority is {_HIGHEST_PRIORITY}"
        yield forbidden_field("value", why)


def _lease(lease: Obj) -> Iterator[Cause]:
    spec = lease.get("spec") or {}
    seconds, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    if seconds is not None and seconds <= 0:
        yield wrong("spec.leaseDurationSeconds", seconds, "must be greater than 0")
    if transitions is not None and transitions < 0:
        yield wrong("spec.leaseTransitions", transitions, "must be greater than or equal to 0")
    if spec.get("preferredHolder") and not spec.get("strategy"):
        yield forbidden_field("spec.preferredHolder", "may only be specified if `strategy` is defined")


def _immutable_data(kind: str, before: Obj, after: Obj) -> Iterator[Cause]:
    why = "field is immutable when `immutable` is set"
    if before.get("immutable"):
        if not after.get("immutable"):
            yield forbidden_field("immutable", why)
        for field in ("data", "binaryData"):
            if (before.get(field) or {}) != (after.get(field) or {}):
                yield forbidden_field(field, why)
    if kind == "Secret" and before.get("type") != after.get("type"):
        yield wrong("type", after.get("type"), "field is immutable")


def _claim(claim: Obj) -> Iterator[Cause]:
    spec = claim["spec"]
    if not spec.get("accessModes"):
        yield required("spec.accessModes", "at least 1 access mode is required")
    storage = ((spec.get("resources") or {}).get("requests") or {}).get("storage")
    if storage is None:
        yield required("spec.resources[storage]")
    elif quantity.parse(storage) <= 0:
        yield wrong("spec.resources[storage]", storage, "must be greater than zero")
