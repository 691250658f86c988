"""The environment of a container: the image's, the cluster's, and what the pod declares."""

import base64
import re

from airflow_provider_feast.sandbox import quantity, resources
from airflow_provider_feast.sandbox.shapes import Obj
from airflow_provider_feast.sandbox.store import Store

_REFERENCE = re.compile(r"\$\$|\$\(([^()]*)\)")
_FIELD_MAP = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


class ConfigError(Exception):
    """A container cannot be created as declared: CreateContainerConfigError with these words."""


def expand(text: str, env: dict[str, str]) -> str:
    """`$(VAR)`; `$$` is a dollar sign; an unknown name stays as it is."""

    def replace(match: re.Match[str]) -> str:
        if match.group(0) == "$$":
            return "$"
        return env.get(match.group(1), match.group(0))

    return _REFERENCE.sub(replace, text)


def declared(store: Store, pod: Obj, container: Obj) -> dict[str, str]:
    """The variables of `envFrom` and `env`, expanded in order.

    Raises:
        ConfigError: a ConfigMap, Secret or key is missing.
    """
    env: dict[str, str] = {}
    for source in container.get("envFrom") or ():
        prefix = source.get("prefix", "")
        for key, value in _whole(store, pod, source).items():
            env[prefix + key] = value
    for variable in container.get("env") or ():
        if variable.get("valueFrom"):
            found = _value_from(store, pod, container, variable["valueFrom"])
            if found is not None:
                env[variable["name"]] = found
        else:
            env[variable["name"]] = expand(variable.get("value") or "", env)
    return env


def config_data(obj: Obj, kind: str) -> dict[str, bytes]:
    """The content of a ConfigMap or Secret by key."""
    if kind == "secret":
        return {key: base64.b64decode(value) for key, value in (obj.get("data") or {}).items()}
    text = {key: value.encode() for key, value in (obj.get("data") or {}).items()}
    return text | {key: base64.b64decode(value) for key, value in (obj.get("binaryData") or {}).items()}


def find_config(store: Store, namespace: str, kind: str, name: str) -> Obj | None:
    resource = resources.SECRETS if kind == "secret" else resources.CONFIGMAPS
    return store.get(resource.key, namespace, name)


def _whole(store: Store, pod: Obj, source: Obj) -> dict[str, str]:
    kind = "secret" if source.get("secretRef") else "configmap"
    reference = source.get("secretRef") or source.get("configMapRef") or {}
    found = find_config(store, pod["metadata"]["namespace"], kind, reference["name"])
    if found is None:
        if reference.get("optional"):
            return {}
        raise ConfigError(f'{kind} "{reference["name"]}" not found')
    if kind == "configmap":
        return dict(found.get("data") or {})
    return {key: value.decode(errors="replace") for key, value in config_data(found, kind).items()}


def _value_from(store: Store, pod: Obj, container: Obj, source: Obj) -> str | None:
    if source.get("fieldRef"):
        return field_value(pod, source["fieldRef"]["fieldPath"])
    if source.get("resourceFieldRef"):
        return resource_value(container, source["resourceFieldRef"])
    kind = "secret" if source.get("secretKeyRef") else "configmap"
    reference = source.get("secretKeyRef") or source.get("configMapKeyRef") or {}
    namespace = pod["metadata"]["namespace"]
    found = find_config(store, namespace, kind, reference["name"])
    if found is None:
        if reference.get("optional"):
            return None
        raise ConfigError(f'{kind} "{reference["name"]}" not found')
    data = config_data(found, kind)
    if reference["key"] not in data:
        if reference.get("optional"):
            return None
        title = "Secret" if kind == "secret" else "ConfigMap"
        raise ConfigError(f"couldn't find key {reference['key']} in {title} {namespace}/{reference['name']}")
    return data[reference["key"]].decode(errors="replace")


def field_value(pod: Obj, path: str) -> str:
    """The downward API."""
    meta, spec, status = pod["metadata"], pod["spec"], pod["status"]
    match = _FIELD_MAP.fullmatch(path)
    if match:
        return str((meta.get(match.group(1)) or {}).get(match.group(2), ""))
    known = {
        "metadata.name": meta["name"],
        "metadata.namespace": meta["namespace"],
        "metadata.uid": meta["uid"],
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.podIP": status.get("podIP", "127.0.0.1"),
        "status.podIPs": status.get("podIP", "127.0.0.1"),
        "status.hostIP": status.get("hostIP", "127.0.0.1"),
        "status.hostIPs": status.get("hostIP", "127.0.0.1"),
    }
    if path in {"metadata.labels", "metadata.annotations"}:
        pairs = sorted((meta.get(path.partition(".")[2]) or {}).items())
        return "".join(f'{key}="{value}"\n' for key, value in pairs)
    if path not in known:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return str(known[path])


def resource_value(container: Obj, reference: Obj) -> str:
    """A request or limit of a container, in units of the divisor."""
    kind, _, name = reference["resource"].partition(".")
    value = (container["resources"].get(kind) or {}).get(name, 0)
    divisor = quantity.parse(reference.get("divisor") or 1) or 1
    return str(-(-quantity.parse(value) // divisor))
