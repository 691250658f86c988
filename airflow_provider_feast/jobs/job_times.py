"""A Job's times: how long it has been starting, without the time in which its API server was away, and has left."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_provider_feast.jobs.pod_view import at, text, whole
from airflow_provider_feast.model.outcome import JobState


class StartupClock:
    """Counts the time in which a Job's pods could have started.

    :param now: seconds after some origin.
    :param job: the Job. One of which nothing has run yet has been starting since its ``startTime``, whoever waited for
        it before.
    """

    def __init__(self, now: float, job: dict[str, Any]) -> None:
        self._now = now
        self.seconds = starting_for(job, datetime.now(UTC))

    def tick(self, now: float, state: JobState, *, away: bool) -> None:
        """Go on to a time.

        :param state: the Job's state by what is known of it.
        :param away: whether the API server does not answer: then nothing is known, and nothing may start.
        """
        passed, self._now = now - self._now, now
        if state is not JobState.STARTING:
            self.seconds = 0.0
        elif not away:
            self.seconds += passed


def starting_for(job: dict[str, Any], now: datetime) -> float:
    """For how many seconds a Job that has run nothing yet has been starting; 0 for any other."""
    status = job.get("status") or {}
    if any(whole(status.get(count)) for count in ("ready", "failed", "succeeded", "terminating")):
        return 0.0
    began = text(at(job, "status", "startTime"))
    return max(0.0, (now - datetime.fromisoformat(began)).total_seconds()) if began else 0.0


def seconds_to_deadline(job: dict[str, Any], now: datetime) -> float:
    """How long until a Job's ``activeDeadlineSeconds`` are over; infinite where it has none, or has not begun."""
    began, limit = text(at(job, "status", "startTime")), whole(at(job, "spec", "activeDeadlineSeconds"))
    if not began or not limit:
        return math.inf
    return (datetime.fromisoformat(began) + timedelta(seconds=limit) - now).total_seconds()
