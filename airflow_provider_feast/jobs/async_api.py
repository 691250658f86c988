"""Requests to the Kubernetes API from an event loop: credentials renewed, outages sat out, refusals explained."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp
from kubernetes_asyncio.client import (
    ApiClient,
    BatchV1Api,
    Configuration,
    CoordinationV1Api,
    CoreV1Api,
    CustomObjectsApi,
)
from kubernetes_asyncio.client.exceptions import ApiException

from airflow_provider_feast.jobs.answers import json_object
from airflow_provider_feast.jobs.api import (
    delete_options,
    explain,
    of_another,
    passing,
    pods_selector,
    status_message,
)
from airflow_provider_feast.jobs.client import UnresolvedError, async_client, resolving
from airflow_provider_feast.model.errors import AdmissionRefusedError, ApiUnavailableError

Connect = Callable[[], Awaitable[Configuration]]
"""Resolves a cluster's address and credentials anew."""

GONE = 410
"""What is asked for is of a version that is no longer kept: as an answer, or as a watch's event. Begin anew."""

NO_ANSWER = (aiohttp.ClientError, TimeoutError, OSError)
"""What is raised when the API server did not answer: nothing came, or nothing of its own."""

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 15.0

CONFLICT_SECONDS = 0.2
"""The pause before a Job is resumed once more that its controller changed at the same moment."""

LONGEST_USE = 900.0
"""Seconds after which no request of a client is under way any more, a watch included."""

_GROUPS = {
    "core": CoreV1Api,
    "batch": BatchV1Api,
    "coordination": CoordinationV1Api,
    "custom": CustomObjectsApi,
}


async def read_body(answer: Any) -> bytes:
    """The body of a raw answer; the asynchronous client leaves looking at its status to us.

    :param answer: what a method called with ``_preload_content=False`` returned.
    :raises ApiException: for any status but 2xx, with the body and the headers.
    """
    try:
        body: bytes = await answer.read()
    finally:
        answer.release()
    if not 200 <= answer.status <= 299:
        error = ApiException(status=answer.status, reason=answer.reason)
        error.body, error.headers = body, answer.headers
        raise error
    return body


async def read_json(answer: Any) -> dict[str, Any]:
    """The object of a raw answer.

    :raises ApiException: as :func:`read_body`.
    :raises OddAnswerError: when it is no JSON object.
    """
    return json_object(await read_body(answer))


