"""Validation of pod specs: what the schema cannot say."""

from collections.abc import Iterator
from typing import Any

from airflow_provider_feast.sandbox import quantity
from airflow_provider_feast.sandbox.admission import affinity, names
from airflow_provider_feast.sandbox.shapes import Obj
from airflow_provider_feast.sandbox.status import (
    Cause,
    duplicate,
    forbidden_field,
    missing_reference,
    required,
    unsupported,
    wrong,
)

_RESTART_POLICIES = ["Always", "OnFailure", "Never"]
_PROBES = ("livenessProbe", "readinessProbe", "startupProbe")
_PULL_POLICIES = ["Always", "IfNotPresent", "Never"]
_MESSAGE_POLICIES = ["FallbackToLogsOnError", "File"]


def spec(field: str, found: Obj) -> Iterator[Cause]:
    """Everything that is wrong with a pod spec."""
    volumes: set[str] = set()
    for at, volume in enumerate(found.get("volumes") or ()):
        yield from _volume(f"{field}.volumes[{at}]", volume, volumes)
    if not found.get("containers"):
        yield required(f"{field}.containers")
    seen: set[str] = set()
    for kind in ("initContainers", "containers"):
        for at, container in enumerate(found.get(kind) or ()):
            yield from _container(f"{field}.{kind}[{at}]", container, volumes, seen)
    if found.get("restartPolicy") not in _RESTART_POLICIES:
        yield unsupported(f"{field}.restartPolicy", found.get("restartPolicy"), _RESTART_POLICIES)
    deadline = found.get("activeDeadlineSeconds")
    if deadline is not None and deadline < 1:
        yield wrong(f"{field}.activeDeadlineSeconds", deadline, "must be between 1 and 2147483647, inclusive")
    grace = found.get("terminationGracePeriodSeconds")
    if grace is not None and grace < 0:
        yield wrong(f"{field}.terminationGracePeriodSeconds", grace, "must be greater than or equal to 0")
    yield from names.labels(f"{field}.nodeSelector", found.get("nodeSelector"))
    yield from affinity.placement(field, found)


def _volume(field: str, volume: Obj, seen: set[str]) -> Iterator[Cause]:
    name = volume.get("name") or ""
    if not name:
        yield required(f"{field}.name")
    else:
        yield from names.dns_label(f"{field}.name", name)
    if name in seen:
        yield duplicate(f"{field}.name", name)
    seen.add(name)
    sources = [key for key in volume if key != "name" and volume[key] is not None]
    for extra in sources[1:]:
        yield Cause(
            "FieldValueForbidden", "Forbidden: may not specify more than 1 volume type", f"{field}.{extra}"
        )
    if volume.get("secret") is not None and not volume["secret"].get("secretName"):
        yield required(f"{field}.secret.secretName")
    if volume.get("configMap") is not None and not volume["configMap"].get("name"):
        yield required(f"{field}.configMap.name")
    limit = (volume.get("emptyDir") or {}).get("sizeLimit")
    if limit is not None and quantity.parse(limit) < 0:
        yield wrong(f"{field}.emptyDir.sizeLimit", limit, "SizeLimit field must be a valid resource quantity")
    for source in ("configMap", "secret"):
        for at, item in enumerate((volume.get(source) or {}).get("items") or ()):
            yield from _key_to_path(f"{field}.{source}.items[{at}]", item)


def _key_to_path(field: str, item: Obj) -> Iterator[Cause]:
    path = item.get("path") or ""
    if not item.get("key"):
        yield required(f"{field}.key")
    if not path:
        yield required(f"{field}.path")
    elif path.startswith("/"):
        yield wrong(f"{field}.path", path, "must be a relative path")
    elif ".." in path.split("/"):
        yield wrong(f"{field}.path", path, "must not contain '..'")


