"""LIST+WATCH: small caches that follow a cluster across cuts and gaps, shared by all who wait in this process."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import aiohttp
from kubernetes_asyncio.client.exceptions import ApiException

from airflow_provider_feast.jobs.answers import changes, list_version
from airflow_provider_feast.jobs.async_api import (
    GONE,
    NO_ANSWER,
    AsyncApi,
    Patience,
    read_body,
    read_json,
)

WATCH_SECONDS = 240
"""How long one watch lasts before it is opened anew."""

SILENCE_SECONDS = 100
"""A watch that gives no sign for so long is taken for dead; a server sends a bookmark about every minute."""

BRIEF_SECONDS = 1.0
"""A watch that ended sooner did not last: after a second one in a row the next waits a while."""

LINGER_SECONDS = 30.0
"""How long a shared stream that nobody uses is kept: the next task may come soon."""

OWNER = "batch.kubernetes.io/controller-uid"


class Kind(NamedTuple):
    """A kind of object that can be followed.

    :param resource: its RBAC name.
    :param group: see :meth:`AsyncApi.send`.
    :param method: the client's list method.
    :param topic: whom a change of an object concerns.
    :param before: arguments of the method before the namespace.
    :param after: arguments of the method after the namespace.
    """

    resource: str
    group: str
    method: str
    topic: Callable[[dict[str, Any]], str]
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


def _uid(item: dict[str, Any]) -> str:
    return str(item["metadata"]["uid"])


def _owner(item: dict[str, Any]) -> str:
    return str((item["metadata"].get("labels") or {}).get(OWNER, ""))


def _name(item: dict[str, Any]) -> str:
    return str(item["metadata"]["name"])


JOBS = Kind("jobs", "batch", "list_namespaced_job", _uid)
PODS = Kind("pods", "core", "list_namespaced_pod", _owner)
LEASES = Kind("leases", "coordination", "list_namespaced_lease", _name)


def custom(group: str, version: str, plural: str) -> Kind:
    """A kind that a CustomResourceDefinition adds."""
    return Kind(plural, "custom", "list_namespaced_custom_object", _name, (group, version), (plural,))


EVERY = ""
"""The topic of a subscriber whom every change concerns."""


class Gap(Exception):  # noqa: N818 (not an error: a signal to list again)
    """The watch cannot go on from where it was (410 Gone, or silence)."""


class ObjectStream:
    """What a selector matches, kept up to date; ``away`` while the API server does not answer.

    :param api: the cluster.
    :param kind: what is followed.
    :param namespace: where.
    :param selectors: ``label_selector`` or ``field_selector``.
    """

    def __init__(self, api: AsyncApi, kind: Kind, namespace: str, **selectors: str) -> None:
        self.listed = False
        self.away = False
        self.error: Exception | None = None
        self._api, self._kind, self._namespace, self._selectors = api, kind, namespace, selectors
        self._objects: dict[str, dict[str, dict[str, Any]]] = {}
        self._gone: dict[str, dict[str, dict[str, Any]]] = {}
        self._subscribers: dict[str, list[asyncio.Event]] = {}

    @property
    def used(self) -> bool:
        """Whether anybody subscribes to it."""
        return bool(self._subscribers)

    def present(self, topic: str = EVERY) -> list[dict[str, Any]]:
        """The objects of a topic that are there."""
        if topic == EVERY:
            return [item for items in self._objects.values() for item in items.values()]
        return list(self._objects.get(topic, {}).values())

    def gone(self, topic: str) -> list[dict[str, Any]]:
        """The last state of the objects of a topic that vanished while somebody subscribed to it."""
        return list(self._gone.get(topic, {}).values())

    def subscribe(self, topic: str, wake: asyncio.Event) -> None:
        """Set ``wake`` after each change of the topic."""
        self._subscribers.setdefault(topic, []).append(wake)

    def unsubscribe(self, topic: str, wake: asyncio.Event) -> None:
        """Undo :meth:`subscribe`; what vanished is forgotten with the last subscriber."""
        left = [other for other in self._subscribers.get(topic, ()) if other is not wake]
        if left:
            self._subscribers[topic] = left
        else:
            self._subscribers.pop(topic, None)
            self._gone.pop(topic, None)

    def fail(self, error: Exception) -> None:
        """Nothing more will come; tell all subscribers."""
        self.error = error
        self._wake_all()

    def _wake_all(self) -> None:
        for events in self._subscribers.values():
            for wake in events:
                wake.set()

    def _wake(self, topic: str) -> None:
        for wake in (*self._subscribers.get(topic, ()), *self._subscribers.get(EVERY, ())):
            wake.set()

    async def follow(self) -> None:
        """List and watch until cancelled.

        :raises FeastError: when Kubernetes refuses, or is away for too long.
        """
        patience, version, lasted = Patience(self._api.outage_seconds), None, True
        while True:
            try:
                version = await self._list() if version is None else version
                patience.answered()
                self.away = False
                before, began = lasted, time.monotonic()
                try:
                    version = await self._watch(version)
                finally:
                    lasted = time.monotonic() - began >= BRIEF_SECONDS
                    if lasted:
                        patience.settled()
            except Gap:
                version = None
            except (ApiException, *NO_ANSWER) as error:
                version, self.away = None, True
                await patience.bear(error, "watch", self._kind.resource, self._namespace)
                continue
            if not (lasted or before):  # the second in a row that ended at once
                await patience.rest()

    async def _send(self, **options: Any) -> Any:
        kind = self._kind
        where = (*kind.before, self._namespace, *kind.after)
        return await self._api.send(kind.group, kind.method, *where, **self._selectors, **options)

    async def _list(self) -> str:
        body = await read_json(await self._send(_request_timeout=(10, 60)))
        version = list_version(body)
        found: dict[str, dict[str, dict[str, Any]]] = {}
        for item in body.get("items") or ():
            found.setdefault(self._kind.topic(item), {})[_uid(item)] = _slim(item)
        for topic, items in self._objects.items():
            for uid in set(items) - set(found.get(topic, {})):
                self._bury(topic, items[uid])
        self._objects, self.listed = found, True
        self._wake_all()
        return version

    async def _watch(self, version: str) -> str:
        answer = await self._send(
            watch=True,
            allow_watch_bookmarks=True,
            resource_version=version,
            timeout_seconds=WATCH_SECONDS,
            _request_timeout=aiohttp.ClientTimeout(sock_connect=10, sock_read=SILENCE_SECONDS),
        )
        if answer.status == GONE:
            answer.close()
            raise Gap
        if answer.status != 200:
            await read_body(answer)
        try:
            async for change, item in changes(answer):
                version = self._take(change, item, version)
        except aiohttp.SocketTimeoutError as silence:
            raise Gap from silence
        finally:
            answer.close()
        return version

    def _take(self, change: str, item: dict[str, Any], version: str) -> str:
        if change == "ERROR":
            if item.get("code") == GONE:
                raise Gap
            raise ApiException(status=item.get("code") or 500, reason=str(item.get("message")))
        if change != "BOOKMARK":
            topic, item = self._kind.topic(item), _slim(item)
            if change == "DELETED":
                self._objects.get(topic, {}).pop(_uid(item), None)
                self._bury(topic, item)
            else:
                self._objects.setdefault(topic, {})[_uid(item)] = item
            if not self._objects.get(topic):
                self._objects.pop(topic, None)
            self._wake(topic)
        newer: str = item["metadata"].get("resourceVersion") or version
        return newer

    def _bury(self, topic: str, item: dict[str, Any]) -> None:
        """Keep the last state of an object that is gone; it says so also when its end was not watched."""
        if topic in self._subscribers:
            metadata = item["metadata"]
            at = metadata.get("deletionTimestamp") or metadata.get("creationTimestamp")
            self._gone.setdefault(topic, {})[_uid(item)] = {
                **item,
                "metadata": {**metadata, "deletionTimestamp": at},
            }


def _slim(item: dict[str, Any]) -> dict[str, Any]:
    """An object without the record of who set which field: half of its size, and nobody reads it."""
    item["metadata"].pop("managedFields", None)
    return item


class Streams:
    """The streams of one cluster in one event loop: each is opened once, whoever needs it, and closed after use.

    :param api: the cluster; its connections are closed with the last stream that lingered.
    :param linger: seconds that a stream is kept when nobody uses it; 0 where :meth:`close` is called at the end.
    """

    def __init__(self, api: AsyncApi, linger: float = LINGER_SECONDS) -> None:
        self.api = api
        self._linger = linger
        self._open: dict[Any, tuple[ObjectStream, asyncio.Task[None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def subscribed(
        self, kind: Kind, namespace: str, topic: str, wake: asyncio.Event, **selectors: str
    ) -> AsyncIterator[ObjectStream]:
        """A stream that sets ``wake`` when something of the topic changes."""
        key = (kind.resource, *kind.before, namespace, *sorted(selectors.items()))
        if key not in self._open:
            stream = ObjectStream(self.api, kind, namespace, **selectors)
            own = (
                contextvars.Context()
            )  # not that of the task which happened to come first: its log is its own
            following = asyncio.create_task(self._run(key, stream), context=own)
            self._tasks.add(following)
            following.add_done_callback(self._tasks.discard)
            self._open[key] = stream, following
        stream, _ = self._open[key]
        stream.subscribe(topic, wake)
        try:
            yield stream
        finally:
            stream.unsubscribe(topic, wake)
            if not stream.used:
                asyncio.get_running_loop().call_later(self._linger, self._drop, key, stream)

    async def close(self) -> None:
        """End all streams and close the connections."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.api.close()

    def _drop(self, key: Any, stream: ObjectStream) -> None:
        found = self._open.get(key)
        if found is not None and found[0] is stream and not stream.used:
            del self._open[key]  # at once: who subscribes in this very turn of the loop gets a new one
            found[1].cancel()

    async def _run(self, key: Any, stream: ObjectStream) -> None:
        try:
            await stream.follow()
        except Exception as error:  # noqa: BLE001 (handed to all who wait for it)
            stream.fail(error)
        finally:
            if self._open.get(key, (None,))[0] is stream:
                del self._open[key]
            if self._linger and not self._open:
                await self.api.close()
