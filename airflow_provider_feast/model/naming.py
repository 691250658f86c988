"""Names, labels and digests: pure functions of the task instance, so that a retry finds its Job again."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

JOB_NAME_LENGTH = 57
"""Longest Job name; the rest of 63 is for the suffix of an Indexed Job's pods, beyond which the API answers 422."""

PREFIX = "airflow-provider-feast"
MANAGED_BY = "airflow-provider-feast"

L_NAME = "app.kubernetes.io/name"
L_COMPONENT = "app.kubernetes.io/component"
L_MANAGED_BY = "app.kubernetes.io/managed-by"
L_FEATURE_STORE = f"{PREFIX}/feature-store"
L_DAG = f"{PREFIX}/dag"
L_TASK = f"{PREFIX}/task"
L_KEY = f"{PREFIX}/task-key"
L_EPOCH = f"{PREFIX}/epoch"
OUR_LABELS = frozenset({L_NAME, L_COMPONENT, L_MANAGED_BY, L_FEATURE_STORE, L_DAG, L_TASK, L_KEY, L_EPOCH})

A_INSTANCE = f"{PREFIX}/task-instance"
A_RUN = f"{PREFIX}/run-id"
A_TRY = f"{PREFIX}/try-number"
A_COMMAND = f"{PREFIX}/command"
A_CONFIG_DIGEST = f"{PREFIX}/configuration-digest"
A_MANIFEST_DIGEST = f"{PREFIX}/manifest-digest"
A_VERSION = f"{PREFIX}/provider-version"
A_WINDOW = f"{PREFIX}/window"
A_SECURITY = f"{PREFIX}/security-profile"
A_LOCK = f"{PREFIX}/lock"
A_PLAN = f"{PREFIX}/plan-digest"
A_CHUNKS = f"{PREFIX}/chunks"
A_CHUNK_COUNT = f"{PREFIX}/chunk-count"
A_STOPPED = f"{PREFIX}/stopped"
A_TOTALS = f"{PREFIX}/totals"
A_LOCK_VIEWS = f"{PREFIX}/lock-views"


class TaskKey(NamedTuple):
    """What makes a task instance itself, over all of its tries.

    :param deployment: tells two Airflows apart that share a namespace, or "".
    :param map_index: -1 for a task that is not mapped.
    """

    deployment: str
    dag_id: str
    task_id: str
    run_id: str
    map_index: int = -1

    @property
    def digest(self) -> str:
        """40 hexadecimal digits; the value of the label by which Jobs are found."""
        return digest(list(self))[:40]


def read_instance(metadata: Mapping[str, Any]) -> TaskKey | None:
    """The task of a Job, from its annotation, if its label vouches for that; ``None`` for Jobs of older releases.

    :param metadata: the Job's ``metadata``.
    """
    text = (metadata.get("annotations") or {}).get(A_INSTANCE)
    try:
        key = TaskKey(**json.loads(text or "{}"))
    except (ValueError, TypeError):
        return None
    return key if (metadata.get("labels") or {}).get(L_KEY) == key.digest else None


def digest(value: Any) -> str:
    """SHA-256 of a JSON value, the same for equal values."""
    text = value if isinstance(value, str) else json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def slug(text: str, length: int) -> str:
    """The readable part of a name: lower-case letters, digits and single hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:length].strip("-")


_EPOCH = re.compile(r"(\d+)(?:-(\d{8}T\d{6}\.\d{6}Z))?")


def epoch_of(cleared: int, run_started: datetime | None) -> str:
    """What is the same for all tries of a task that must share a Job, and another one for a fresh start.

    :param cleared: how often the finished task was cleared (``max_tries - retries`` grows by that).
    :param run_started: when its DAG run started: a run that was deleted and made again under its old id, or cleared as
        a whole, started later.
    :returns: a label value.
    """
    if run_started is None:
        return str(cleared)
    return f"{cleared}-{run_started.astimezone(UTC).strftime('%Y%m%dT%H%M%S.%fZ')}"


def is_newer(epoch: str, than: str) -> bool:
    """Whether an epoch is later than another in every respect: cleared as often or more, in a run started then or later.

    :param epoch: from :func:`epoch_of`, or any text: what is none is not newer.
    """
    parts = [_EPOCH.fullmatch(text) for text in (epoch, than)]
    if not all(parts) or epoch == than:
        return False
    (cleared, started), (cleared_then, started_then) = (part.groups("") for part in parts if part)
    return int(cleared) >= int(cleared_then) and started >= started_then


def job_name(subcommand: str, key: TaskKey, epoch: str, count: int) -> str:
    """A Job's name: the same for the same task, epoch and count, so that the API server settles races.

    :param epoch: see :func:`epoch_of`.
    :param count: how many Jobs this epoch had before.
    """
    tail = digest([*key, epoch, count])[:10]
    head = f"feast-{slug(subcommand, 16)}"
    readable = slug(f"{key.dag_id}-{key.task_id}", JOB_NAME_LENGTH - len(head) - len(tail) - 2)
    return "-".join(part for part in (head, readable, tail) if part)


def label_value(text: str) -> str:
    """A valid label value that tells long or odd texts apart by a digest."""
    if re.fullmatch(r"([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?", text):
        return text
    safe = re.sub(r"[^-A-Za-z0-9_.]+", "-", text)[:52].strip("-_.")
    return f"{safe}-{digest(text)[:10]}".strip("-")


def job_labels(subcommand: str, key: TaskKey, epoch: str, feature_store: str) -> dict[str, str]:
    """The labels of a Job and its pods."""
    return {
        L_NAME: "feast",
        L_COMPONENT: label_value(subcommand),
        L_MANAGED_BY: MANAGED_BY,
        L_FEATURE_STORE: label_value(feature_store),
        L_DAG: label_value(key.dag_id),
        L_TASK: label_value(key.task_id),
        L_KEY: key.digest,
        L_EPOCH: epoch,
    }
