"""What counts as left behind, and what becomes of it when it is deleted."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_feast.cli.airflow_tasks import AirflowTasks
from airflow_provider_feast.jobs import leftovers as module
from airflow_provider_feast.jobs.inventory import HolderEntry, Inventory, JobEntry, LockEntry, take_inventory
from airflow_provider_feast.jobs.leftovers import Leftover, Limits, TaskFact, TaskState, leftovers, remove
from airflow_provider_feast.model import naming
from airflow_provider_feast.model.errors import ForbiddenError
from airflow_provider_feast.model.lock import A_HOLDERS, Holder, write_holders
from airflow_provider_feast.model.naming import TaskKey
from airflow_provider_feast.model.outcome import JobState, Outcome

NOW = datetime(2026, 1, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
LIMITS = Limits(NOW, HOUR, 6 * HOUR)
KEY = TaskKey("", "features", "load", "manual__1")
RUNNER = "feast-runner-of-this-release"


def job(hours: float, *, suspend: bool = False, done: bool = False, **metadata: Any) -> JobEntry:
    """A Job that was created so many hours ago."""
    created = (NOW - hours * HOUR).strftime("%Y-%m-%dT%H:%M:%SZ")
    about = {"name": "load", "uid": "u1", "resourceVersion": "7", "creationTimestamp": created}
    status = {} if suspend else {"startTime": created}
    if done:
        status["conditions"] = [{"type": "Complete", "status": "True"}]  # type: ignore[assignment]
    volumes = [{"name": "feast-runner", "configMap": {"name": "feast-runner-used"}}]
    spec = {"suspend": suspend, "template": {"spec": {"volumes": volumes}}}
    return JobEntry(
        {"metadata": {**about, **metadata}, "spec": spec, "status": status}, Outcome(JobState.RUNNING)
    )


def found(*jobs: JobEntry, fact: TaskFact, limits: Limits = LIMITS, **more: Any) -> list[Leftover]:
    inventory = Inventory("ns", jobs, more.get("locks", ()), more.get("runners", ()))
    return leftovers(inventory, limits, lambda _: fact, RUNNER)


ACTIVE = TaskFact(TaskState.ACTIVE, "its task features.load is running")
FAILED = TaskFact(TaskState.ENDED, "its task features.load has ended as failed", NOW - 2 * HOUR)
JUST_NOW = TaskFact(TaskState.ENDED, "its task features.load has ended as failed", NOW - HOUR / 2)
ABSENT = TaskFact(TaskState.ABSENT, "there is no DAG run manual__1 in Airflow any more")
UNKNOWN = TaskFact(TaskState.UNKNOWN, "it does not say which task it belongs to")


@pytest.mark.parametrize(
    ("hours", "suspend", "fact", "why"),
    [
        (5, False, ACTIVE, ""),
        (100, True, ACTIVE, ""),
        (5, False, FAILED, "it has not ended, and its task features.load has ended as failed"),
        (5, False, JUST_NOW, ""),
        (0.5, False, FAILED, ""),
        (5, False, ABSENT, "it has not ended, and there is no DAG run manual__1 in Airflow any more"),
        (5, True, FAILED, "it is suspended since 2026-01-01 19:00 UTC and never started, and its task"),
        (5, False, UNKNOWN, ""),
        (100, False, UNKNOWN, ""),
        (5, True, UNKNOWN, ""),
        (7, True, UNKNOWN, "longer than any Job waits for a lock (it does not say which task it belongs to)"),
    ],
)
def test_a_job_is_left_behind_when_nobody_can_be_waiting_for_it(
    hours: float, suspend: bool, fact: TaskFact, why: str
) -> None:
    left = found(job(hours, suspend=suspend), fact=fact)
    assert [why in leftover.why for leftover in left] == ([True] if why else [])


@pytest.mark.parametrize("fact", [FAILED, ABSENT, UNKNOWN])
def test_a_job_that_has_ended_or_is_being_deleted_is_nobodys_business(fact: TaskFact) -> None:
    assert found(job(100, done=True), fact=fact) == []
    assert found(job(100, suspend=True, deletionTimestamp="2026-01-01T00:00:00Z"), fact=fact) == []


def config_map(name: str, hours: float) -> dict[str, Any]:
    created = (NOW - hours * HOUR).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"metadata": {"name": name, "uid": name, "creationTimestamp": created}}


def test_a_runner_is_left_behind_when_it_is_old_of_another_release_and_not_used() -> None:
    names = {"feast-runner-used": 9, "feast-runner-old": 9, "feast-runner-young": 0.5, RUNNER: 9}
    runners = tuple(config_map(name, hours) for name, hours in names.items())
    assert [left.name for left in found(job(2), fact=ACTIVE, runners=runners)] == ["feast-runner-old"]
    ended = found(job(2, done=True), fact=ACTIVE, runners=runners)
    assert [left.name for left in ended] == ["feast-runner-used", "feast-runner-old"]


def test_only_holders_that_are_surely_dead_lose_the_lock() -> None:
    holders = {"dead": False, "alive": True, "unknown": None}
    entries = tuple(HolderEntry(Holder(name, name, "ns"), alive) for name, alive in holders.items())
    locks = (LockEntry("ns", "feast-x", entries), LockEntry("ns", "feast-y", (), "cannot be read"))
    (left,) = found(fact=ACTIVE, locks=locks)
    assert str(left) == "lock feast-x in namespace ns, held by Job dead"


# --- what Airflow knows --------------------------------------------------------------------------


def entry(key: TaskKey | None) -> JobEntry:
    annotations = {naming.A_INSTANCE: json.dumps(key._asdict())} if key else {}
    labels = {naming.L_KEY: key.digest} if key else {}
    return job(5, annotations=annotations, labels=labels)


def fact_of(
    monkeypatch: pytest.MonkeyPatch, row: Any, run: bool, *, deployment: str = "", sole: bool = False
) -> TaskFact:
    tasks = AirflowTasks(deployment, sole=sole)
    monkeypatch.setattr(tasks, "_look_up", lambda key: (row, run))
    return tasks.fact(entry(KEY._replace(deployment=deployment)))


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        *((state, TaskState.ACTIVE) for state in ("running", "deferred", "up_for_retry", "queued", "None")),
        *(
            (state, TaskState.ENDED)
            for state in ("success", "failed", "skipped", "removed", "upstream_failed")
        ),
    ],
)
def test_a_task_is_over_when_its_state_says_so(
    monkeypatch: pytest.MonkeyPatch, state: str, expected: TaskState
) -> None:
    row = SimpleNamespace(state=None if state == "None" else state, end_date=NOW)
    assert fact_of(monkeypatch, row, True).state is expected


def test_a_run_that_is_not_here_may_be_another_airflows_unless_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert fact_of(monkeypatch, None, False).state is TaskState.UNKNOWN
    assert fact_of(monkeypatch, None, False, sole=True).state is TaskState.ABSENT
    assert fact_of(monkeypatch, None, False, deployment="prod").state is TaskState.ABSENT


def test_jobs_of_another_airflow_and_of_an_older_release_are_left_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tasks = AirflowTasks("prod", sole=True)
    monkeypatch.setattr(tasks, "_look_up", lambda key: pytest.fail("must not be asked for"))
    assert tasks.fact(entry(KEY)).state is TaskState.UNKNOWN
    assert tasks.fact(entry(None)).state is TaskState.UNKNOWN
    assert tasks.notes(()) == ["Job load is left alone: it does not say which task it belongs to."]
    assert tasks.notes({"u1"}) == []


def test_an_annotation_that_its_label_does_not_vouch_for_is_not_believed() -> None:
    forged = entry(KEY).raw["metadata"] | {"labels": {naming.L_KEY: "0" * 40}}
    assert naming.read_instance(forged) is None
    assert naming.read_instance({"annotations": {naming.A_INSTANCE: "{"}}) is None
    assert naming.read_instance({}) is None


def test_a_database_that_is_away_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tasks = AirflowTasks("", sole=True)

    def away(key: TaskKey) -> Any:
        raise OSError("no route to host")

    monkeypatch.setattr(tasks, "_look_up", away)
    assert [tasks.fact(entry(KEY)).state for _ in range(2)] == [TaskState.UNKNOWN] * 2
    (note,) = tasks.notes(())
    assert "no route to host" in note


# --- deleting ------------------------------------------------------------------------------------


class Cluster:
    """An `AsyncApi` that answers what a test says, and remembers what it was asked."""

    def __init__(self, **answers: Any) -> None:
        self.answers, self.asked = answers, []  # type: ignore[var-annotated]

    async def ask(self, verb: str, resource: str, namespace: str, *call: Any, **more: Any) -> Any:
        self.asked.append((verb, resource, more.get("body") or call[-1]))
        answer = self.answers.get(f"{verb}_{resource}", {"items": []})
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def delete_job(self, *arguments: Any) -> bool:
        self.asked.append(("delete", "jobs", arguments))
        return bool(self.answers["delete_jobs"])

    async def read_job(self, namespace: str, name: str) -> Any:
        return self.answers.get("get_jobs")

    async def list_pods(self, namespace: str, uid: str) -> list[Any]:
        answer = self.answers.get("list_pods", {"items": []})
        if isinstance(answer, Exception):
            raise answer
        return list(answer["items"])


def removed(leftover: Leftover, cluster: Cluster) -> str:
    return asyncio.run(remove(SimpleNamespace(api=cluster), leftover))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("there", "says"), [(True, "deleted"), (False, "left alone: it has changed meanwhile")]
)
def test_a_job_is_deleted_only_as_it_was_seen(there: bool, says: str) -> None:
    cluster = Cluster(delete_jobs=there)
    assert removed(Leftover("Job", "ns", "load", "u1", "why", "7"), cluster) == says
    assert cluster.asked == [("delete", "jobs", ("ns", "load", "u1", "7"))]


OLD = Leftover("ConfigMap", "ns", "feast-runner-used", "c1", "why")
THERE = {"metadata": {"name": "feast-runner-used", "uid": "c1", "resourceVersion": "3"}, "data": {"x": "y"}}


def test_a_runner_is_deleted_by_its_uid() -> None:
    cluster = Cluster(get_configmaps=THERE)
    assert removed(OLD, cluster) == "deleted"
    assert ("delete", "configmaps", {"preconditions": {"uid": "c1"}}) in cluster.asked
    assert removed(OLD, Cluster(get_configmaps=None)) == "gone already"
    changed = Cluster(get_configmaps=THERE, delete_configmaps=None)
    assert removed(OLD, changed) == "left alone: it has changed meanwhile"


def test_a_runner_that_a_new_job_came_to_need_is_made_again() -> None:
    cluster = Cluster(get_configmaps=THERE, list_jobs={"items": [job(0).raw]})
    assert removed(OLD, cluster) == "kept: a new Job uses it"
    verb, resource, body = cluster.asked[-1]
    assert (verb, resource) == ("create", "configmaps")
    assert (body["metadata"], body["data"]) == ({"name": "feast-runner-used"}, {"x": "y"})


def test_giving_back_a_lock_names_the_dead_job_only(monkeypatch: pytest.MonkeyPatch) -> None:
    released: list[Any] = []

    class Lock:
        def __init__(self, streams: Any, request: Any, holder: Holder, say: Any) -> None:
            released.append((request.namespace, request.name, holder.uid))

        async def release(self) -> None:
            released.append("released")

    monkeypatch.setattr(module, "RegistryLock", Lock)
    dead = Leftover("lock", "ns", "feast-x", "u9", "why", holder=Holder("u9", "dead", "ns"))
    assert removed(dead, Cluster()) == "released"
    assert released == [("ns", "feast-x", "u9"), "released"]


# --- the inventory -------------------------------------------------------------------------------


def lease(**holders: str) -> dict[str, Any]:
    """A Lease that Jobs hold, by uid and namespace."""
    known = {uid: Holder(uid, f"job-{uid}", namespace) for uid, namespace in holders.items()}
    metadata = {"name": "feast-x", "namespace": "locks", "annotations": {A_HOLDERS: write_holders(known)}}
    return {"metadata": metadata}


def inventory(cluster: Cluster) -> Inventory:
    return asyncio.run(take_inventory(cluster, "ns", "locks"))  # type: ignore[arg-type]


def alive(cluster: Cluster) -> dict[str, bool | None]:
    return {e.holder.uid: e.alive for lock in inventory(cluster).locks for e in lock.holders}


def test_a_holder_lives_while_its_job_has_not_ended_or_a_pod_of_it_goes_on() -> None:
    running, gone = job(1).raw, {"items": []}
    held = {"items": [lease(u1="ns", u2="elsewhere")]}
    pods = {"items": [{"metadata": {}, "status": {"phase": "Running"}}]}
    ours = {"items": [running]}
    assert alive(Cluster(list_jobs=ours, list_leases=held, list_pods=gone)) == {"u1": True, "u2": False}
    assert alive(Cluster(list_jobs=ours, list_leases=held, list_pods=pods)) == {"u1": True, "u2": True}


def test_what_may_not_be_looked_at_is_told_and_does_not_count_as_dead() -> None:
    refused = ForbiddenError("Airflow may not list leases")
    found = inventory(Cluster(list_leases=refused, list_configmaps=refused))
    assert len(found.notes) == 2
    assert "may not list leases" in found.notes[0]


def test_a_lease_that_cannot_be_read_is_shown_with_its_trouble() -> None:
    broken = {"metadata": {"name": "feast-x", "namespace": "locks", "annotations": {A_HOLDERS: "{"}}}
    (lock,) = inventory(Cluster(list_leases={"items": [broken]})).locks
    assert "cannot be read" in lock.trouble
