"""Take, await and give back a registry's lock: a Lease, changed by compare-and-swap."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any

from airflow_provider_feast.jobs.async_api import AsyncApi
from airflow_provider_feast.jobs.pod_view import PodView
from airflow_provider_feast.jobs.stream import JOBS, LEASES, ObjectStream, Streams
from airflow_provider_feast.jobs.submit import ended
from airflow_provider_feast.model.errors import FeastClusterError, RegistryLockedError
from airflow_provider_feast.model.lock import (
    A_HOLDERS,
    Holder,
    LockRequest,
    in_the_way,
    read_holders,
    write_holders,
)
from airflow_provider_feast.model.naming import L_MANAGED_BY, L_NAME, MANAGED_BY

RECHECK_SECONDS = 30.0
"""A waiter looks again after so long although nothing it watches has changed (pods that outlive their Job)."""

ABANDONED_SECONDS = 1800.0
"""A Job that took the lock this long ago and was never resumed was left behind by a worker that died in between."""

_ROUNDS = 50


class RegistryLock:
    """One Job's claim on a registry.

    :param streams: the cluster.
    :param request: which Lease, and what the Job writes.
    :param holder: the Job; its ``views`` are those of the request.
    :param say: takes a line for the task's log.
    """

    def __init__(
        self, streams: Streams, request: LockRequest, holder: Holder, say: Callable[[str], None]
    ) -> None:
        self._streams, self._api = streams, streams.api
        self._name, self._namespace = request.name, request.namespace
        self._holder = holder._replace(views=request.views)
        self._say = say

    async def acquire(self, timeout: float) -> bool:
        """Wait until no other Job writes what this one will write, and take the lock.

        A Job that already has it keeps it: a retry goes on where the last try stopped.

        :param timeout: seconds to wait at most.
        :returns: whether the Job has the lock; not one that went away while it waited.
        :raises RegistryLockedError: when others held it for as long.
        """
        blockers = await self.try_once()
        if not blockers:
            return True
        loop, wake, told = asyncio.get_running_loop(), asyncio.Event(), ""
        until = loop.time() + timeout
        async with AsyncExitStack() as watching:
            jobs = await self._watch_holder(watching, self._holder, wake)
            streams = [await self._watch_lease(watching, wake), jobs]
            seen: set[str] = set()
            while blockers:
                for other in blockers:
                    if other.uid not in seen:
                        seen.add(other.uid)
                        streams.append(await self._watch_holder(watching, other, wake))
                told = self._tell(blockers, told)
                if loop.time() >= until:
                    raise self._too_long(blockers, timeout)
                await _woken(wake, min(RECHECK_SECONDS, until - loop.time()))
                for stream in streams:
                    if stream.error is not None:
                        raise stream.error
                if not await self._still_there(jobs):
                    return False
                blockers = await self.try_once()
        self._say(f"The lock {self._name} is free now.")
        return True

    async def _still_there(self, jobs: ObjectStream) -> bool:
        """Whether the Job that waits for the lock is there and has not ended; a later one of its name does not count."""
        uid = self._holder.uid
        if present := jobs.present(uid):
            return _may_run(present[0])
        if jobs.gone(uid):
            return False
        there = await self._api.read_job(self._holder.namespace, self._holder.job)
        return there is not None and there["metadata"]["uid"] == uid and _may_run(there)

    async def _watch_lease(self, watching: AsyncExitStack, wake: asyncio.Event) -> ObjectStream:
        field = f"metadata.name={self._name}"
        subscription = self._streams.subscribed(
            LEASES, self._namespace, self._name, wake, field_selector=field
        )
        return await watching.enter_async_context(subscription)

    async def _watch_holder(
        self, watching: AsyncExitStack, other: Holder, wake: asyncio.Event
    ) -> ObjectStream:
        label = f"{L_MANAGED_BY}={MANAGED_BY}"
        subscription = self._streams.subscribed(JOBS, other.namespace, other.uid, wake, label_selector=label)
        return await watching.enter_async_context(subscription)

    async def try_once(self) -> list[Holder]:
        """Take the lock if nobody else has it.

        :returns: who is in the way; nobody when the lock is ours now.
        """
        for _ in range(_ROUNDS):
            lease = await self._api.read_lease(self._namespace, self._name)
            holders = read_holders(lease) if lease is not None else {}
            if self._holder.uid in holders and holders[self._holder.uid].views == self._holder.views:
                return []
            blockers = in_the_way(self._holder, holders)
            alive = [other for other in blockers if await holder_alive(self._api, other)]
            if alive:
                return alive
            dead = {other.uid for other in blockers}
            ours = self._holder._replace(since=datetime.now(UTC).isoformat(timespec="seconds"))
            left = {uid: other for uid, other in holders.items() if uid not in dead}
            if await self._write(lease, {**left, ours.uid: ours}):
                for other in blockers:
                    self._say(f"Took the lock {self._name} over from Job {other.job}, which has ended.")
                return []
        raise self._contended()

    async def release(self) -> None:
        """Give the lock back, once the Job has ended; a waiter would find that out by itself, too."""
        for _ in range(_ROUNDS):
            lease = await self._api.read_lease(self._namespace, self._name)
            holders = read_holders(lease) if lease is not None else {}
            if holders.pop(self._holder.uid, None) is None or await self._write(lease, holders):
                return
        raise self._contended()

    async def _write(self, lease: dict[str, Any] | None, holders: dict[str, Holder]) -> bool:
        """Write the Lease if it is still as it was read."""
        text = write_holders(holders)
        if lease is None:
            labels = {L_NAME: "feast", L_MANAGED_BY: MANAGED_BY}
            new = {"name": self._name, "labels": labels, "annotations": {A_HOLDERS: text}}
            body = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": new, "spec": {}}
            return await self._api.create_lease(self._namespace, body) is not None
        metadata = dict(lease["metadata"])
        metadata["annotations"] = {**(metadata.get("annotations") or {}), A_HOLDERS: text}
        return await self._api.replace_lease(self._namespace, {**lease, "metadata": metadata}) is not None

    def _tell(self, blockers: list[Holder], told: str) -> str:
        first, more = blockers[0], len(blockers) - 1
        text = (
            f"Waiting for the lock {self._name}: Job {first.job} in namespace {first.namespace} has held {first.scope} "
            f"since {first.since}" + (f", and {more} more are in the way" if more else "") + "."
        )
        if text != told:
            self._say(text)
        return text

    def _too_long(self, blockers: list[Holder], timeout: float) -> RegistryLockedError:
        first = blockers[0]
        return RegistryLockedError(
            f"the registry was locked for {timeout:.0f} s: Job {first.job} in namespace {first.namespace} has held "
            f"{first.scope} since {first.since}",
            where=f"Lease {self._name} in namespace {self._namespace}",
            remedy="run the task again when that Job has ended, raise lock_timeout_seconds, or let fewer tasks write "
            "this registry at once (on a SQL registry, concurrency `view` lets different views be written together)",
        )

    def _contended(self) -> FeastClusterError:
        return FeastClusterError(
            f"the Lease {self._name} changed {_ROUNDS} times while this Job tried to write it",
            where=f"namespace {self._namespace}",
            remedy="see who else writes it: only Jobs of this provider should",
        )


async def holder_alive(api: AsyncApi, other: Holder) -> bool:
    """Whether a holder may still write: its Job has not ended, or one of its pods goes on.

    A Job that took the lock long ago and was never resumed belongs to nobody: it is deleted, unless it changes at this
    very moment.
    """
    job = await api.read_job(other.namespace, other.job)
    there = job is not None and job["metadata"]["uid"] == other.uid
    if job is not None and there and not ended(job):
        return not await _swept(api, job, other)
    return any(not PodView(pod).over for pod in await api.list_pods(other.namespace, other.uid))


async def _swept(api: AsyncApi, job: dict[str, Any], other: Holder) -> bool:
    """Delete a Job that its worker left behind between taking the lock and resuming it; whether it was one."""
    never_ran = (job["spec"].get("suspend") or False) and not (job.get("status") or {}).get("startTime")
    if not never_ran or _age(other.since) < ABANDONED_SECONDS:
        return False
    metadata = job["metadata"]
    return await api.delete_job(
        other.namespace, metadata["name"], metadata["uid"], metadata["resourceVersion"]
    )


def _may_run(job: dict[str, Any]) -> bool:
    return not ended(job) and not job["metadata"].get("deletionTimestamp")


def _age(since: str) -> float:
    try:
        return (datetime.now(UTC) - datetime.fromisoformat(since)).total_seconds()
    except (ValueError, TypeError):
        return 0.0


async def _woken(wake: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(wake.wait(), seconds)
    except TimeoutError:
        return
    wake.clear()
