"""End a Job that has done some chunks of a plan, and keep it: the next Job of the plan goes on from its record.

A deleted Job takes with it what Kubernetes knows of its completed indexes. A deadline of one second ends a Job within
its pod's grace period, and leaves ``status.completedIndexes``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from airflow_provider_feast.jobs.api import ClusterApi
from airflow_provider_feast.jobs.pod_view import PodView, at
from airflow_provider_feast.jobs.submit import GONE_SECONDS, delete_and_wait, ended, gone_in_time
from airflow_provider_feast.model.errors import FeastClusterError
from airflow_provider_feast.model.naming import A_CHUNKS, A_STOPPED


def is_record(job: dict[str, Any]) -> bool:
    """Whether a Job that goes on has a record of chunks that is worth keeping; one that is suspended has not run."""
    chunked = A_CHUNKS in (job["metadata"].get("annotations") or {})
    indexed = at(job, "spec", "completionMode") == "Indexed"
    return chunked and indexed and not ended(job) and not at(job, "spec", "suspend")


def stop_patch(job: dict[str, Any], why: str) -> dict[str, Any]:
    """What ends this very Job (no later one of its name), and says why."""
    metadata = {"uid": job["metadata"]["uid"], "annotations": {A_STOPPED: why}}
    return {"metadata": metadata, "spec": {"activeDeadlineSeconds": 1}}


def stop_and_wait(
    cluster: ClusterApi, job: dict[str, Any], why: str, sleep: Callable[[float], None] = time.sleep
) -> None:
    """End a Job and return when its pods have ended, or when it is gone.

    :param why: for people who look at the Job.
    :raises FeastClusterError: when it still runs after :data:`~airflow_provider_feast.jobs.submit.GONE_SECONDS`.
    """
    name, uid = job["metadata"]["name"], job["metadata"]["uid"]

    def over(there: dict[str, Any]) -> bool:  # until Kubernetes 1.31 a Job is Failed while its pods still end
        return ended(there) and all(PodView(pod).over for pod in cluster.list_pods(uid))

    cluster.patch_job(name, stop_patch(job, why))
    if not gone_in_time(cluster, job, sleep, over):
        raise FeastClusterError(
            f"Job {name} was stopped {GONE_SECONDS:.0f} s ago and still runs",
            where=f"namespace {cluster.namespace!r}",
            remedy=f"see what holds its pods: kubectl -n {cluster.namespace} describe job {name}",
        )


def end_and_wait(cluster: ClusterApi, job: dict[str, Any], why: str) -> None:
    """End a Job: stop it where it is a record of chunks, else delete it.

    :param why: see :func:`stop_and_wait`.
    :raises FeastError: when it could not be ended.
    """
    if is_record(job):
        stop_and_wait(cluster, job, why)
    else:
        delete_and_wait(cluster, job)
