"""What pods and service accounts have beyond the usual verbs: logs, eviction, tokens."""

from datetime import timedelta

from aiohttp import web

from airflow_provider_feast.sandbox import clock, status
from airflow_provider_feast.sandbox.admission.decode import parse_body
from airflow_provider_feast.sandbox.api import Options
from airflow_provider_feast.sandbox.cluster import Cluster
from airflow_provider_feast.sandbox.pods.logs import LogQuery
from airflow_provider_feast.sandbox.shapes import Obj
from airflow_provider_feast.sandbox.web.route import Target, truthy

_SHORTEST_TOKEN_SECONDS = 600
_LEAST = (("tailLines", 0), ("limitBytes", 1), ("sinceSeconds", 1))


async def serve_log(
    cluster: Cluster, target: Target, request: web.Request, query: dict[str, str]
) -> web.StreamResponse:
    """`pods/NAME/log`."""
    pod = cluster.api.get(target.resource, target.namespace, target.name)
    wanted = _log_query(target.name, query)
    headers = {"Content-Type": "text/plain"}
    if not pod["spec"].get("nodeName"):
        return web.Response(headers=headers)
    log = cluster.kubelet.log(pod, query.get("container", ""), previous=truthy(query.get("previous")))
    response = web.StreamResponse(headers=headers)
    await response.prepare(request)
    try:
        async for chunk in log.read(wanted):
            await response.write(chunk)
    except ConnectionResetError:
        return response
    await response.write_eof()
    return response


def _log_query(pod: str, query: dict[str, str]) -> LogQuery:
    """The options of a log request; 400 when one cannot be read, 422 when one makes no sense."""
    try:
        since = clock.parse_stamp(query["sinceTime"]) if query.get("sinceTime") else None
        numbers = {key: int(query[key]) for key, _ in _LEAST if query.get(key)}
    except ValueError as error:
        raise status.bad_request(f"a log option cannot be read: {error}") from error
    causes = [
        status.wrong(
            key, numbers[key], "must be greater than 0" if least else "must be greater than or equal to 0"
        )
        for key, least in _LEAST
        if key in numbers and numbers[key] < least
    ]
    if since is not None and "sinceSeconds" in numbers:
        causes.append(
            status.forbidden_field("", "at most one of `sinceTime` or `sinceSeconds` may be specified")
        )
    if causes:
        raise status.invalid("", "PodLogOptions", pod, causes)
    if since is not None:
        since = since.replace(microsecond=0)  # the API server hands whole seconds to the kubelet
    elif "sinceSeconds" in numbers:
        since = clock.now() - timedelta(seconds=numbers["sinceSeconds"])
    return LogQuery(
        follow=truthy(query.get("follow")),
        since=since,
        tail=numbers.get("tailLines"),
        timestamps=truthy(query.get("timestamps")),
        limit_bytes=numbers.get("limitBytes"),
    )


def create_subresource(cluster: Cluster, target: Target, raw: bytes, options: Options) -> Obj:
    """Eviction of a pod, or a token of a service account."""
    found = cluster.api.get(target.resource, target.namespace, target.name)
    if target.subresource == "token":
        return _token(cluster, found, raw)
    if target.subresource != "eviction":
        raise status.method_not_allowed()
    body = parse_body("Eviction", raw) if raw else {}
    grace = (body.get("deleteOptions") or {}).get("gracePeriodSeconds")
    if not options.dry_run:
        reason = ("EvictionByEvictionAPI", "Eviction API: evicting")
        cluster.evict(target.namespace, target.name, reason, grace)
    return status.success() | {"code": 201}


def _token(cluster: Cluster, account: Obj, raw: bytes) -> Obj:
    body = parse_body("TokenRequest", raw)
    seconds = (body.get("spec") or {}).get("expirationSeconds") or 3600
    if seconds < _SHORTEST_TOKEN_SECONDS:
        why = "may not specify a duration less than 10 minutes"
        cause = status.wrong("spec.expirationSeconds", seconds, why)
        raise status.invalid("authentication.k8s.io", "TokenRequest", "", [cause])
    token, ends = cluster.tokens.issue(account, seconds)
    return {
        "kind": "TokenRequest",
        "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"name": account["metadata"]["name"], "namespace": account["metadata"]["namespace"]},
        "spec": {"audiences": ["sandbox"], "expirationSeconds": seconds},
        "status": {"token": token, "expirationTimestamp": clock.stamp(ends)},
    }
