"""When a Job that does not start has been waited for long enough."""

from __future__ import annotations

from typing import Any

from airflow_provider_feast.jobs.logs import Say
from airflow_provider_feast.jobs.plan_progress import plan_progress
from airflow_provider_feast.jobs.pod_view import pods_of
from airflow_provider_feast.model.outcome import JobState, Outcome, Problem

_NOTHING_SAYS_WHY = Problem(
    "unschedulable",
    "no pod of the Job has started, and nothing says why",
    "run `kubectl describe` on it",
)


class StartLimit:
    """Gives up on a Job that will not start as it is, or has not for too long; tells each of its troubles once.

    :param seconds: how long a Job may take until a container of its runs.
    :param say: takes a line for the task's log.
    """

    def __init__(self, seconds: float, say: Say) -> None:
        self._limit, self._say = seconds, say
        self._said: set[str] = set()

    def stuck(
        self, verdict: Outcome, seconds: float, job: dict[str, Any], pods: list[dict[str, Any]]
    ) -> Outcome | None:
        """The final verdict on a Job that is stuck, or ``None``.

        :param verdict: what is known of it.
        :param seconds: for how long it has been starting.
        """
        if verdict.state is not JobState.STARTING:
            return None
        problem, late = verdict.problem, seconds >= self._limit
        if problem is None:
            if not late:
                return None
            problem = _NOTHING_SAYS_WHY
        elif problem.cause not in self._said:
            self._said.add(problem.cause)
            self._say(f"The Job has not started yet: {problem.cause}")
        if problem.can_mend:
            if not late:
                return None
            problem = problem._replace(
                cause=f"{problem.cause} (waited {seconds:.0f} s, the start-up timeout)"
            )
        progress = plan_progress(job, pods_of(job, pods))
        return Outcome(JobState.FAILED, problem, verdict.result, verdict.pod, progress)


def has_no_ready_pod(verdict: Outcome) -> bool:
    """Whether Events may tell something: nothing has started yet, or a failed pod waits for its replacement."""
    between_tries = (
        verdict.state is JobState.RUNNING and verdict.problem is not None and verdict.problem.can_mend
    )
    return verdict.state is JobState.STARTING or between_tries
