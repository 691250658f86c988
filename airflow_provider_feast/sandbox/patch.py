"""The three ways to patch: JSON patch, JSON merge patch and strategic merge patch."""

from typing import Any

from airflow_provider_feast.sandbox import status
from airflow_provider_feast.sandbox.shapes import Obj, clone

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

# Lists that strategic merge joins by a key (patchMergeKey in the API's Go types); others are replaced.
_MERGE_KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "ephemeralContainers": ("name",),
    "volumes": ("name",),
    "env": ("name",),
    "volumeMounts": ("mountPath",),
    "volumeDevices": ("devicePath",),
    "ports": ("containerPort", "port"),
    "imagePullSecrets": ("name",),
    "secrets": ("name",),
    "hostAliases": ("ip",),
    "conditions": ("type",),
    "ownerReferences": ("uid",),
    "topologySpreadConstraints": ("topologyKey",),
    "podIPs": ("ip",),
    "hostIPs": ("ip",),
    "readinessGates": (),
}
_PRIMITIVE_MERGE = frozenset({"finalizers"})
_DIRECTIVES = ("$patch", "$retainKeys")


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386."""
    if not isinstance(patch, dict):
        return clone(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def strategic(target: Any, patch: Any) -> Any:
    """Kubernetes' strategic merge: as `merge`, but some lists are joined by a key."""
    if not isinstance(patch, dict):
        return clone(patch)
    if patch.get("$patch") == "replace":
        return {key: clone(value) for key, value in patch.items() if key != "$patch"}
    result = dict(target) if isinstance(target, dict) else {}
    retained = patch.get("$retainKeys")
    if retained is not None:
        result = {key: value for key, value in result.items() if key in retained}
    for key, value in patch.items():
        _strategic_field(result, key, value)
    return result


def _strategic_field(result: Obj, key: str, value: Any) -> None:
    if key in _DIRECTIVES or key.startswith("$setElementOrder/"):
        return
    if key.startswith("$deleteFromPrimitiveList/"):
        name = key.partition("/")[2]
        result[name] = [item for item in result.get(name, []) if item not in value]
    elif value is None or (isinstance(value, dict) and value.get("$patch") == "delete"):
        result.pop(key, None)
    elif isinstance(value, list):
        result[key] = _strategic_list(key, result.get(key) or [], value)
    else:
        result[key] = strategic(result.get(key), value)


def _strategic_list(name: str, target: list[Any], patch: list[Any]) -> list[Any]:
    if name in _PRIMITIVE_MERGE:
        return [*target, *(item for item in patch if item not in target)]
    keys = _MERGE_KEYS.get(name)
    if keys is None or not all(isinstance(item, dict) for item in [*target, *patch]):
        return [clone(item) for item in patch]
    if any(item.get("$patch") == "replace" for item in patch):
        return [clone(item) for item in patch if "$patch" not in item]
    result = list(target)
    for item in patch:
        key = next((candidate for candidate in keys if candidate in item), None)
        if key is None:
            raise status.bad_request(f"map: {item} does not contain declared merge key: {' or '.join(keys)}")
        at = next((i for i, old in enumerate(result) if old.get(key) == item[key]), None)
        if item.get("$patch") == "delete":
            result = [old for old in result if old.get(key) != item[key]]
        elif at is None:
            result.append(strategic({}, item))
        else:
            result[at] = strategic(result[at], item)
    return result


def json_patch(target: Any, operations: Any) -> Any:
    """RFC 6902.

    Raises:
        ApiError: 422 when an operation cannot be applied.
    """
    document = clone(target)
    if not isinstance(operations, list):
        raise status.bad_request("json patch: the body must be a list of operations")
    for operation in operations:
        document = _apply(document, operation)
    return document


def _apply(document: Any, operation: Obj) -> Any:
    kind, path = operation.get("op"), operation.get("path")
    if not isinstance(path, str):
        raise _refused(f"operation {kind!r} has no path")
    if kind in {"add", "replace"}:
        return _set(document, path, clone(operation.get("value")), insert=kind == "add")
    if kind == "remove":
        return _remove(document, path)
    if kind == "test":
        if _read(document, path) != operation.get("value"):
            raise _refused(f"testing value {path} failed")
        return document
    if kind in {"copy", "move"}:
        value = clone(_read(document, operation["from"]))
        base = _remove(document, operation["from"]) if kind == "move" else document
        return _set(base, path, value, insert=True)
    raise _refused(f"unexpected kind: {kind}")


def _refused(why: str) -> status.ApiError:
    return status.ApiError(
        422, "Invalid", f"the server rejected our request due to an error in our request: {why}", {}
    )


def _parts(path: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in path.split("/")[1:]]


def _step(node: Any, part: str, path: str) -> Any:
    try:
        return node[int(part)] if isinstance(node, list) else node[part]
    except (KeyError, IndexError, ValueError, TypeError):
        raise _refused(f"no such path: {path}") from None


def _read(document: Any, path: str) -> Any:
    for part in _parts(path):
        document = _step(document, part, path)
    return document


def _parent(document: Any, path: str) -> tuple[Any, str]:
    parts = _parts(path)
    for part in parts[:-1]:
        document = _step(document, part, path)
    return document, parts[-1]


def _set(document: Any, path: str, value: Any, *, insert: bool) -> Any:
    if not _parts(path):
        return value
    node, last = _parent(document, path)
    if isinstance(node, list):
        if last == "-":
            node.append(value)
        elif insert and last.isdigit() and int(last) <= len(node):
            node.insert(int(last), value)
        else:
            _step(node, last, path)
            node[int(last)] = value
    elif isinstance(node, dict):
        if not insert:
            _step(node, last, path)
        node[last] = value
    else:
        raise _refused(f"no such path: {path}")
    return document


def _remove(document: Any, path: str) -> Any:
    node, last = _parent(document, path)
    _step(node, last, path)
    del node[int(last) if isinstance(node, list) else last]
    return document
