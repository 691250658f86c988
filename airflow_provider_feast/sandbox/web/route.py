"""From a URL to what it asks: resource, namespace, name, subresource, verb."""

from dataclasses import dataclass

from airflow_provider_feast.sandbox import status
from airflow_provider_feast.sandbox.resources import (
    NAMESPACES,
    UNSERVED_GROUPS,
    UNSERVED_PLURALS,
    Registry,
    Resource,
)

_TRUE = frozenset({"1", "t", "true", "yes"})


def truthy(value: str | None) -> bool:
    """`watch=True`, `watch=true`, `watch=1`: clients differ."""
    return value is not None and value.lower() in _TRUE


@dataclass(frozen=True)
class Target:
    """What a request is about; `verb` as authorization names it."""

    resource: Resource
    namespace: str
    name: str
    subresource: str
    verb: str


def resolve(registry: Registry, method: str, path: str, query: dict[str, str]) -> Target:
    """Find the resource of a path.

    Raises:
        ApiError: 404 for an unknown path, 501 for one that only a real cluster serves, 405 for a verb.
    """
    group, version, rest = _split(path)
    namespace = ""
    if rest[0] == "watch":  # the older form of ?watch=true
        rest, query = rest[1:], {**query, "watch": "true"}
    if (
        rest
        and rest[0] == "namespaces"
        and len(rest) > 2
        and not (len(rest) == 3 and _is_namespace_sub(rest[2]))
    ):
        namespace, rest = rest[1], rest[2:]
    if not rest:
        raise status.no_such_path()
    plural, name, sub = (*rest, "", "", "")[:3]
    if len(rest) > 3:
        raise status.no_such_path()
    resource = registry.find(group, version, plural)
    if resource is None:
        raise _unserved(group, plural)
    if namespace and not resource.namespaced:
        raise status.no_such_path()
    verb = _verb(method, name, query)
    if sub:
        _check_subresource(resource, sub)
        if sub == "exec":
            verb = "create"  # also of a GET, which is how a WebSocket begins
    elif verb not in resource.verbs:
        raise status.method_not_allowed()
    return Target(resource, namespace, name, sub, verb)


def _is_namespace_sub(part: str) -> bool:
    return part in {"status", "finalize"}


def _split(path: str) -> tuple[str, str, list[str]]:
    parts = [part for part in path.split("/") if part]
    if parts[:1] == ["api"] and len(parts) > 2:
        return "", parts[1], parts[2:]
    if parts[:1] == ["apis"] and len(parts) > 3:
        return parts[1], parts[2], parts[3:]
    raise status.no_such_path()


def _unserved(group: str, plural: str) -> status.ApiError:
    if group in UNSERVED_GROUPS or (group, plural) in UNSERVED_PLURALS:
        return status.not_implemented(f"the resource {status.qualified(group, plural)}")
    return status.no_such_path()


def _verb(method: str, name: str, query: dict[str, str]) -> str:
    if method == "GET":
        if truthy(query.get("watch")):
            return "watch"
        return "get" if name else "list"
    verbs = {"POST": "create", "PUT": "update", "PATCH": "patch"}
    if method == "DELETE":
        return "delete" if name else "deletecollection"
    if method not in verbs:
        raise status.method_not_allowed()
    return verbs[method]


_SUBRESOURCES = {"pods": {"log", "eviction", "exec"}, "serviceaccounts": {"token"}}
_KNOWN_ELSEWHERE = frozenset(
    {"attach", "portforward", "proxy", "binding", "ephemeralcontainers", "resize", "scale"}
)


def _check_subresource(resource: Resource, sub: str) -> None:
    if sub in _SUBRESOURCES.get(resource.plural, ()) or (sub == "status" and resource.has_status):
        return
    if resource == NAMESPACES and sub == "finalize":
        return
    if sub in _KNOWN_ELSEWHERE:
        raise status.not_implemented(f"the subresource {resource.plural}/{sub}")
    raise status.no_such_path()
