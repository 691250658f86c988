"""Watches that many waits share, over HTTP: a network that loses them, a server that asks for a pause, what they cost."""

import asyncio
import json
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import pytest
from airflow_helpers import wait_for
from job_bodies import job_body
from kubernetes import client, config

from airflow_provider_feast.jobs import stream as stream_module
from airflow_provider_feast.jobs.api import ClusterApi
from airflow_provider_feast.jobs.async_api import AsyncApi
from airflow_provider_feast.jobs.client import async_configuration
from airflow_provider_feast.jobs.stream import Streams
from airflow_provider_feast.jobs.watch import JobWatch, Target, WatchOptions
from airflow_provider_feast.model.naming import L_MANAGED_BY, MANAGED_BY
from airflow_provider_feast.model.outcome import JobState
from airflow_provider_feast.sandbox import Sandbox
from airflow_provider_feast.triggers.feast import Clusters, FeastForeignJobTrigger

LABELS = {L_MANAGED_BY: MANAGED_BY}
OPTIONS = WatchOptions(startup_seconds=60, log_seconds=0, outage_seconds=20)
WAITS = 50


class Cluster:
    """A namespace of a sandbox of the test's own, and what was asked of it."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox, self.namespace = sandbox, f"shared-{uuid.uuid4().hex[:8]}"
        self.api = config.new_client_from_config(str(sandbox.kubeconfig))
        self.batch = client.BatchV1Api(self.api)
        client.CoreV1Api(self.api).create_namespace({"metadata": {"name": self.namespace}})

    def job(self, name: str, *, suspend: bool = False) -> Target:
        """A Job that ends at once when it runs."""
        body = job_body(name, ["true"], LABELS, suspend=suspend)
        made = self.batch.create_namespaced_job(self.namespace, body)
        return Target(self.namespace, name, made.metadata.uid)

    def end(self, name: str) -> None:
        """Give a Job its terminal condition, as the Job controller does."""
        conditions = [{"type": kind, "status": "True"} for kind in ("SuccessCriteriaMet", "Complete")]
        now = "2026-01-01T00:00:00Z"
        done = {"conditions": conditions, "startTime": now, "completionTime": now, "active": 0}
        self.batch.patch_namespaced_job_status(name, self.namespace, {"status": done})

    def requests(self, *verbs: str) -> list[dict[str, Any]]:
        """The requests in this namespace that have ended."""
        records = map(json.loads, self.sandbox.audit_log.read_text().splitlines())
        ours = [one for one in records if one.get("namespace") == self.namespace and "verb" in one]
        return [one for one in ours if one["verb"] in verbs]

    def watches(self) -> int:
        """How many watches are open."""
        return int(self.sandbox.control("info")["watches"])

    def streams(self) -> Streams:
        async def connect() -> Any:
            return async_configuration(self.api.configuration)

        return Streams(AsyncApi(connect, 20.0))


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with Sandbox(time_scale=0.05) as own:
        yield Cluster(own)


def waits(cluster: Cluster, streams: Streams, targets: list[Target]) -> list[asyncio.Task[Any]]:
    """Waits as those of one triggerer."""
    return [
        asyncio.create_task(
            JobWatch(streams, target, lambda text, at="": None, OPTIONS, shared=True).outcome(120)
        )
        for target in targets
    ]


def test_a_watch_that_falls_silent_is_listed_anew(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream_module, "SILENCE_SECONDS", 1.5)
    monkeypatch.setattr("airflow_provider_feast.jobs.watch.CATCH_UP_SECONDS", 60.0)

    async def act() -> Any:
        streams = cluster.streams()
        cluster.sandbox.delay_pods(600)
        [waiting] = waits(cluster, streams, [cluster.job("load")])
        try:
            await asyncio.to_thread(wait_for, lambda: cluster.watches() >= 2, "the watches")
            hushed = await asyncio.to_thread(cluster.sandbox.hush_watches)
            await asyncio.to_thread(cluster.end, "load")
            return hushed, await waiting
        finally:
            await streams.close()

    hushed, outcome = asyncio.run(act())
    assert hushed >= 2
    assert outcome.state is JobState.SUCCEEDED
    lists = [one["resource"] for one in cluster.requests("list")]
    assert lists.count("jobs.batch") >= 2, "what the silent watch kept to itself came with a new list"


def test_a_server_that_asks_for_a_pause_gets_it_from_triggerer_and_worker(cluster: Cluster) -> None:
    cluster.job("load", suspend=True)

    async def ask() -> Any:
        streams = cluster.streams()
        try:
            return await streams.api.read_job(cluster.namespace, "load")
        finally:
            await streams.close()

    def triggerer() -> Any:
        return asyncio.run(ask())

    def worker() -> Any:
        return ClusterApi(cluster.api, cluster.namespace).read_job("load")

    for reader in (triggerer, worker):
        before = len(cluster.requests("get"))
        cluster.sandbox.fault("/jobs/load$", method="GET", code=429, retry_after=2)
        assert reader() is not None
        refused, answered = cluster.requests("get")[before:]
        assert (refused["code"], answered["code"]) == (429, 200)
        times = [datetime.fromisoformat(one["time"]) for one in (refused, answered)]
        assert (times[1] - times[0]).total_seconds() >= 2


def test_fifty_waits_cost_no_more_requests_than_one_when_their_watches_are_cut(cluster: Cluster) -> None:
    cluster.sandbox.delay_pods(600)
    targets = [cluster.job(f"load-{number}") for number in range(WAITS)]
    cuts = 5

    async def act() -> Any:
        streams = cluster.streams()
        waiting = waits(cluster, streams, targets)
        try:
            for number in range(cuts):
                done = 2 * (number + 1)
                await asyncio.to_thread(wait_for, lambda: cluster.watches() >= 2, "the watches")
                await asyncio.to_thread(cluster.sandbox.cut_watches)
                await asyncio.to_thread(
                    wait_for, lambda done=done: len(cluster.requests("watch")) >= done, "their end"
                )
            with ThreadPoolExecutor(4) as pool:
                ends = [asyncio.wrap_future(pool.submit(cluster.end, target.name)) for target in targets]
                await asyncio.gather(*ends)
            return await asyncio.gather(*waiting)
        finally:
            await streams.close()

    outcomes = asyncio.run(act())
    assert {outcome.state for outcome in outcomes} == {JobState.SUCCEEDED}
    shared = [one for one in cluster.requests("list", "watch") if one["resource"] in ("jobs.batch", "pods")]
    own = WAITS  # each asks once for its pods before its verdict, for the watch of them may lag behind
    assert len(shared) - own <= 3 * (cuts + 1), "not so many for each wait"


def test_a_sensor_is_told_that_its_job_went_while_nobody_could_look(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.job("nightly", suspend=True)
    trigger = FeastForeignJobTrigger("kubernetes_default", cluster.namespace, "nightly")

    async def first_event(streams: Streams) -> Any:
        monkeypatch.setattr(Clusters, "streams", lambda *_: streams)
        return (await anext(aiter(trigger.run()))).payload

    def vanish() -> None:
        cluster.sandbox.fault(f"/namespaces/{cluster.namespace}/jobs$", method="GET", code=503, times=2)
        cluster.sandbox.cut_watches()
        cluster.batch.delete_namespaced_job("nightly", cluster.namespace, propagation_policy="Background")

    async def act() -> Any:
        streams = cluster.streams()
        waiting = asyncio.create_task(first_event(streams))
        try:
            await asyncio.to_thread(wait_for, lambda: cluster.watches() >= 1, "the watch")
            await asyncio.to_thread(vanish)
            return await asyncio.wait_for(waiting, 60)
        finally:
            await streams.close()

    event = asyncio.run(act())
    assert event["error"]["kind"] == "job_deleted"
    assert "nightly was deleted before its end was seen" in event["error"]["what"]
