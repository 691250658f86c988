"""From what a connection names to what a pod needs: the configuration resolved, patched, and checked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from airflow_provider_feast.jobs import doubts, yaml_text
from airflow_provider_feast.jobs.api import ClusterApi
from airflow_provider_feast.jobs.reviews import read_feature_store
from airflow_provider_feast.model import naming
from airflow_provider_feast.model.configurations import (
    CONFIG_KEY,
    PATCH_KEY,
    ConfigMapConfiguration,
    FeatureStoreConfiguration,
    InlineConfiguration,
    check_feature_store,
    merge_patch,
)
from airflow_provider_feast.model.errors import FeastConfigurationError, FeastDagError, MissingObjectError
from airflow_provider_feast.model.feature_store import FeatureStoreState, missing, read_state
from airflow_provider_feast.model.settings import FeastSettings


class Resolved(NamedTuple):
    """What a Job is built from.

    :param settings: the settings; their configuration is none, a ConfigMap of the Jobs' namespace, a Secret, or
        inline, and ``configuration_patch`` holds only what the pod must merge itself.
    :param files: what the Job's own ConfigMap holds, by key; empty when it needs none.
    :param warnings: what is not wrong, but may well not work, or keeps no secret.
    """

    settings: FeastSettings
    files: Mapping[str, str] = {}
    warnings: tuple[doubts.Doubt, ...] = ()

    @property
    def digest(self) -> str:
        """What tells one configuration from another, or ""."""
        source = self.settings.configuration
        if list(self.files) == [CONFIG_KEY]:
            return naming.digest(self.files[CONFIG_KEY])[:40]
        return naming.digest([list(source or ()), dict(self.files)])[:40] if source or self.files else ""


def resolve(settings: FeastSettings, cluster: ClusterApi) -> Resolved:
    """Find the configuration, merge the patches that Airflow may merge, and check the result.

    A Secret is never read: its patches go to the pod, where the runner merges them.

    :raises FeastError: naming what is missing or wrong.
    """
    warnings, store, client = [*doubts.of_settings(settings)], "", ""
    if isinstance(settings.configuration, FeatureStoreConfiguration):
        store = settings.configuration.name
        settings, client = _of_feature_store(settings, settings.configuration, cluster)
    text = _text(settings, cluster)
    if text is None:
        if client:
            warnings += doubts.of_configuration(settings, yaml_text.load(client, "the configuration"), store)
        return Resolved(settings, _patch_for_the_pod(settings), tuple(warnings))
    content = yaml_text.load(text, "the configuration")
    if settings.configuration_patch:
        for patch in settings.configuration_patch:
            content = merge_patch(content, patch)
        text = yaml_text.dump(content, "the configuration")
    check_feature_store(content, "the configuration")
    warnings += doubts.of_configuration(settings, content, store)
    inline = settings._replace(configuration=InlineConfiguration(text), configuration_patch=())
    return Resolved(inline, {CONFIG_KEY: text}, tuple(warnings))


def _text(settings: FeastSettings, cluster: ClusterApi) -> str | None:
    """feature_store.yaml, where Airflow must write it anew; ``None`` where the pod uses it as it lies."""
    source = settings.configuration
    if isinstance(source, InlineConfiguration):
        content = source.content
        return content if isinstance(content, str) else yaml_text.dump(content, "the configuration")
    if isinstance(source, ConfigMapConfiguration) and settings.configuration_patch:
        return config_map_text(cluster, source)
    return None


def config_map_text(cluster: ClusterApi, source: ConfigMapConfiguration) -> str:
    """A key of a ConfigMap.

    :raises MissingObjectError: when the ConfigMap or the key does not exist.
    """
    found = cluster.read_config_map(source.name)
    keys = (found or {}).get("data") or {}
    if source.key in keys:
        return str(keys[source.key])
    has = f"has no key {source.key!r}; it has {', '.join(sorted(keys)) or 'none at all'}"
    raise MissingObjectError(
        f"the ConfigMap {source.name!r}, which should hold feature_store.yaml, "
        + ("does not exist" if found is None else has),
        where=f"namespace {cluster.namespace!r}",
        remedy="create it, or correct the name"
        if found is None
        else "correct the key, or add it to the ConfigMap",
    )


def _patch_for_the_pod(settings: FeastSettings) -> dict[str, str]:
    patches = settings.configuration_patch
    if not patches:
        return {}
    if settings.command_mode == "cli":
        raise FeastDagError(
            "configuration_patch cannot be merged: Airflow does not read this configuration, and command_mode='cli' "
            "runs Feast without the runner, which would merge it in the pod",
            remedy="use command_mode='runner', or a configuration in a ConfigMap",
        )
    text = json.dumps(list(patches), ensure_ascii=False)
    return {PATCH_KEY: yaml_text.check_size(text, "configuration_patch")}


def _of_feature_store(
    settings: FeastSettings, source: FeatureStoreConfiguration, cluster: ClusterApi
) -> tuple[FeastSettings, str]:
    """Fill in what a ``FeatureStore`` of the Feast operator says; what is set explicitly wins.

    :returns: the settings, and the client's feature_store.yaml.

    Pods can use a ConfigMap of their own namespace only, so the configuration of another one is copied.
    """
    namespace = source.namespace or cluster.namespace
    state = _state(cluster, source.name, namespace)
    client = ConfigMapConfiguration(state.client_config_map)
    text = config_map_text(cluster.of_namespace(namespace), client)
    same = namespace == cluster.namespace
    filled = settings._replace(
        configuration=client if same else InlineConfiguration(text),
        image=settings.image or state.image,
        service_account=settings.service_account or (state.service_account if same else ""),
    )
    return filled, text


def _state(cluster: ClusterApi, name: str, namespace: str) -> FeatureStoreState:
    """A ``FeatureStore`` that has a client configuration.

    :raises FeastError: when there is none, or the operator has not made its client configuration yet.
    """
    resource, _ = read_feature_store(cluster, name, namespace)
    if resource is None:
        raise missing(name, namespace)
    state = read_state(resource)
    if not state.client_config_map:
        raise state.error()
    return state


def require_image(settings: FeastSettings, where: str) -> None:
    """See that there is something to run.

    :raises FeastConfigurationError: when no image is set.
    """
    if not settings.image:
        raise FeastConfigurationError(
            "no image is set",
            where=where,
            remedy="set the field `image` to an image with Feast, or image= on the operator",
        )


def say_warnings(warnings: Iterable[str | doubts.Doubt], log: Any) -> None:
    """Put warnings into a task's log."""
    for warning in warnings:
        log.warning("%s.", warning)
