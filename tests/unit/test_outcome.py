"""Errors, outcomes and results: what crosses from pod to triggerer to worker arrives as it was."""

from __future__ import annotations

import json
import pickle
from typing import Any

import pytest

from airflow_provider_feast.model import errors
from airflow_provider_feast.model.errors import ERRORS, FeastCommandError, FeastDagError, FeastError
from airflow_provider_feast.model.outcome import JobState, Outcome, Problem
from airflow_provider_feast.model.result import CommandResult, ViewTotals

RESULT = CommandResult(
    "failed",
    "store_unreachable",
    "no route",
    1,
    "0.67.0",
    "0123456789abcdef0123456789abcdef01234567",
    "2026-01-01T00:00:00+00:00",
    "2026-01-01T00:00:09+00:00",
    {"driver_stats": ViewTotals(12, 1.5, 1), "remote": ViewTotals(None, 0.25, 2)},
    3,
)
PROBLEM = Problem("store_unreachable", "no route to Redis", "start it")


# --- errors --------------------------------------------------------------------------------------


def test_a_message_says_what_happened_where_and_what_to_do_in_that_order() -> None:
    error = FeastError("it broke", where="Job ns/a", remedy="mend it")
    assert str(error).splitlines() == ["it broke", "Where: Job ns/a", "What to do: mend it"]
    assert str(FeastError("it broke")) == "it broke"


def test_every_kind_has_one_class_and_every_class_one_kind() -> None:
    classes = [
        value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, FeastError)
    ]
    assert len({cls.kind for cls in classes}) == len(classes) == len(ERRORS)
    assert all(ERRORS[cls.kind] is cls and cls.__doc__ for cls in classes)


@pytest.mark.parametrize("cls", ERRORS.values())
def test_errors_survive_pickling_with_their_parts(cls: type[FeastError]) -> None:
    error = pickle.loads(pickle.dumps(cls("what", where="where", remedy="remedy")))
    assert type(error) is cls
    assert (error.what, error.where, error.remedy) == ("what", "where", "remedy")


def test_a_dag_error_is_a_value_error_so_that_airflow_shows_it_as_one() -> None:
    assert issubclass(FeastDagError, ValueError)


# --- outcomes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(JobState.SUCCEEDED),
        Outcome(JobState.FAILED, PROBLEM, RESULT, "pod-1"),
        Outcome(JobState.STARTING, PROBLEM._replace(can_mend=True)),
        Outcome(JobState.RUNNING, result=RESULT),
    ],
)
def test_an_outcome_crosses_from_triggerer_to_worker_as_json(outcome: Outcome) -> None:
    assert Outcome.from_dict(json.loads(json.dumps(outcome.to_dict()))) == outcome


@pytest.mark.parametrize("state", JobState)
def test_only_two_states_are_final(state: JobState) -> None:
    assert Outcome(state).final is (state in (JobState.SUCCEEDED, JobState.FAILED))


@pytest.mark.parametrize("value", [{}, {"state": "odd"}, {"state": "failed", "problem": {"no": 1}}])
def test_what_is_no_outcome_is_an_error(value: dict[str, Any]) -> None:
    with pytest.raises((KeyError, ValueError, TypeError)):
        Outcome.from_dict(value)


@pytest.mark.parametrize("kind", ERRORS)
def test_a_problem_becomes_the_error_of_its_kind(kind: str) -> None:
    error = Problem(kind, "cause", "remedy").error("Job ns/a")
    assert type(error) is ERRORS[kind]
    assert str(error) == "cause\nWhere: Job ns/a\nWhat to do: remedy"
    assert Problem(kind, "", "").retryable is ERRORS[kind].retryable


def test_a_kind_of_a_newer_release_is_still_an_error() -> None:
    problem = Problem("from_the_future", "cause", "remedy")
    assert type(problem.error("")) is FeastError
    assert problem.retryable is False


# --- results -------------------------------------------------------------------------------------


def test_a_result_survives_the_termination_message() -> None:
    assert CommandResult.parse(json.dumps(RESULT.to_dict())) == RESULT


def test_the_verdict_comes_right_after_the_version_so_that_a_cut_message_still_shows_it() -> None:
    assert list(RESULT.to_dict())[:3] == ["v", "verdict", "kind"]


def test_fields_of_newer_runners_are_ignored() -> None:
    body = RESULT.to_dict() | {"v": 9, "novelty": [1]}
    body["views"]["driver_stats"]["novelty"] = 1
    assert CommandResult.parse(json.dumps(body)) == RESULT


@pytest.mark.parametrize(
    "text",
    [
        *(None, "", "Error: no such command", "{", "[]", "5", "null", "{}"),
        *('{"v": 1}', '{"verdict": "failed"}'),
        '{"v": 1, "verdict": "failed", "views": {"a": 5}}',
        '{"v": 1, "verdict": "failed", "views": [1]}',
    ],
)
def test_what_is_no_result_is_none(text: str | None) -> None:
    assert CommandResult.parse(text) is None


def test_a_failed_command_can_be_run_again_unless_its_class_says_otherwise() -> None:
    assert FeastCommandError.retryable
    assert not ERRORS["usage_error"].retryable
    assert not ERRORS["unknown_feature_view"].retryable
