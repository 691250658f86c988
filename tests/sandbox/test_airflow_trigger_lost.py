"""A trigger that no triggerer can run, in an Airflow of its own.

Airflow's triggerer (3.3) remembers the number of a trigger that it could not load as one that runs, and SQLite gives the
number of a deleted row away again: another task that got it would never be waited for.
"""

import json
from pathlib import Path

from airflow_helpers import PREAMBLE, Cluster, environment, feast_connection, store
from standalone_helpers import TICKS, Instance, running

from airflow_provider_feast.sandbox.demo_world import World

DAGS = (
    PREAMBLE
    + """
class Adrift(FeastApplyOperator):
    # its trigger is one that no triggerer can import

    def defer(self, *, trigger, **more):
        arguments = trigger.serialize()[1]
        trigger.serialize = lambda: ("airflow_provider_feast.triggers.nowhere.NoSuchTrigger", arguments)
        super().defer(trigger=trigger, **more)

with DAG("adrift", schedule=None):
    Adrift(task_id="run", feast_conn_id="feast_adrift", deferrable=True, defer_after=2)
"""
)


def connection(world: World) -> str:
    """A store in its pod's /tmp."""
    online = {"type": "sqlite", "path": "/tmp/online.db"}
    return feast_connection(
        namespace=world.namespace,
        image=world.image,
        configuration=json.dumps(store("adrift", registry="/tmp/registry.db", online_store=online)),
        cpu_request="50m",
        definitions_config_map="adrift",
    )


def test_a_task_whose_trigger_no_triggerer_can_run_is_waited_for_by_its_worker(
    world: World, cluster: Cluster, tmp_path: Path
) -> None:
    body = {"metadata": {"name": "adrift"}, "data": {"definitions.py": TICKS}}
    cluster.core.create_namespaced_config_map(world.namespace, body)
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "dags.py").write_text(DAGS)
    variables = environment(tmp_path, world.kubeconfig, {"feast_adrift": connection(world)})
    with running(variables, tmp_path) as airflow:
        with airflow.stopped(
            "triggerer"
        ):  # it fails the trigger in no time, and the scheduler may know of no pause yet
            instance = Instance(airflow, "adrift", airflow.trigger("adrift"))
            instance.until("deferred")
            instance.until_off_the_executor()
        instance.until("success")
        log = instance.log()
        assert "waits for it in the triggerer" in log
        assert "Airflow gave up this task's trigger" in log
        assert "This worker waits for the Job itself" in log
        ticks = [line.strip() for line in log.splitlines() if line.startswith("tick")]
        assert ticks == [f"tick {second}" for second in range(16)], "each line once and in order"
        label = "airflow-provider-feast/dag=adrift"
        (job,) = cluster.batch.list_namespaced_job(cluster.namespace, label_selector=label).items
        assert job.metadata.name == instance.xcom("job_name")
        assert instance.tries == 1
