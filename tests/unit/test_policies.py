"""FeastRetryPolicy: which failures are worth another try."""

import importlib
import subprocess
import sys
from datetime import timedelta

import pytest
from airflow.sdk import DAG
from airflow_versions import DagSerialization

from airflow_provider_feast.model.errors import ERRORS, FeastError
from airflow_provider_feast.operators import retries
from airflow_provider_feast.operators.feast import FeastApplyOperator, FeastCommandOperator

policies = pytest.importorskip(
    "airflow_provider_feast.policies",
    reason="retry policies come with Airflow 3.3",
    exc_type=ImportError,
)


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS.keys())
def test_a_kind_of_failure_is_retried_if_another_try_can_help(error: type[FeastError]) -> None:
    decision = policies.FeastRetryPolicy().evaluate(error("it broke"), 1, 3)
    assert decision.action.value == ("default" if error.retryable else "fail")
    assert error.retryable or error.kind in decision.reason


def test_failures_of_others_are_left_to_airflow() -> None:
    assert policies.FeastRetryPolicy().evaluate(OSError("no network"), 1, 3).action.value == "default"


def test_operators_have_the_policy_unless_the_dag_gives_another() -> None:
    from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule

    own = ExceptionRetryPolicy([RetryRule(exception=FeastError, action=RetryAction.RETRY)])
    assert isinstance(FeastApplyOperator(task_id="a").retry_policy, policies.FeastRetryPolicy)
    assert FeastApplyOperator(task_id="b", retry_policy=own).retry_policy is own
    assert FeastApplyOperator(task_id="c", retry_policy=None).retry_policy is None
    with DAG("features", schedule=None, default_args={"retry_policy": own}):
        assert FeastApplyOperator(task_id="apply").retry_policy is own


def test_mapped_operators_have_the_policy_too() -> None:
    with DAG("features", schedule=None):
        mapped = FeastCommandOperator.partial(task_id="t").expand(command=[["version"]])
        plain = FeastCommandOperator.partial(task_id="u", retry_policy=None).expand(command=[["version"]])
    assert isinstance(mapped.retry_policy, policies.FeastRetryPolicy)
    assert plain.retry_policy is None


def test_a_dag_whose_tasks_have_the_policy_can_be_serialized() -> None:
    with DAG("features", schedule=None) as dag:
        FeastApplyOperator(task_id="apply", retries=3, retry_delay=timedelta(seconds=1))
        FeastCommandOperator.partial(task_id="mapped", retries=2).expand(command=[["version"]])
    read = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert {task.task_id: (task.has_retry_policy, task.retries) for task in read.tasks} == {
        "apply": (True, 3),
        "mapped": (True, 2),
    }


def test_below_airflow_3_3_the_policy_says_what_it_needs_and_operators_do_without(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "airflow.sdk.definitions.retry_policy", None)
    monkeypatch.delitem(sys.modules, "airflow_provider_feast.policies")
    with pytest.raises(ImportError, match=r"needs Airflow 3\.3 or later"):
        importlib.import_module("airflow_provider_feast.policies")
    assert retries.default_retry_policy() is None
    assert retries.retry_arguments(None) == {}


def test_the_policy_costs_a_dag_file_next_to_nothing() -> None:
    code = (
        "import sys; from airflow.sdk import BaseOperator; before = set(sys.modules);"
        "import airflow_provider_feast.policies; print(*sorted(set(sys.modules) - before))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [
        name
        for name in loaded.stdout.split()
        if not name.startswith(("airflow_provider_feast", "airflow.sdk.definitions.retry_policy"))
    ] == []
