"""An inventory as text: tables for people, JSON and YAML for scripts."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml

from airflow_provider_feast.jobs.inventory import Inventory, JobEntry, LockEntry
from airflow_provider_feast.model import naming

_JOB_COLUMNS = ("job", "state", "feature_store", "command", "task", "run_id", "try", "age", "lock")
_LOCK_COLUMNS = ("lock", "namespace", "job", "holds", "since", "alive")


def rendered(inventory: Inventory, output: str, *, ended: bool, now: datetime) -> str:
    """What `airflow feast jobs list` prints.

    :param output: ``table``, ``json`` or ``yaml``.
    :param ended: whether Jobs that have ended are shown, too.
    """
    held = {entry.holder.uid: entry.holder.since for lock in inventory.locks for entry in lock.holders}
    jobs = [_job(job, held, now) for job in inventory.jobs if ended or not job.ended]
    locks = [row for lock in inventory.locks for row in _holders(lock)]
    body = {"namespace": inventory.namespace, "jobs": jobs, "locks": locks, "notes": list(inventory.notes)}
    if output == "json":
        return json.dumps(body, indent=2)
    if output == "yaml":
        return yaml.safe_dump(body, sort_keys=False, allow_unicode=True).rstrip()
    parts = [
        f"Jobs in namespace {inventory.namespace}:",
        table(_JOB_COLUMNS, [_flat(job) for job in jobs]) if jobs else "  none",
        *(
            f"  {job['job']}: {job['problem']['cause']} {job['problem']['remedy']}"
            for job in jobs
            if job["problem"]
        ),
        "",
        "Locks:",
        table(_LOCK_COLUMNS, [_flat(lock) for lock in locks]) if locks else "  nobody holds any",
        *(f"  {note}" for note in inventory.notes),
    ]
    return "\n".join(parts)


def table(columns: tuple[str, ...], rows: list[dict[str, str]]) -> str:
    """Columns of text under their names."""
    lines = [
        [name.upper().replace("_", " ") for name in columns],
        *([row[name] for name in columns] for row in rows),
    ]
    widths = [max(len(line[number]) for line in lines) for number in range(len(columns))]
    return "\n".join(
        "  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def _flat(row: dict[str, Any]) -> dict[str, str]:
    """A row's values as short text."""
    return {key: _cell(value) for key, value in row.items()}


def _cell(value: Any) -> str:
    if value is None:
        return "?"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return " ".join(map(str, value))
    return str(value)


def _job(job: JobEntry, held: dict[str, str], now: datetime) -> dict[str, Any]:
    key, problem = job.task, job.outcome.problem
    return {
        "job": job.name,
        "uid": job.uid,
        "state": job.outcome.state.value,
        "suspended": bool(job.raw["spec"].get("suspend")),
        "feature_store": job.label(naming.L_FEATURE_STORE),
        "command": _command(job),
        "task": _task(job, key),
        "dag_id": key.dag_id if key else job.label(naming.L_DAG),
        "task_id": key.task_id if key else job.label(naming.L_TASK),
        "map_index": key.map_index if key else None,
        "run_id": job.annotation(naming.A_RUN),
        "try": job.annotation(naming.A_TRY),
        "created": job.created.isoformat(),
        "age": short(now - job.created),
        "lock": _lock_state(job, held),
        "problem": {**problem._asdict(), "retryable": problem.retryable} if problem else None,
    }


def _command(job: JobEntry) -> list[str]:
    try:
        found = json.loads(job.annotation(naming.A_COMMAND))
    except ValueError:
        found = None
    return [str(part) for part in found] if isinstance(found, list) else [job.label(naming.L_COMPONENT)]


def _task(job: JobEntry, key: naming.TaskKey | None) -> str:
    if key is None:
        return f"{job.label(naming.L_DAG)}.{job.label(naming.L_TASK)}"
    return f"{key.dag_id}.{key.task_id}" + (f"[{key.map_index}]" if key.map_index >= 0 else "")


def _lock_state(job: JobEntry, held: dict[str, str]) -> str:
    if not job.lock or job.ended:
        return "-"
    if job.uid in held:
        return f"holds {job.lock} since {held[job.uid]}"
    if job.never_started:
        return f"waits for {job.lock} since {job.created.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    return f"does not hold {job.lock}"


def _holders(lock: LockEntry) -> list[dict[str, Any]]:
    if lock.trouble:
        unread = {"job": "?", "uid": "", "holds": lock.trouble.replace("\n", " "), "since": "", "alive": None}
        return [{"lock": lock.name, "namespace": lock.namespace, **unread}]
    return [
        {
            "lock": lock.name,
            "namespace": lock.namespace,
            "job": entry.holder.job,
            "job_namespace": entry.holder.namespace,
            "uid": entry.holder.uid,
            "holds": entry.holder.scope,
            "since": entry.holder.since,
            "alive": entry.alive,
        }
        for entry in lock.holders
    ]


def short(length: timedelta) -> str:
    """A length of time in its largest unit, e.g. ``3h``."""
    seconds = max(0, int(length.total_seconds()))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
