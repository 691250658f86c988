"""The registry's lock and the shared watches over HTTP: who runs when, who takes over, what it costs in requests."""

import asyncio
import itertools
import json
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from airflow_helpers import wait_for
from job_bodies import job_body
from kubernetes import client, config

from airflow_provider_feast.jobs import lock as lock_module
from airflow_provider_feast.jobs.async_api import AsyncApi
from airflow_provider_feast.jobs.client import async_configuration
from airflow_provider_feast.jobs.lock import RegistryLock
from airflow_provider_feast.jobs.stream import Streams
from airflow_provider_feast.jobs.watch import JobWatch, Target, WatchOptions
from airflow_provider_feast.model.errors import RegistryLockedError
from airflow_provider_feast.model.lock import ALL, Holder, LockRequest, read_holders
from airflow_provider_feast.model.naming import L_MANAGED_BY, MANAGED_BY
from airflow_provider_feast.model.outcome import JobState
from airflow_provider_feast.sandbox import Sandbox

LABELS = {L_MANAGED_BY: MANAGED_BY}
QUICK = WatchOptions(startup_seconds=60, log_seconds=0, outage_seconds=20, lock_seconds=60)


class Registry:
    """A namespace with Jobs that write one registry."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox, self.namespace = sandbox, f"lock-{uuid.uuid4().hex[:8]}"
        self.client = config.new_client_from_config(str(sandbox.kubeconfig))
        self.batch = client.BatchV1Api(self.client)
        self.connected = 0
        self.told: list[str] = []
        client.CoreV1Api(self.client).create_namespace({"metadata": {"name": self.namespace}})

    def job(self, name: str, code: str = "pass", *, suspend: bool = True) -> Target:
        body = job_body(name, ["python3", "-c", code], LABELS, suspend=suspend)
        made = self.batch.create_namespaced_job(self.namespace, body)
        return Target(self.namespace, name, made.metadata.uid)

    def remove(self, name: str) -> None:
        """Delete a Job and return when it is gone."""
        self.batch.delete_namespaced_job(name, self.namespace, propagation_policy="Background")
        wait_for(lambda: not self._there(name), "the end of the Job")

    def _there(self, name: str) -> bool:
        jobs = self.batch.list_namespaced_job(self.namespace, field_selector=f"metadata.name={name}")
        return bool(jobs.items)

    def request(self, *views: str) -> LockRequest:
        return LockRequest("feast-demo", self.namespace, views or (ALL,))

    def holders(self) -> dict[str, Holder]:
        lease = client.CoordinationV1Api(self.client).read_namespaced_lease("feast-demo", self.namespace)
        return read_holders(self.client.sanitize_for_serialization(lease))

    def play(self, act: Callable[[Streams], Awaitable[Any]]) -> Any:
        """Run something as a triggerer does: one loop, one set of streams."""

        async def connect() -> Any:
            self.connected += 1
            return async_configuration(self.client.configuration)

        async def played() -> Any:
            streams = Streams(AsyncApi(connect, 20.0))
            try:
                return await act(streams)
            finally:
                await streams.close()

        return asyncio.run(played())

    def claim(self, streams: Streams, target: Target, *views: str) -> RegistryLock:
        holder = Holder(target.uid, target.name, target.namespace)
        return RegistryLock(streams, self.request(*views), holder, self.told.append)

    def watched(self) -> list[str]:
        """The resources of which a watch was opened and has ended."""
        records = map(json.loads, self.sandbox.audit_log.read_text().splitlines())
        ours = [record for record in records if record["namespace"] == self.namespace]
        return sorted(record["resource"].split(".")[0] for record in ours if record["verb"] == "watch")


@pytest.fixture
def registry() -> Iterator[Registry]:
    """A sandbox of the test's own: faults would disturb others."""
    with Sandbox(time_scale=0.05) as own:
        yield Registry(own)


def test_jobs_of_one_registry_run_one_after_the_other(registry: Registry) -> None:
    targets = [registry.job(f"writer-{n}", "import time; time.sleep(0.3)") for n in range(4)]

    async def act(streams: Streams) -> list[Any]:
        waits = [
            JobWatch(streams, t, lambda text, at="": None, QUICK, lock=registry.request(), shared=True)
            for t in targets
        ]
        return await asyncio.gather(*(wait.outcome() for wait in waits))

    outcomes = registry.play(act)
    assert [outcome.state for outcome in outcomes] == [JobState.SUCCEEDED] * 4
    pods = client.CoreV1Api(registry.client).list_namespaced_pod(registry.namespace).items
    states = [pod.status.container_statuses[0].state.terminated for pod in pods]
    spans = sorted((state.started_at, state.finished_at) for state in states)
    assert len(spans) == 4
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans)), spans
    assert registry.holders() == {}, "each gave the lock back"


