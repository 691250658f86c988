"""Triggers: wait for a Job in the triggerer while its task is deferred."""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import AsyncIterator
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_feast.jobs.async_api import AsyncApi
from airflow_provider_feast.jobs.client import async_configuration
from airflow_provider_feast.jobs.deferral import SAFE_SECONDS
from airflow_provider_feast.jobs.killing import LOOKUP_SECONDS, ends_job, task_state
from airflow_provider_feast.jobs.log_positions import Positions
from airflow_provider_feast.jobs.logs import say_to
from airflow_provider_feast.jobs.stream import EVERY, JOBS, ObjectStream, Streams
from airflow_provider_feast.jobs.submit import ended
from airflow_provider_feast.jobs.watch import JobWatch, Target, WatchOptions
from airflow_provider_feast.model.errors import FeastError, FeastTransientError, JobDeletedError
from airflow_provider_feast.model.events import told_error
from airflow_provider_feast.model.lock import LockRequest
from airflow_provider_feast.model.outcome import Outcome

EVENT_VERSION = 1
"""Version of the events and of the triggers' arguments: what an older release wrote is still read."""


AGAIN_SECONDS = 10.0
"""How long a trigger holds back for each one of its wait that failed before it: what was wrong may pass."""

TRACE_LENGTH = 8000
"""Characters of a failed trigger's trace that go into its event: the last ones."""

LINGER_SECONDS = 3.0
"""How long a trigger stays after its event: with its end, the triggerer drops what it has not written of its log."""


def outcome_event(outcome: Outcome, job: str, uid: str, positions: Positions) -> TriggerEvent:
    """The event that carries a verdict to the worker.

    :param positions: up to where the log is surely in the task's log.
    """
    told = {"version": EVENT_VERSION, "job": job, "uid": uid, "outcome": outcome.to_dict()}
    return TriggerEvent({**told, "positions": positions})


def error_event(error: FeastError, job: str, uid: str = "") -> TriggerEvent:
    """The event that says why the wait was given up; it is no verdict on the Job, which may run on."""
    return TriggerEvent({"version": EVENT_VERSION, "job": job, "uid": uid, "error": told_error(error)})


class Clusters:
    """The clusters that the triggers of one event loop wait on: one set of streams each, shared by all of them."""

    _loops: ClassVar[WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Any, Streams]]] = WeakKeyDictionary()

    @classmethod
    def streams(cls, kubernetes_conn_id: str, outage_seconds: float) -> Streams:
        """The streams of a Kubernetes connection.

        :param outage_seconds: how long the API server may be away; waits that bear more have streams of their own.
        """
        known = cls._loops.setdefault(asyncio.get_running_loop(), {})
        key = (kubernetes_conn_id, outage_seconds)
        if key not in known:
            known[key] = Streams(AsyncApi(lambda: resolve(kubernetes_conn_id), outage_seconds))
        return known[key]


async def resolve(kubernetes_conn_id: str) -> Any:
    """Address and credentials of an Airflow Kubernetes connection, as they are now."""
    from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
    from airflow.providers.common.compat.connection import get_async_connection, get_async_extra_dejson
    from airflow.providers.common.compat.sdk import AirflowNotFoundException

    hook = KubernetesHook(conn_id=kubernetes_conn_id)
    try:
        hook.conn_extras = await get_async_extra_dejson(
            await get_async_connection(kubernetes_conn_id, KubernetesHook)
        )
    except AirflowNotFoundException:
        if kubernetes_conn_id != KubernetesHook.default_conn_name:
            raise
        hook.conn_extras = {}
    sync = await asyncio.to_thread(hook.get_conn)
    return async_configuration(sync.configuration)


