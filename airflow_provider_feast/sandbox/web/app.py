"""The HTTP server: authenticates, authorizes, dispatches verbs, and words refusals."""

from contextlib import suppress
from dataclasses import dataclass

from aiohttp import web

from airflow_provider_feast.sandbox import actors, discovery, status
from airflow_provider_feast.sandbox.audit import Entry
from airflow_provider_feast.sandbox.authz import ANONYMOUS, Attributes, User, service_account
from airflow_provider_feast.sandbox.cluster import Cluster
from airflow_provider_feast.sandbox.faults import Rule
from airflow_provider_feast.sandbox.roles import KNOWN, UNKNOWN
from airflow_provider_feast.sandbox.shapes import Obj
from airflow_provider_feast.sandbox.store import encode
from airflow_provider_feast.sandbox.web import control, reading, writing
from airflow_provider_feast.sandbox.web.podapi import serve_log
from airflow_provider_feast.sandbox.web.podexec import serve_exec
from airflow_provider_feast.sandbox.web.route import Target, resolve

_BODY_LIMIT = 8 * 1024 * 1024
TOKEN_PREFIX = "/as/"  # noqa: S105 - a path
_HEALTH = ("/healthz", "/livez", "/readyz")


@dataclass(frozen=True)
class Call:
    """A request, with the credentials that may be part of its path.

    kubectl sends no bearer token over plain HTTP, so the kubeconfig's server URL carries one: `/as/TOKEN`.
    """

    request: web.Request
    path: str
    authorization: str | None

    @classmethod
    def of(cls, request: web.Request) -> "Call":
        given = request.headers.get("Authorization")
        if not request.path.startswith(TOKEN_PREFIX):
            return cls(request, request.path, given)
        token, _, rest = request.path.removeprefix(TOKEN_PREFIX).partition("/")
        return cls(request, f"/{rest}", given or f"Bearer {token}")


