"""The pod's environment as an author gives it: plain text, and references to Secrets and ConfigMaps."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from airflow_provider_feast.model.errors import FeastDagError
from airflow_provider_feast.model.names import check_key, check_object_name, text_problem
from airflow_provider_feast.model.naming import slug

_VARIABLE = re.compile(r"[ -<>-~]+")
_REMEDY = 'write text, or {"secret": NAME, "key": KEY} for a value of a Secret ({"config_map": NAME, "key": KEY} alike)'


class SecretRef(NamedTuple):
    """The value of a variable lies in a Secret; only the pod reads it.

    :param name: the Secret, in the Job's namespace.
    :param key: its key.
    :param optional: without the Secret or the key the variable is not set, and the Job runs.
    """

    name: str
    key: str
    optional: bool = False


class ConfigMapRef(NamedTuple):
    """The value of a variable lies in a ConfigMap; parameters as for :class:`SecretRef`."""

    name: str
    key: str
    optional: bool = False


Value = str | SecretRef | ConfigMapRef


def read_environment(given: Mapping[Any, Any]) -> dict[str, Value]:
    """Check variables and their values.

    :raises FeastDagError: naming the variable that cannot work.
    """
    return {_variable(name): _value(name, value) for name, value in given.items()}


def _variable(name: Any) -> str:
    if not isinstance(name, str) or not _VARIABLE.fullmatch(name) or text_problem(name):
        raise FeastDagError(
            f"env has the name {name!r}, which cannot be an environment variable's",
            remedy="use printable characters other than '='",
        )
    return name


def _value(name: str, value: Any) -> Value:
    what = f"env[{name!r}]"
    if isinstance(value, (SecretRef, ConfigMapRef)):
        return _reference(type(value), value._asdict(), what)
    if isinstance(value, Mapping):
        return _mapping(value, what)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) and value.bit_length() > 64:
        raise FeastDagError(f"{what} is a number that is too large", remedy="write it as text")
    if not isinstance(value, (str, int, float)):
        raise FeastDagError(
            f"{what} is {type(value).__name__}; the value of a variable must be text", remedy=_REMEDY
        )
    if problem := text_problem(str(value)):
        raise FeastDagError(f"{what} {problem}", remedy=_REMEDY)
    return str(value)


def _mapping(value: Mapping[Any, Any], what: str) -> Value:
    """A reference as JSON writes it: ours, or as in a pod's manifest."""
    inner = value.get("valueFrom")
    if isinstance(inner, Mapping) and len(inner) == 1 and len(value) == 1:
        kinds: dict[Any, type[SecretRef | ConfigMapRef]] = {
            "secretKeyRef": SecretRef,
            "configMapKeyRef": ConfigMapRef,
        }
        kind, fields = next(iter(inner.items()))
        if kind in kinds and isinstance(fields, Mapping):
            return _reference(kinds[kind], fields, what)
    for word, cls in (("secret", SecretRef), ("config_map", ConfigMapRef)):
        if word in value and "valueFrom" not in value:
            fields = {"name" if key == word else key: item for key, item in value.items()}
            return _reference(cls, fields, what)
    raise FeastDagError(f"{what} is a mapping, but not a reference", remedy=_REMEDY)


def _reference(cls: type[SecretRef | ConfigMapRef], fields: Mapping[Any, Any], what: str) -> Value:
    if not {"name", "key"} <= set(fields) <= {"name", "key", "optional"}:
        raise FeastDagError(f"{what} is not a whole reference", remedy=_REMEDY)
    optional = fields.get("optional", False)
    if not isinstance(optional, bool):
        raise FeastDagError(f"{what}: optional must be true or false", remedy=_REMEDY)
    return cls(
        check_object_name(fields["name"], f"{what}.name"), check_key(fields["key"], f"{what}.key"), optional
    )


def check_env_from(source: Any) -> str:
    """One entry of ``env_from``.

    :raises FeastDagError: when it is not ``configmap/NAME`` or ``secret/NAME``.
    """
    kind, _, name = str(source).partition("/")
    if kind not in ("configmap", "secret"):
        raise FeastDagError(f"env_from={source!r}", remedy="write configmap/NAME or secret/NAME")
    check_object_name(name, "env_from")
    return str(source)


def conventional_config_map(feature_store: str) -> str:
    """The ConfigMap whose keys are variables of a feature store's pods when it exists: ``feast-env-…``."""
    return f"feast-env-{slug(feature_store, 52)}".rstrip("-")
