"""Configuration and definitions as a connection's fields name them: at most one source of each."""

from __future__ import annotations

from typing import Any

from airflow_provider_feast.model.configurations import (
    CONFIG_KEY,
    ConfigMapConfiguration,
    Configuration,
    InlineConfiguration,
    SecretConfiguration,
    read_configuration,
    read_feature_store_resource,
)
from airflow_provider_feast.model.definitions import (
    ConfigMapDefinitions,
    Definitions,
    GitDefinitions,
    ImageDefinitions,
    VolumeDefinitions,
    read_definitions,
)
from airflow_provider_feast.model.errors import FeastConfigurationError, FeastError

_CONFIGURATIONS = ("config_map", "config_secret", "configuration", "feature_store_resource")
_DEFINITIONS = (
    "definitions_path",
    "definitions_config_map",
    "definitions_git_url",
    "definitions_claim",
    "definitions_volume",
)
_GOES_WITH = {
    "config_map_key": ("config_map",),
    "config_secret_key": ("config_secret",),
    "definitions_git_ref": ("definitions_git_url",),
    "definitions_git_secret": ("definitions_git_url",),
    "definitions_git_image": ("definitions_git_url",),
    "definitions_subdirectory": ("definitions_git_url", "definitions_claim", "definitions_volume"),
    "definitions_copy": ("definitions_path", "definitions_claim", "definitions_volume"),
}


def take_configuration(values: dict[str, Any]) -> Configuration | None:
    """Take the fields that name the configuration out of a connection's fields.

    :raises FeastError: when they name several, or one that cannot work.
    """
    field = _only(values, _CONFIGURATIONS, "only one feature_store.yaml can be used")
    rest = _take(values, ("config_map_key", "config_secret_key"), field)
    value = values.pop(field, None)
    if field == "config_map":
        return read_configuration(ConfigMapConfiguration(value, rest.get("config_map_key", CONFIG_KEY)))
    if field == "config_secret":
        return read_configuration(SecretConfiguration(value, rest.get("config_secret_key", CONFIG_KEY)))
    if field == "feature_store_resource":
        return read_feature_store_resource(value)
    return read_configuration(InlineConfiguration(value)) if field else None


def take_definitions(values: dict[str, Any]) -> Definitions | None:
    """Take the fields that name the definitions out of a connection's fields.

    :raises FeastError: when they name several, or one that cannot work.
    """
    field = _only(values, _DEFINITIONS, "keep one feature repository")
    rest = _take(values, tuple(name for name in _GOES_WITH if name.startswith("definitions_")), field)
    value, where = values.pop(field, None), rest.get("definitions_subdirectory", "")
    source: Definitions | None = None
    if field == "definitions_config_map":
        source = ConfigMapDefinitions(value)
    elif field == "definitions_path":
        source = ImageDefinitions(value, rest.get("definitions_copy", False))
    elif field in ("definitions_claim", "definitions_volume"):
        source = VolumeDefinitions(value, where, rest.get("definitions_copy", True))
    elif field == "definitions_git_url":
        ref, secret = rest.get("definitions_git_ref", "HEAD"), rest.get("definitions_git_secret", "")
        source = GitDefinitions(value, ref, where, secret, rest.get("definitions_git_image", ""))
    return _named(source, field)


def _named(source: Definitions | None, field: str) -> Definitions | None:
    """Check it; what it names then is the connection's field."""
    try:
        return read_definitions(source)
    except FeastError as error:
        where = (
            f"the field {field}" if not isinstance(source, GitDefinitions) else "the fields definitions_git_…"
        )
        raise FeastConfigurationError(f"{error.what} ({where})", remedy=error.remedy) from error


def _only(values: dict[str, Any], fields: tuple[str, ...], why: str) -> str:
    """The one field that is set, or ""."""
    found = [name for name in fields if name in values]
    if len(found) > 1:
        raise FeastConfigurationError(f"both {' and '.join(found)} are set", remedy=f"keep one: {why}")
    return found[0] if found else ""


def _take(values: dict[str, Any], fields: tuple[str, ...], main: str) -> dict[str, Any]:
    """The fields that belong to a source; one that belongs to another source would be ignored, so it is refused."""
    rest = {name: values.pop(name) for name in fields if name in values}
    for name in rest:
        if main not in _GOES_WITH[name]:
            raise FeastConfigurationError(
                f"{name} is set without {' or '.join(_GOES_WITH[name])}",
                remedy="set it, or leave this field empty",
            )
    return rest
