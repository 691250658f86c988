"""What happened, read from the API server's audit log: Jobs and pods with the instants that matter."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

L_TASK = "airflow-provider-feast/task"
L_KEY = "airflow-provider-feast/task-key"
L_REGISTRY = "airflow-provider-feast/feature-store"
FOREVER = datetime.max.replace(tzinfo=UTC)


def instant(text: str) -> datetime:
    """A time of the audit log or of Airflow's database, both UTC."""
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@dataclass
class Pod:
    """A pod of a Job.

    :param ended: when its phase became terminal, or it was gone.
    """

    name: str
    created: datetime
    running: datetime | None = None
    ended: datetime | None = None


@dataclass
class Job:
    """A Job.

    :param resumed: when it was first not suspended.
    :param ended: when it was first terminal.
    :param outcome: `Complete`, `Failed` or "".
    :param deleting: when its deletion was asked for.
    :param deleted_by: who asked for it.
    :param removed: when it was gone.
    """

    uid: str
    name: str
    namespace: str
    task: str
    key: str
    registry: str
    created: datetime
    resumed: datetime | None = None
    ended: datetime | None = None
    outcome: str = ""
    deleting: datetime | None = None
    deleted_by: str = ""
    removed: datetime | None = None
    pods: dict[str, Pod] = field(default_factory=dict)

    @property
    def dead(self) -> datetime:
        """When it was no longer live: terminal, or gone."""
        return min(self.ended or FOREVER, self.removed or FOREVER)

    @property
    def idle(self) -> datetime:
        """When nothing of it ran any more: dead, and its last pod, too."""
        pods = [pod.ended or FOREVER for pod in self.pods.values()]
        return max([self.dead, *pods])

    @property
    def succeeded(self) -> bool:
        return self.outcome == "Complete"


class History:
    """Jobs by uid, from the lines of an audit log."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}
        self.requests: list[dict[str, Any]] = []

    def of(self, namespace: str, task: str = "") -> list[Job]:
        """The Jobs of a namespace (of one task), oldest first."""
        found = [
            job for job in list(self.jobs.values()) if job.namespace == namespace and task in ("", job.task)
        ]
        return sorted(found, key=lambda job: job.created)

    def feed(self, lines: Iterable[str]) -> None:
        """Take more lines."""
        for line in lines:
            record = json.loads(line)
            if "stored" not in record:
                self.requests.append(record)
            elif record["resource"] == "jobs":
                self._job(record)
            elif record["resource"] == "pods":
                self._pod(record)

    def _job(self, record: dict[str, Any]) -> None:
        now, obj = instant(record["time"]), record["object"]
        metadata, uid = obj["metadata"], obj["metadata"]["uid"]
        labels = metadata.get("labels") or {}
        if uid not in self.jobs:
            name, namespace = record["name"], record["namespace"]
            task, key, registry = (labels.get(label, "") for label in (L_TASK, L_KEY, L_REGISTRY))
            self.jobs[uid] = Job(uid, name, namespace, task, key, registry, now)
        job = self.jobs[uid]
        if not obj["spec"].get("suspend") and job.resumed is None:
            job.resumed = now
        if metadata.get("deletionTimestamp") or record["stored"] == "DELETED":
            job.deleting, job.deleted_by = job.deleting or now, job.deleted_by or record["user"]
        if record["stored"] == "DELETED":
            job.removed = now
        conditions = (obj.get("status") or {}).get("conditions") or ()
        for condition in conditions:
            if (
                condition["type"] in ("Complete", "Failed")
                and condition["status"] == "True"
                and not job.outcome
            ):
                job.outcome, job.ended = condition["type"], now

    def _pod(self, record: dict[str, Any]) -> None:
        now, obj = instant(record["time"]), record["object"]
        metadata = obj["metadata"]
        owners = [owner["uid"] for owner in metadata.get("ownerReferences") or ()]
        job = next((self.jobs[uid] for uid in owners if uid in self.jobs), None)
        if job is None:
            return
        pod = job.pods.setdefault(metadata["uid"], Pod(record["name"], now))
        phase = (obj.get("status") or {}).get("phase")
        if phase == "Running" and pod.running is None:
            pod.running = now
        if (phase in ("Succeeded", "Failed") or record["stored"] == "DELETED") and pod.ended is None:
            pod.ended = now


class AuditLog:
    """Follows an audit log as it grows."""

    def __init__(self, path: Path) -> None:
        self.history = History()
        self._path, self._offset, self._lock = path, 0, threading.Lock()

    def read(self) -> History:
        """Take what is new; the history so far."""
        with self._lock:
            with self._path.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._offset += len(whole)
            self.history.feed(whole.decode().splitlines())
        return self.history
