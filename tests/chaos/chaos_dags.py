"""The DAGs of the chaos suite, for its Airflow's DAG folder. A run's conf says how long its commands take."""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG

from airflow_provider_feast.operators.feast import FeastCommandOperator

RETRIES = 12
FEW_RETRIES = 1


class Chaotic(DAG):
    """A DAG without a schedule."""

    def __init__(self, dag_id: str) -> None:
        super().__init__(dag_id, schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC), catchup=False)


class Command(FeastCommandOperator):
    """A command whose length and end the run's conf says."""

    template_fields = FeastCommandOperator.template_fields

    def __init__(self, *, task_id: str, retries: int = RETRIES, **kwargs: object) -> None:
        conf = "{{ dag_run.conf['%s'] }}"
        super().__init__(
            task_id=task_id,
            command=["apply"],
            feast_conn_id="feast_chaos",
            namespace=conf % "namespace",
            env={f"CHAOS_{name.upper()}": conf % name for name in ("lines", "pause", "burst", "exit")},
            log_interval=0.5,
            retries=retries,
            retry_delay=timedelta(seconds=0.1),
            **kwargs,
        )

    def execute(self, context: object) -> object:
        """Defer after a second instead of ten: a schedule takes seconds."""
        from airflow_provider_feast.jobs import task

        task.TaskRun.defer_after = 1.0  # type: ignore[method-assign, assignment]
        return super().execute(context)


with Chaotic("waits"):
    Command(task_id="waits", deferrable=False)

with Chaotic("defers"):
    Command(task_id="defers", deferrable=True)

with Chaotic("both"):
    Command(task_id="waits", deferrable=False)
    Command(task_id="defers", deferrable=True)

with Chaotic("fails"):
    Command(task_id="defers", deferrable=True, retries=FEW_RETRIES)
