"""The control endpoint: faults and settings for tests. No cluster has this."""

import json
from collections.abc import Callable

from aiohttp import web

from airflow_provider_feast.sandbox import actors, resources, status
from airflow_provider_feast.sandbox.cluster import Cluster
from airflow_provider_feast.sandbox.faults import Rule
from airflow_provider_feast.sandbox.images import Image
from airflow_provider_feast.sandbox.shapes import Obj
from airflow_provider_feast.sandbox.web.reading import Watch

PREFIX = "/_sandbox/"


async def handle(cluster: Cluster, watches: set[Watch], request: web.Request) -> web.Response:
    """Answer a control request; only the admin may ask."""
    try:
        if not cluster.tokens.user(request.headers.get("Authorization")).is_admin:
            raise status.unauthorized()
        raw = await request.read()
        actors.act_as(actors.FAULT)
        answer = _act(cluster, watches, request.path.removeprefix(PREFIX), json.loads(raw) if raw else {})
    except status.ApiError as error:
        return web.json_response(error.to_status(), status=error.code)
    except (KeyError, TypeError, ValueError) as error:
        return web.json_response(status.bad_request(f"control request: {error}").to_status(), status=400)
    return web.json_response(answer)


def _act(cluster: Cluster, watches: set[Watch], action: str, body: Obj) -> Obj:
    if action == "fault":
        cluster.faults.add(Rule(**body))
    elif action == "clear":
        cluster.faults.clear()
    elif action == "faults":
        return {"rules": [rule.to_dict() for rule in cluster.faults.rules]}
    elif action == "cut-watches":
        return {"cut": _each(watches, body, Watch.stop)}
    elif action == "hush-watches":
        return {"hushed": _each(watches, body, Watch.hush)}
    elif action == "compact":
        cluster.store.compact()
    elif action == "image":
        cluster.images.add(body["name"], Image.of(body["spec"]))
    elif action == "break-image":
        cluster.images.break_pulls(body["name"])
    elif action == "hold-pods":
        cluster.scheduler.hold(float(body["seconds"]))
    elif action == "pod":
        _pod(cluster, body)
    elif action == "info":
        return {
            "isolated": cluster.isolated,
            "directory": str(cluster.settings.directory),
            "watches": len(watches),
        }
    else:
        raise status.bad_request(f"unknown control action {action!r}")
    return {"ok": True}


def _each(watches: set[Watch], body: Obj, act: Callable[[Watch], None]) -> int:
    """Do something to the watches of a resource, or to all; how many there are."""
    found = [watch for watch in watches if body.get("resource") in {None, watch.target.resource.plural}]
    for watch in found:
        act(watch)
    return len(found)


def _pod(cluster: Cluster, body: Obj) -> None:
    """Something happens to a pod: `evict`, `oom` or `lose` (its node forgets it)."""
    namespace, name, what = body["namespace"], body["name"], body["what"]
    pod = cluster.api.get(resources.PODS, namespace, name)
    worker = cluster.kubelet.worker(pod["metadata"]["uid"])
    if what == "evict":
        why = "The node was low on resource: memory."
        cluster.evict(namespace, name, ("TerminationByKubelet", why), body.get("grace", 0))
    elif what == "oom" and worker is not None:
        worker.oom(body.get("container", ""))
    elif what == "lose":
        cluster.lose(namespace, name)
    else:
        raise status.bad_request(f"cannot do {what!r} to pod {name}: evict, oom (of a running pod) or lose")