class FeastJobTrigger(BaseTrigger):
    """Waits for one Job of a deferred task and brings its verdict back.

    It carries names, no credentials: it resolves the Kubernetes connection itself.

    :param kubernetes_conn_id: the cluster's connection.
    :param namespace: the Job's namespace.
    :param name: the Job's name.
    :param uid: the Job's uid.
    :param options: the fields of :class:`~airflow_provider_feast.jobs.watch.WatchOptions`, seconds.
    :param positions: how far the worker read the logs, see :class:`~airflow_provider_feast.jobs.pod_logs.PodLogs`.
    :param version: which release's arguments these are.
    :param lock: the fields of :class:`~airflow_provider_feast.model.lock.LockRequest`, if the Job needs a lock.
    :param failures: how many triggers of this wait have failed before.
    :param not_before: Unix time before which no event is sent, see
        :data:`~airflow_provider_feast.jobs.deferral.SAFE_SECONDS`.
    """

    def __init__(
        self,
        kubernetes_conn_id: str,
        namespace: str,
        name: str,
        uid: str,
        options: dict[str, float] | None = None,
        positions: Positions | None = None,
        version: int = EVENT_VERSION,
        lock: dict[str, Any] | None = None,
        failures: int = 0,
        not_before: float = 0.0,
    ) -> None:
        super().__init__()
        self.failures, self.not_before = failures, not_before
        self.kubernetes_conn_id, self.namespace, self.name, self.uid = (
            kubernetes_conn_id,
            namespace,
            name,
            uid,
        )
        self.options, self.version = options or {}, version
        self.positions, self.lock = positions or {}, lock
        self._fired = False

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class path and the arguments."""
        return "airflow_provider_feast.triggers.feast.FeastJobTrigger", {
            "kubernetes_conn_id": self.kubernetes_conn_id,
            "namespace": self.namespace,
            "name": self.name,
            "uid": self.uid,
            "options": self.options,
            "positions": self.positions,
            "version": self.version,
            "lock": self.lock,
            **self._rare_arguments(),
        }

    def _rare_arguments(self) -> dict[str, Any]:
        """Those that an older release does not know, where they say anything."""
        rare = {"failures": self.failures, "not_before": self.not_before}
        return {name: value for name, value in rare.items() if value}

    @property
    def _options(self) -> WatchOptions:
        known = {key: value for key, value in self.options.items() if key in WatchOptions._fields}
        return WatchOptions(**known)

    def _streams(self) -> Streams:
        return Clusters.streams(self.kubernetes_conn_id, self._options.outage_seconds)

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Watch the Job to its end; the log goes to the task's log."""
        lock = self.lock and LockRequest(self.lock["name"], self.lock["namespace"], tuple(self.lock["views"]))
        target = Target(self.namespace, self.name, self.uid)
        watch: JobWatch | None = None
        began = time.time()
        await asyncio.sleep(self.failures * AGAIN_SECONDS)
        try:
            watch = JobWatch(
                self._streams(),
                target,
                say_to(self.log, on_grid=True),
                self._options,
                dict(self.positions),
                lock or None,
                shared=True,
            )
            outcome = await watch.outcome()
            await watch.until_lines_are_past()  # what Airflow says of the event comes after them
            event = None if outcome is None else outcome_event(outcome, self.name, self.uid, watch.sure)
        except FeastError as error:
            event = error_event(error, self.name, self.uid)
        except Exception as error:  # noqa: BLE001 (told to the worker, which waits again)
            event = self._failed_event(error, watch.sure if watch else self.positions)
        if event is not None:
            await self._hold_back(event, began)
            self._fired = True
            yield event
            await asyncio.sleep(LINGER_SECONDS)

    async def _hold_back(self, event: TriggerEvent, began: float) -> None:
        """Wait until the scheduler surely knows that the worker is done, see ``SAFE_SECONDS``.

        :param began: when this trigger began: what is no verdict may come within milliseconds of it.
        """
        until = self.not_before if "outcome" in event.payload else max(self.not_before, began + SAFE_SECONDS)
        await asyncio.sleep(min(until - time.time(), SAFE_SECONDS))

    def _failed_event(self, error: Exception, positions: Positions) -> TriggerEvent:
        """The event of a trigger that failed: no verdict on the Job, so the worker has another one wait.

        A worker of an older release takes it for an error that may be tried again.
        """
        short = f"{type(error).__name__}: {error}"
        told = FeastTransientError(
            f"the triggerer failed while it waited for the Job: {short}",
            remedy="run the task again: the Job runs on, and the next try takes it over",
        )
        again = {**self.serialize()[1], "positions": positions, "failures": self.failures + 1}
        trace = "".join(traceback.format_exception(error))[-TRACE_LENGTH:]
        payload = dict(error_event(told, self.name, self.uid).payload)
        return TriggerEvent({**payload, "trace": trace, "again": again})

    async def on_kill(self) -> None:
        """Delete the Job when a person clears the task or sets its state (Airflow ≥ 3.3).

        A triggerer that was frozen may be told so late, when another one waits for the Job, or a worker has taken
        over: the task's state decides, and where it cannot be known the Job is kept.
        """
        if self._fired or self.task_instance is None:
            return
        if await self._task_is_over():
            api = self._streams().api
            job = await api.read_job(self.namespace, self.name)
            if job is not None and job["metadata"]["uid"] == self.uid and not ended(job):
                self.log.info("The task was ended by a person; deleting Job %s.", self.name)
                await api.delete_job(self.namespace, self.name, self.uid)

    async def _task_is_over(self) -> bool:
        """Whether the task is known to have no more use for its Job; Airflow gives :meth:`on_kill` 30 s in all."""
        from asgiref.sync import sync_to_async

        asked = asyncio.ensure_future(sync_to_async(task_state)(self.task_instance))
        done, _ = await asyncio.wait([asked], timeout=LOOKUP_SECONDS)
        if not done:
            asked.cancel()
            self.log.warning("Job %s is kept: Airflow did not tell its task's state in time.", self.name)
            return False
        if error := asked.exception():
            self.log.warning("Job %s is kept: its task's state could not be asked for: %s", self.name, error)
            return False
        return ends_job(asked.result())

    async def cleanup(self) -> None:
        """As :meth:`on_kill`, for Airflow below 3.3, which calls only this."""
        if not hasattr(BaseTrigger, "on_kill"):
            await FeastJobTrigger.on_kill(self)


