"""Creates, updates, patches and deletes."""

import json
from typing import Any

import yaml
from aiohttp import web

from airflow_provider_feast.sandbox import deletion, patch, resources, reviews, status
from airflow_provider_feast.sandbox.admission.decode import WARN, parse_body
from airflow_provider_feast.sandbox.api import Options
from airflow_provider_feast.sandbox.audit import Entry
from airflow_provider_feast.sandbox.authz import Attributes, User
from airflow_provider_feast.sandbox.cluster import Cluster
from airflow_provider_feast.sandbox.deletion import DeleteOptions
from airflow_provider_feast.sandbox.shapes import Obj
from airflow_provider_feast.sandbox.store import encode
from airflow_provider_feast.sandbox.web import podapi, protobuf, reading
from airflow_provider_feast.sandbox.web.route import Target

_GRANTS = frozenset({"create", "update", "patch"})
_REVIEWS = frozenset({*resources.ACCESS_REVIEWS, resources.SELF_REVIEW})


async def write(
    cluster: Cluster, user: User, target: Target, request: web.Request, entry: Entry
) -> web.Response:
    """Answer a request that changes something."""
    query = dict(request.query)
    options = Options(_dry_run(query.get("dryRun")), query.get("fieldValidation") or WARN)
    code, obj = 200, {}
    if target.resource.group == resources.ROLES.group and not user.is_admin and target.verb in _GRANTS:
        raise status.not_implemented("roles that anybody but the administrator writes (who may grant what)")
    raw = _as_json(await request.read(), request.content_type)
    entry.sent(target, _readable(raw))
    if target.verb == "create":
        code, obj = 201, _create(cluster, user, target, raw, options)
    elif target.verb == "update":
        body = parse_body(target.resource.kind, raw)
        code = _code_of_update(cluster, user, target)
        obj = cluster.api.update(
            target.resource, target.namespace, target.name, body, options, target.subresource
        )
    elif target.verb == "patch":
        change = _change(request.content_type, raw)
        obj = cluster.api.patch(
            target.resource, target.namespace, target.name, change, options, target.subresource
        )
    else:
        return _delete(cluster, target, raw, query)
    entry.concerns(obj)
    shape = reading.Shape.of(target.resource, request.headers.get("Accept", ""), query)
    if obj.get("kind") == target.resource.kind:
        obj = shape.one(obj)
    return _response(obj, code, options.warnings)


def _code_of_update(cluster: Cluster, user: User, target: Target) -> int:
    """201 when the object is created by it, for which one must be allowed to create."""
    resource = target.resource
    if (
        target.subresource
        or not resource.create_on_update
        or cluster.api.has(resource, target.namespace, target.name)
    ):
        return 200
    wanted = Attributes("create", resource.group, resource.plural, "", target.namespace, target.name)
    cluster.authorizer.require(user, wanted)
    return 201


def _create(cluster: Cluster, user: User, target: Target, raw: bytes, options: Options) -> Obj:
    if target.subresource:
        return podapi.create_subresource(cluster, target, raw, options)
    body = parse_body(target.resource.kind, raw)
    if target.resource in _REVIEWS:
        return reviews.answer(cluster.authorizer, user, target.resource, target.namespace, body)
    return cluster.api.create(target.resource, target.namespace, body, options)


def _change(media_type: str, raw: bytes) -> tuple[str, Any]:
    if media_type == patch.APPLY_PATCH:
        raise status.not_implemented("server-side apply")
    try:
        return media_type, json.loads(raw)
    except ValueError:
        raise status.bad_request(f"error decoding patch: {raw[:200].decode(errors='replace')}") from None


def _delete(cluster: Cluster, target: Target, raw: bytes, query: dict[str, str]) -> web.Response:
    body = yaml.safe_load(raw) if raw else {}
    options = DeleteOptions.read(body if isinstance(body, dict) else {}, query)
    warnings = []
    if target.resource == resources.JOBS and options.policy is None:
        warnings.append(deletion.JOBS_WARNING)
    if target.verb == "delete":
        try:
            obj = deletion.delete(cluster.api, target.resource, target.namespace, target.name, options)
        except status.ApiError as error:
            return _response(error.to_status(), error.code, warnings)
        return _response(obj, 200, warnings)
    wanted = reading.predicate(target, query)
    found = [
        obj
        for obj in cluster.store.objects(target.resource.key, target.namespace)
        if wanted is None or wanted(obj)
    ]
    for obj in found:
        meta = obj["metadata"]
        deletion.delete(cluster.api, target.resource, meta.get("namespace", ""), meta["name"], options)
    meta = {"resourceVersion": str(cluster.store.version)}
    kind = {"kind": f"{target.resource.kind}List", "apiVersion": target.resource.api_version}
    return _response({**kind, "metadata": meta, "items": found}, 200, warnings)


def _as_json(raw: bytes, media_type: str) -> bytes:
    """A body in protobuf or YAML as JSON."""
    try:
        if protobuf.is_protobuf(raw):
            return encode(protobuf.decode(raw))
        if media_type in {"application/yaml", "application/x-yaml"}:
            return encode(yaml.safe_load(raw))
    except (IndexError, TypeError, ValueError, yaml.YAMLError) as error:
        raise status.bad_request(f"the body is not valid {media_type}: {error}") from error
    return raw


def _readable(raw: bytes) -> Any:
    """A body for the audit log; `None` when it cannot be read."""
    try:
        return yaml.safe_load(raw) if raw[:1] not in {b"{", b"["} else json.loads(raw)
    except (ValueError, yaml.YAMLError):
        return None


def _dry_run(value: str | None) -> bool:
    if value and value != "All":
        cause = status.unsupported("dryRun", [value], ["All"])
        raise status.invalid("meta.k8s.io", "CreateOptions", "", [cause])
    return bool(value)


def _response(obj: Obj, code: int, warnings: list[str]) -> web.Response:
    response = web.Response(body=encode(obj), status=code, content_type="application/json")
    for warning in warnings:
        escaped = warning.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{escaped}"')
    return response
