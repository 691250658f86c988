"""Create a task's Job or adopt the one it already has: exactly one live Job per task, whoever died when."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple

from airflow_provider_feast.jobs.api import ClusterApi
from airflow_provider_feast.jobs.paths import RUNNER_KEY
from airflow_provider_feast.model import naming
from airflow_provider_feast.model.errors import (
    ApiUnavailableError,
    FeastClusterError,
    NameTakenError,
    SupersededError,
)
from airflow_provider_feast.model.naming import A_MANIFEST_DIGEST, A_PLAN, L_EPOCH, L_KEY
from airflow_provider_feast.runner.assemble import assembled

_ROUNDS = 6

GONE_SECONDS = 120.0
"""How long a deleted Job may take to be gone: its pods' grace period and some."""


class Fate(StrEnum):
    """What becomes of a Job that a task already has."""

    ADOPT = "adopt"
    DELETE = "delete"
    KEEP = "keep"
    REFUSE = "refuse"


class Decision(NamedTuple):
    """What to do with the Jobs that carry a task's key.

    :param adopt: the Job whose outcome is the task's, or ``None``: create one.
    :param delete: Jobs that must be gone first.
    :param newer: a live Job of a later state of this task: there is nothing to do for this try.
    """

    adopt: dict[str, Any] | None
    delete: list[dict[str, Any]]
    newer: dict[str, Any] | None = None


def condition(job: dict[str, Any], kind: str) -> bool:
    """Whether a Job's condition is met; its status is the text ``"True"``."""
    conditions = (job.get("status") or {}).get("conditions") or ()
    return any(entry.get("type") == kind and entry.get("status") == "True" for entry in conditions)


def ended(job: dict[str, Any]) -> bool:
    """Whether a Job has come to its end, one way or the other."""
    return condition(job, "Complete") or condition(job, "Failed")


def decide(
    jobs: Iterable[dict[str, Any]], epoch: str, digest_of: Callable[[str], str], plan: str = ""
) -> Decision:
    """Adopt, replace or create.

    Same epoch: a running Job is adopted if it does the same, else deleted; a succeeded one's outcome is
    ours, unless it was for another plan; a failed one stays as a record. An earlier epoch: deleted, for a person
    cleared the task. A later one: a worker that was frozen wakes up after a person cleared its task, or another Airflow
    has a task of the same name; its Job is not touched.

    :param jobs: every Job that carries the task's key.
    :param epoch: the task's epoch.
    :param digest_of: the manifest digest that a Job of that name would have now.
    :param plan: the digest of the plan that the task loads by now, or "".
    """
    delete: list[dict[str, Any]] = []
    ours: list[dict[str, Any]] = []
    newer: dict[str, Any] | None = None
    for job in sorted(jobs, key=lambda item: item["metadata"].get("creationTimestamp") or ""):
        fate = _fate(job, epoch, digest_of, plan)
        if fate is Fate.DELETE:
            delete.append(job)
        elif fate is Fate.ADOPT:
            ours.append(job)
        elif fate is Fate.REFUSE:
            newer = job
    if newer is not None:
        return Decision(None, [], newer)
    done = [job for job in ours if ended(job)]
    candidates = done or ours
    adopt = candidates[-1] if candidates else None
    return Decision(adopt, delete + [job for job in ours if job is not adopt and not ended(job)])


def _fate(job: dict[str, Any], epoch: str, digest_of: Callable[[str], str], plan: str) -> Fate:
    metadata = job["metadata"]
    annotations = metadata.get("annotations") or {}
    its_epoch = str((metadata.get("labels") or {}).get(L_EPOCH) or "")
    if naming.is_newer(its_epoch, epoch):
        return Fate.KEEP if ended(job) or metadata.get("deletionTimestamp") else Fate.REFUSE
    if its_epoch != epoch or metadata.get("deletionTimestamp"):
        return Fate.DELETE
    if condition(job, "Complete"):  # under another manifest, too; but what was loaded must be what is wanted
        return Fate.ADOPT if (annotations.get(A_PLAN) or "") == plan else Fate.KEEP
    if condition(job, "Failed"):
        return Fate.KEEP
    same = annotations.get(A_MANIFEST_DIGEST) == digest_of(metadata["name"])
    return Fate.ADOPT if same else Fate.DELETE


