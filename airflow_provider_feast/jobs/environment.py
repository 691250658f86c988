"""The variables of the main container: plain ones, references, whole ConfigMaps and Secrets. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from airflow_provider_feast.jobs.paths import CA_FILE, TMP
from airflow_provider_feast.model.environment import SecretRef, Value, conventional_config_map
from airflow_provider_feast.model.settings import FeastSettings

_BUNDLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE")


def escape(text: str) -> str:
    """Text that Kubernetes hands over as it is: it would expand ``$(NAME)`` in command, args and env."""
    return text.replace("$", "$$")


def proxy_variables(settings: FeastSettings) -> dict[str, str]:
    """The way out of the cluster, in both spellings."""
    found = {name: getattr(settings, name) for name in ("http_proxy", "https_proxy", "no_proxy")}
    return {key: value for name, value in found.items() if value for key in (name, name.upper())}


def environment(settings: FeastSettings) -> list[dict[str, Any]]:
    """The container's ``env``: ours, then the author's, which win."""
    found: dict[str, Value] = {"PYTHONUNBUFFERED": "1", "HOME": TMP, **proxy_variables(settings)}
    if settings.ca_bundle_config_map:
        found |= dict.fromkeys(_BUNDLES, CA_FILE)
    return [variable(name, value) for name, value in (found | dict(settings.env)).items()]


def variable(name: str, value: Value) -> dict[str, Any]:
    """One variable as a pod's manifest writes it."""
    if isinstance(value, str):
        return {"name": name, "value": escape(value)}
    kind = "secretKeyRef" if isinstance(value, SecretRef) else "configMapKeyRef"
    reference = {"name": value.name, "key": value.key} | ({"optional": True} if value.optional else {})
    return {"name": name, "valueFrom": {kind: reference}}


def environment_from(settings: FeastSettings) -> Iterable[dict[str, Any]]:
    """The container's ``envFrom``: the feature store's own ConfigMap if it exists, then the named ones, which win."""
    yield {"configMapRef": {"name": conventional_config_map(settings.feature_store), "optional": True}}
    for source in settings.env_from:
        kind, _, name = source.partition("/")
        yield {"configMapRef" if kind == "configmap" else "secretRef": {"name": name}}
