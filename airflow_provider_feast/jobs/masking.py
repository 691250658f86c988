"""Tell the runner which values come from Secrets, so that it can mask them: names and places, never a value. Pure.

The finished Job is looked at, so that Secrets of ``pod_options`` and ``job_overrides`` count like the connection's.
"""

from __future__ import annotations

import copy
from typing import Any

from airflow_provider_feast.jobs.environment import escape
from airflow_provider_feast.jobs.paths import RUNNER, SECRETS_DIR

Object = dict[str, Any]

_PREFIX = "feast-secret-"
_OPTIONS = ("--secret-variable", "--secret-directory")
_SECRETS_STORE = "secrets-store.csi.k8s.io"
"""The driver that mounts the secrets of Vault and of the clouds."""

_CONFIG_VOLUME = "feast-config"
"""A configuration in a Secret is read by the runner itself."""


def tell_secrets(job: Object, container_name: str) -> Object:
    """A Job whose runner knows every Secret of its container; the same for a Job that it has seen before.

    What a Secret of ``envFrom`` holds is known to nobody here, so it is mounted as well, for the runner to read.

    :param job: a Job as the API takes it; it is not changed.
    :param container_name: the container that runs Feast.
    """
    job = copy.deepcopy(job)
    spec = job["spec"]["template"]["spec"]
    container = next((c for c in spec.get("containers") or () if c.get("name") == container_name), None)
    if container is None or RUNNER not in (container.get("command") or ()):
        return job
    _mount_sources(spec, container)
    options = [part for name in _variables(container) for part in ("--secret-variable", escape(name))]
    options += [part for path in _places(spec, container) for part in ("--secret-directory", escape(path))]
    command = _without_options(container["command"])
    at = command.index(RUNNER) + 2  # behind the runner's own command
    container["command"] = [*command[:at], *options, *command[at:]]
    return job


def _mount_sources(spec: Object, container: Object) -> None:
    """Mount the Secrets of ``envFrom``; optional: without one the variables are missing as well, which says more."""
    volumes = [v for v in spec.get("volumes") or () if not str(v.get("name")).startswith(_PREFIX)]
    mounts = [m for m in container.get("volumeMounts") or () if not str(m.get("name")).startswith(_PREFIX)]
    sources = [source.get("secretRef") for source in container.get("envFrom") or ()]
    names = dict.fromkeys(source["name"] for source in sources if source and source.get("name"))
    for number, name in enumerate(names):
        volumes.append({"name": f"{_PREFIX}{number}", "secret": {"secretName": name, "optional": True}})
        mounts.append(
            {"name": f"{_PREFIX}{number}", "mountPath": f"{SECRETS_DIR}/{number}", "readOnly": True}
        )
    spec["volumes"], container["volumeMounts"] = volumes, mounts


def _variables(container: Object) -> list[str]:
    env = container.get("env") or ()
    return sorted(str(item["name"]) for item in env if (item.get("valueFrom") or {}).get("secretKeyRef"))


def _places(spec: Object, container: Object) -> list[str]:
    secret = {v["name"] for v in spec["volumes"] if v["name"] != _CONFIG_VOLUME and _is_secret(v)}
    return [str(m["mountPath"]) for m in container["volumeMounts"] if m["name"] in secret]


def _is_secret(volume: Object) -> bool:
    parts = (volume.get("projected") or {}).get("sources") or ()
    stored = (volume.get("csi") or {}).get("driver") == _SECRETS_STORE
    return stored or "secret" in volume or any("secret" in part for part in parts)


def _without_options(command: list[str]) -> list[str]:
    """The runner's command line without what was told before; what is behind ``--`` is Feast's."""
    end = command.index("--") if "--" in command else len(command)
    kept: list[str] = []
    for before, part in zip(["", *command[:end]], command[:end], strict=False):
        if part not in _OPTIONS and before not in _OPTIONS:
            kept.append(part)
    return [*kept, *command[end:]]
