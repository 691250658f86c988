"""Volumes as directories: ConfigMaps and Secrets with `..data` links, emptyDirs, claims, projections."""

import os
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_feast.sandbox import clock, resources
from airflow_provider_feast.sandbox.pods import env
from airflow_provider_feast.sandbox.shapes import Obj
from airflow_provider_feast.sandbox.store import Store

Rewrite = Callable[[bytes], bytes]
SUPPORTED = (
    "configMap",
    "secret",
    "emptyDir",
    "persistentVolumeClaim",
    "projected",
    "downwardAPI",
    "hostPath",
)


class MountError(Exception):
    """A volume cannot be mounted: FailedMount with these words."""


@dataclass(frozen=True)
class VolumeHost:
    """Where volumes live, and what fills them."""

    store: Store
    claims: Path
    token: Callable[[Obj], str]


def mount(host: VolumeHost, pod: Obj, volume: Obj, target: Path, rewrite: Rewrite) -> Path:
    """Make the directory of one volume; `rewrite` changes the text of configuration files.

    Raises:
        MountError: what it needs is missing, or the sandbox does not know this kind of volume.
    """
    kind = next((key for key in volume if key != "name"), "emptyDir")
    source = volume.get(kind) or {}
    if kind == "emptyDir":
        target.mkdir(parents=True, exist_ok=True)
        return target
    if kind == "persistentVolumeClaim":
        return _claim(host, pod, source)
    if kind == "hostPath":
        return Path(source["path"])
    if kind not in SUPPORTED:
        raise MountError(
            f'MountVolume.SetUp failed for volume "{volume["name"]}" : the sandbox has no {kind} volumes'
        )
    try:
        files = _files(host, pod, kind, source)
    except env.ConfigError as error:
        raise MountError(f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}') from error
    if not (target / "..data").exists():
        _write(target, {path: (rewrite(data), mode) for path, (data, mode) in files.items()})
    return target


def _claim(host: VolumeHost, pod: Obj, source: Obj) -> Path:
    namespace, name = pod["metadata"]["namespace"], source["claimName"]
    claim = host.store.get(resources.CLAIMS.key, namespace, name)
    if claim is None:
        raise MountError(f'persistentvolumeclaim "{name}" not found')
    path = host.claims / str(claim["metadata"]["uid"])
    path.mkdir(parents=True, exist_ok=True)
    return path


Files = dict[str, tuple[bytes, int]]


def _files(host: VolumeHost, pod: Obj, kind: str, source: Obj) -> Files:
    mode = source.get("defaultMode", 0o644)
    if kind == "projected":
        found: Files = {}
        for part in source.get("sources") or ():
            found |= _projected(host, pod, part, mode)
        return found
    if kind == "downwardAPI":
        return _downward(pod, source, mode)
    name = source.get("secretName") if kind == "secret" else source.get("name")
    return _config(host.store, pod, kind.lower(), {**source, "name": name}, mode)


def _projected(host: VolumeHost, pod: Obj, part: Obj, mode: int) -> Files:
    if part.get("serviceAccountToken"):
        return {part["serviceAccountToken"]["path"]: (host.token(pod).encode(), 0o600)}
    if part.get("downwardAPI"):
        return _downward(pod, part["downwardAPI"], mode)
    source = part.get("secret") or part.get("configMap")
    if source is None:
        raise env.ConfigError(f"the sandbox projects no {', '.join(part)}")
    return _config(host.store, pod, "secret" if part.get("secret") else "configmap", source, mode)


def _downward(pod: Obj, source: Obj, mode: int) -> Files:
    return {
        item["path"]: (_told(pod, item).encode(), item.get("mode", mode))
        for item in source.get("items") or ()
    }


def _told(pod: Obj, item: Obj) -> str:
    """A field of the pod, or a request or limit of one of its containers."""
    if item.get("fieldRef"):
        return env.field_value(pod, item["fieldRef"]["fieldPath"])
    reference = item["resourceFieldRef"]
    containers = (*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or ()))
    for container in containers:
        if container["name"] == reference.get("containerName"):
            return env.resource_value(container, reference)
    raise env.ConfigError(f"container {reference.get('containerName')} not found")


def _config(store: Store, pod: Obj, kind: str, source: Obj, mode: int) -> Files:
    found = env.find_config(store, pod["metadata"]["namespace"], kind, source["name"])
    if found is None:
        if source.get("optional"):
            return {}
        raise env.ConfigError(f'{kind} "{source["name"]}" not found')
    data = env.config_data(found, kind)
    if not source.get("items"):
        return {key: (value, mode) for key, value in data.items()}
    files: Files = {}
    for item in source["items"]:
        if item["key"] in data:
            files[item["path"]] = (data[item["key"]], item.get("mode", mode))
        elif not source.get("optional"):
            raise env.ConfigError(f"{kind} references non-existent config key: {item['key']}")
    return files


def _write(target: Path, files: Mapping[str, tuple[bytes, int]]) -> None:
    """The kubelet's layout: files in a dated directory, `..data` points at it, links point through it."""
    dated = target / f"..{clock.now():%Y_%m_%d_%H_%M_%S}.{secrets.randbelow(10**9):09d}"
    dated.mkdir(parents=True)
    for name, (data, mode) in files.items():
        path = dated / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(mode)
    (target / "..data").symlink_to(dated.name)
    for first in dict.fromkeys(name.split("/")[0] for name in files):
        (target / first).symlink_to(os.path.join("..data", first))  # noqa: PTH118 - a relative link text


def path_rewriter(mapping: Mapping[str, str]) -> Callable[[str], str]:
    """Replace paths at or below mount points by what they are on this machine; longest first."""
    if not mapping:
        return lambda text: text
    longest = sorted(mapping, key=len, reverse=True)
    paths = "|".join(re.escape(path) for path in longest)
    pattern = re.compile(rf"(?<![\w.\-/])({paths})(?![\w.\-])")
    return lambda text: pattern.sub(lambda match: mapping[match.group(1)], text)


def text_rewriter(mapping: Mapping[str, str]) -> Rewrite:
    """As `path_rewriter`, for the bytes of a file; what is not text stays as it is."""
    rewrite = path_rewriter(mapping)

    def apply(data: bytes) -> bytes:
        try:
            return rewrite(data.decode()).encode()
        except UnicodeDecodeError:
            return data

    return apply
