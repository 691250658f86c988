"""Wait for one Job: start it, watch it and its pods, pass on its log and its troubles, end with a verdict."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple

from airflow_provider_feast.jobs.api import pods_selector
from airflow_provider_feast.jobs.diagnose import diagnose
from airflow_provider_feast.jobs.events import events_about_objects
from airflow_provider_feast.jobs.job_times import StartupClock, seconds_to_deadline
from airflow_provider_feast.jobs.lock import RegistryLock
from airflow_provider_feast.jobs.log_positions import Positions
from airflow_provider_feast.jobs.logs import LATEST, MILLISECOND, Say
from airflow_provider_feast.jobs.plan_notes import PlanNotes
from airflow_provider_feast.jobs.plan_progress import plan_progress
from airflow_provider_feast.jobs.pod_logs import PodLogs
from airflow_provider_feast.jobs.pod_view import PodView, pods_of
from airflow_provider_feast.jobs.start_limit import StartLimit, has_no_ready_pod
from airflow_provider_feast.jobs.stopping import is_record, stop_patch
from airflow_provider_feast.jobs.stream import JOBS, PODS, ObjectStream, Streams
from airflow_provider_feast.jobs.submit import ended
from airflow_provider_feast.model.lock import Holder, LockRequest
from airflow_provider_feast.model.naming import L_MANAGED_BY, MANAGED_BY
from airflow_provider_feast.model.outcome import JobState, Outcome, Problem

EVENTS_SECONDS = 2.0
"""How often Events are listed while no pod of a Job is ready."""

LAST_SECONDS = 10.0
"""How long before a Job's deadline its logs are followed: what runs then is deleted with its log."""

CATCH_UP_SECONDS = 1.0
"""How long a Job that exists, but of which the watch has not told yet, is waited for before it is read again."""


class WatchOptions(NamedTuple):
    """How to wait; all times are seconds.

    :param startup_seconds: how long a Job may take until a container of its runs.
    :param log_seconds: how often running pods' logs are read; 0: only at the end.
    :param outage_seconds: how long the API server may be away.
    :param lock_seconds: how long other writers of the registry are waited for.
    :param deadline_at: Unix time after which the Job is deleted: Airflow's own limit; 0: none.
    :param limit_seconds: that limit, for the message.
    """

    startup_seconds: float = 600.0
    log_seconds: float = 1.0
    outage_seconds: float = 600.0
    lock_seconds: float = 6 * 3600.0
    deadline_at: float = 0.0
    limit_seconds: float = 0.0


class Target(NamedTuple):
    """The Job that is waited for; a later Job of the same name has another uid."""

    namespace: str
    name: str
    uid: str


def execution_timeout_reached(seconds: float) -> Problem:
    """The problem of a task that ran into its own limit."""
    return Problem(
        "deadline_exceeded",
        f"The task's execution_timeout of {seconds:g} s was reached; its Job was ended.",
        "Raise execution_timeout= on the task, or do less in one run.",
    )


