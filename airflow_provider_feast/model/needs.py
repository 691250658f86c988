"""What a Job's pods need of their namespace: the objects that they would wait for in vain. One list for every source."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from airflow_provider_feast.model.settings import FeastSettings
from airflow_provider_feast.model.sources import (
    ConfigMapConfiguration,
    ConfigMapDefinitions,
    ConfigMapRef,
    GitDefinitions,
    SecretConfiguration,
    SecretRef,
    VolumeDefinitions,
)

CONFIG_MAP, SECRET, SERVICE_ACCOUNT = "ConfigMap", "Secret", "ServiceAccount"
CLAIM = "PersistentVolumeClaim"


class Need(NamedTuple):
    """One object.

    :param check: the line of a preflight's report that it belongs to.
    :param kind: ``ConfigMap``, ``Secret``, ``ServiceAccount`` or ``PersistentVolumeClaim``.
    :param purpose: what it is for, to be read after "which".
    :param key: the key that must be in it, or ``None``.
    """

    check: str
    kind: str
    name: str
    purpose: str
    key: str | None = None


def needs_of(settings: FeastSettings) -> list[Need]:
    """Every object that a pod of this feature store refers to; the first ones matter most."""
    return [*_configuration(settings), *_definitions(settings), *_account(settings), *_others(settings)]


def _configuration(settings: FeastSettings) -> Iterator[Need]:
    source = settings.configuration
    if isinstance(source, ConfigMapConfiguration):
        yield Need("configuration", CONFIG_MAP, source.name, "should hold feature_store.yaml", source.key)
    elif isinstance(source, SecretConfiguration):
        yield Need("configuration", SECRET, source.name, "should hold feature_store.yaml", source.key)


def _definitions(settings: FeastSettings) -> Iterator[Need]:
    source = settings.definitions
    if isinstance(source, ConfigMapDefinitions):
        yield Need("definitions", CONFIG_MAP, source.name, "should hold the feature repository")
    elif isinstance(source, GitDefinitions) and source.secret:
        yield Need("definitions", SECRET, source.secret, "should hold the credentials for Git")
    elif isinstance(source, VolumeDefinitions):
        kind, fields = next(iter(source.volume.items()))
        if kind == "persistentVolumeClaim":
            yield Need(
                "definitions", CLAIM, str(fields.get("claimName")), "should hold the feature repository"
            )


def _account(settings: FeastSettings) -> Iterator[Need]:
    if settings.service_account:
        yield Need(
            "service account", SERVICE_ACCOUNT, settings.service_account, "the Job's pods should run as"
        )


def _others(settings: FeastSettings) -> Iterator[Need]:
    if name := settings.ca_bundle_config_map:
        yield Need("CA bundle", CONFIG_MAP, name, "should hold the CA bundle", settings.ca_bundle_key)
    for variable, value in settings.env.items():
        if isinstance(value, (SecretRef, ConfigMapRef)) and not value.optional:
            kind = SECRET if isinstance(value, SecretRef) else CONFIG_MAP
            yield Need("environment", kind, value.name, f"should hold the value of {variable}", value.key)
    for source in settings.env_from:
        kind, _, name = source.partition("/")
        yield Need(
            "environment",
            CONFIG_MAP if kind == "configmap" else SECRET,
            name,
            "should hold environment variables",
        )
    for name in settings.image_pull_secrets:
        yield Need("image", SECRET, name, "should let nodes pull the image")
