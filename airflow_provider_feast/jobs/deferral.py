"""Hand a wait over to the triggerer; take it up again when a trigger failed without a verdict on its Job."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from airflow_provider_feast.jobs.log_positions import Positions, after_deferral
from airflow_provider_feast.jobs.watch import WatchOptions
from airflow_provider_feast.jobs.work import Work
from airflow_provider_feast.model.errors import FeastError, FeastTransientError
from airflow_provider_feast.model.lock import LockRequest
from airflow_provider_feast.model.outcome import Problem
from airflow_provider_feast.model.settings import FeastSettings

BACKSTOP_SECONDS = 900.0
"""``defer(timeout=)`` beyond all other limits: nothing but a backstop."""

WAITS_AGAIN = 3
"""How often a task waits again in the triggerer after a trigger of its failed."""

SAFE_SECONDS = 5.0
"""A task that is back from the triggerer so soon after it deferred can be failed by the scheduler: that hears late from
its executor that the worker is done, and takes it for the end of a task which is queued again."""

_TIMEOUT = "Trigger timeout"
"""Airflow's ``TriggerFailureReason.TRIGGER_TIMEOUT``: a task is told so that stayed longer than ``defer(timeout=)``."""


class Failure(NamedTuple):
    """A trigger that failed, as its event tells.

    :param number: how many triggers of this wait have failed by now.
    :param cause: the exception, in short.
    :param trace: where it came from.
    :param arguments: of the trigger that waits again.
    :param positions: up to where the log is surely in the task's log.
    """

    number: int
    cause: str
    trace: str
    arguments: dict[str, Any]
    positions: Positions


def failure_of(event: Any) -> Failure | None:
    """The failure that an event tells of, or ``None``: it brings a verdict or an error of its own."""
    if not isinstance(event, Mapping) or not isinstance(event.get("again"), Mapping):
        return None
    arguments = dict(event["again"])
    cause = str((event.get("error") or {}).get("what", ""))
    positions = arguments.get("positions") or {}
    return Failure(
        int(arguments.get("failures", 0)), cause, str(event.get("trace", "")), arguments, positions
    )


def too_many(failure: Failure, where: str, lives: bool) -> FeastError:
    """The error of a task whose triggers failed again and again.

    :param lives: whether its Job is there and has not ended.
    """
    job = "Its Job runs on" if lives else "Its Job is gone"
    again = "run the task again: the next try takes the Job over" if lives else "run the task again"
    return FeastTransientError(
        f"{failure.number} times the triggerer failed while this task waited in it; the last time: {failure.cause}\n"
        f"{job}.",
        where=where,
        remedy=f"{again}; the traces are in this log, and deferrable=False waits in the worker",
    )


def is_timeout(told: Mapping[str, Any]) -> bool:
    """Whether Airflow ended a deferral at ``defer(timeout=)``.

    :param told: what Airflow resumes a task with whose trigger brought no event.
    """
    return bool(told.get("error") == _TIMEOUT)


def stayed_too_long() -> Problem:
    """The problem of a task that reached ``defer(timeout=)``; its Job was ended."""
    return Problem(
        "deadline_exceeded",
        "The task's wait in the triggerer reached its last limit (the Job's deadline, startup_timeout_seconds and "
        f"lock_timeout_seconds together, and {BACKSTOP_SECONDS:.0f} s more); its Job was ended.",
        "See whether a triggerer runs (`airflow triggerer`) and is not overloaded, then run the task again.",
    )


class Deferral:
    """How one task waits in the triggerer.

    :param operator: the task's operator.
    :param settings: its feature store's settings.
    :param began: Unix time at which the worker began with the task.
    """

    def __init__(self, operator: Work, settings: FeastSettings, began: float) -> None:
        self._operator, self._settings, self._began = operator, settings, began

    def begin(
        self, job: dict[str, Any], options: WatchOptions, positions: Positions, lock: LockRequest | None
    ) -> Any:
        """Defer the task.

        :param options: how to wait.
        :param positions: how far the worker read the logs.
        :param lock: the lock that the Job needs to run.
        """
        limit, metadata = self._operator.execution_timeout, job["metadata"]
        if limit is not None:
            seconds = limit.total_seconds()
            options = options._replace(deadline_at=self._began + seconds, limit_seconds=seconds)
        early = self._settings.defer_after_seconds < SAFE_SECONDS
        arguments = {
            "kubernetes_conn_id": self._settings.kubernetes_conn_id,
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
            "options": options._asdict(),
            "positions": after_deferral(positions, datetime.now(UTC)),
            "lock": lock._asdict() if lock else None,
            "not_before": time.time() + SAFE_SECONDS if early else 0.0,
        }
        return self.wait(job, arguments)

    def wait(self, job: dict[str, Any] | None, arguments: dict[str, Any]) -> Any:
        """Defer the task to a trigger with these arguments.

        :param job: as last seen, or ``None``: it is gone.
        """
        from airflow_provider_feast.triggers.feast import FeastJobTrigger

        settings = self._settings
        deadline = job["spec"].get("activeDeadlineSeconds") if job else None
        backstop = settings.startup_timeout_seconds + settings.lock_timeout_seconds + BACKSTOP_SECONDS
        return self._operator.defer(
            trigger=FeastJobTrigger(**arguments),
            method_name="resume",
            timeout=None if deadline is None else timedelta(seconds=deadline + backstop),
        )
