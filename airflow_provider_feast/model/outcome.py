"""What became of a Job: the verdict that ``diagnose`` reaches and that travels to logs, XCom and errors."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, NamedTuple

from airflow_provider_feast.model.errors import ERRORS, FeastError
from airflow_provider_feast.model.result import CommandResult
from airflow_provider_feast.model.totals import PlanProgress


class JobState(StrEnum):
    """Where a Job is in its life. The last two are final."""

    SUSPENDED = "suspended"
    STARTING = "starting"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class Problem(NamedTuple):
    """Why a Job failed, or what keeps it from starting.

    :param kind: the ``kind`` of an error class in :mod:`airflow_provider_feast.model.errors`.
    :param cause: what happened, in the user's words.
    :param remedy: what to do next.
    :param can_mend: for a Job that is not final: whether waiting can help (no image *yet*, no node
        *yet*), or it will never start as it is.
    """

    kind: str
    cause: str
    remedy: str
    can_mend: bool = False

    @property
    def retryable(self) -> bool:
        """Whether running the same task again can help."""
        return ERRORS.get(self.kind, FeastError).retryable

    def error(self, where: str) -> FeastError:
        """The exception that says this problem.

        :param where: the Job, e.g. ``Job feast/feast-apply-…``.
        """
        return ERRORS.get(self.kind, FeastError)(self.cause, where=where, remedy=self.remedy)


class Outcome(NamedTuple):
    """The verdict on a Job at one moment.

    :param state: where the Job is.
    :param problem: why it failed, or what is in its way; ``None`` when all is well.
    :param result: what the runner said in the termination message of that pod, if it said anything.
    :param pod: the name of the pod that the verdict rests on, or "".
    :param progress: of a final verdict on a Job with chunks: how far its plan is.
    """

    state: JobState
    problem: Problem | None = None
    result: CommandResult | None = None
    pod: str = ""
    progress: PlanProgress | None = None

    @property
    def final(self) -> bool:
        """Whether the Job will not change any more."""
        return self.state in (JobState.SUCCEEDED, JobState.FAILED)

    def at_limit(self, name: str) -> Outcome:
        """The same verdict, with whose limit it was if the Job ran into its deadline."""
        problem = self.problem
        if problem is None or problem.kind != "deadline_exceeded" or name in problem.cause:
            return self
        return self._replace(problem=problem._replace(cause=f"{problem.cause} That limit is {name}."))

    def to_dict(self) -> dict[str, Any]:
        """A JSON object that :meth:`from_dict` reads; it crosses from triggerer to worker."""
        return {
            "state": self.state.value,
            "problem": self.problem._asdict() if self.problem else None,
            "result": self.result.to_dict() if self.result else None,
            "pod": self.pod,
            "progress": self.progress.to_dict() if self.progress else None,
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Outcome:
        """Read what :meth:`to_dict` wrote.

        :raises KeyError, ValueError, TypeError: when ``value`` is not such an object.
        """
        problem, result, progress = value.get("problem"), value.get("result"), value.get("progress")
        return cls(
            state=JobState(value["state"]),
            problem=Problem(**problem) if problem else None,
            result=CommandResult.from_dict(result) if result else None,
            pod=value.get("pod", ""),
            progress=PlanProgress.from_dict(progress) if progress else None,
        )
