"""What P2, P3 and P4 share: our trigger and the peer's on the same sandbox, and how a size is set."""

from __future__ import annotations

import os
from collections.abc import Iterable

from benchmarks.triggerer import Spec
from benchmarks.waiting_jobs import NAMESPACE, WaitingJob

PEER_POLL_SECONDS = 10.0
"""KubernetesJobTrigger's own default."""


LIVE_LOG_SECONDS = 5.0
"""How often our trigger reads a running pod's log unless ``log_interval=`` says otherwise."""


def ours(jobs: Iterable[WaitingJob], log_seconds: float = 0.0) -> list[Spec]:
    """Our triggers of Jobs.

    :param log_seconds: how often a log is read; 0 as with the peer, whose trigger reads none: only at the end.
    """
    path = "airflow_provider_feast.triggers.feast.FeastJobTrigger"
    return [
        Spec(
            job.name,
            path,
            {
                "kubernetes_conn_id": "kubernetes_default",
                "namespace": NAMESPACE,
                "name": job.name,
                "uid": job.uid,
                "options": {"log_seconds": log_seconds},
            },
        )
        for job in jobs
    ]


def peers(jobs: Iterable[WaitingJob]) -> list[Spec]:
    """The triggers that KubernetesJobOperator would defer to, as it makes them by default."""
    path = "airflow.providers.cncf.kubernetes.triggers.job.KubernetesJobTrigger"
    return [
        Spec(
            job.name,
            path,
            {
                "job_name": job.name,
                "job_namespace": NAMESPACE,
                "pod_names": [job.pod],
                "pod_namespace": NAMESPACE,
                "base_container_name": "base",
                "kubernetes_conn_id": "kubernetes_default",
                "poll_interval": PEER_POLL_SECONDS,
            },
        )
        for job in jobs
    ]


SIDES = {"ours": ours, "peer": peers}


def size(variable: str, default: int) -> int:
    """A size that the environment may change: ``FEAST_BENCH_<variable>``."""
    return int(os.environ.get(f"FEAST_BENCH_{variable}", default))