def test_a_job_that_is_failed_before_its_pod_has_ended_keeps_the_lock_that_long(registry: Registry) -> None:
    """Until Kubernetes 1.31 the condition comes at once, and a pod may write on for its grace period."""
    first, second = registry.job("first", "import time; time.sleep(300)"), registry.job("second")
    core = client.CoreV1Api(registry.client)
    failed = {"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "too long"}

    def pods() -> list[Any]:
        return list(core.list_namespaced_pod(registry.namespace, label_selector="job-name=first").items)

    async def fail() -> None:
        while not any(pod.status.phase == "Running" for pod in await asyncio.to_thread(pods)):
            await asyncio.sleep(0.05)
        patch = {"status": {"conditions": [failed]}}
        registry.batch.patch_namespaced_job_status("first", registry.namespace, patch)

    async def act(streams: Streams) -> tuple[Any, list[Holder]]:
        wait = JobWatch(streams, first, lambda text, at="": None, QUICK, lock=registry.request(), shared=True)
        outcome, _ = await asyncio.gather(wait.outcome(), fail())
        return outcome, await registry.claim(streams, second).try_once()

    outcome, in_the_way = registry.play(act)
    assert outcome.problem.kind == "deadline_exceeded"
    assert [holder.uid for holder in in_the_way] == [first.uid]
    core.delete_namespaced_pod(pods()[0].metadata.name, registry.namespace, grace_period_seconds=0)
    wait_for(lambda: not pods(), "the end of the pod")
    assert registry.play(lambda streams: registry.claim(streams, second).try_once()) == []
    assert set(registry.holders()) == {second.uid}


def test_jobs_that_write_different_views_hold_the_lock_together(registry: Registry) -> None:
    targets = [registry.job(f"writer-{n}") for n in range(8)]

    async def act(streams: Streams) -> list[Any]:
        claims = [registry.claim(streams, t, f"view-{n}") for n, t in enumerate(targets)]
        return await asyncio.gather(*(claim.try_once() for claim in claims))

    assert registry.play(act) == [[]] * 8
    assert set(registry.holders()) == {target.uid for target in targets}


def test_of_many_that_ask_at_once_one_gets_the_lock(registry: Registry) -> None:
    targets = [registry.job(f"writer-{n}") for n in range(8)]

    async def act(streams: Streams) -> list[Any]:
        claims = [registry.claim(streams, target) for target in targets]
        return await asyncio.gather(*(claim.try_once() for claim in claims))

    got = [blockers for blockers in registry.play(act) if not blockers]
    assert len(got) == 1
    assert len(registry.holders()) == 1


def test_a_job_that_has_the_lock_keeps_it_for_its_next_try(registry: Registry) -> None:
    target = registry.job("writer")

    async def act(streams: Streams) -> Any:
        await registry.claim(streams, target).acquire(5)
        return await registry.claim(streams, target).try_once()

    assert registry.play(act) == []


def test_a_dead_holder_is_taken_over(registry: Registry) -> None:
    first, second = registry.job("first"), registry.job("second")

    async def act(streams: Streams) -> Any:
        await registry.claim(streams, first).acquire(5)
        assert [other.job for other in await registry.claim(streams, second).try_once()] == ["first"]
        await streams.api.delete_job(*first)
        await registry.claim(streams, second).acquire(30)
        return registry.holders()

    assert list(registry.play(act)) == [second.uid]


def test_who_waits_is_told_who_holds_the_lock_and_since_when(registry: Registry) -> None:
    drivers, customers, waiter = (registry.job(name) for name in ("drivers", "customers", "waiter"))

    async def said(holder: Holder, more: str = "") -> str:
        line = (
            f"Waiting for the lock feast-demo: Job {holder.job} in namespace {registry.namespace} has held "
            f"feature views {holder.job} since {holder.since}{more}."
        )
        async with asyncio.timeout(30):
            while line not in registry.told:
                await asyncio.sleep(0.02)
        return line

    async def act(streams: Streams) -> list[str]:
        for target in (drivers, customers):
            await registry.claim(streams, target, target.name).acquire(5)
        first, second = sorted(registry.holders().values(), key=lambda holder: (holder.since, holder.uid))
        waiting = asyncio.create_task(registry.claim(streams, waiter).acquire(60))
        lines = [await said(first, ", and 1 more are in the way")]
        await streams.api.delete_job(registry.namespace, first.job, first.uid)
        lines.append(await said(second))
        await streams.api.delete_job(registry.namespace, second.job, second.uid)
        await waiting
        return lines

    lines = registry.play(act)
    assert [line for line in registry.told if line.startswith("Waiting for the lock")] == lines
    assert registry.told[-1] == "The lock feast-demo is free now."


def test_a_job_left_behind_between_lock_and_start_blocks_nobody_for_ever(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = registry.job("first"), registry.job("second")
    monkeypatch.setattr(lock_module, "ABANDONED_SECONDS", 0.0)

    async def act(streams: Streams) -> Any:
        await registry.claim(streams, first).acquire(5)
        await registry.claim(streams, second).acquire(30)
        return await streams.api.read_job(registry.namespace, "first")

    assert registry.play(act) is None
    assert list(registry.holders()) == [second.uid]


def test_a_wait_that_is_too_long_names_the_holder(registry: Registry) -> None:
    first, second = registry.job("first"), registry.job("second")

    async def act(streams: Streams) -> Any:
        await registry.claim(streams, first).acquire(5)
        await registry.claim(streams, second).acquire(0.2)

    with pytest.raises(RegistryLockedError, match=r"Job first .* has held the whole registry"):
        registry.play(act)


def test_the_number_of_waiting_tasks_does_not_change_the_number_of_requests(registry: Registry) -> None:
    targets = [registry.job(f"waiter-{n}", "import time; time.sleep(0.5)") for n in range(20)]

    async def act(streams: Streams) -> list[Any]:
        waits = [JobWatch(streams, t, lambda text, at="": None, QUICK, shared=True) for t in targets]
        return await asyncio.gather(*(wait.outcome() for wait in waits))

    outcomes = registry.play(act)
    assert {outcome.state for outcome in outcomes} == {JobState.SUCCEEDED}
    registry.sandbox.cut_watches()  # a watch is in the audit log when it has ended
    wait_for(lambda: len(registry.watched()) >= 2, "the watches to end")
    assert registry.watched() == ["jobs", "pods"]


def test_credentials_that_are_no_longer_accepted_are_resolved_anew(registry: Registry) -> None:
    target = registry.job("writer")

    async def act(streams: Streams) -> Any:
        await streams.api.read_job(registry.namespace, "writer")
        registry.sandbox.fault("/jobs/writer$", code=401, times=1)
        return await streams.api.read_job(registry.namespace, "writer")

    assert registry.play(act)["metadata"]["uid"] == target.uid
    assert registry.connected == 2


def test_a_job_that_was_made_anew_under_the_same_name_is_not_resumed(registry: Registry) -> None:
    old = registry.job("writer")
    registry.remove("writer")
    new = registry.job("writer")

    async def act(streams: Streams) -> Any:
        return [await streams.api.resume_job(*target) for target in (old, new)]

    refused, resumed = registry.play(act)
    assert refused is None
    assert (resumed["metadata"]["uid"], resumed["spec"]["suspend"]) == (new.uid, False)


def test_a_job_that_changes_at_the_same_moment_is_resumed_all_the_same(registry: Registry) -> None:
    target = registry.job("writer")
    registry.sandbox.fault("/jobs/writer$", method="PATCH", code=409, times=2)

    async def act(streams: Streams) -> Any:
        return await streams.api.resume_job(*target)

    assert registry.play(act)["spec"]["suspend"] is False


def test_a_job_that_goes_away_while_it_waits_takes_no_lock_and_starts_no_later_job_of_its_name(
    registry: Registry,
) -> None:
    first, old = registry.job("first"), registry.job("writer")
    new: list[Target] = []

    def say(text: str, at: str = "") -> None:
        if text.startswith("Waiting for the lock"):
            registry.remove("writer")
            new.append(registry.job("writer"))

    async def act(streams: Streams) -> Any:
        await registry.claim(streams, first).acquire(5)
        wait = JobWatch(streams, old, say, QUICK, lock=registry.request(), shared=True)
        return await wait.outcome(), await streams.api.read_job(registry.namespace, "writer")

    outcome, later = registry.play(act)
    assert outcome.problem.kind == "job_deleted"
    assert (later["metadata"]["uid"], later["spec"]["suspend"]) == (new[0].uid, True)
    assert list(registry.holders()) == [first.uid]


def test_a_job_that_is_being_deleted_while_it_waits_is_not_started(registry: Registry) -> None:
    """It is still there, under its uid: a finalizer holds it."""
    first, leaving = registry.job("first"), registry.job("leaving")
    held: dict[str, Any] = {"metadata": {"finalizers": ["example.com/held"]}}
    registry.batch.patch_namespaced_job("leaving", registry.namespace, held)

    def say(text: str, at: str = "") -> None:
        if text.startswith("Waiting for the lock"):
            registry.batch.delete_namespaced_job("leaving", registry.namespace)

    async def act(streams: Streams) -> Any:
        await registry.claim(streams, first).acquire(5)
        await JobWatch(streams, leaving, say, QUICK, lock=registry.request(), shared=True).outcome(5)
        return await streams.api.read_job(registry.namespace, "leaving")

    job = registry.play(act)
    held["metadata"]["finalizers"] = None
    registry.batch.patch_namespaced_job("leaving", registry.namespace, held)
    assert job["metadata"]["deletionTimestamp"]
    assert job["spec"]["suspend"]
    assert list(registry.holders()) == [first.uid]
