"""A `FeatureStore` of the Feast operator: what its status says of a client's configuration, account and image."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from airflow_provider_feast.model.errors import FeastConfigurationError

GROUP = "feast.dev"
VERSIONS = ("v1", "v1alpha1")
PLURAL = "featurestores"
SERVER_IMAGE = "quay.io/feastdev/feature-server"
"""The image that the operator runs; its tags are Feast's versions."""

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


class FeatureStoreFacts(NamedTuple):
    """What is taken from a ``FeatureStore``.

    :param client_config_map: the ConfigMap with a client's feature_store.yaml, in its namespace.
    :param service_account: the account of its servers, ``feast-<name>``.
    :param image: the feature-server image of its version, or "" when its status names none.
    """

    client_config_map: str
    service_account: str
    image: str


def read_feature_store_status(resource: Mapping[str, Any]) -> FeatureStoreFacts:
    """Read a ``FeatureStore`` as the API returns it.

    :raises FeastConfigurationError: when the operator has not made its client configuration yet.
    """
    metadata, status = resource.get("metadata") or {}, resource.get("status") or {}
    name, namespace = metadata.get("name"), metadata.get("namespace")
    config_map = status.get("clientConfigMap")
    if not config_map:
        phase = status.get("phase") or "not set yet"
        raise FeastConfigurationError(
            f"the FeatureStore {name!r} has no client configuration yet: its phase is {phase}{_failing(status)}",
            where=f"FeatureStore {name} in namespace {namespace!r}",
            remedy=f"wait until it is Ready: kubectl -n {namespace} describe featurestore {name}",
        )
    version = str(status.get("feastVersion") or "").removeprefix("v")
    image = f"{SERVER_IMAGE}:{version}" if _TAG.fullmatch(version) else ""
    return FeatureStoreFacts(str(config_map), f"feast-{name}", image)


def _failing(status: Mapping[str, Any]) -> str:
    """The first condition that is not met, in the operator's words."""
    for condition in status.get("conditions") or ():
        if condition.get("status") != "True":
            return f" ({condition.get('type')}: {condition.get('message') or condition.get('reason')})"
    return ""
