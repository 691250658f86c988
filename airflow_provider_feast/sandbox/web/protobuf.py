"""Bodies in Kubernetes' protobuf, which kubectl's typed commands send (`create configmap`, `auth can-i`).

Field numbers are those of the API's `generated.proto` files. Only the kinds that such commands send are
known; a field we do not know that carries a value is refused, never dropped.
"""

import base64
from collections.abc import Iterator
from typing import Any

from airflow_provider_feast.sandbox import status
from airflow_provider_feast.sandbox.shapes import Obj

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"

# name and type of each field number: a scalar type, a message's name, `[]` before it for repeated ones.
Fields = dict[int, tuple[str, str]]

_ATTRIBUTES = ("namespace", "verb", "group", "version", "resource", "subresource", "name")
_MESSAGES: dict[str, Fields] = {
    "ObjectMeta": {
        1: ("name", "str"),
        2: ("generateName", "str"),
        3: ("namespace", "str"),
        5: ("uid", "str"),
        6: ("resourceVersion", "str"),
        8: ("creationTimestamp", "Time"),
        11: ("labels", "map"),
        12: ("annotations", "map"),
        14: ("finalizers", "[]str"),
    },
    "Time": {},
    "SelfSubjectAccessReview": {
        1: ("metadata", "ObjectMeta"),
        2: ("spec", "AccessSpec"),
        3: ("status", "Empty"),
    },
    "AccessSpec": {
        1: ("resourceAttributes", "ResourceAttributes"),
        2: ("nonResourceAttributes", "PathAttributes"),
    },
    "ResourceAttributes": {number: (name, "str") for number, name in enumerate(_ATTRIBUTES, 1)},
    "PathAttributes": {1: ("path", "str"), 2: ("verb", "str")},
    "SelfSubjectRulesReview": {
        1: ("metadata", "ObjectMeta"),
        2: ("spec", "RulesSpec"),
        3: ("status", "Empty"),
    },
    "RulesSpec": {1: ("namespace", "str")},
    "SelfSubjectReview": {1: ("metadata", "ObjectMeta"), 2: ("status", "Empty")},
    "ConfigMap": {
        1: ("metadata", "ObjectMeta"),
        2: ("data", "map"),
        3: ("binaryData", "bytesmap"),
        4: ("immutable", "bool"),
    },
    "Secret": {
        1: ("metadata", "ObjectMeta"),
        2: ("data", "bytesmap"),
        3: ("type", "str"),
        4: ("stringData", "map"),
        5: ("immutable", "bool"),
    },
    "Namespace": {1: ("metadata", "ObjectMeta"), 2: ("spec", "Finalizers"), 3: ("status", "Phase")},
    "Finalizers": {1: ("finalizers", "[]str")},
    "Phase": {1: ("phase", "str")},
    "ServiceAccount": {1: ("metadata", "ObjectMeta"), 4: ("automountServiceAccountToken", "bool")},
    "TokenRequest": {1: ("metadata", "ObjectMeta"), 2: ("spec", "TokenSpec"), 3: ("status", "TokenStatus")},
    "TokenSpec": {1: ("audiences", "[]str"), 4: ("expirationSeconds", "int")},
    "TokenStatus": {1: ("token", "str"), 2: ("expirationTimestamp", "Time")},
    "DeleteOptions": {
        1: ("gracePeriodSeconds", "int"),
        2: ("preconditions", "Preconditions"),
        3: ("orphanDependents", "bool"),
        4: ("propagationPolicy", "str"),
        5: ("dryRun", "[]str"),
    },
    "Preconditions": {1: ("uid", "str"), 2: ("resourceVersion", "str")},
    "Eviction": {1: ("metadata", "ObjectMeta"), 2: ("deleteOptions", "DeleteOptions")},
    "Role": {1: ("metadata", "ObjectMeta"), 2: ("rules", "[]PolicyRule")},
    "ClusterRole": {1: ("metadata", "ObjectMeta"), 2: ("rules", "[]PolicyRule")},
    "PolicyRule": {
        number: (name, "[]str")
        for number, name in enumerate(
            ("verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs"), 1
        )
    },
    "RoleBinding": {1: ("metadata", "ObjectMeta"), 2: ("subjects", "[]Subject"), 3: ("roleRef", "RoleRef")},
    "ClusterRoleBinding": {
        1: ("metadata", "ObjectMeta"),
        2: ("subjects", "[]Subject"),
        3: ("roleRef", "RoleRef"),
    },
    "Subject": {1: ("kind", "str"), 2: ("apiGroup", "str"), 3: ("name", "str"), 4: ("namespace", "str")},
    "RoleRef": {1: ("apiGroup", "str"), 2: ("kind", "str"), 3: ("name", "str")},
    "Job": {1: ("metadata", "ObjectMeta"), 2: ("spec", "JobSpec"), 3: ("status", "Empty")},
    "JobSpec": {6: ("template", "PodTemplateSpec"), 7: ("backoffLimit", "int")},
    "PodTemplateSpec": {1: ("metadata", "ObjectMeta"), 2: ("spec", "PodSpec")},
    "PodSpec": {2: ("containers", "[]Container"), 3: ("restartPolicy", "str")},
    "Container": {
        1: ("name", "str"),
        2: ("image", "str"),
        3: ("command", "[]str"),
        4: ("args", "[]str"),
        8: ("resources", "Empty"),
    },
    "Empty": {},
}