def _container(field: str, container: Obj, volumes: set[str], seen: set[str]) -> Iterator[Cause]:
    name = container.get("name") or ""
    if not name:
        yield required(f"{field}.name")
    else:
        yield from names.dns_label(f"{field}.name", name)
    if name in seen:
        yield duplicate(f"{field}.name", name)
    seen.add(name)
    image = container.get("image") or ""
    if not image:
        yield required(f"{field}.image")
    elif image != image.strip():
        yield wrong(f"{field}.image", image, "must not have leading or trailing whitespace")
    if container["imagePullPolicy"] not in _PULL_POLICIES:
        yield unsupported(f"{field}.imagePullPolicy", container["imagePullPolicy"], _PULL_POLICIES)
    if container["terminationMessagePolicy"] not in _MESSAGE_POLICIES:
        policy = container["terminationMessagePolicy"]
        yield unsupported(f"{field}.terminationMessagePolicy", policy, _MESSAGE_POLICIES)
    for kind in _PROBES:
        if container.get(kind) is not None:
            yield from _probe(f"{field}.{kind}", kind, container[kind])
    yield from _environment(field, container)
    yield from _mounts(field, container, volumes)
    yield from _resources(f"{field}.resources", container["resources"])


def _probe(field: str, kind: str, probe: Obj) -> Iterator[Cause]:
    if ".initContainers[" in field:
        why = "may not be set for init containers without restartPolicy=Always"
        yield forbidden_field(field, why)
    handlers = [key for key in ("exec", "httpGet", "tcpSocket", "grpc") if probe.get(key) is not None]
    if not handlers:
        yield required(field, "must specify a handler type")
    for extra in handlers[1:]:
        yield forbidden_field(f"{field}.{extra}", "may not specify more than 1 handler type")
    if probe.get("exec") is not None and not probe["exec"].get("command"):
        yield required(f"{field}.exec.command")
    if kind != "readinessProbe" and probe["successThreshold"] != 1:
        yield wrong(f"{field}.successThreshold", probe["successThreshold"], "must be 1")


def _environment(field: str, container: Obj) -> Iterator[Cause]:
    for at, variable in enumerate(container.get("env") or ()):
        where = f"{field}.env[{at}]"
        yield from names.environment_name(f"{where}.name", variable.get("name"))
        source = variable.get("valueFrom")
        if source is not None and variable.get("value"):
            yield wrong(f"{where}.valueFrom", "", "may not be specified when `value` is not empty")
        if source is not None and len(source) != 1:
            why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
            yield wrong(f"{where}.valueFrom", "", why)


def _mounts(field: str, container: Obj, volumes: set[str]) -> Iterator[Cause]:
    paths: set[str] = set()
    for at, mount in enumerate(container.get("volumeMounts") or ()):
        where = f"{field}.volumeMounts[{at}]"
        name, path = mount.get("name") or "", mount.get("mountPath") or ""
        if not name:
            yield required(f"{where}.name")
        elif name not in volumes:
            yield missing_reference(f"{where}.name", name)
        if not path:
            yield required(f"{where}.mountPath")
        if path in paths:
            yield wrong(f"{where}.mountPath", path, "must be unique")
        paths.add(path)
        sub = mount.get("subPath") or ""
        if sub.startswith("/"):
            yield wrong(f"{where}.subPath", sub, "must be a relative path")
        elif ".." in sub.split("/"):
            yield wrong(f"{where}.subPath", sub, "must not contain '..'")


def _resources(field: str, resources: Obj) -> Iterator[Cause]:
    limits = resources.get("limits") or {}
    for kind in ("limits", "requests"):
        for name, value in (resources.get(kind) or {}).items():
            if quantity.parse(value) < 0:
                yield wrong(f"{field}.{kind}[{name}]", str(value), "must be greater than or equal to 0")
    for name, value in (resources.get("requests") or {}).items():
        if name in limits and quantity.parse(value) > quantity.parse(limits[name]):
            why = f"must be less than or equal to {name} limit of {limits[name]}"
            yield wrong(f"{field}.requests", str(value), why)


def update(field: str, before: Any, after: Any) -> Iterator[Cause]:
    """A pod's spec may only change in images, deadline, grace and tolerations."""

    def frozen(pod: Any) -> Any:
        free = ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds", "schedulingGates")
        kept = {key: value for key, value in pod.items() if key not in free}
        for kind in ("containers", "initContainers"):
            kept[kind] = [{**container, "image": ""} for container in pod.get(kind) or ()]
        return kept

    if frozen(before) != frozen(after):
        yield Cause(
            "FieldValueForbidden",
            "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
            "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to "
            "existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was "
            "previously negative)",
            field,
        )
