"""`Status` objects: every refusal of the API, worded as kube-apiserver words it."""

import json
from dataclasses import dataclass
from typing import Any

from airflow_provider_feast.sandbox.shapes import Obj


@dataclass(frozen=True)
class Cause:
    """One field that is wrong: `reason` is e.g. FieldValueInvalid."""

    reason: str
    message: str
    field: str

    def to_dict(self) -> Obj:
        return {"reason": self.reason, "message": self.message, "field": self.field}


class ApiError(Exception):
    """A refusal that travels to the client as a `Status` with an HTTP code."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: Obj | None = None,
        metadata: Obj | None = None,
    ) -> None:
        super().__init__(message)
        self.metadata = metadata or {}
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details

    def to_status(self) -> Obj:
        status: Obj = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": self.metadata,
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
        }
        if self.details is not None:
            status["details"] = self.details
        status["code"] = self.code
        return status


def qualified(group: str, plural: str) -> str:
    """How errors name a resource: `jobs.batch`, `pods`."""
    return f"{plural}.{group}" if group else plural


def _details(group: str, plural: str, name: str = "") -> Obj:
    details: Obj = {"name": name} if name else {}
    if group:
        details["group"] = group
    details["kind"] = plural
    return details


def not_found(group: str, plural: str, name: str) -> ApiError:
    message = f'{qualified(group, plural)} "{name}" not found'
    return ApiError(404, "NotFound", message, _details(group, plural, name))


def no_such_path() -> ApiError:
    return ApiError(404, "NotFound", "the server could not find the requested resource", {})


def already_exists(group: str, plural: str, name: str) -> ApiError:
    message = f'{qualified(group, plural)} "{name}" already exists'
    return ApiError(409, "AlreadyExists", message, _details(group, plural, name))


def conflict(group: str, plural: str, name: str, why: str = "") -> ApiError:
    why = why or (
        "the object has been modified; please apply your changes to the latest version and try again"
    )
    message = f'Operation cannot be fulfilled on {qualified(group, plural)} "{name}": {why}'
    return ApiError(409, "Conflict", message, _details(group, plural, name))


def bad_request(message: str) -> ApiError:
    return ApiError(400, "BadRequest", message)


def unauthorized() -> ApiError:
    return ApiError(401, "Unauthorized", "Unauthorized")


def forbidden(group: str, plural: str, name: str, why: str, causes: list[Cause] | None = None) -> ApiError:
    subject = f'{qualified(group, plural)} "{name}"' if name else qualified(group, plural)
    details = _details(group, plural, name)
    if causes:
        details["causes"] = [cause.to_dict() for cause in causes]
    return ApiError(403, "Forbidden", f"{subject} is forbidden: {why}", details)


def invalid(group: str, kind: str, name: str, causes: list[Cause]) -> ApiError:
    """422: one or more fields are wrong."""
    messages = list(dict.fromkeys(f"{cause.field}: {cause.message}" for cause in causes))
    text = messages[0] if len(messages) == 1 else f"[{', '.join(messages)}]"
    subject = f'{kind}.{group} "{name}"' if group else f'{kind} "{name}"'
    details: Obj = {"name": name} if name else {}
    if group:
        details["group"] = group
    details |= {"kind": kind, "causes": [cause.to_dict() for cause in causes]}
    return ApiError(422, "Invalid", f"{subject} is invalid: {text}", details)


def expired(asked: int, oldest: int) -> ApiError:
    return ApiError(410, "Expired", f"too old resource version: {asked} ({oldest})")


def method_not_allowed() -> ApiError:
    message = "the server does not allow this method on the requested resource"
    return ApiError(405, "MethodNotAllowed", message, {})


def unsupported_media_type(got: str) -> ApiError:
    message = (
        "the body of the request was in an unknown format - accepted media types include: "
        "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json"
        f" (got {got!r})"
    )
    return ApiError(415, "UnsupportedMediaType", message, {})


def not_acceptable() -> ApiError:
    """406: the sandbox answers in JSON only."""
    message = "only the following media types are accepted: application/json, application/json;stream=watch"
    return ApiError(406, "NotAcceptable", message, {})


def not_implemented(what: str) -> ApiError:
    """501: the real API does this, the sandbox does not."""
    message = f"the sandbox does not implement {what}; use a real cluster for it"
    return ApiError(501, "NotImplemented", message, {})


def success(group: str = "", plural: str = "", name: str = "", uid: str = "") -> Obj:
    status: Obj = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if plural:
        status["details"] = _details(group, plural, name) | ({"uid": uid} if uid else {})
    return status


def required(field: str, why: str = "") -> Cause:
    return Cause("FieldValueRequired", f"Required value: {why}" if why else "Required value", field)


def wrong(field: str, value: Any, why: str) -> Cause:
    """FieldValueInvalid; the value is shown as Go shows it."""
    return Cause("FieldValueInvalid", f"Invalid value: {show(value)}: {why}", field)


def unsupported(field: str, value: Any, allowed: list[str]) -> Cause:
    listed = ", ".join(f'"{item}"' for item in allowed)
    message = f"Unsupported value: {show(value)}: supported values: {listed}"
    return Cause("FieldValueNotSupported", message, field)


def duplicate(field: str, value: Any) -> Cause:
    return Cause("FieldValueDuplicate", f"Duplicate value: {show(value)}", field)


def forbidden_field(field: str, why: str) -> Cause:
    return Cause("FieldValueForbidden", f"Forbidden: {why}", field)


def missing_reference(field: str, value: Any) -> Cause:
    return Cause("FieldValueNotFound", f"Not found: {show(value)}", field)


def show(value: Any) -> str:
    """A value in an error message."""
    return json.dumps(value, separators=(",", ":"))