class Patience:
    """How long an API server that does not answer is waited for.

    :param seconds: from the first request that failed until the error is raised.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: float | None = None
        self._pause = FIRST_PAUSE

    def answered(self) -> None:
        """The server answers again."""
        self._since = None

    def settled(self) -> None:
        """What follows an answer goes well, too: the next pause is short again."""
        self._pause = FIRST_PAUSE

    async def rest(self, least: float = 0.0, most: float = 2 * LONGEST_PAUSE) -> None:
        """Pause, each time longer.

        :param least: seconds to pause at least.
        :param most: seconds to pause at most.
        """
        pause = min(max(self._pause * random.uniform(0.7, 1.3), least), most)  # noqa: S311 (jitter)
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        await asyncio.sleep(pause)

    async def bear(self, error: Exception, verb: str, resource: str, namespace: str) -> None:
        """Pause before the next try.

        :raises FeastError: when trying again cannot help, or the server has been away for too long.
        """
        now = asyncio.get_running_loop().time()
        self._since = now if self._since is None else self._since
        status = error.status if isinstance(error, ApiException) else None
        message = status_message(error.body) if isinstance(error, ApiException) else repr(error)
        final = status and status != GONE and not passing(status, message)
        if final or now - self._since >= self._seconds:
            if isinstance(error, UnresolvedError):
                raise _unresolved(error, verb, resource, namespace) from error
            raise explain(status, message, verb, resource, namespace) from error
        await self.rest(_retry_after(error), self._seconds)


def _unresolved(error: UnresolvedError, verb: str, resource: str, namespace: str) -> ApiUnavailableError:
    return ApiUnavailableError(
        f"the cluster's address and credentials could not be had from Airflow: {error}",
        where=f"{verb} {resource} in namespace {namespace!r}",
        remedy="see whether Airflow's API server answers this process and the Kubernetes connection exists; the task "
        "can be run again",
    )


def _retry_after(error: Exception) -> float:
    """The seconds that a 429 or 503 asks for."""
    headers = getattr(error, "headers", None) or {}
    text = str(headers.get("Retry-After") or "")
    return float(text) if text.isdigit() else 0.0


class AsyncApi:
    """One cluster, asked from one event loop.

    :param connect: resolves address and credentials; called at the first request and again after a 401.
    :param outage_seconds: how long :meth:`ask` bears an API server that is away.
    """

    def __init__(self, connect: Connect, outage_seconds: float = 600.0) -> None:
        self.outage_seconds = outage_seconds
        self._connect = connect
        self._client: ApiClient | None = None
        self._stale: list[tuple[float, ApiClient]] = []
        self._connecting = asyncio.Lock()

    async def close(self) -> None:
        """Close its connections; the next request opens new ones."""
        client, self._client = self._client, None
        stale, self._stale = self._stale, []
        for unused in [one for _, one in stale] + ([client] if client is not None else []):
            await unused.close()

    async def _set_aside(self, client: ApiClient) -> None:
        """Use a client no more. What is under way on it, a watch for instance, may end: closing would break it."""
        now, self._client = asyncio.get_running_loop().time(), None
        old = [one for since, one in self._stale if now - since >= LONGEST_USE]
        self._stale = [(since, one) for since, one in self._stale if one not in old] + [(now, client)]
        for unused in old:
            await unused.close()

    async def _open(self, stale: ApiClient | None = None) -> ApiClient:
        """A client that is not the stale one."""
        async with self._connecting:
            if self._client is not None and self._client is stale:
                await self._set_aside(self._client)
            if self._client is None:
                with resolving():
                    configuration = await self._connect()
                self._client = async_client(configuration)
            return self._client

    async def send(self, group: str, method: str, *args: Any, **kwargs: Any) -> Any:
        """One request; credentials that are no longer accepted are resolved anew, once.

        :param group: ``core``, ``batch``, ``coordination`` or ``custom``.
        :param method: the client's method, e.g. ``list_namespaced_job``.
        :returns: the raw answer, see :func:`read_body`.
        """
        kwargs = {"_request_timeout": (10, 30), **kwargs, "_preload_content": False}

        async def request(client: ApiClient) -> Any:
            return await getattr(_GROUPS[group](client), method)(*args, **kwargs)

        client = self._client or await self._open()
        try:
            answer = await request(client)
        except RuntimeError:  # its connections were closed as unused in between
            if client is self._client:
                raise
            return await request(await self._open())
        if answer.status != 401:
            return answer
        answer.release()
        return await request(await self._open(stale=client))

    async def ask(
        self,
        verb: str,
        resource: str,
        namespace: str,
        group: str,
        method: str,
        *args: Any,
        expected: tuple[int, ...] = (),
        **kwargs: Any,
    ) -> dict[str, Any] | None:
        """A request that is repeated while the API server is away.

        :param verb: for messages, as ``resource`` and ``namespace``.
        :param expected: statuses that are answered with ``None``.
        :raises FeastError: what :func:`~airflow_provider_feast.jobs.api.explain` says of a refusal.
        """
        patience = Patience(self.outage_seconds)
        while True:
            try:
                found = await read_json(await self.send(group, method, *args, **kwargs))
            except ApiException as error:
                if error.status in expected and not passing(error.status, status_message(error.body)):
                    return None
                await patience.bear(error, verb, resource, namespace)
            except NO_ANSWER as error:
                await patience.bear(error, verb, resource, namespace)
            else:
                return found

    async def read_job(self, namespace: str, name: str) -> dict[str, Any] | None:
        """A Job, or ``None``."""
        return await self.ask(
            "get", "jobs", namespace, "batch", "read_namespaced_job", name, namespace, expected=(404,)
        )

    async def resume_job(self, namespace: str, name: str, uid: str) -> dict[str, Any] | None:
        """Let this very suspended Job run; ``None`` when it is gone, also where a later Job has its name."""
        patch = {"metadata": {"uid": uid}, "spec": {"suspend": False}}
        while True:
            if resumed := await self.patch_job(namespace, name, patch, (404, 409)):
                return resumed
            there = await self.read_job(namespace, name)
            if there is None or there["metadata"]["uid"] != uid:
                return None
            await asyncio.sleep(CONFLICT_SECONDS)

    async def patch_job(
        self, namespace: str, name: str, patch: Mapping[str, Any], expected: tuple[int, ...] = (404,)
    ) -> dict[str, Any] | None:
        """Merge a patch into a Job; ``None`` for an expected status.

        :param patch: with ``metadata.uid``, a later Job of this name is left alone.
        """
        call = ("batch", "patch_namespaced_job", name, namespace, patch)
        try:
            return await self.ask("patch", "jobs", namespace, *call, expected=expected)
        except AdmissionRefusedError as refused:
            if of_another(refused):
                return None
            raise

    async def delete_job(self, namespace: str, name: str, uid: str, version: str | None = None) -> bool:
        """Delete this very Job with its pods; whether it was there as named.

        :param version: also only if its ``resourceVersion`` is still this one.
        """
        body = delete_options(uid, version)
        call = ("batch", "delete_namespaced_job", name, namespace)
        return await self.ask("delete", "jobs", namespace, *call, body=body, expected=(404, 409)) is not None

    async def list_pods(self, namespace: str, job_uid: str) -> list[dict[str, Any]]:
        """The pods of a Job."""
        call = ("core", "list_namespaced_pod", namespace)
        found = await self.ask("list", "pods", namespace, *call, label_selector=pods_selector(job_uid))
        return list((found or {}).get("items") or ())

    async def read_lease(self, namespace: str, name: str) -> dict[str, Any] | None:
        """A Lease, or ``None``."""
        call = ("coordination", "read_namespaced_lease", name, namespace)
        return await self.ask("get", "leases", namespace, *call, expected=(404,))

    async def create_lease(self, namespace: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """Create a Lease; ``None`` when its name is taken."""
        call = ("coordination", "create_namespaced_lease", namespace, body)
        return await self.ask("create", "leases", namespace, *call, expected=(409,))

    async def replace_lease(self, namespace: str, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """Replace a Lease; ``None`` when it has changed since ``body`` was read."""
        call = ("coordination", "replace_namespaced_lease", body["metadata"]["name"], namespace, body)
        return await self.ask("update", "leases", namespace, *call, expected=(404, 409))
