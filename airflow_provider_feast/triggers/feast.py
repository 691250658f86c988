"""Triggers: wait for a Job in the triggerer while its task is deferred."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_feast.jobs.api import explain, status_message
from airflow_provider_feast.jobs.client import async_client
from airflow_provider_feast.jobs.stream import ObjectStream
from airflow_provider_feast.jobs.submit import condition
from airflow_provider_feast.jobs.watch import JobWatch, WatchOptions
from airflow_provider_feast.model.errors import FeastError
from airflow_provider_feast.model.outcome import Outcome

EVENT_VERSION = 1
"""Version of the events below; a worker of another release reads them."""


def outcome_event(outcome: Outcome, job: str) -> TriggerEvent:
    """The event that carries a verdict to the worker."""
    return TriggerEvent({"version": EVENT_VERSION, "job": job, "outcome": outcome.to_dict()})


def error_event(error: FeastError, job: str) -> TriggerEvent:
    """The event that says why the wait was given up; it is no verdict on the Job, which may run on."""
    told = {"kind": error.kind, "what": error.what, "where": error.where, "remedy": error.remedy}
    return TriggerEvent({"version": EVENT_VERSION, "job": job, "error": told})


@asynccontextmanager
async def cluster_client(kubernetes_conn_id: str) -> AsyncIterator[Any]:
    """An asynchronous client for an Airflow Kubernetes connection, resolved here and now."""
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
    async with async_client(sync.configuration) as client:
        yield client


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
    """

    def __init__(
        self,
        kubernetes_conn_id: str,
        namespace: str,
        name: str,
        uid: str,
        options: dict[str, float] | None = None,
        positions: dict[str, list[Any]] | None = None,
        version: int = EVENT_VERSION,
    ) -> None:
        super().__init__()
        self.kubernetes_conn_id, self.namespace, self.name, self.uid = (
            kubernetes_conn_id,
            namespace,
            name,
            uid,
        )
        self.options, self.version = options or {}, version
        self.positions = positions or {}
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
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Watch the Job to its end; the log goes to the task's log."""
        options = WatchOptions(
            **{key: value for key, value in self.options.items() if key in WatchOptions._fields}
        )
        try:
            async with cluster_client(self.kubernetes_conn_id) as client:
                say, positions = self.log.info, dict(self.positions)
                watch = JobWatch(client, self.namespace, self.name, self.uid, say, options, positions)
                outcome = await watch.outcome()
        except FeastError as error:
            self._fired = True
            yield error_event(error, self.name)
            return
        if outcome is not None:
            self._fired = True
            yield outcome_event(outcome, self.name)

    async def on_kill(self) -> None:
        """Delete the Job when a person clears the task or sets its state (Airflow ≥ 3.3)."""
        if self._fired or await self._still_deferred():
            return
        await self._delete()

    async def cleanup(self) -> None:
        """As :meth:`on_kill`, for Airflow below 3.3, which calls only this."""
        if not hasattr(BaseTrigger, "on_kill"):
            await FeastJobTrigger.on_kill(self)

    async def _still_deferred(self) -> bool:
        """Whether the task waits on: then another triggerer took it over, and the Job must live."""
        from asgiref.sync import sync_to_async

        instance = self.task_instance
        if instance is None:
            return True
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

        def states() -> dict[str, Any]:
            found: dict[str, Any] = RuntimeTaskInstance.get_task_states(
                dag_id=instance.dag_id,
                task_ids=[instance.task_id],
                run_ids=[instance.run_id],
                map_index=instance.map_index,
            )
            return found

        found = (await sync_to_async(states)()).get(instance.run_id) or {}
        key = (
            instance.task_id if (instance.map_index or -1) < 0 else f"{instance.task_id}_{instance.map_index}"
        )
        state = found.get(key, found.get(instance.task_id))
        return str(getattr(state, "value", state)) == "deferred"

    async def _delete(self) -> None:
        from kubernetes_asyncio.client import BatchV1Api
        from kubernetes_asyncio.client.exceptions import ApiException

        body = {"propagationPolicy": "Foreground", "preconditions": {"uid": self.uid}}
        self.log.info("The task was ended by a person; deleting Job %s.", self.name)
        async with cluster_client(self.kubernetes_conn_id) as client:
            jobs: Any = BatchV1Api(client)
            try:
                await jobs.delete_namespaced_job(self.name, self.namespace, body=body)
            except ApiException as error:
                if error.status not in (404, 409):
                    raise explain(
                        error.status, status_message(error.body), "delete", "jobs", self.namespace
                    ) from error


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
        from kubernetes_asyncio.client import BatchV1Api

        changed = asyncio.Event()
        selector = (
            {"field_selector": f"metadata.name={self.name}"}
            if self.name
            else {"label_selector": ",".join(f"{key}={value}" for key, value in self.labels.items())}
        )
        try:
            async with cluster_client(self.kubernetes_conn_id) as client:
                list_jobs = BatchV1Api(client).list_namespaced_job
                stream = ObjectStream(list_jobs, "jobs", self.namespace, changed.set, 600.0, **selector)
                follower = asyncio.ensure_future(stream.follow())
                try:
                    job = await self._ended(stream, changed, follower)
                finally:
                    follower.cancel()
                    await asyncio.gather(follower, return_exceptions=True)
            yield TriggerEvent(
                {"version": EVENT_VERSION, "job": job["metadata"]["name"], "uid": job["metadata"]["uid"]}
            )
        except FeastError as error:
            yield error_event(error, self.name)

    async def _ended(
        self, stream: ObjectStream, changed: asyncio.Event, follower: asyncio.Future[Any]
    ) -> dict[str, Any]:
        while True:
            changed.clear()
            jobs = [
                job
                for job in stream.objects.values()
                if job["metadata"]["creationTimestamp"] >= self.created_after
            ]
            newest = max(jobs, key=lambda job: str(job["metadata"]["creationTimestamp"]), default=None)
            if newest is not None and (condition(newest, "Complete") or condition(newest, "Failed")):
                return newest
            waiter: asyncio.Future[Any] = asyncio.ensure_future(changed.wait())
            await asyncio.wait([waiter, follower], return_when=asyncio.FIRST_COMPLETED)
            waiter.cancel()
            if follower.done():
                follower.result()
