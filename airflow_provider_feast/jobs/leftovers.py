"""What is left behind in a namespace, why, and its deletion. What to delete is decided without cluster and clock."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, NamedTuple

from airflow_provider_feast.jobs.async_api import AsyncApi
from airflow_provider_feast.jobs.inventory import OURS, Inventory, JobEntry, list_all, moment_of
from airflow_provider_feast.jobs.lock import RegistryLock
from airflow_provider_feast.jobs.pod_view import at, objects, text
from airflow_provider_feast.jobs.stream import Streams
from airflow_provider_feast.jobs.submit import ended
from airflow_provider_feast.model.lock import Holder, LockRequest


class TaskState(StrEnum):
    """What Airflow knows of the task of a Job."""

    ACTIVE = "active"
    ENDED = "ended"
    ABSENT = "absent"
    UNKNOWN = "unknown"


class TaskFact(NamedTuple):
    """What Airflow knows of the task of a Job.

    :param words: the same for people, e.g. ``its task has ended as failed``.
    :param since: when the task ended, if it has.
    """

    state: TaskState
    words: str = ""
    since: datetime | None = None


class Leftover(NamedTuple):
    """Something that nobody needs any more.

    :param kind: ``Job``, ``ConfigMap``, or ``lock`` for one holder of a Lease.
    :param uid: of the object; of the holding Job for a lock.
    :param why: why it is left behind.
    :param version: a Job's ``resourceVersion``: one that was resumed meanwhile is spared.
    :param holder: for a lock: who held it.
    """

    kind: str
    namespace: str
    name: str
    uid: str
    why: str
    version: str = ""
    holder: Holder | None = None

    def __str__(self) -> str:
        what = f"{self.kind} {self.name} in namespace {self.namespace}"
        return f"{what}, held by Job {self.holder.job}" if self.holder else what


class Limits(NamedTuple):
    """From when on something counts as left behind.

    :param now: the time.
    :param age: what is younger is left alone, and so is the Job of a task that ended later.
    :param lock_wait: how long a Job may wait for its lock: a suspended Job whose task is unknown may just do that.
    """

    now: datetime
    age: timedelta
    lock_wait: timedelta


def leftovers(
    inventory: Inventory, limits: Limits, fact_of: Callable[[JobEntry], TaskFact], runner: str
) -> list[Leftover]:
    """What is left behind.

    :param fact_of: asks Airflow for the task of a Job.
    :param runner: the name of the ConfigMap that this release uses.
    """
    found = [
        _of_job(inventory.namespace, job, why)
        for job in inventory.jobs
        if not job.ended
        and not job.metadata.get("deletionTimestamp")
        and limits.now - job.created >= limits.age
        and (why := _reason(job, limits, fact_of(job)))
    ]
    used = _used_config_maps(job.raw for job in inventory.jobs)
    for config_map in inventory.runners:
        metadata = config_map["metadata"]
        if metadata["name"] in used | {runner} or limits.now - moment_of(config_map) < limits.age:
            continue
        why = "the runner of another release, and no Job that has not ended uses it"
        found.append(Leftover("ConfigMap", inventory.namespace, metadata["name"], metadata["uid"], why))
    for lock in inventory.locks:
        for holder, alive in lock.holders:
            if alive is False:
                why = "that Job has ended or is gone, and so are its pods"
                found.append(Leftover("lock", lock.namespace, lock.name, holder.uid, why, holder=holder))
    return found


def _of_job(namespace: str, job: JobEntry, why: str) -> Leftover:
    version = text(job.metadata.get("resourceVersion"))
    return Leftover("Job", namespace, job.name, job.uid, why, version)


def _reason(job: JobEntry, limits: Limits, fact: TaskFact) -> str:
    """Why a Job that has not ended is left behind, or ""."""
    if fact.state is TaskState.ACTIVE or (fact.since is not None and limits.now - fact.since < limits.age):
        return ""
    state = f"it is suspended since {job.created:%Y-%m-%d %H:%M} UTC and never started"
    if fact.state in (TaskState.ENDED, TaskState.ABSENT):
        return f"{state if job.never_started else 'it has not ended'}, and {fact.words}"
    if job.never_started and limits.now - job.created >= max(limits.age, limits.lock_wait):
        return f"{state}, longer than any Job waits for a lock ({fact.words})"
    return ""


def _used_config_maps(jobs: Iterable[dict[str, Any]]) -> set[str]:
    """The ConfigMaps that Jobs which have not ended mount."""
    return {
        text(at(volume, "configMap", "name"))
        for job in jobs
        if not ended(job)
        for volume in objects(at(job, "spec", "template", "spec", "volumes"))
    }


async def remove(streams: Streams, leftover: Leftover) -> str:
    """Delete one leftover, if it is still what it was.

    :returns: what became of it, in a word or two.
    :raises FeastError: when Kubernetes refuses.
    """
    if leftover.kind == "lock":
        return await _release(streams, leftover)
    if leftover.kind == "Job":
        gone = await streams.api.delete_job(
            leftover.namespace, leftover.name, leftover.uid, leftover.version or None
        )
        return "deleted" if gone else "left alone: it has changed meanwhile"
    return await _remove_runner(streams.api, leftover)


async def _release(streams: Streams, leftover: Leftover) -> str:
    holder = leftover.holder or Holder(leftover.uid, "", "")
    request = LockRequest(leftover.name, leftover.namespace, holder.views)
    await RegistryLock(streams, request, holder, lambda *_: None).release()
    return "released"


async def _remove_runner(api: AsyncApi, leftover: Leftover) -> str:
    """Delete a runner's ConfigMap; should a Job have come to need it just now, make it again."""
    namespace, name = leftover.namespace, leftover.name
    call = ("core", "read_namespaced_config_map", name, namespace)
    there = await api.ask("get", "configmaps", namespace, *call, expected=(404,))
    if there is None:
        return "gone already"
    body = {"preconditions": {"uid": leftover.uid}}
    call = ("core", "delete_namespaced_config_map", name, namespace)
    if await api.ask("delete", "configmaps", namespace, *call, body=body, expected=(404, 409)) is None:
        return "left alone: it has changed meanwhile"
    if name not in _used_config_maps(await list_all(api, "jobs", namespace, OURS)):
        return "deleted"
    kept = ("name", "labels", "annotations")
    metadata = {key: value for key, value in there["metadata"].items() if key in kept}
    again = {**there, "metadata": metadata}
    await api.ask(
        "create",
        "configmaps",
        namespace,
        "core",
        "create_namespaced_config_map",
        namespace,
        again,
        expected=(409,),
    )
    return "kept: a new Job uses it"