def is_protobuf(raw: bytes) -> bool:
    return raw.startswith(_MAGIC)


def decode(raw: bytes) -> Obj:
    """An enveloped body as the JSON it stands for.

    Raises:
        ApiError: 415 for a kind or a field that we do not know.
    """
    type_meta: Obj = {}
    content = b""
    for number, value in _fields(raw[len(_MAGIC) :]):
        if number == 1 and isinstance(value, bytes):
            type_meta = {
                ("apiVersion", "kind")[n - 1]: v.decode() for n, v in _fields(value) if isinstance(v, bytes)
            }
        elif number == 2 and isinstance(value, bytes):
            content = value
    kind = type_meta.get("kind", "")
    if kind not in _MESSAGES:
        raise _refused(kind)
    return {**type_meta, **_message(kind, kind, content)}


def _refused(what: str) -> status.ApiError:
    message = f"the sandbox does not read {what} in protobuf: send JSON (kubectl create -f FILE does)"
    return status.ApiError(415, "UnsupportedMediaType", message, {})


def _message(kind: str, name: str, raw: bytes) -> Obj:
    found: Obj = {}
    known = _MESSAGES[name]
    for number, value in _fields(raw):
        if number not in known:
            if _has_content(value) and name != "Time":
                raise _refused(f"field {number} of {name} of a {kind}")
            continue
        field, wanted = known[number]
        if wanted in {"map", "bytesmap"} and isinstance(value, bytes):
            key, item = _entry(value)
            found.setdefault(field, {})[key] = (
                base64.b64encode(item).decode() if wanted == "bytesmap" else item.decode()
            )
        elif wanted.startswith("[]"):
            found.setdefault(field, []).append(_value(kind, wanted[2:], value))
        else:
            decoded = _value(kind, wanted, value)
            if decoded not in ("", {}):
                found[field] = decoded
    return found


def _value(kind: str, wanted: str, value: bytes | int) -> Any:
    if wanted == "bool":
        return bool(value)
    if isinstance(value, int):
        return value
    return value.decode() if wanted == "str" else _message(kind, wanted, value)


def _has_content(value: bytes | int) -> bool:
    """Go writes absent structs and empty strings too: only a value somewhere inside counts."""
    if isinstance(value, int):
        return value != 0
    try:
        return any(_has_content(inner) for _, inner in _fields(value))
    except (IndexError, ValueError):
        return True


def _entry(raw: bytes) -> tuple[str, bytes]:
    parts = {number: value for number, value in _fields(raw) if isinstance(value, bytes)}
    return parts.get(1, b"").decode(), parts.get(2, b"")


def _fields(raw: bytes) -> Iterator[tuple[int, bytes | int]]:
    at = 0
    while at < len(raw):
        key, at = _varint(raw, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(raw, at)
            yield number, value
        elif wire == 2:
            size, at = _varint(raw, at)
            if at + size > len(raw):
                raise ValueError("a protobuf field ends after its message")
            yield number, raw[at : at + size]
            at += size
        else:
            raise ValueError(f"unexpected protobuf wire type {wire}")


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = raw[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