class FeastForeignJobTrigger(BaseTrigger):
    """Waits until a Job that somebody else started has ended.

    :param name: the Job's name, or "" to take the newest that carries ``labels``.
    :param labels: labels of the Job.
    :param created_after: ISO 8601, UTC: older Jobs do not count; "" for any.
    """

    def __init__(
        self,
        kubernetes_conn_id: str,
        namespace: str,
        name: str = "",
        labels: dict[str, str] | None = None,
        created_after: str = "",
        version: int = EVENT_VERSION,
    ) -> None:
        super().__init__()
        self.kubernetes_conn_id, self.namespace, self.name = kubernetes_conn_id, namespace, name
        self.labels, self.created_after, self.version = labels or {}, created_after, version

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class path and the arguments."""
        return "airflow_provider_feast.triggers.feast.FeastForeignJobTrigger", {
            "kubernetes_conn_id": self.kubernetes_conn_id,
            "namespace": self.namespace,
            "name": self.name,
            "labels": self.labels,
            "created_after": self.created_after,
            "version": self.version,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Watch the Jobs until the one that counts has ended; the worker reads its verdict."""
        changed = asyncio.Event()
        selector = (
            {"field_selector": f"metadata.name={self.name}"}
            if self.name
            else {"label_selector": ",".join(f"{key}={value}" for key, value in self.labels.items())}
        )
        streams = Clusters.streams(self.kubernetes_conn_id, WatchOptions().outage_seconds)
        try:
            async with streams.subscribed(JOBS, self.namespace, EVERY, changed, **selector) as stream:
                job = await self._ended(stream, changed)
            metadata = job["metadata"]
            yield TriggerEvent({"version": EVENT_VERSION, "job": metadata["name"], "uid": metadata["uid"]})
        except FeastError as error:
            yield error_event(error, self.name)

    async def _ended(self, stream: ObjectStream, changed: asyncio.Event) -> dict[str, Any]:
        seen: dict[str, Any] | None = None
        while True:
            changed.clear()
            if stream.error is not None:
                raise stream.error
            jobs = [job for job in stream.present() if _created(job) >= self.created_after]
            seen = newest_job(jobs, seen)
            if seen is not None and ended(seen):
                return seen
            await changed.wait()


def _created(job: dict[str, Any]) -> str:
    return str(job["metadata"]["creationTimestamp"])


def newest_job(jobs: list[dict[str, Any]], seen: dict[str, Any] | None) -> dict[str, Any] | None:
    """The Job that counts: the newest.

    :param jobs: those that are there.
    :param seen: the one that counted so far.
    :raises JobDeletedError: when that is gone, and none came after it.
    """
    newest = max(jobs, key=_created, default=None)
    there = seen is None or any(job["metadata"]["uid"] == seen["metadata"]["uid"] for job in jobs)
    if seen is None or there or (newest is not None and _created(newest) >= _created(seen)):
        return newest
    raise JobDeletedError(
        f"Job {seen['metadata']['name']} was deleted before its end was seen",
        where=f"namespace {seen['metadata']['namespace']!r}",
        remedy="run the sensor again when there is a new one; find out who deletes it, or raise its "
        "ttlSecondsAfterFinished",
    )
