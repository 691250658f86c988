"""The shape of a Job: what must be a mapping, a list or text wherever this package looks into one. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow_provider_feast.model.errors import FeastDagError

_TEXT, _NEEDED = "text", "text that must be there"

_CONTEXT = {
    "seccompProfile": {},
    "appArmorProfile": {},
    "seLinuxOptions": {},
    "windowsOptions": {},
    "capabilities": {"add": [_TEXT], "drop": [_TEXT]},
    "sysctls": [{}],
}
_ACTION: dict[str, Any] = {"httpGet": {}, "tcpSocket": {}}
_CONTAINER = {
    "name": _NEEDED,
    "command": [_TEXT],
    "args": [_TEXT],
    "env": [
        {"name": _NEEDED, "value": _TEXT, "valueFrom": {"secretKeyRef": {"name": _TEXT, "key": _TEXT}}},
    ],
    "envFrom": [{"secretRef": {"name": _TEXT}, "configMapRef": {"name": _TEXT}}],
    "volumeMounts": [{"name": _NEEDED, "mountPath": _NEEDED}],
    "ports": [{}],
    "securityContext": _CONTEXT,
    "livenessProbe": _ACTION,
    "readinessProbe": _ACTION,
    "startupProbe": _ACTION,
    "lifecycle": {"postStart": _ACTION, "preStop": _ACTION},
}
_VOLUME = {
    "name": _NEEDED,
    "emptyDir": {},
    "secret": {},
    "csi": {},
    "projected": {"sources": [{"serviceAccountToken": {"audience": _TEXT}}]},
}
_METADATA: dict[str, Any] = {"labels": {}, "annotations": {}}
_POD = {
    "containers": [_CONTAINER],
    "initContainers": [_CONTAINER],
    "ephemeralContainers": [_CONTAINER],
    "volumes": [_VOLUME],
    "securityContext": _CONTEXT,
}
_JOB = {"metadata": _METADATA, "spec": {"template": {"metadata": _METADATA, "spec": _POD}}}


def check_shape(job: Any, where: str, *, whole: bool) -> None:
    """See that a Job is built as Kubernetes builds one; what is not looked at is left to the API server.

    :param where: what the Job was made of, for the message.
    :param whole: whether names must be there; a part of a Job may leave them to what it is merged over.
    :raises FeastDagError: naming the field, what it is and what it must be.
    """
    for place, value, wanted in _misshapen(job, _JOB, "", whole):
        shown = "missing" if value is None else f"{type(value).__name__}"
        raise FeastDagError(
            f"{place.lstrip('.') or 'the Job'} is {shown}; it must be {wanted}",
            where=where,
            remedy="write it as in a Job's manifest",
        )


def _misshapen(value: Any, shape: Any, place: str, whole: bool) -> Iterator[tuple[str, Any, str]]:
    """Each place where a value has not its shape, with the value and what it must be."""
    if value is None:
        if shape == _NEEDED and whole:
            yield place, value, "text"
    elif isinstance(shape, str):
        if not isinstance(value, str):
            yield place, value, "text"
    elif isinstance(shape, list):
        if not isinstance(value, (list, tuple)):
            yield place, value, "a list"
            return
        for number, item in enumerate(value):
            here = f"{place}[{number}]"
            if item is None:
                yield here, item, "a mapping" if isinstance(shape[0], dict) else "text"
            else:
                yield from _misshapen(item, shape[0], here, whole)
    elif not isinstance(value, Mapping):
        yield place, value, "a mapping"
    else:
        for name, inner in shape.items():
            yield from _misshapen(value.get(name), inner, f"{place}.{name}", whole)
