"""Jobs that cost a sandbox nothing while they are waited for, and end when a benchmark says so.

Each Job names another controller (``spec.managedBy``) and its pod another scheduler, so the sandbox starts no process
for them: the benchmark writes their status itself, as a Job controller and a kubelet would. So it knows to the
millisecond when a Job's terminal condition was set.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from airflow_provider_feast.model.naming import L_MANAGED_BY, MANAGED_BY
from airflow_provider_feast.sandbox import Sandbox

NAMESPACE = "default"
AT_ONCE = 8
_JOBS = f"/apis/batch/v1/namespaces/{NAMESPACE}/jobs"
_PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
_MERGE = {"Content-Type": "application/merge-patch+json"}
_CONTAINER = {"name": "base", "image": "busybox", "command": ["sleep", "3600"]}
_LABELS = {L_MANAGED_BY: MANAGED_BY}


class WaitingJob(NamedTuple):
    """A Job whose one pod runs and is ready."""

    name: str
    uid: str
    pod: str


async def create(sandbox: Sandbox, count: int) -> list[WaitingJob]:
    """Make Jobs that run until :func:`end` is called for them."""
    run = uuid.uuid4().hex[:8]
    async with _session(sandbox) as session:
        slots = asyncio.Semaphore(AT_ONCE)
        return await asyncio.gather(*(_create(session, slots, f"wait-{run}-{n}") for n in range(count)))


async def end(sandbox: Sandbox, jobs: Iterable[WaitingJob], seconds: float = 0.0) -> dict[str, float]:
    """Complete Jobs, evenly spread over a time, or as quickly as the API takes it.

    :returns: by Job name the ``time.monotonic()`` just before its terminal condition was sent to the API.
    """
    async with _session(sandbox) as session:
        wanted = list(jobs)
        slots, began = asyncio.Semaphore(AT_ONCE), time.monotonic()
        times = [began + seconds * number / len(wanted) for number in range(len(wanted))]
        ends = (_end(session, slots, job, at) for job, at in zip(wanted, times, strict=True))
        return dict(await asyncio.gather(*ends))


def kubeconfig_of_account(sandbox: Sandbox, account: str, directory: Path) -> Path:
    """A kubeconfig of a service account that may do everything: the audit log tells its requests apart."""
    token = asyncio.run(_account_token(sandbox, account))
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "sandbox", "cluster": {"server": sandbox.url}}],
        "users": [{"name": account, "user": {"token": token}}],
        "contexts": [{"name": "it", "context": {"cluster": "sandbox", "user": account}}],
        "current-context": "it",
    }
    path = directory / f"{account}.kubeconfig"
    path.write_text(json.dumps(config), encoding="utf-8")
    return path


@asynccontextmanager
async def _session(sandbox: Sandbox) -> AsyncIterator[aiohttp.ClientSession]:
    headers = {"Authorization": f"Bearer {sandbox.token}"}
    async with aiohttp.ClientSession(sandbox.url, headers=headers) as session:
        yield session


async def _ask(session: aiohttp.ClientSession, method: str, path: str, body: Any, **options: Any) -> Any:
    async with session.request(method, path, data=json.dumps(body), **options) as answer:
        if not answer.ok:
            raise RuntimeError(f"{method} {path} was refused ({answer.status}): {await answer.text()}")
        return await answer.json()


async def _post(session: aiohttp.ClientSession, path: str, body: Any) -> Any:
    return await _ask(session, "POST", path, body, headers={"Content-Type": "application/json"})


async def _set_status(session: aiohttp.ClientSession, path: str, status: dict[str, Any]) -> None:
    await _ask(session, "PATCH", f"{path}/status", {"status": status}, headers=_MERGE)


async def _account_token(sandbox: Sandbox, account: str) -> str:
    binding = {
        "metadata": {"name": account},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": NAMESPACE}],
    }
    accounts = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts"
    async with _session(sandbox) as session:
        await _post(session, accounts, {"metadata": {"name": account}})
        await _post(session, "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
        issued = await _post(session, f"{accounts}/{account}/token", {"spec": {}})
    return str(issued["status"]["token"])


async def _create(session: aiohttp.ClientSession, slots: asyncio.Semaphore, name: str) -> WaitingJob:
    pod_spec = {"restartPolicy": "Never", "schedulerName": "benchmarks", "containers": [_CONTAINER]}
    template = {"metadata": {"labels": _LABELS}, "spec": pod_spec}
    spec = {"backoffLimit": 0, "managedBy": "example.org/benchmarks", "template": template}
    async with slots:
        job = await _post(session, _JOBS, {"metadata": {"name": name, "labels": _LABELS}, "spec": spec})
        made = WaitingJob(name, job["metadata"]["uid"], f"{name}-pod")
        await _post(session, _PODS, {"metadata": _pod_metadata(made), "spec": pod_spec})
        running = {"running": {"startedAt": _now()}}
        await _set_status(session, f"{_PODS}/{made.pod}", _pod_status("Running", running, ready=True))
        await _set_status(
            session, f"{_JOBS}/{name}", {"active": 1, "ready": 1, "startTime": _now(), "terminating": 0}
        )
    return made


async def _end(
    session: aiohttp.ClientSession, slots: asyncio.Semaphore, job: WaitingJob, at: float
) -> tuple[str, float]:
    await asyncio.sleep(max(0.0, at - time.monotonic()))
    async with slots:
        done = {
            "terminated": {"exitCode": 0, "reason": "Completed", "startedAt": _now(), "finishedAt": _now()}
        }
        await _set_status(session, f"{_PODS}/{job.pod}", _pod_status("Succeeded", done, ready=False))
        kinds = ("SuccessCriteriaMet", "Complete")
        conditions = [
            {"type": kind, "status": "True", "reason": "CompletionsReached", "lastTransitionTime": _now()}
            for kind in kinds
        ]
        counts = {"active": 0, "ready": 0, "succeeded": 1, "completionTime": _now()}
        set_at = time.monotonic()
        await _set_status(session, f"{_JOBS}/{job.name}", {**counts, "conditions": conditions})
    return job.name, set_at


def _pod_metadata(job: WaitingJob) -> dict[str, Any]:
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job.name, "uid": job.uid, "controller": True}
    ours = {"batch.kubernetes.io/job-name": job.name, "batch.kubernetes.io/controller-uid": job.uid}
    return {"name": job.pod, "labels": {**_LABELS, **ours}, "ownerReferences": [owner]}


def _pod_status(phase: str, state: dict[str, Any], *, ready: bool) -> dict[str, Any]:
    container = {
        "name": "base",
        "image": "busybox",
        "imageID": "",
        "ready": ready,
        "restartCount": 0,
        "started": ready,
        "state": state,
    }
    condition = {"type": "Ready", "status": "True" if ready else "False", "lastTransitionTime": _now()}
    return {"phase": phase, "conditions": [condition], "containerStatuses": [container]}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
