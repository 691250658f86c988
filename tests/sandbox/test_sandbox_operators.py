"""Airflow's own Kubernetes operators run on the sandbox, unmodified."""

from typing import Any
from unittest import mock

import pytest
from airflow.providers.cncf.kubernetes.operators.job import KubernetesJobOperator
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk.exceptions import AirflowException

from airflow_provider_feast.sandbox import Sandbox

IMAGE = "feast-sandbox:local"


def context(operator: Any) -> dict[str, Any]:
    instance = mock.MagicMock(try_number=1, map_index=-1, dag_id="d", task_id=operator.task_id, run_id="r")
    dag = mock.MagicMock(dag_id="d")
    run = mock.MagicMock(run_id="r")
    return {
        "ti": instance,
        "task_instance": instance,
        "run_id": "r",
        "dag": dag,
        "task": operator,
        "dag_run": run,
    }


def options(sandbox: Sandbox, task_id: str, code: str) -> dict[str, Any]:
    return {
        "task_id": task_id,
        "name": task_id,
        "namespace": "default",
        "image": IMAGE,
        "cmds": ["python3", "-c", code],
        "config_file": str(sandbox.kubeconfig),
        "in_cluster": False,
        "kubernetes_conn_id": None,
    }


def test_a_pod_operator_succeeds_and_fails_as_its_pod_does(feast_sandbox: Sandbox) -> None:
    good = KubernetesPodOperator(
        **options(feast_sandbox, "good-pod", "print('hello')"), startup_check_interval_seconds=1
    )
    good.execute(context(good))
    bad = KubernetesPodOperator(
        **options(feast_sandbox, "bad-pod", "raise SystemExit(3)"), startup_check_interval_seconds=1
    )
    with pytest.raises(AirflowException, match="bad-pod"):
        bad.execute(context(bad))


def test_a_job_operator_succeeds_and_fails_as_its_job_does(feast_sandbox: Sandbox) -> None:
    wait = {"wait_until_job_complete": True, "job_poll_interval": 0.2, "backoff_limit": 0}
    good = KubernetesJobOperator(**options(feast_sandbox, "good-job", "print('hello')"), **wait)
    good.execute(context(good))
    bad = KubernetesJobOperator(**options(feast_sandbox, "bad-job", "raise SystemExit(3)"), **wait)
    with pytest.raises(AirflowException, match="is failed with error 'BackoffLimitExceeded'"):
        bad.execute(context(bad))