class HttpApi:
    """Serves one cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.watches: set[reading.Watch] = set()

    def application(self) -> web.Application:
        app = web.Application(client_max_size=_BODY_LIMIT)
        app.router.add_route("*", "/{path:.*}", self._handle)
        return app

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.path.startswith(control.PREFIX):
            return await control.handle(self._cluster, self.watches, request)
        call = Call.of(request)
        fault = self._cluster.faults.match(request.method, call.path)
        entry = self._cluster.audit.entry(request.method, call.path)
        entry.agent = request.headers.get("User-Agent", "")
        code = 500
        try:
            if fault is not None:
                self._describe(call, entry)
                await self._disturb(fault, call, entry)
            response = await self._serve(call, entry)
            code = response.status
        except status.ApiError as error:
            code = error.code
            response = _json(error.to_status(), error.code)
            if error.code == 429:
                response.headers["Retry-After"] = str((error.details or {}).get("retryAfterSeconds", 1))
        finally:
            entry.close(code)
        return response

    def _describe(self, call: Call, entry: Entry) -> None:
        """A request that a fault may keep from being served is told to the audit log as fully as others."""
        with suppress(status.ApiError):
            entry.user = self._user(call).name
            query = dict(call.request.query)
            entry.about(resolve(self._cluster.registry, call.request.method, call.path, query), query)

    async def _disturb(self, rule: Rule, call: Call, entry: Entry) -> None:
        await rule.delay()
        if rule.kind == "reset":
            if call.request.transport is not None:
                call.request.transport.abort()
            raise ConnectionResetError("a fault rule reset this connection")
        if rule.kind == "after":
            await self._serve(call, entry)
        if rule.code:
            raise rule.error()

    async def _serve(self, call: Call, entry: Entry) -> web.StreamResponse:
        user = self._user(call)
        entry.user = user.name
        actors.act_as(user.name)
        plain = self._plain(call.path)
        if plain is not None:
            wanted = Attributes(call.request.method.lower(), path=call.path)
            self._cluster.authorizer.require(user, wanted)
            return plain
        query = dict(call.request.query)
        target = resolve(self._cluster.registry, call.request.method, call.path, query)
        entry.about(target, query)
        if target.name:
            entry.concerns(self._cluster.store.get(target.resource.key, target.namespace, target.name))
        self._cluster.authorizer.require(user, _attributes(target))
        if target.subresource == "log":
            return await serve_log(self._cluster, target, call.request, query)
        if target.subresource == "exec":
            return await serve_exec(self._cluster, target, call.request)
        if target.verb == "watch":
            return await self._watch(call.request, target, query)
        if target.verb in {"get", "list"}:
            return self._read(call.request, target, query)
        return await writing.write(self._cluster, user, target, call.request, entry)

    def _user(self, call: Call) -> User:
        """The caller, or whom the caller impersonates (`kubectl --as`): only the administrator may."""
        user = self._cluster.tokens.user(call.authorization)
        name = call.request.headers.get("Impersonate-User")
        if not name:
            return user
        if not user.is_admin:
            why = (
                f'User "{user.name}" cannot impersonate resource "users" in API group "" at the cluster scope'
            )
            raise status.forbidden("", "users", name, why)
        groups = call.request.headers.getall("Impersonate-Group", [])
        parts = name.split(":")
        if name.startswith("system:serviceaccount:") and len(parts) == 4 and not groups:
            return service_account(parts[2], parts[3])
        return User(name, (*groups, UNKNOWN if name == ANONYMOUS.name else KNOWN))

    def _plain(self, path: str) -> web.Response | None:
        """Version, health, discovery; `None` for paths of resources."""
        if path in _HEALTH:
            return web.Response(text="ok")
        found = self._discover([part for part in path.split("/") if part])
        return None if found is None else _json(found)

    def _discover(self, parts: list[str]) -> Obj | None:
        registry = self._cluster.registry
        match parts:
            case ["version"]:
                found = discovery.VERSION
            case ["api"]:
                found = discovery.core_versions(self._cluster.address)
            case ["apis"]:
                found = discovery.groups(registry)
            case ["api", "v1"]:
                found = discovery.resource_list(registry, "", "v1")
            case ["apis", group] if group in registry.groups():
                found = {"kind": "APIGroup", "apiVersion": "v1", **discovery.group(registry, group)}
            case ["apis", group, version] if version in registry.versions(group):
                found = discovery.resource_list(registry, group, version)
            case ["openapi", "v3"]:
                found = discovery.openapi_index(registry)
            case ["openapi", "v3", "api", version]:
                found = discovery.openapi(registry, "", version)
            case ["openapi", "v3", "apis", group, version]:
                found = discovery.openapi(registry, group, version)
            case _:
                return None
        return found

    def _read(self, request: web.Request, target: Target, query: dict[str, str]) -> web.Response:
        shape = reading.Shape.of(target.resource, request.headers.get("Accept", ""), query)
        if target.verb == "list":
            return _json(reading.list_objects(self._cluster.store, target, query, shape))
        found = self._cluster.api.get(target.resource, target.namespace, target.name)
        return _json(shape.one(found))

    async def _watch(self, request: web.Request, target: Target, query: dict[str, str]) -> web.StreamResponse:
        shape = reading.Shape.of(target.resource, request.headers.get("Accept", ""), query)
        watch = reading.Watch(self._cluster.store, target, query, shape)
        self.watches.add(watch)
        try:
            return await reading.serve_watch(request, watch, self._cluster.store)
        finally:
            self.watches.discard(watch)


def _attributes(target: Target) -> Attributes:
    resource = target.resource
    namespace = target.name if resource.kind == "Namespace" else target.namespace
    sub = target.subresource
    return Attributes(target.verb, resource.group, resource.plural, sub, namespace, target.name)


def _json(obj: Obj, code: int = 200) -> web.Response:
    return web.Response(body=encode(obj), status=code, content_type="application/json")