class Submission(NamedTuple):
    """What :func:`create_or_adopt` came to.

    :param job: the Job as the API returned it; a new one is suspended.
    :param adopted: whether it was there before.
    """

    job: dict[str, Any]
    adopted: bool


class Wanted(NamedTuple):
    """What a task wants of the cluster.

    :param key: the task.
    :param epoch: its epoch.
    :param name_of: the name of the epoch's n-th Job.
    :param build: the final manifest for a name.
    :param files: what a ConfigMap that the Job owns shall hold, by key; none when it is empty.
    :param prepare: called once before a Job is created; one that is taken over was prepared before.
    :param plan: the digest of the plan that is loaded, or "".
    """

    key: naming.TaskKey
    epoch: str
    name_of: Callable[[int], str]
    build: Callable[[str], dict[str, Any]]
    files: Mapping[str, str] = {}
    prepare: Callable[[], None] = lambda: None
    plan: str = ""


def create_or_adopt(
    cluster: ClusterApi,
    wanted: Wanted,
    *,
    say: Callable[[str], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Submission:
    """Make sure that a task has exactly one live Job, and that it has what it needs to run.

    A new Job is suspended; :class:`~airflow_provider_feast.jobs.watch.JobWatch` lets it run.

    :param say: takes a line for the task's log.
    :raises FeastError: when the cluster refuses.
    """
    built: dict[str, dict[str, Any]] = {}
    prepared = False

    def manifest(name: str) -> dict[str, Any]:
        if name not in built:
            built[name] = wanted.build(name)
        return built[name]

    def digest_of(name: str) -> str:
        digest: str = manifest(name)["metadata"]["annotations"][A_MANIFEST_DIGEST]
        return digest

    for _ in range(_ROUNDS):
        jobs = cluster.list_jobs(f"{L_KEY}={wanted.key.digest}")
        decision = decide(jobs, wanted.epoch, digest_of, wanted.plan)
        if decision.newer is not None:
            raise _superseded(cluster.namespace, decision.newer)
        for old in decision.delete:
            say(f"Deleting Job {old['metadata']['name']}: it belongs to an earlier state of this task.")
            delete_and_wait(cluster, old, sleep)
        if decision.adopt is not None:
            say(f"Job {decision.adopt['metadata']['name']} of this task exists already; taking it over.")
            if not ended(decision.adopt):
                ensure_runner(cluster)
            return Submission(_equip(cluster, decision.adopt, wanted), adopted=True)
        kept = {job["metadata"]["name"] for job in jobs} - {j["metadata"]["name"] for j in decision.delete}
        name = next(name for count in range(len(kept) + 1) if (name := wanted.name_of(count)) not in kept)
        if not prepared:
            wanted.prepare()
            ensure_runner(cluster)
            prepared = True
        job = cluster.create_job(manifest(name))
        if job is not None:
            return Submission(_equip(cluster, job, wanted), adopted=False)
        _check_ours(
            cluster, name, wanted
        )  # taken: by a request of ours whose answer was lost, or by somebody else
    raise ApiUnavailableError(
        f"{_ROUNDS} times a Job of this task appeared or vanished while one was to be made",
        where=f"namespace {cluster.namespace!r}",
        remedy="run the task again; if it happens again, find out who else creates or deletes its Jobs",
    )


def _superseded(namespace: str, job: dict[str, Any]) -> SupersededError:
    name = job["metadata"]["name"]
    return SupersededError(
        f"Job {name} belongs to a later state of this task, so this try is out of date",
        where=f"namespace {namespace!r}",
        remedy="nothing, if the task was cleared in the meantime; if two Airflows share this namespace, give each a "
        f"`deployment_id` in its connection; if neither is so, delete the Job (kubectl -n {namespace} delete job {name})",
    )


def _check_ours(cluster: ClusterApi, name: str, wanted: Wanted) -> None:
    """See that what took our name carries our key; it is found by its labels then.

    :raises NameTakenError: when it is somebody else's.
    """
    there = cluster.read_job(name)
    if there is not None and (there["metadata"].get("labels") or {}).get(L_KEY) != wanted.key.digest:
        raise NameTakenError(
            f"a Job named {name} exists that this task did not create",
            where=f"namespace {cluster.namespace!r}",
            remedy=f"look at it (kubectl -n {cluster.namespace} describe job {name}); delete it if it is not needed",
        )


def _equip(cluster: ClusterApi, job: dict[str, Any], wanted: Wanted) -> dict[str, Any]:
    """Give a Job that has not run yet the ConfigMap it needs."""
    if job["spec"].get("suspend") and not ended(job) and wanted.files:
        _own_config_map(cluster, job, wanted.files)
    return job


def _own_config_map(cluster: ClusterApi, job: dict[str, Any], files: Mapping[str, str]) -> None:
    metadata = job["metadata"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"]}
    labels = {key: value for key, value in metadata["labels"].items() if key in naming.OUR_LABELS}
    digest = (metadata.get("annotations") or {}).get(naming.A_CONFIG_DIGEST, "")
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": metadata["name"],
            "labels": labels,
            "annotations": {naming.A_CONFIG_DIGEST: digest},
            "ownerReferences": [owner],
        },
        "immutable": True,
        "data": dict(files),
    }
    if cluster.create_config_map(body) is not None:
        return
    there = cluster.read_config_map(metadata["name"]) or {}
    owners = {ref.get("uid") for ref in (there.get("metadata") or {}).get("ownerReferences") or ()}
    if metadata["uid"] not in owners or there.get("data") != body["data"]:
        raise NameTakenError(
            f"a ConfigMap named {metadata['name']} exists that does not belong to this task's Job",
            where=f"namespace {cluster.namespace!r}",
            remedy="delete it if nobody needs it, then run the task again",
        )


def delete_and_wait(
    cluster: ClusterApi, job: dict[str, Any], sleep: Callable[[float], None] = time.sleep
) -> None:
    """Delete a Job with its pods and return when it is gone.

    :raises FeastClusterError: when it is still there after :data:`GONE_SECONDS`.
    """
    name = job["metadata"]["name"]
    cluster.delete_job(name, job["metadata"]["uid"])
    if not gone_in_time(cluster, job, sleep):
        raise FeastClusterError(
            f"Job {name} was deleted {GONE_SECONDS:.0f} s ago and is still there",
            where=f"namespace {cluster.namespace!r}",
            remedy=f"see what holds it (finalizers, stuck pods): kubectl -n {cluster.namespace} describe job {name}",
        )


def gone_in_time(
    cluster: ClusterApi,
    job: dict[str, Any],
    sleep: Callable[[float], None],
    enough: Callable[[dict[str, Any]], bool] = lambda there: False,
) -> bool:
    """Wait until a Job is gone, for :data:`GONE_SECONDS` at most.

    :param enough: says of the Job as it is whether there is nothing more to wait for.
    :returns: whether it came to that.
    """
    name, uid = job["metadata"]["name"], job["metadata"]["uid"]
    waited, pause = 0.0, 0.1
    while waited < GONE_SECONDS:
        there = cluster.read_job(name)
        if there is None or there["metadata"]["uid"] != uid or enough(there):
            return True
        sleep(pause)
        waited, pause = waited + pause, min(pause * 1.5, 2.0)
    return False


@cache
def runner_source() -> str:
    """The text of the runner, all of its modules in one file."""
    return assembled()


@cache
def runner_config_map_name() -> str:
    """The name of the runner's ConfigMap: named after its content, shared by all Jobs."""
    return f"feast-runner-{hashlib.sha256(runner_source().encode()).hexdigest()[:16]}"


def ensure_runner(cluster: ClusterApi) -> str:
    """Make sure that the runner's ConfigMap exists and holds what its name says.

    :returns: its name.
    :raises FeastClusterError: when one of that name holds something else.
    """
    name = runner_config_map_name()
    there = cluster.read_config_map(name)
    if there is None:
        body = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": name,
                "labels": {
                    naming.L_NAME: "feast",
                    naming.L_COMPONENT: "runner",
                    naming.L_MANAGED_BY: naming.MANAGED_BY,
                },
            },
            "immutable": True,
            "data": {RUNNER_KEY: runner_source()},
        }
        there = cluster.create_config_map(body) or cluster.read_config_map(name) or {}
    if (there.get("data") or {}).get(RUNNER_KEY) != runner_source():
        raise FeastClusterError(
            f"ConfigMap {name} does not hold the runner that it is named after: somebody changed it",
            where=f"namespace {cluster.namespace!r}",
            remedy=f"delete it (kubectl -n {cluster.namespace} delete configmap {name}); the next run makes a new one",
        )
    return name
