"""A LIST+WATCH of one kind of object: a small cache that follows the cluster across cuts and gaps."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
from kubernetes_asyncio.client.exceptions import ApiException

from airflow_provider_feast.jobs.api import TRANSIENT, explain, status_message

WATCH_SECONDS = 240
"""How long one watch lasts before it is opened anew."""


class Gap(Exception):  # noqa: N818 (not an error: a signal to list again)
    """The watch cannot go on from where it was (410 Gone)."""


async def read_body(answer: Any) -> bytes:
    """The body of a raw answer; the asynchronous client leaves looking at its status to us.

    :param answer: what a method called with ``_preload_content=False`` returned.
    :raises ApiException: for any status but 2xx, with the body.
    """
    try:
        body: bytes = await answer.read()
    finally:
        answer.release()
    if not 200 <= answer.status <= 299:
        error = ApiException(status=answer.status, reason=answer.reason)
        error.body = body
        raise error
    return body


class ObjectStream:
    """What a selector matches, kept up to date.

    :param call: the client's list method, e.g. ``BatchV1Api(client).list_namespaced_job``.
    :param resource: its RBAC name, for messages.
    :param namespace: where to look.
    :param on_change: called after each change.
    :param outage_seconds: how long the API server may be away.
    :param selectors: ``label_selector`` or ``field_selector``.
    """

    def __init__(
        self,
        call: Callable[..., Awaitable[Any]],
        resource: str,
        namespace: str,
        on_change: Callable[[], None],
        outage_seconds: float,
        **selectors: str,
    ) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.deleted: dict[str, dict[str, Any]] = {}
        self.listed = False
        self._call, self._resource, self._namespace = call, resource, namespace
        self._on_change, self._outage, self._selectors = on_change, outage_seconds, selectors

    @property
    def everything(self) -> list[dict[str, Any]]:
        """The objects that are there, and the last state of those that were."""
        return [*self.deleted.values(), *self.objects.values()]

    async def follow(self) -> None:
        """List and watch until cancelled.

        :raises FeastError: when Kubernetes refuses, or is away for longer than ``outage_seconds``.
        """
        loop, away_since, pause = asyncio.get_running_loop(), None, 0.5
        version: str | None = None
        while True:
            try:
                version = await self._list() if version is None else version
                away_since, pause = None, 0.5
                version = await self._watch(version)
            except Gap:
                version = None
            except (ApiException, aiohttp.ClientError, TimeoutError, OSError) as error:
                status = error.status if isinstance(error, ApiException) else None
                away_since = away_since or loop.time()
                if (status and status not in TRANSIENT) or loop.time() - away_since > self._outage:
                    message = status_message(error.body) if isinstance(error, ApiException) else repr(error)
                    raise explain(status, message, "watch", self._resource, self._namespace) from error
                version = None
                await asyncio.sleep(pause * random.uniform(0.7, 1.3))  # noqa: S311 (jitter)
                pause = min(pause * 2, 15.0)

    async def _list(self) -> str:
        answer = await self._call(
            self._namespace, **self._selectors, _preload_content=False, _request_timeout=(10, 60)
        )
        body = json.loads(await read_body(answer))
        now = {item["metadata"]["uid"]: item for item in body.get("items") or ()}
        for uid in set(self.objects) - set(now):
            self.deleted[uid] = _ended(self.objects[uid])
        self.objects, self.listed = now, True
        self._on_change()
        version: str = body["metadata"]["resourceVersion"]
        return version

    async def _watch(self, version: str) -> str:
        answer = await self._call(
            self._namespace,
            **self._selectors,
            watch=True,
            allow_watch_bookmarks=True,
            resource_version=version,
            timeout_seconds=WATCH_SECONDS,
            _preload_content=False,
            _request_timeout=aiohttp.ClientTimeout(sock_connect=10, sock_read=WATCH_SECONDS + 30),
        )
        if answer.status != 200:
            await read_body(answer)
        try:
            async for event in _lines(answer):
                version = self._take(event["type"], event["object"], version)
        finally:
            answer.close()
        return version

    def _take(self, kind: str, item: dict[str, Any], version: str) -> str:
        if kind == "ERROR":
            if item.get("code") == 410:
                raise Gap
            raise ApiException(status=item.get("code") or 500, reason=str(item.get("message")))
        if kind != "BOOKMARK":
            uid = item["metadata"]["uid"]
            if kind == "DELETED":
                self.objects.pop(uid, None)
                self.deleted[uid] = _ended(item)
            else:
                self.objects[uid] = item
            self._on_change()
        newer: str = item["metadata"].get("resourceVersion") or version
        return newer


def _ended(item: dict[str, Any]) -> dict[str, Any]:
    """The last state of an object that is gone; it says so also when its end was not watched."""
    metadata = item["metadata"]
    gone = {"deletionTimestamp": metadata.get("deletionTimestamp") or metadata.get("creationTimestamp")}
    return {**item, "metadata": {**metadata, **gone}}


async def _lines(answer: Any) -> AsyncIterator[dict[str, Any]]:
    """The JSON lines of a watch; an object may be longer than a stream reader's line limit."""
    rest = b""
    async for chunk in answer.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield json.loads(line)
