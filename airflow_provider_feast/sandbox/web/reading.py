"""Lists and watches, in the shape that the client wants."""

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from airflow_provider_feast.sandbox import status, tables
from airflow_provider_feast.sandbox.resources import Resource
from airflow_provider_feast.sandbox.selectors import Predicate, both, field_predicate, label_predicate
from airflow_provider_feast.sandbox.shapes import Obj
from airflow_provider_feast.sandbox.store import Change, Store, encode
from airflow_provider_feast.sandbox.web import lists
from airflow_provider_feast.sandbox.web.route import Target, truthy

_JSON = re.compile(r"application/(json|\*)|\*/\*")
_BOOKMARK_SECONDS = 60.0
_LAST_BOOKMARK_SECONDS = 2.0
_DEFAULT_TIMEOUT = 1800.0
_BATCH = 200


@dataclass(frozen=True)
class Shape:
    """How the client wants objects: as they are, as table rows, or only their metadata."""

    resource: Resource
    api_version: str = ""
    table: bool = False
    partial: bool = False
    include: str = "Metadata"

    @classmethod
    def of(cls, resource: Resource, accept: str, query: dict[str, str]) -> "Shape":
        first = accept.split(",", maxsplit=1)[0]
        if accept and not _JSON.search(accept):
            raise status.not_acceptable()
        include = query.get("includeObject", "Metadata")
        partial = "as=PartialObjectMetadata" in first
        version = resource.api_version if resource.custom else ""
        return cls(resource, version, "as=Table" in first, partial, include)

    def one(self, obj: Obj, *, header: bool = True) -> Obj:
        if self.table:
            meta = {"resourceVersion": obj["metadata"].get("resourceVersion", "")}
            return tables.table(self.resource, [obj], meta, include=self.include, header=header)
        return _partial(obj) if self.partial else self.converted(obj)

    def converted(self, obj: Obj) -> Obj:
        """A custom resource in the version that was asked for: without a webhook only its `apiVersion` differs."""
        if not self.api_version or obj.get("apiVersion") == self.api_version:
            return obj
        return {**obj, "apiVersion": self.api_version}

    def many(self, objects: list[Obj], meta: Obj) -> Obj:
        resource = self.resource
        if self.table:
            return tables.table(self.resource, objects, meta, include=self.include)
        if self.partial:
            kind = {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
            return {**kind, "metadata": meta, "items": [_partial(obj) for obj in objects]}
        items = [{k: v for k, v in obj.items() if k not in {"kind", "apiVersion"}} for obj in objects]
        if resource.custom:
            items = [self.converted(obj) for obj in objects]
        kind = {"kind": f"{resource.kind}List", "apiVersion": resource.api_version}
        return {**kind, "metadata": meta, "items": items}


def _partial(obj: Obj) -> Obj:
    kind = {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1"}
    return {**kind, "metadata": obj["metadata"]}


def predicate(target: Target, query: dict[str, str]) -> Predicate | None:
    fields = query.get("fieldSelector", "")
    if target.name:
        fields = ",".join(filter(None, [fields, f"metadata.name={target.name}"]))
    return both(
        label_predicate(query.get("labelSelector", "")), field_predicate(target.resource.plural, fields)
    )


def list_objects(store: Store, target: Target, query: dict[str, str], shape: Shape) -> Obj:
    """A list, in pages when the client sets a limit."""
    page = lists.Page.read(query)
    found, meta = lists.select(store, target.resource.key, target.namespace, page, predicate(target, query))
    return shape.many(found, meta)


class Watch:
    """One watch: what a client asked for, and the changes that wait to be sent."""

    def __init__(self, store: Store, target: Target, query: dict[str, str], shape: Shape) -> None:
        self._store = store
        self.target = target
        self._query = query
        self._shape = shape
        self._wanted = predicate(target, query)
        named = re.search(r"(?:^|,)metadata\.name==?([^,]+)", query.get("fieldSelector", ""))
        self._name = target.name or (named.group(1) if named else "")
        self._waiting: list[Change] = []
        self._more = asyncio.Event()
        self._header = True
        self.cut = asyncio.Event()
        self._hushed = False

    def notice(self, change: Change) -> None:
        """Take a change that may concern this watch (most watches are of one name: others end here)."""
        if self._name and change.name != self._name:
            return
        if not self.target.namespace or change.namespace == self.target.namespace:
            self._waiting.append(change)
            self._more.set()

    def first(self) -> list[bytes]:
        """Events before live ones: the state (no version, or 0) or what happened since a version.

        Raises:
            ApiError: 410 when the version is too old, 422 for options that contradict each other.
        """
        lists.check_options(self._query, watching=True)
        asked = self._query.get("resourceVersion") or ""
        initial = truthy(self._query.get("sendInitialEvents"))
        if asked in {"", "0"} or initial:
            found = self._store.objects(self.target.resource.key, self.target.namespace)
            lines = [self._line("ADDED", obj, None) for obj in found if self._selects(obj)]
            if initial:
                lines.append(self._bookmark({"k8s.io/initial-events-end": "true"}))
            return lines
        try:
            version = int(asked)
        except ValueError:
            cause = status.wrong("resourceVersion", asked, "strconv.ParseUint: parsing: invalid syntax")
            raise status.invalid("meta.k8s.io", "ListOptions", "", [cause]) from None
        changes = self._store.since(self.target.resource.key, version)
        mine = [c for c in changes if not self.target.namespace or c.namespace == self.target.namespace]
        return [line for line in map(self._event, mine) if line]

    def _selects(self, obj: Obj) -> bool:
        return self._wanted is None or self._wanted(obj)

    def _event(self, change: Change) -> bytes:
        """The line of a change; empty when the client did not select it."""
        now = change.type != "DELETED" and self._selects(change.obj)
        before = change.before is not None and self._selects(change.before)
        if now:
            return self._line("MODIFIED" if before else "ADDED", change.obj, change)
        if not before:
            return b""
        if change.type == "DELETED" or change.before is None:
            return self._line("DELETED", change.obj, change)
        # It left the selection: it is shown as it was while it was in it, with the version of the change.
        meta = {**change.before["metadata"], "resourceVersion": str(change.version)}
        return self._line("DELETED", {**change.before, "metadata": meta}, None)

    def _line(self, kind: str, obj: Obj, change: Change | None) -> bytes:
        if self._shape.table or self._shape.partial:
            body = encode(self._shape.one(obj, header=self._header))
            self._header = False
        else:
            shown = self._shape.converted(obj)
            body = change.encoded() if change is not None and shown is change.obj else encode(shown)
        return b'{"type":"' + kind.encode() + b'","object":' + body + b"}\n"

    def _bookmark(self, annotations: dict[str, str] | None = None) -> bytes:
        # Whatever came before was sent, or is none of this watch's.
        version = self._waiting[0].version - 1 if self._waiting else self._store.version
        meta: dict[str, Any] = {"resourceVersion": str(version)}
        if annotations:
            meta["annotations"] = annotations
        obj = {
            "kind": self.target.resource.kind,
            "apiVersion": self.target.resource.api_version,
            "metadata": meta,
        }
        return b'{"type":"BOOKMARK","object":' + encode(obj) + b"}\n"

    async def stream(self, write: Callable[[bytes], Any]) -> None:
        """Send changes as they come until the timeout, or until the watch is cut."""
        loop = asyncio.get_running_loop()
        timeout = float(lists.number(self._query, "timeoutSeconds") or _DEFAULT_TIMEOUT)
        ends = loop.time() + timeout
        bookmarks = truthy(self._query.get("allowWatchBookmarks"))
        last = ends - _LAST_BOOKMARK_SECONDS  # as a cluster does: one shortly before the end
        bookmark_at = _next_bookmark(loop.time(), last)
        while not self.cut.is_set():
            if self._hushed:
                await self.cut.wait()
                return
            await self._flush(write)
            now = loop.time()
            if now >= ends:
                return
            if now >= bookmark_at:
                if bookmarks:
                    await write(self._bookmark())
                bookmark_at = _next_bookmark(now, last)
            if not self._waiting:
                self._more.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._more.wait(), max(min(ends, bookmark_at) - now, 0.0))

    async def _flush(self, write: Callable[[bytes], Any]) -> None:
        changes, self._waiting = self._waiting, []
        for start in range(0, len(changes), _BATCH):
            lines = b"".join(map(self._event, changes[start : start + _BATCH]))
            if lines:
                await write(lines)

    def hush(self) -> None:
        """Say nothing more, and stay open (a fault)."""
        self._hushed = True
        self._more.set()

    def stop(self) -> None:
        """End the stream at once (a fault, or the server stops)."""
        self.cut.set()
        self._more.set()


def _next_bookmark(now: float, last: float) -> float:
    """A minute from now, or shortly before the end if that comes first."""
    return last if now < last < now + _BOOKMARK_SECONDS else now + _BOOKMARK_SECONDS


async def serve_watch(request: web.Request, watch: Watch, store: Store) -> web.StreamResponse:
    """Answer a watch request."""
    unsubscribe = store.subscribe(watch.target.resource.key, watch.notice)
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    try:
        try:
            lines = watch.first()
        except status.ApiError as error:
            if error.code != 410:
                raise
            lines = [b'{"type":"ERROR","object":' + encode(error.to_status()) + b"}\n"]
            watch.cut.set()
        await response.prepare(request)
        if lines:
            await response.write(b"".join(lines))
        await watch.stream(response.write)
    except (ConnectionResetError, asyncio.CancelledError):
        return response
    finally:
        unsubscribe()
    return response
