"""FeastRetryPolicy: which failures are worth another try."""

import pytest
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization

from airflow_provider_feast.model.errors import ERRORS, FeastError
from airflow_provider_feast.operators.feast import FeastApplyOperator

policies = pytest.importorskip(
    "airflow_provider_feast.policies", reason="retry policies come with Airflow 3.3"
)


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS.keys())
def test_a_kind_of_failure_is_retried_if_another_try_can_help(error: type[FeastError]) -> None:
    decision = policies.FeastRetryPolicy().evaluate(error("it broke"), 1, 3)
    assert decision.action.value == ("default" if error.retryable else "fail")
    assert error.retryable or error.kind in decision.reason


def test_failures_of_others_are_left_to_airflow() -> None:
    assert policies.FeastRetryPolicy().evaluate(OSError("no network"), 1, 3).action.value == "default"


def test_a_dag_whose_tasks_have_the_policy_can_be_serialized() -> None:
    with DAG("features") as dag:
        FeastApplyOperator(task_id="apply", retries=3, retry_policy=policies.FeastRetryPolicy())
    task = DagSerialization.from_dict(DagSerialization.to_dict(dag)).get_task("apply")
    assert task.retries == 3
