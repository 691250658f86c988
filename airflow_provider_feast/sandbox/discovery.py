"""Version, discovery and the little of OpenAPI that kubectl asks for."""

from collections.abc import Iterable

from airflow_provider_feast.sandbox.resources import Registry, Resource
from airflow_provider_feast.sandbox.shapes import Obj

VERSION: Obj = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.2+feast-sandbox",
    "gitCommit": "0000000000000000000000000000000000000000",
    "gitTreeState": "clean",
    "buildDate": "2026-08-21T00:00:00Z",
    "goVersion": "none (the Feast sandbox, not a cluster)",
    "compiler": "none",
    "platform": "linux/amd64",
}


def core_versions(address: str) -> Obj:
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def group(registry: Registry, name: str) -> Obj:
    versions = [{"groupVersion": f"{name}/{v}", "version": v} for v in registry.versions(name)]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def groups(registry: Registry) -> Obj:
    return {
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [group(registry, name) for name in registry.groups()],
    }


def resource_list(registry: Registry, group_name: str, version: str) -> Obj:
    found: list[Obj] = []
    for resource in registry:
        if (resource.group, resource.version) == (group_name, version):
            found += _entries(resource)
    where = f"{group_name}/{version}" if group_name else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": where, "resources": found}


def _entries(resource: Resource) -> Iterable[Obj]:
    entry: Obj = {
        "name": resource.plural,
        "singularName": resource.singular or resource.kind.lower(),
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    yield entry
    base = {"singularName": "", "namespaced": resource.namespaced, "kind": resource.kind}
    if resource.has_status:
        yield {"name": f"{resource.plural}/status", **base, "verbs": ["get", "patch", "update"]}
    if resource.key == ("", "pods"):
        yield {"name": "pods/log", **base, "verbs": ["get"]}
        eviction = {"group": "policy", "version": "v1", "kind": "Eviction", "verbs": ["create"]}
        yield {"name": "pods/eviction", **base, **eviction}
    if resource.key == ("", "serviceaccounts"):
        token = {
            "group": "authentication.k8s.io",
            "version": "v1",
            "kind": "TokenRequest",
            "verbs": ["create"],
        }
        yield {"name": "serviceaccounts/token", **base, **token}


def openapi_index(registry: Registry) -> Obj:
    """`/openapi/v3`: one document per group and version."""
    paths = {}
    for resource in registry:
        path = f"apis/{resource.api_version}" if resource.group else f"api/{resource.version}"
        paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}"}
    return {"paths": paths}


def openapi(registry: Registry, group_name: str, version: str) -> Obj:
    """Says of each kind that its patches know `fieldValidation`, which makes kubectl leave validation to us."""
    paths: Obj = {}
    parameter = {"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}
    for resource in registry:
        if (resource.group, resource.version) != (group_name, version) or "patch" not in resource.verbs:
            continue
        base = f"/apis/{resource.api_version}" if resource.group else f"/api/{resource.version}"
        scope = "/namespaces/{namespace}" if resource.namespaced else ""
        gvk = {"group": resource.group, "version": resource.version, "kind": resource.kind}
        operation = {
            "operationId": f"patch{resource.kind}",
            "parameters": [parameter],
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-group-version-kind": gvk,
        }
        paths[f"{base}{scope}/{resource.plural}/{{name}}"] = {"patch": operation}
    info = {"title": "Feast sandbox", "version": "v1.36.2"}
    return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": {}}}
