"""The quickstart's shape with plain KubernetesJobOperator."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.providers.cncf.kubernetes.operators.job import KubernetesJobOperator
from airflow.sdk import DAG, CronDataIntervalTimetable

IMAGE = "quay.io/feastdev/feature-server:0.67.0"

with DAG(
    "kubernetes_job",
    schedule=CronDataIntervalTimetable("@daily", timezone="UTC"),
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    doc_md=__doc__,
    tags=["benchmark"],
):
    apply = KubernetesJobOperator(task_id="apply", image=IMAGE, cmds=["feast"], arguments=["apply"])
    load = KubernetesJobOperator(
        task_id="load",
        image=IMAGE,
        cmds=["feast"],
        arguments=["materialize", "{{ data_interval_start }}", "{{ data_interval_end }}"],
    )
    wait = KubernetesJobOperator(task_id="wait", image=IMAGE, cmds=["feast"], arguments=["version"])
    read = KubernetesJobOperator(
        task_id="read", image=IMAGE, cmds=["feast"], arguments=["get-online-features", "-e", "driver_id=1001"]
    )

    apply >> load >> wait >> read
