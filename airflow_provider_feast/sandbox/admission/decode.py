"""From a request's body to an object: its kind, unknown fields, wrong types."""

import json
from typing import Any

from airflow_provider_feast.sandbox import status
from airflow_provider_feast.sandbox.admission import schema
from airflow_provider_feast.sandbox.resources import Resource
from airflow_provider_feast.sandbox.shapes import Obj

STRICT, WARN, IGNORE = "Strict", "Warn", "Ignore"


def parse_body(resource_kind: str, raw: bytes) -> Obj:
    """Read JSON (or YAML, as kubectl may send).

    Raises:
        ApiError: 400 when it is not an object of JSON.
    """
    try:
        body = json.loads(raw)
    except ValueError:
        text = raw.decode(errors="replace")
        message = (
            f"the object provided is unrecognized (must be of type {resource_kind}): couldn't get version/kind; "
            f"json parse error: unexpected end of JSON input ({text[:200]})"
        )
        raise status.bad_request(message) from None
    if not isinstance(body, dict):
        raise status.bad_request(f"the object provided is unrecognized (must be of type {resource_kind})")
    return body


def decode(resource: Resource, body: Obj, field_validation: str) -> tuple[Obj, list[str]]:
    """Check a body against its kind's schema.

    Returns:
        The object without unknown fields, and warnings for the client.

    Raises:
        ApiError: 400 for another kind, a wrong type, or (Strict) unknown fields.
    """
    _check_kind(resource, body)
    name = None if resource.custom else schema.definition_of(resource.group, resource.version, resource.kind)
    if name is None:
        return dict(body), []
    obj, findings = schema.decode(name, body)
    prefix = f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
    if findings.wrong_type:
        raise status.bad_request(prefix + findings.wrong_type)
    unknown = [f'unknown field "{path}"' for path in findings.unknown]
    if unknown and field_validation == STRICT:
        raise status.bad_request(f"{prefix}strict decoding error: {', '.join(unknown)}")
    return drop_nulls(obj), [] if field_validation == IGNORE else unknown


def _check_kind(resource: Resource, body: Obj) -> None:
    kind, version = body.get("kind"), body.get("apiVersion")
    if kind is None and version is None:
        body["kind"], body["apiVersion"] = resource.kind, resource.api_version
        return
    if kind != resource.kind or version != resource.api_version:
        message = (
            f"{resource.kind} in version {json.dumps(resource.version)} cannot be handled as a {resource.kind}: "
            if kind == resource.kind
            else ""
        )
        wanted = f"{resource.api_version}, Kind={resource.kind}"
        got = f"{version}, Kind={kind}"
        raise status.bad_request(
            f"{message}the API version in the data ({got}) does not match the expected API version ({wanted})"
        )


_KEEP_NULL = frozenset({"lastProbeTime", "eventTime", "firstTimestamp", "lastTimestamp"})


def drop_nulls(value: Any) -> Any:
    """Absent and null are the same to Go: keep only what has a value."""
    if isinstance(value, dict):
        return {key: drop_nulls(item) for key, item in value.items() if item is not None or key in _KEEP_NULL}
    if isinstance(value, list):
        return [drop_nulls(item) for item in value]
    return value
