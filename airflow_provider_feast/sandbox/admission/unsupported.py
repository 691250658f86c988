"""Fields that change what happens and that the sandbox does not act on: 501, never a silent success."""

from collections.abc import Iterator

from airflow_provider_feast.sandbox import jsonpath, resources, status
from airflow_provider_feast.sandbox.resources import Resource
from airflow_provider_feast.sandbox.shapes import Obj

_OF_PODS = {
    "ephemeralContainers": "ephemeralContainers of pods",
    "hostAliases": "hostAliases of pods",
    "hostIPC": "hostIPC of pods",
    "hostPID": "hostPID of pods",
    "readinessGates": "readinessGates of pods",
    "resourceClaims": "resourceClaims of pods (dynamic resource allocation)",
    "resources": "resources of whole pods (spec.resources)",
    "shareProcessNamespace": "shareProcessNamespace of pods",
}
_OF_CONTAINERS = {
    "lifecycle": "lifecycle hooks of containers",
    "restartPolicyRules": "restartPolicyRules of containers",
    "stdin": "standard input of containers (stdin)",
    "tty": "terminals of containers (tty)",
    "volumeDevices": "block devices of containers (volumeDevices)",
}
TOKEN = "kubernetes.io/service-account-token"  # noqa: S105 - a type
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")


def refuse(resource: Resource, obj: Obj) -> None:
    """501 for an object that needs what only a cluster does."""
    if resource == resources.JOBS:
        if obj["spec"].get("successPolicy") is not None:
            raise status.not_implemented("spec.successPolicy of Jobs")
        found = _of_pod(obj["spec"]["template"]["spec"])
    elif resource == resources.PODS:
        found = _of_pod(obj["spec"])
    elif resource == resources.QUOTAS:
        found = _of_quota(obj["spec"])
    elif resource == resources.CLUSTERROLES:
        found = iter(["aggregation of cluster roles"] if obj.get("aggregationRule") else [])
    elif resource == resources.SECRETS:
        found = iter([f"Secrets of the type {TOKEN}"] if obj.get("type") == TOKEN else [])
    elif resource == resources.CRDS:
        found = _of_definition(obj.get("spec") or {})
    else:
        return
    for what in found:
        raise status.not_implemented(what)


def _of_pod(spec: Obj) -> Iterator[str]:
    yield from (words for key, words in _OF_PODS.items() if spec.get(key))
    if (spec.get("os") or {}).get("name", "linux") != "linux":
        yield "pods of other operating systems (spec.os)"
    if (spec.get("securityContext") or {}).get("sysctls"):
        yield "sysctls of pods"
    for container in spec.get("initContainers") or ():
        if container.get("restartPolicy"):
            yield "restartPolicy of init containers (sidecars)"
        yield from _of_container(container)
    for container in spec.get("containers") or ():
        if container.get("restartPolicy"):
            yield "restartPolicy of containers"
        yield from _of_container(container)


def _of_container(container: Obj) -> Iterator[str]:
    yield from (words for key, words in _OF_CONTAINERS.items() if container.get(key))
    if any((container.get(kind) or {}).get("grpc") for kind in _PROBES):
        yield "gRPC probes of containers"
    if (container.get("securityContext") or {}).get("privileged"):
        yield "privileged containers"
    if (container.get("resources") or {}).get("claims"):
        yield "resource claims of containers"


def _of_quota(spec: Obj) -> Iterator[str]:
    if spec.get("scopes") or spec.get("scopeSelector"):
        yield "scopes of resource quotas"


def _of_definition(spec: Obj) -> Iterator[str]:
    if (spec.get("conversion") or {}).get("strategy", "None") != "None":
        yield "conversion webhooks of custom resources"
    for version in spec.get("versions") or ():
        if version.get("selectableFields"):
            yield "selectableFields of custom resources"
        for column in version.get("additionalPrinterColumns") or ():
            if jsonpath.parse(column.get("jsonPath", "")) is None:
                yield f"the JSONPath {column.get('jsonPath', '')} of a printer column"
