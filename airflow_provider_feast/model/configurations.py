"""Where a command's configuration (feature_store.yaml) comes from, and patches that are merged over it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from airflow_provider_feast.model.errors import FeastConfigurationError, FeastDagError
from airflow_provider_feast.model.names import check_key, check_object_name, check_plain

CONFIG_KEY = "feature_store.yaml"
PATCH_KEY = "configuration_patch.json"
"""The key of the Job's own ConfigMap that holds patches which the runner merges."""

CONFIG_BYTES = 1_000_000
"""Largest inline configuration: a ConfigMap holds at most 1 MiB, names and labels included."""

_REQUIRED = ("project", "registry", "provider")


class ConfigMapConfiguration(NamedTuple):
    """feature_store.yaml in an existing ConfigMap.

    :param name: the ConfigMap, in the Job's namespace.
    :param key: its key.
    """

    name: str
    key: str = CONFIG_KEY


class SecretConfiguration(NamedTuple):
    """feature_store.yaml in an existing Secret; only the pod reads it, Airflow never does.

    :param name: the Secret, in the Job's namespace.
    :param key: its key.
    """

    name: str
    key: str = CONFIG_KEY


class InlineConfiguration(NamedTuple):
    """feature_store.yaml written in the DAG or the connection; becomes a ConfigMap that the Job owns.

    :param content: a mapping, or YAML text.
    """

    content: Any


class FeatureStoreConfiguration(NamedTuple):
    """The client configuration of a ``FeatureStore`` of the Feast operator, found by its status.

    :param name: the ``FeatureStore``.
    :param namespace: its namespace; "" is the Jobs' one.
    """

    name: str
    namespace: str = ""


Configuration = ConfigMapConfiguration | SecretConfiguration | InlineConfiguration | FeatureStoreConfiguration


def read_configuration(value: Any, what: str = "configuration") -> Configuration | None:
    """Check what an author gave as configuration: a source, a mapping, YAML text, or nothing.

    :raises FeastDagError: when it is none of these, or its literal parts cannot work.
    """
    if value is None or value == "":
        return None
    if isinstance(value, (ConfigMapConfiguration, SecretConfiguration)):
        name, key = check_object_name(value.name, f"{what}.name"), check_key(value.key, f"{what}.key")
        return type(value)(name, key)
    if isinstance(value, FeatureStoreConfiguration):
        if value.namespace:
            check_object_name(value.namespace, f"{what}.namespace")
        return FeatureStoreConfiguration(check_object_name(value.name, f"{what}.name"), value.namespace or "")
    if isinstance(value, InlineConfiguration):
        value = value.content
    if isinstance(value, Mapping):
        check_plain(value, what)
        check_feature_store(value, what)
    elif not isinstance(value, str):
        raise FeastDagError(
            f"{what} is {type(value).__name__}",
            remedy="give a mapping, YAML text, or ConfigMapConfiguration(name=…), SecretConfiguration(name=…), "
            "FeatureStoreConfiguration(name=…) or InlineConfiguration(…)",
        )
    return InlineConfiguration(value)


def read_feature_store_resource(text: str) -> FeatureStoreConfiguration:
    """A ``FeatureStore`` as the connection names it: ``NAME`` or ``NAMESPACE/NAME``.

    :raises FeastDagError: when these cannot be names.
    """
    namespace, slash, name = text.rpartition("/")
    if slash and not namespace:
        raise FeastDagError(f"feature_store_resource={text!r}", remedy="write NAME or NAMESPACE/NAME")
    found = read_configuration(FeatureStoreConfiguration(name, namespace), "feature_store_resource")
    assert isinstance(found, FeatureStoreConfiguration)  # noqa: S101 (what went in comes out)
    return found


def check_feature_store(content: Any, what: str) -> Mapping[str, Any]:
    """What every feature_store.yaml needs at least.

    :param content: the parsed YAML.
    :raises FeastConfigurationError: naming what is missing.
    """
    if not isinstance(content, Mapping):
        raise FeastConfigurationError(
            f"{what} is not a mapping but {type(content).__name__}",
            remedy="feature_store.yaml starts with lines like `project: …`, `provider: local`, `registry: …`",
        )
    if missing := [key for key in _REQUIRED if not content.get(key)]:
        raise FeastConfigurationError(
            f"{what} lacks {', '.join(missing)}",
            remedy=f"add {' and '.join(f'`{key}:`' for key in missing)} to it",
        )
    return content


def read_patch(value: Any, what: str = "configuration_patch") -> Mapping[str, Any]:
    """Check a patch: a part of feature_store.yaml that is merged over the rest.

    :raises FeastDagError: when it is not a mapping of plain values.
    """
    if not isinstance(value, Mapping):
        raise FeastDagError(
            f"{what} is {type(value).__name__}, not a mapping",
            remedy="give the part of feature_store.yaml that shall differ, e.g. "
            '{"online_store": {"path": "/data/other.db"}}; null removes a key',
        )
    check_plain(value, what)
    return dict(value)


def merge_patch(base: Any, patch: Any) -> Any:
    """Merge a patch as RFC 7386 says: mappings deeply, ``None`` removes, all else replaces. Neither is changed."""
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(base) if isinstance(base, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged
