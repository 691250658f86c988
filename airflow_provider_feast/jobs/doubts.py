"""What makes one doubt, before a Job is made, that a configuration works or keeps its secrets: no errors. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from airflow_provider_feast.jobs.manifest import CONTAINER
from airflow_provider_feast.jobs.paths import CA_DIR, CA_FILE
from airflow_provider_feast.model import plain_secrets
from airflow_provider_feast.model.settings import FeastSettings
from airflow_provider_feast.model.sources import SecretConfiguration, SecretRef

_OPERATORS_FILES = {
    "/tls/": "on OpenShift feast-{name}-client-ca, with ca_bundle_key service-ca.crt",
    "/etc/pki/tls/custom-certs/": "here odh-trusted-ca-bundle",
}
"""Where the Feast operator's own pods have certificates (its ``tls.go``); a client's configuration names them, too. With
each the ConfigMap that has them."""

_TOKENS = {"kubernetes": "LOCAL_K8S_TOKEN", "oidc": "FEAST_OIDC_TOKEN"}
"""Kinds of ``auth`` that take the token of the pods' account, and the variable that Feast takes instead of it."""


class Doubt(NamedTuple):
    """One of them.

    :param what: what was found, without the values themselves.
    :param remedy: what to do.
    """

    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}; {self.remedy}"


def of_settings(settings: FeastSettings) -> Iterator[Doubt]:
    """What the connection and the operator say in plain text."""
    for field, variables in _variables(settings):
        for name in plain_secrets.in_environment(variables):
            yield Doubt(
                f"{field} sets {name} in plain text, so everybody who may read Jobs can read it",
                '{"secret": NAME, "key": KEY} in env takes it from a Secret',
            )
    if settings.command_mode == "cli" and _uses_secrets(settings):
        yield Doubt(
            "command_mode='cli' runs plain Feast: values of Secrets are not masked in what it prints",
            "use command_mode='runner' where that may happen",
        )
    for name in ("http_proxy", "https_proxy"):
        if plain_secrets.passwords_in(getattr(settings, name)):
            yield Doubt(
                f"{name} holds a password in plain text, so everybody who may read Jobs can read it",
                f"use a proxy that asks for none, or take {name.upper()} from a Secret with env (git does without it)",
            )


def _variables(settings: FeastSettings) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Each field that sets variables of the pods, and those."""
    yield "env", settings.env
    given = settings.pod_options.get("env_vars")
    yield "pod_options", given if isinstance(given, Mapping) else _by_name(_list(given))
    yield "job_overrides", _by_name(item for part in _containers(settings) for item in _list(part.get("env")))


def _by_name(items: Iterable[Any]) -> dict[str, Any]:
    """Variables as a pod's manifest lists them, mappings or the client's objects."""
    pairs = (
        (item.get("name"), item.get("value"))
        if isinstance(item, Mapping)
        else (getattr(item, "name", ""), getattr(item, "value", None))
        for item in items
    )
    return {str(name): value for name, value in pairs}


def _uses_secrets(settings: FeastSettings) -> bool:
    references = any(isinstance(value, SecretRef) for value in settings.env.values())
    whole = any(source.startswith("secret/") for source in settings.env_from)
    return references or whole or isinstance(settings.configuration, SecretConfiguration)


def of_configuration(settings: FeastSettings, content: Any, feature_store: str = "") -> Iterator[Doubt]:
    """What a configuration says that the pods have not, or in plain text.

    :param settings: the settings that the pods are made of.
    :param content: the parsed feature_store.yaml.
    :param feature_store: the ``FeatureStore`` whose client configuration it is, or "".
    """
    for place in plain_secrets.in_configuration(content):
        yield Doubt(
            f"the configuration holds {place} in plain text",
            "write ${NAME} there, and take NAME from a Secret with env",
        )
    yield from _without_token(settings, content)
    if feature_store:
        yield from _without_certificate(settings, content, feature_store)


def _without_token(settings: FeastSettings, content: Any) -> Iterator[Doubt]:
    """That Feast will look for a token of Kubernetes which the pods have not."""
    auth = _part(content, "auth")
    kind = str(auth.get("type"))
    elsewhere = any(auth.get(name) for name in ("token", "token_env_var", "client_secret"))
    if kind not in _TOKENS or settings.kubernetes_api_access or _TOKENS[kind] in settings.env:
        return
    if kind == "kubernetes" or not elsewhere:
        yield Doubt(
            f"the configuration says auth: {{type: {kind}}}, so Feast's servers want the token of the pods' account, and "
            "the pods have none",
            f"set kubernetes_api_access in the connection, or take {_TOKENS[kind]} from a Secret with env",
        )


def _without_certificate(settings: FeastSettings, content: Any, feature_store: str) -> Iterator[Doubt]:
    """That the operator's client configuration names a file which only the operator's own pods have."""
    for section in ("registry", "online_store", "offline_store"):
        path = str(_part(content, section).get("cert") or "")
        known = next((where for start, where in _OPERATORS_FILES.items() if path.startswith(start)), "")
        if not known or any(map(path.startswith, _mounted(settings))):
            continue
        yield Doubt(
            f"the FeatureStore's configuration wants the certificate {path} ({section}.cert), and nothing is mounted "
            "there in the pods",
            "name a ConfigMap with the certificate as ca_bundle_config_map "
            f"({known.format(name=feature_store)}), and set configuration_patch to "
            f'{{"{section}": {{"cert": "{CA_FILE}"}}}}; or mount it with pod_options',
        )


def _mounted(settings: FeastSettings) -> Iterator[str]:
    """Where something is mounted besides the provider's own parts."""
    if settings.ca_bundle_config_map:
        yield CA_DIR
    for item in _list(settings.pod_options.get("volume_mounts")):
        path = item.get("mountPath") if isinstance(item, Mapping) else getattr(item, "mount_path", None)
        yield str(path)
    for container in _containers(settings):
        if container.get("name") == CONTAINER:
            yield from (str(item.get("mountPath")) for item in _list(container.get("volumeMounts")))


def _containers(settings: FeastSettings) -> list[Mapping[str, Any]]:
    """The containers of ``job_overrides``."""
    spec = _part(_part(_part(settings.job_overrides, "spec"), "template"), "spec")
    return [container for container in _list(spec.get("containers")) if isinstance(container, Mapping)]


def _part(value: Any, name: str) -> Mapping[str, Any]:
    """A mapping inside a mapping, or an empty one."""
    found = value.get(name) if isinstance(value, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _list(value: Any) -> Iterable[Any]:
    """A list, or an empty one; what is none is refused when the Job is built."""
    return value if isinstance(value, (list, tuple)) else ()
