"""Ask a registry by a Job of the runner's ``inspect``, and read its answer from the pod's log.

The Job only reads, so it takes no lock. It is created or adopted, watched, deferred and killed like every other one; when
its answer is read it is deleted, so that the next question makes a new one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from airflow_provider_feast.jobs.logs import EVENT_PREFIX
from airflow_provider_feast.jobs.manifest import CONTAINER
from airflow_provider_feast.jobs.task import TaskRun
from airflow_provider_feast.model.command import FeastCommand
from airflow_provider_feast.model.errors import FeastTransientError, RegistryUnreachableError
from airflow_provider_feast.model.outcome import Outcome
from airflow_provider_feast.model.registry import Records, record_of_event
from airflow_provider_feast.model.windows import Window

DEADLINE_SECONDS = 900
"""How long a Job that asks may take, start-up included, unless the sensor says otherwise."""


class Question:
    """What :class:`~airflow_provider_feast.jobs.task.TaskRun` asks of an operator, for a Job that reads the registry.

    :param task: the operator or sensor whose task this is.
    :param views: names; none means all.
    :param overrides: fields of the connection to use instead.
    :param defer: takes the trigger that waits for the Job, as the task's own ``defer`` does.
    """

    online_policy, gap_policy = "overwrite", "ignore"
    deletions_allowed, allows_empty, preflight = False, True, False
    log_interval: float | None = 0.0

    def __init__(
        self, task: Any, views: Sequence[str], overrides: Mapping[str, Any], defer: Callable[..., None]
    ) -> None:
        self._views = views
        self._overrides = {"deadline_seconds": DEADLINE_SECONDS, **overrides, "command_mode": "runner"}
        self.feast_conn_id, self.deferrable, self.log = task.feast_conn_id, task.deferrable, task.log
        self.execution_timeout, self.retries = task.execution_timeout, task.retries
        self.defer = defer

    def overrides(self) -> dict[str, Any]:
        """The connection's fields that are set otherwise."""
        return dict(self._overrides)

    def load_plan(self, window: Window | None, command_mode: str, context: Any) -> None:
        """Nothing is loaded."""

    def feast_command(self, context: Any) -> tuple[FeastCommand, None]:
        """The runner's ``inspect``."""
        return FeastCommand.inspect(self._views), None


class RegistryRun(TaskRun):
    """One question to the registry within a task."""

    def _conclude(self, outcome: Outcome) -> Any:
        super()._conclude(outcome)
        job = self._job or {}
        try:
            where = f"Job {job['metadata']['name']} in namespace {self._hook.namespace}"
            return read_answer(self._log_of(job), where)
        finally:  # also where it could not be read: the next question needs a Job of its own
            self._hook.delete(job)

    def _log_of(self, job: dict[str, Any]) -> str:
        pods = self._hook.cluster.list_pods(job["metadata"]["uid"])
        done = [pod["metadata"]["name"] for pod in pods if pod["status"].get("phase") == "Succeeded"]
        return self._hook.cluster.read_log(done[0], CONTAINER) if done else ""


def read_answer(text: str, where: str) -> Records:
    """The feature views that a pod's log tells of.

    :param where: the Job, for messages.
    :raises FeastError: when a part of the answer is missing, or the registry could not be read.
    """
    events = [event for line in text.splitlines() if (event := _event(line)) is not None]
    objects = [event for event in events if event["feast_event"] == "registry_object"]
    ends = [event for event in events if event["feast_event"] == "registry_finished"]
    errors = [event for event in events if event["feast_event"] == "registry_error"]
    if errors:
        raise RegistryUnreachableError(
            "the registry could not be read: "
            + "; ".join(f"{event.get('kind')}: {event.get('message')}" for event in errors),
            where=where,
            remedy="see whether `feast registry-dump` can read it; run the task again if it was being written",
        )
    if len(ends) != 1 or ends[0].get("objects") != len(objects):
        said = f"{ends[0].get('objects')} objects" if ends else "nothing of its end"
        raise FeastTransientError(
            f"the answer of the registry is not complete: its pod's log has {len(objects)} objects, and says {said}",
            where=where,
            remedy="run the task again; name fewer feature_views if the node rotates such logs away",
        )
    try:
        records = [record_of_event(event) for event in objects if str(event["kind"]).endswith("feature_view")]
    except (KeyError, TypeError, ValueError) as error:
        raise FeastTransientError(
            f"the answer of the registry cannot be read: {error!r}", where=where, remedy="run the task again"
        ) from error
    return {record.name: record for record in records}


def _event(line: str) -> dict[str, Any] | None:
    """An event of the runner; a line that was cut is none, and is missed by its number."""
    if not line.startswith(EVENT_PREFIX):
        return None
    try:
        found = json.loads(line)
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