class JobWatch:
    """One wait for one Job.

    :param streams: the cluster.
    :param target: the Job.
    :param say: takes a line for the task's log.
    :param positions: how far logs were read before, see :class:`~airflow_provider_feast.jobs.pod_logs.PodLogs`.
    :param lock: the lock that the Job must hold before it runs, if it needs one.
    :param shared: whether the streams serve many waits: then they follow all Jobs of this provider, else this one.
    """

    def __init__(
        self,
        streams: Streams,
        target: Target,
        say: Say,
        options: WatchOptions,
        positions: Positions | None = None,
        lock: LockRequest | None = None,
        *,
        shared: bool = False,
    ) -> None:
        self._streams, self._api, self._target = streams, streams.api, target
        self._say, self._options, self._shared = say, options, shared
        holder = Holder(target.uid, target.name, target.namespace)
        self._lock = RegistryLock(streams, lock, holder, say) if lock is not None else None
        self._wake = asyncio.Event()
        self._jobs: ObjectStream
        self._pods: ObjectStream
        self._job: dict[str, Any] = {"metadata": {"name": target.name, "uid": target.uid}}
        self._events: list[dict[str, Any]] = []
        self._listed: list[dict[str, Any]] = []
        self._logs = PodLogs(self._api, target.namespace, say, positions)
        self._notes = PlanNotes(self._api, say)

    async def outcome(self, timeout: float | None = None) -> Outcome | None:
        """Start the Job if nobody has, and wait for its end.

        :param timeout: seconds to wait at most, or ``None``.
        :returns: the final verdict, or ``None`` when the time is up.
        :raises FeastError: when Kubernetes refuses, or is away for too long.
        """
        deadline = self._options.deadline_at
        left = max(0.0, deadline - time.time()) if deadline else None
        limits = [limit for limit in (timeout, left) if limit is not None]
        waiter = asyncio.ensure_future(self._wait())
        try:
            done, _ = await asyncio.wait([waiter], timeout=min(limits) if limits else None)
            if done:
                return waiter.result()
        finally:
            waiter.cancel()
            await asyncio.gather(waiter, return_exceptions=True)
        return await self._stop() if left is not None and (timeout is None or left <= timeout) else None

    @property
    def sure(self) -> Positions:
        """Up to where the log is surely in the task's log, whatever happens to what was said since."""
        return self._logs.trail.sure

    async def until_lines_are_past(self) -> None:
        """Wait until no line is dated to this millisecond or to come: the last ones of a burst are, by a little."""
        latest = self._logs.latest
        if latest is not None:
            left = min(latest + 2 * MILLISECOND - datetime.now(UTC), LATEST).total_seconds()
            await asyncio.sleep(max(0.0, left))

    async def _stop(self) -> Outcome:
        """End the Job at Airflow's own limit; one with a record of chunks is kept, and one that has ended, too."""
        namespace, name, uid = self._target
        job = await self._api.read_job(namespace, name)
        pods = await self._api.list_pods(namespace, uid)
        ours = job is not None and job["metadata"]["uid"] == uid
        if job is not None and ours and ended(job):
            return diagnose(job, pods, self._events)
        outcome = Outcome(JobState.FAILED, execution_timeout_reached(self._options.limit_seconds))
        self._logs.follow(pods)
        await self._logs.until_followed()
        if job is not None and ours and is_record(job):
            outcome = outcome._replace(progress=plan_progress(job, pods_of(job, pods)))
            patch = stop_patch(job, "the task's execution_timeout")
            await self._api.patch_job(namespace, name, patch, expected=(404, 409))
        else:
            await self._api.delete_job(*self._target)
        await self._logs.read_to_end(pods)
        return outcome

    async def _wait(self) -> Outcome:
        try:
            async with self._subscribed():
                await self._start()
                verdict = await self._follow()
                await self._logs.read_to_end(self._known_pods())
                await self._notes.take(self._job, self._known_pods())
                if self._lock is not None and ended(self._job):
                    await self._give_back(self._lock)
                return verdict
        finally:
            await self._logs.stop_following()

    async def _give_back(self, lock: RegistryLock) -> None:
        """Release the lock, unless a pod may still write: until Kubernetes 1.31 a Job is Failed while its pods end.

        Who waits for the lock finds out by itself when they have.
        """
        if not self._settled():
            pods = await self._api.list_pods(self._target.namespace, self._target.uid)
            if not all(PodView(pod).over for pod in pods):
                return
        await lock.release()

    @asynccontextmanager
    async def _subscribed(self) -> AsyncIterator[None]:
        namespace, name, uid = self._target
        if self._shared:
            jobs = pods = {"label_selector": f"{L_MANAGED_BY}={MANAGED_BY}"}
        else:
            jobs, pods = {"field_selector": f"metadata.name={name}"}, {"label_selector": pods_selector(uid)}
        async with (
            self._streams.subscribed(JOBS, namespace, uid, self._wake, **jobs) as self._jobs,
            self._streams.subscribed(PODS, namespace, uid, self._wake, **pods) as self._pods,
        ):
            yield

    # --- the start ------------------------------------------------------------------------------

    async def _start(self) -> None:
        """Let a Job run that was born suspended, once it holds the lock that it needs."""
        while not (self._jobs.listed and self._pods.listed):
            await self._rest(None)
        gone = await self._look()
        if gone or not self._job["spec"].get("suspend") or ended(self._job):
            return
        if self._lock is not None and not await self._lock.acquire(self._options.lock_seconds):
            return
        await self._api.resume_job(*self._target)

    async def _look(self) -> bool:
        """Bring what we know of the Job up to date; whether it is gone.

        A watch may lag behind, so a Job that it does not show is asked for before it is taken for deleted.
        """
        namespace, name, uid = self._target
        if present := self._jobs.present(uid):
            self._job = present[0]
            return False
        if gone := self._jobs.gone(uid):
            self._job = gone[0]
            return True
        there = await self._api.read_job(namespace, name)
        if there is None or there["metadata"]["uid"] != uid:
            return True
        self._job = there
        return False

    # --- the wait -------------------------------------------------------------------------------

    async def _follow(self) -> Outcome:
        loop = asyncio.get_running_loop()
        starting = StartLimit(self._options.startup_seconds, self._say)
        clock, next_events, next_logs = StartupClock(loop.time(), self._job), loop.time(), loop.time()
        while True:
            self._wake.clear()
            verdict = await self._verdict()
            pods = self._known_pods()
            await self._notes.take(self._job, pods)
            clock.tick(loop.time(), verdict.state, away=self._jobs.away or self._pods.away)
            final = verdict if verdict.final else starting.stuck(verdict, clock.seconds, self._job, pods)
            if final is not None and (verdict.final or await self._is_still_starting()):
                return final
            unready = has_no_ready_pod(verdict)
            if unready and loop.time() >= next_events:
                await self._read_events()
                next_events = loop.time() + EVENTS_SECONDS
                continue
            if self._options.log_seconds and loop.time() >= next_logs:
                await self._logs.read(self._known_pods())
                next_logs = loop.time() + self._options.log_seconds
            await self._read_what_may_go()
            due = [next_logs] if self._options.log_seconds else []
            due += [next_events] if unready else []
            due += [] if self._jobs.present(self._target.uid) else [loop.time() + CATCH_UP_SECONDS]
            left = seconds_to_deadline(self._job, datetime.now(UTC)) - LAST_SECONDS
            due += [loop.time() + left] if 0 < left < math.inf else []
            await self._rest(max(0.05, min(due) - loop.time()) if due else None)

    async def _rest(self, seconds: float | None) -> None:
        """Sleep until something changes.

        :raises FeastError: what ended a stream.
        """
        for stream in (self._jobs, self._pods):
            if stream.error is not None:
                raise stream.error
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), seconds)
        self._wake.clear()

    async def _read_what_may_go(self) -> None:
        """Read what goes with its pod: the log of a container that has ended, and of one that is to end now."""
        pods = self._known_pods()
        at_the_end = seconds_to_deadline(self._job, datetime.now(UTC)) <= LAST_SECONDS
        self._logs.follow(pod for pod in pods if at_the_end or PodView(pod).deleting)
        if self._logs.has_ended(pods):
            await self._logs.read(pods, ended=True)

    async def _verdict(self) -> Outcome:
        self._listed = []
        gone = await self._look()
        verdict = diagnose(self._job, self._known_pods(), self._events, deleted=gone)
        if not verdict.final or self._settled():
            return verdict
        self._listed = await self._api.list_pods(
            self._target.namespace, self._target.uid
        )  # the watch lags behind
        return diagnose(self._job, self._known_pods(), self._events, deleted=gone)

    def _settled(self) -> bool:
        """Whether all that can be known of the pods is known: each has ended, and none is missing."""
        pods, status = self._known_pods(), self._job.get("status") or {}
        counted = (status.get("succeeded") or 0) + (status.get("failed") or 0)
        return bool(pods) and len(pods) >= counted and all(PodView(pod).over for pod in pods)

    def _known_pods(self) -> list[dict[str, Any]]:
        uid = self._target.uid
        return _latest(self._pods.gone(uid), self._pods.present(uid), self._listed)

    async def _is_still_starting(self) -> bool:
        """Whether nothing of the Job runs, by the API's own word: a watch may be behind, or cut."""
        namespace, name, uid = self._target
        job = await self._api.read_job(namespace, name)
        if job is None or job["metadata"]["uid"] != uid:
            return False
        pods = await self._api.list_pods(namespace, uid)
        return diagnose(job, pods, self._events).state is JobState.STARTING

    async def _read_events(self) -> None:
        """List the Events about the Job and its pods; where the server does not answer, the next time will do."""
        pods = [("Pod", pod["metadata"]["name"]) for pod in self._pods.present(self._target.uid)]
        about = [("Job", self._target.name), *pods]
        found = await events_about_objects(self._api, self._target.namespace, about)
        self._events = self._events if found is None else found


def _latest(*seen: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each object once, as last seen."""
    return list({item["metadata"]["uid"]: item for items in seen for item in items}.values())
