"""Wait for one Job: watch it and its pods, pass on its log and its troubles, end with a verdict."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

import aiohttp
from kubernetes_asyncio.client import ApiClient, BatchV1Api, CoreV1Api
from kubernetes_asyncio.client.exceptions import ApiException

from airflow_provider_feast.jobs.api import explain, status_message
from airflow_provider_feast.jobs.diagnose import diagnose
from airflow_provider_feast.jobs.pod_logs import PodLogs
from airflow_provider_feast.jobs.stream import ObjectStream, read_body
from airflow_provider_feast.model.outcome import JobState, Outcome, Problem

EVENTS_SECONDS = 2.0
"""How often Events are listed while no pod of a Job is ready."""


class WatchOptions(NamedTuple):
    """How to wait; all times are seconds.

    :param startup_seconds: how long a Job may take until a container of its runs.
    :param log_seconds: how often running pods' logs are read; 0: only at the end.
    :param outage_seconds: how long the API server may be away.
    """

    startup_seconds: float = 600.0
    log_seconds: float = 1.0
    outage_seconds: float = 600.0


class JobWatch:
    """One wait for one Job.

    :param client: an asynchronous ``ApiClient``.
    :param namespace: the Job's namespace.
    :param name: the Job's name.
    :param uid: the Job's uid: a later Job of the same name is another one.
    :param say: takes a line for the task's log.
    :param positions: how far logs were read before, see :class:`~airflow_provider_feast.jobs.pod_logs.PodLogs`.
    """

    def __init__(
        self,
        client: ApiClient,
        namespace: str,
        name: str,
        uid: str,
        say: Callable[[str], None],
        options: WatchOptions,
        positions: dict[str, list[Any]] | None = None,
    ) -> None:
        self._core: Any = CoreV1Api(client)  # its answers are raw: _preload_content=False
        self._namespace, self._name, self._uid = namespace, name, uid
        self._say, self._options = say, options
        self._changed = asyncio.Event()
        outage = options.outage_seconds
        self._jobs = ObjectStream(
            BatchV1Api(client).list_namespaced_job,
            "jobs",
            namespace,
            self._changed.set,
            outage,
            field_selector=f"metadata.name={name}",
        )
        self._pods = ObjectStream(
            self._core.list_namespaced_pod,
            "pods",
            namespace,
            self._changed.set,
            outage,
            label_selector=f"batch.kubernetes.io/controller-uid={uid}",
        )
        self._events: list[dict[str, Any]] = []
        self._logs = PodLogs(self._core, namespace, say, positions)
        self._said: set[str] = set()

    async def outcome(self, timeout: float | None = None) -> Outcome | None:
        """Wait for the Job's end.

        :param timeout: seconds to wait at most, or ``None``.
        :returns: the final verdict, or ``None`` when the time is up.
        :raises FeastError: when Kubernetes refuses, or is away for too long.
        """
        followers = [asyncio.ensure_future(self._jobs.follow()), asyncio.ensure_future(self._pods.follow())]
        waiter = asyncio.ensure_future(self._wait())
        try:
            done, _ = await asyncio.wait(
                [waiter, *followers], timeout=timeout, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                error = task.exception()
                if error is not None and task is not waiter:
                    raise error
            verdict: Outcome | None = waiter.result() if waiter in done else None
            return verdict
        finally:
            for task in (waiter, *followers):
                task.cancel()
            await asyncio.gather(waiter, *followers, return_exceptions=True)

    async def _wait(self) -> Outcome:
        loop = asyncio.get_running_loop()
        starting_since, next_events, next_logs = loop.time(), loop.time(), loop.time()
        while True:
            self._changed.clear()
            verdict = self._verdict()
            if verdict.state not in (JobState.STARTING, JobState.SUSPENDED):
                starting_since = loop.time()
            if verdict.final:
                await self._logs.read_to_end(self._pods.everything)
                return verdict
            if stuck := self._stuck(verdict, loop.time() - starting_since):
                await self._logs.read_to_end(self._pods.everything)
                return stuck
            unready = _has_no_ready_pod(verdict)
            if unready and loop.time() >= next_events:
                await self._read_events()
                next_events = loop.time() + EVENTS_SECONDS
                continue
            if self._options.log_seconds and loop.time() >= next_logs:
                await self._logs.read(self._pods.everything)
                next_logs = loop.time() + self._options.log_seconds
            due = [next_logs] if self._options.log_seconds else []
            due += [next_events] if unready else []
            pause = max(0.05, min(due) - loop.time()) if due else 30.0
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), pause)

    def _verdict(self) -> Outcome:
        if not (self._jobs.listed and self._pods.listed):
            return Outcome(JobState.STARTING)
        job = self._jobs.objects.get(self._uid)
        gone = job is None
        return diagnose(
            job or self._jobs.deleted.get(self._uid) or {"metadata": {"name": self._name, "uid": self._uid}},
            self._pods.everything,
            self._events,
            deleted=gone,
        )

    def _stuck(self, verdict: Outcome, seconds: float) -> Outcome | None:
        """The verdict on a Job that will not start as it is; its trouble is told once as it comes up."""
        problem = verdict.problem
        if verdict.state is not JobState.STARTING:
            return None
        if problem is None:
            if seconds < self._options.startup_seconds:
                return None
            problem = Problem(
                "unschedulable",
                "no pod of the Job has started, and nothing says why",
                "run `kubectl describe` on it",
            )
        elif problem.cause not in self._said:
            self._said.add(problem.cause)
            self._say(f"The Job has not started yet: {problem.cause}")
        if problem.can_mend and seconds < self._options.startup_seconds:
            return None
        cause = problem.cause
        if problem.can_mend:
            cause += f" (waited {seconds:.0f} s, the start-up timeout)"
        return Outcome(JobState.FAILED, problem._replace(cause=cause), verdict.result, verdict.pod)

    async def _read_events(self) -> None:
        about = [
            ("Job", self._name),
            *(("Pod", pod["metadata"]["name"]) for pod in self._pods.objects.values()),
        ]
        found: list[dict[str, Any]] = []
        for kind, name in about:
            selector = f"involvedObject.kind={kind},involvedObject.name={name}"
            try:
                answer = await self._core.list_namespaced_event(
                    self._namespace,
                    field_selector=selector,
                    _preload_content=False,
                    _request_timeout=(10, 30),
                )
                found += json.loads(await read_body(answer)).get("items") or []
            except ApiException as error:
                if error.status == 403:
                    raise explain(
                        403, status_message(error.body), "list", "events", self._namespace
                    ) from error
            except (aiohttp.ClientError, TimeoutError, OSError):
                return
        self._events = found


def _has_no_ready_pod(verdict: Outcome) -> bool:
    """Whether Events may tell something: nothing has started yet, or a failed pod waits for its replacement."""
    between_tries = (
        verdict.state is JobState.RUNNING and verdict.problem is not None and verdict.problem.can_mend
    )
    return verdict.state is JobState.STARTING or between_tries
