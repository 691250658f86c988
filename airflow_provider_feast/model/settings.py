"""What one command needs to know of its feature store: the connection, with the operator's overrides."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from airflow_provider_feast.model.configurations import Configuration, read_configuration, read_patch
from airflow_provider_feast.model.connection_sources import take_configuration, take_definitions
from airflow_provider_feast.model.definitions import Definitions, read_definitions
from airflow_provider_feast.model.environment import Value, check_env_from, read_environment
from airflow_provider_feast.model.errors import FeastConfigurationError, FeastDagError, FeastError
from airflow_provider_feast.model.fields import FIELD_NAMES, FIELDS, Field
from airflow_provider_feast.model.merge import check_overrides, merge
from airflow_provider_feast.model.names import (
    check_image,
    check_key,
    check_object_name,
    check_plain,
    text_problem,
)
from airflow_provider_feast.model.naming import OUR_LABELS
from airflow_provider_feast.model.registry import read_rest_address
from airflow_provider_feast.model.security import RUN_AS_USER, profile_named
from airflow_provider_feast.model.windows import parse_duration

QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?")
_NOTHING = re.compile(r"0+(\.0+)?\D*")


class FeastSettings(NamedTuple):
    """A connection's fields, checked; see :mod:`airflow_provider_feast.model.fields` for each one's meaning.

    Durations are seconds, sizes and CPU are Kubernetes quantities.
    """

    feature_store: str
    image: str = ""
    kubernetes_conn_id: str = "kubernetes_default"
    namespace: str = ""
    image_pull_policy: str = ""
    image_pull_secrets: tuple[str, ...] = ()
    python: str = "python3"
    configuration: Configuration | None = None
    configuration_patch: tuple[Mapping[str, Any], ...] = ()
    definitions: Definitions | None = None
    service_account: str = ""
    security_profile: str = "restricted"
    kubernetes_api_access: bool = False
    run_as_user: int = RUN_AS_USER
    deadline_seconds: int = 6 * 3600
    backoff_limit: int = 0
    ttl_seconds: int = 24 * 3600
    ttl_on_failure_seconds: int = 7 * 24 * 3600
    startup_timeout_seconds: int = 600
    cpu_request: str = "500m"
    cpu_limit: str = "2"
    memory_request: str = "512Mi"
    memory_limit: str = "2Gi"
    tmp_size: str = "1Gi"
    env: Mapping[str, Value] = {}
    env_from: tuple[str, ...] = ()
    http_proxy: str = ""
    https_proxy: str = ""
    no_proxy: str = ""
    ca_bundle_config_map: str = ""
    ca_bundle_key: str = "ca-bundle.crt"
    istio_injection: bool = False
    lookback: str = ""
    command_mode: str = "runner"
    fast_start: bool = True
    concurrency: str = "registry"
    lock_name: str = ""
    lock_namespace: str = ""
    lock_timeout_seconds: int = 6 * 3600
    api_outage_tolerance_seconds: int = 600
    defer_after_seconds: int = 10
    registry_rest_url: str = ""
    deployment_id: str = ""
    pod_options: Mapping[str, Any] = {}
    job_overrides: Mapping[str, Any] = {}

    def override(self, **values: Any) -> FeastSettings:
        """A copy with the values put in that are neither ``None`` nor "", each checked like a connection's field.

        ``env``, ``pod_options`` and ``job_overrides`` are merged over the connection's, and ``configuration_patch`` is
        merged after the connection's; everything else replaces.

        :raises FeastDagError: for a value that cannot work.
        """
        given = {name: value for name, value in values.items() if value is not None and value != ""}
        if "configuration" in given:
            given["configuration"] = read_configuration(given["configuration"])
        if "definitions" in given:
            given["definitions"] = read_definitions(given["definitions"])
        plain = [field for field in FIELDS if field.name in given and field.name != "configuration"]
        given |= {field.name: _read(field, given[field.name]) for field in plain}
        if "configuration_patch" in given:
            given["configuration_patch"] = (*self.configuration_patch, *given["configuration_patch"])
        for name in ("env", "pod_options"):
            if name in given:
                given[name] = {**getattr(self, name), **given[name]}
        if "job_overrides" in given:
            given["job_overrides"] = merge(dict(self.job_overrides), given["job_overrides"], keep_null=True)
        return check_settings(self._replace(**given))


def read_settings(conn_id: str, extra: Mapping[str, Any]) -> FeastSettings:
    """Read a `feast` connection.

    :param conn_id: the connection's id, for messages and the default feature store name.
    :param extra: the connection's ``extra`` as a mapping.
    :raises FeastConfigurationError: naming the connection, the field and the cure.
    """
    try:
        return _settings(conn_id, {name: value for name, value in extra.items() if value not in (None, "")})
    except FeastError as error:
        raise FeastConfigurationError(
            error.what,
            where=f"connection {conn_id!r}",
            remedy=f"{error.remedy} (Admin → Connections → {conn_id})",
        ) from error


def _settings(conn_id: str, extra: dict[str, Any]) -> FeastSettings:
    if unknown := sorted(set(extra) - FIELD_NAMES):
        import difflib

        near = difflib.get_close_matches(unknown[0], FIELD_NAMES, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"known fields: {', '.join(sorted(FIELD_NAMES))}"
        raise FeastConfigurationError(f"the field {unknown[0]!r} does not exist", remedy=hint)
    values = {field.name: _read(field, extra[field.name]) for field in FIELDS if field.name in extra}
    values["configuration"] = take_configuration(values)
    values["definitions"] = take_definitions(values)
    values.setdefault("feature_store", conn_id.removeprefix("feast_") or conn_id)
    return check_settings(FeastSettings(**values))


def check_settings(settings: FeastSettings) -> FeastSettings:
    """What must hold between the fields and for each name.

    :raises FeastDagError: naming the field and the cure.
    """
    for name in ("namespace", "service_account", "ca_bundle_config_map", "lock_name", "lock_namespace"):
        if value := getattr(settings, name):
            check_object_name(value, name)
    check_key(settings.ca_bundle_key, "ca_bundle_key")
    for secret in settings.image_pull_secrets:
        check_object_name(secret, "image_pull_secrets")
    for source in settings.env_from:
        check_env_from(source)
    for name in ("cpu_request", "cpu_limit", "memory_request", "memory_limit", "tmp_size"):
        if not QUANTITY.fullmatch(str(getattr(settings, name))):
            raise FeastDagError(
                f"{name}={getattr(settings, name)!r} is not a Kubernetes quantity",
                remedy="write e.g. 500m or 2 for CPU, 512Mi or 2Gi for memory",
            )
    for name in ("cpu_limit", "memory_limit", "tmp_size"):
        if _NOTHING.fullmatch(str(getattr(settings, name))):
            raise FeastDagError(
                f"{name}={getattr(settings, name)!r} is no limit: Kubernetes takes 0 for as much as there is",
                remedy="name how much it may be",
            )
    check_image(settings.image, "image")
    check_overrides(settings.job_overrides, OUR_LABELS)
    profile_named(settings.security_profile)
    if settings.lookback:
        parse_duration(settings.lookback, "lookback")
    if settings.registry_rest_url:
        read_rest_address(settings.registry_rest_url)
    return settings


_LISTS = frozenset({"image_pull_secrets", "env_from"})
_LARGEST = 2**31 - 1
_POSITIVE = frozenset({"deadline_seconds", "startup_timeout_seconds", "lock_timeout_seconds", "run_as_user"})


def _read(field: Field, value: Any) -> Any:
    if field.name in _LISTS:
        items = value.split(",") if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)):
            raise FeastDagError(
                f"{field.name}={value!r} is not a list of names", remedy="separate names by commas"
            )
        return tuple(str(item).strip() for item in items if str(item).strip())
    if field.kind == "integer":
        return _integer(field, value)
    if field.kind == "boolean":
        return _boolean(field, value)
    if field.kind == "json":
        return _object(field, value)
    if field.kind == "text" or not isinstance(value, (dict, list)):
        text = value if isinstance(value, (str, dict)) else str(value)
        if field.kind != "text" and (problem := text_problem(str(text))):
            raise FeastDagError(f"{field.name} {problem}", remedy=field.description)
        if field.choices and text not in field.choices:
            raise FeastDagError(
                f"{field.name}={value!r} is unknown", remedy=f"choose one of {', '.join(field.choices)}"
            )
        return text
    raise FeastDagError(f"{field.name}={value!r} is not text", remedy=field.description)


def _integer(field: Field, value: Any) -> int:
    lowest = 1 if field.name in _POSITIVE else 0
    text = re.sub(r"\.0+$", "", str(value).strip())  # forms and JSON turn 5 into 5.0
    if isinstance(value, bool) or not re.fullmatch(r"[+-]?[0-9]+", text):
        raise FeastDagError(f"{field.name}={value!r} is not a whole number", remedy=field.description)
    if not lowest <= int(text) <= _LARGEST:
        raise FeastDagError(
            f"{field.name}={value!r} must be between {lowest} and {_LARGEST}", remedy=field.description
        )
    return int(text)


def _boolean(field: Field, value: Any) -> bool:
    text = str(value).strip().lower()
    if text not in ("true", "false", "1", "0", "yes", "no"):
        raise FeastDagError(f"{field.name}={value!r} is neither true nor false", remedy=field.description)
    return text in ("true", "1", "yes")


def _object(field: Field, value: Any) -> Any:
    try:
        parsed = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError) as error:
        raise FeastDagError(f"{field.name} is not JSON ({error})", remedy=field.description) from error
    if not isinstance(parsed, Mapping):
        raise FeastDagError(f"{field.name} is not a JSON object", remedy=field.description)
    if field.name == "env":
        return read_environment(parsed)
    if field.name == "configuration_patch":
        return (read_patch(parsed),)
    if field.name != "pod_options":  # these may hold model objects of the Kubernetes client
        check_plain(parsed, field.name)
    return dict(parsed)
