"""One triggerer, several clusters and namespaces: each Job's own verdict, and one watch of Jobs and pods for each."""

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from airflow_helpers import wait_for
from job_bodies import job_body
from kubernetes import client, config

from airflow_provider_feast.model.naming import L_MANAGED_BY, MANAGED_BY
from airflow_provider_feast.sandbox import Sandbox
from airflow_provider_feast.triggers.feast import Clusters, FeastForeignJobTrigger, FeastJobTrigger

LABELS = {L_MANAGED_BY: MANAGED_BY}
OPTIONS = {"startup_seconds": 60, "log_seconds": 0, "outage_seconds": 20}


class Place:
    """A namespace of a cluster, and Airflow's connection to that cluster."""

    def __init__(self, sandbox: Sandbox, conn_id: str) -> None:
        self.sandbox, self.conn_id, self.namespace = sandbox, conn_id, f"several-{uuid.uuid4().hex[:8]}"
        self.api = config.new_client_from_config(str(sandbox.kubeconfig))
        client.CoreV1Api(self.api).create_namespace({"metadata": {"name": self.namespace}})

    def start(self, name: str, code: int, labels: dict[str, str]) -> Any:
        """A Job that ends with an exit code once it was resumed; its uid."""
        body = job_body(name, ["python3", "-c", f"raise SystemExit({code})"], labels, suspend=True)
        return client.BatchV1Api(self.api).create_namespaced_job(self.namespace, body).metadata.uid

    def trigger(self, name: str, code: int) -> FeastJobTrigger:
        """What waits for a new Job of ours; it resumes the Job, too."""
        return FeastJobTrigger(
            self.conn_id, self.namespace, name, self.start(name, code, LABELS), options=dict(OPTIONS)
        )

    def watches(self) -> Counter[str]:
        """How often each resource was watched in this namespace."""
        records = map(json.loads, self.sandbox.audit_log.read_text().splitlines())
        ours = [record for record in records if record["namespace"] == self.namespace]
        return Counter(record["resource"].split(".")[0] for record in ours if record["verb"] == "watch")


@pytest.fixture
def sandboxes() -> Iterator[list[Sandbox]]:
    """Two clusters of the test's own: their audit logs are counted."""
    with Sandbox(time_scale=0.05) as one, Sandbox(time_scale=0.05) as other:
        yield [one, other]


@pytest.fixture
def places(sandboxes: list[Sandbox], monkeypatch: pytest.MonkeyPatch) -> list[Place]:
    """Two namespaces of one cluster, and one of another."""
    for number, sandbox in enumerate(sandboxes):
        extra = {"kube_config_path": str(sandbox.kubeconfig)}
        connection = json.dumps({"conn_type": "kubernetes", "extra": extra})
        monkeypatch.setenv(f"AIRFLOW_CONN_CLUSTER_{number}", connection)
    one, other = sandboxes
    return [Place(one, "cluster_0"), Place(one, "cluster_0"), Place(other, "cluster_1")]


async def events(*triggers: Any) -> list[Any]:
    """What triggers of one triggerer say, side by side."""

    async def first(trigger: Any) -> Any:
        async for event in trigger.run():
            return event.payload
        return None

    try:
        return await asyncio.gather(*(first(trigger) for trigger in triggers))
    finally:
        for known in Clusters._loops.get(asyncio.get_running_loop(), {}).values():
            await known.close()


def test_jobs_of_one_name_in_several_places_keep_their_own_verdicts(places: list[Place]) -> None:
    triggers = [place.trigger("load", code) for place, code in zip(places, (0, 3, 4), strict=True)]
    extra = [places[0].trigger(f"more-{number}", 0) for number in range(3)]
    found = asyncio.run(events(*triggers, *extra))
    outcomes = [event["outcome"] for event in found]
    assert [outcome["state"] for outcome in outcomes] == ["succeeded", "failed", "failed", *["succeeded"] * 3]
    assert "exit code 3" in outcomes[1]["problem"]["cause"]
    assert "exit code 4" in outcomes[2]["problem"]["cause"]
    assert [event["uid"] for event in found] == [trigger.uid for trigger in (*triggers, *extra)]
    for place in places:
        place.sandbox.cut_watches()  # a watch is in the audit log when it has ended
        wait_for(lambda place=place: place.watches().total() >= 2, "the watches to end")
        assert place.watches() == {"jobs": 1, "pods": 1}, place.conn_id


def test_a_foreign_job_without_our_labels_is_seen_where_it_is(places: list[Place]) -> None:
    labels = {"feast.dev/name": "store"}
    uids = [place.start("nightly", 0, labels) for place in places]
    for place in places:
        client.BatchV1Api(place.api).patch_namespaced_job(
            "nightly", place.namespace, {"spec": {"suspend": False}}
        )
    by_labels = [FeastForeignJobTrigger(place.conn_id, place.namespace, labels=labels) for place in places]
    by_name = [FeastForeignJobTrigger(place.conn_id, place.namespace, "nightly") for place in places]
    found = asyncio.run(events(*by_labels, *by_name))
    assert [event["uid"] for event in found] == uids * 2
