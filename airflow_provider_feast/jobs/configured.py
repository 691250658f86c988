"""The feature_store.yaml that a feature store's Jobs will use, as far as Airflow may read it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from airflow_provider_feast.model.errors import FeastConfigurationError
from airflow_provider_feast.model.needs import needs_of
from airflow_provider_feast.model.preflight import report_of
from airflow_provider_feast.model.sources import ConfigMapConfiguration

if TYPE_CHECKING:
    from airflow_provider_feast.hooks.feast import FeastHook


def configuration_text(hook: FeastHook) -> str | None:
    """The text; ``None`` where it lies in the image or in a Secret, which Airflow does not read.

    :raises FeastError: when it should be in the cluster and is not, or may not be read.
    """
    source = hook.settings.configuration
    if not isinstance(source, ConfigMapConfiguration):
        return hook.inline_configuration()
    needs = [need for need in needs_of(hook.settings) if need.check == "configuration"]
    if problem := report_of(hook.preflight.objects(needs)).error():
        raise problem
    found: str | None = ((hook.cluster.read_config_map(source.name) or {}).get("data") or {}).get(source.key)
    return found


def parsed(text: str) -> Any:
    """The YAML of a feature_store.yaml.

    :raises FeastConfigurationError: when it is none.
    """
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise FeastConfigurationError(
            f"feature_store.yaml is not YAML: {error}", remedy="correct it"
        ) from error


def configured_project(hook: FeastHook) -> str:
    """The configured project.

    :raises FeastError: when it cannot be read from here.
    """
    text = configuration_text(hook)
    if not text:
        raise FeastConfigurationError(
            "the project cannot be confirmed: feature_store.yaml lies in the image, where Airflow cannot read it",
            remedy="give the configuration as a ConfigMap or inline",
        )
    content = parsed(text)
    if not isinstance(content, dict):
        raise FeastConfigurationError("feature_store.yaml is not YAML: not a mapping", remedy="correct it")
    return str(content.get("project"))
