"""DAGs in a real Airflow (`dag.test()`) with the real Feast, on the sandbox."""

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from airflow_helpers import END, Cluster, DagServer, Run, feast_connection, wait_for
from standalone_helpers import TICKS

from airflow_provider_feast import __version__
from airflow_provider_feast.sandbox import Sandbox, demo_repo
from airflow_provider_feast.sandbox.demo_world import World, check

pytestmark = pytest.mark.xdist_group("airflow-dagtest")
EXAMPLES = Path(__file__).resolve().parents[2] / "example_dags"
DAY, EVE = END.date(), (END - timedelta(days=1)).date()
LAST_DAY = f'start="{(END - timedelta(days=1)).isoformat()}", end="{END.isoformat()}"'


def store(name: str, **more: Any) -> dict[str, Any]:
    """A feature_store.yaml of its own registry and online store, on the volume with the data."""
    return {
        "project": name,
        "provider": "local",
        "registry": f"/feast/data/{name}.registry.db",
        "online_store": {"type": "sqlite", "path": f"/feast/data/{name}.online.db"},
        "offline_store": {"type": "file"},
        "entity_key_serialization_version": 3,
        **more,
    }


@pytest.fixture(scope="module")
def connections(
    world: World, feast_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """The connections that the DAGs below name."""
    repo = tmp_path_factory.mktemp("repo")
    (repo / "definitions.py").write_text(demo_repo.definitions_text())
    (repo / "feature_store.yaml").write_text(json.dumps(store("baked")))
    feast_sandbox.add_image("feast-baked:1", f"{sys.prefix},/opt/app/feature_repo={repo}")
    known = json.loads(world.connection)["extra"]
    bare = {key: value for key, value in known.items() if key in ("namespace", "image", "job_overrides")}
    config = {"config_map": known["config_map"]}
    return {
        "feast_quickstart": world.connection,
        "feast_bare": feast_connection(**bare),
        "feast_baked": feast_connection(
            **{**bare, "image": "feast-baked:1", "definitions_path": "/opt/app/feature_repo"}
        ),
        "feast_named": feast_connection(
            **bare, **config, service_account="default", image_pull_secrets="puller"
        ),
        "feast_not_json": json.dumps({"conn_type": "feast", "extra": "{namespace: feast}"}),
        "feast_http": json.dumps({"conn_type": "http", "host": "example.org"}),
        "feast_typo": feast_connection(**bare, config_mapp="x"),
        "feast_no_map": feast_connection(**bare, config_map="nowhere"),
        "feast_no_key": feast_connection(**bare, **config, config_map_key="other.yaml"),
        "feast_no_definitions": feast_connection(**bare, **config, definitions_config_map="nowhere"),
        "feast_no_image": feast_connection(namespace=world.namespace, **config),
        "feast_no_cluster": feast_connection(**bare, **config, kubernetes_conn_id="other_cluster"),
        "feast_no_namespace": feast_connection(**{**bare, "namespace": "no-such-namespace"}, **config),
        "feast_bad_image": feast_connection(
            **{**bare, "image": "feast-sandbox:missing"}, **config, startup_timeout_seconds=2
        ),
    }


# --- what works ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quickstart(airflow: DagServer) -> Run:
    """The run of the quickstart for the last day that has data; other tests read what it left."""
    text = (EXAMPLES / "feast_quickstart.py").read_text(encoding="utf-8")
    return airflow.run_file(text, "feast_quickstart", logical_date=END.isoformat())


def test_every_example_is_run_by_a_test_here_or_in_test_airflow_uses() -> None:
    uses = {f"feast_{name}.py" for name in ("daily", "manual", "backfill")}
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"feast_quickstart.py", *uses}


def test_the_quickstart_loads_what_the_parquet_says(quickstart: Run, world: World) -> None:
    states = {name: task.state for name, task in quickstart.tasks.items()}
    assert states == dict.fromkeys(("apply", "load", "wait", "read"), "success")
    assert "are as expected" in check(world, END - timedelta(days=1), END)


def test_the_result_of_a_materialization_tells_its_job_window_and_rows(quickstart: Run, world: World) -> None:
    xcoms = quickstart["load"].xcoms
    result = xcoms["return_value"]
    assert result == xcoms["result"]
    assert list(result) == [
        *("schema", "outcome", "kind", "job", "namespace", "feature_store", "command", "window"),
        *("started", "finished", "duration_seconds", "image", "feast_version", "commit"),
        *("security_profile", "kubernetes_api_access", "views", "views_omitted"),
        *("chunks", "gaps", "gaps_omitted", "ahead", "changes"),
    ]
    assert (result["schema"], result["outcome"], result["kind"]) == (1, "succeeded", "")
    assert result["job"] == xcoms["job_name"]
    assert result["namespace"] == xcoms["job_namespace"] == world.namespace
    assert result["command"] == ["materialize", f"{EVE}T00:00:00", f"{EVE}T23:59:59.999999"]
    assert result["window"] == [f"{EVE}T00:00:00+00:00", f"{DAY}T00:00:00+00:00"]
    assert {view: totals["rows"] for view, totals in result["views"].items()} == {
        "driver_hourly_stats": 5,
        "driver_daily_rating": 4,
        "customer_profile": 4,
    }
    assert datetime.fromisoformat(result["started"]) < datetime.fromisoformat(result["finished"])
    assert result["duration_seconds"] > 0


def test_the_log_of_a_task_is_the_pods_log_without_machine_lines(quickstart: Run) -> None:
    log = quickstart["read"].log
    assert '"driver_id": [' in log
    assert f"--- log of pod {quickstart['read'].xcoms['job_name']}" in log
    assert "feast_event" not in quickstart["load"].log
    assert f"Window: [{EVE}T00:00:00+00:00, {DAY}T00:00:00+00:00)" in quickstart["load"].log
    assert "driver_daily_rating" in quickstart["load"].log


def test_a_job_says_whose_it_is(quickstart: Run, cluster: Cluster) -> None:
    job = cluster.job(quickstart["load"].xcoms["job_name"])
    labels, annotations = job.metadata.labels, job.metadata.annotations
    assert labels["app.kubernetes.io/name"] == "feast"
    assert labels["app.kubernetes.io/component"] == "materialize"
    assert labels["app.kubernetes.io/managed-by"] == "airflow-provider-feast"
    assert labels["airflow-provider-feast/feature-store"] == "quickstart"
    assert labels["airflow-provider-feast/dag"] == "feast_quickstart"
    assert labels["airflow-provider-feast/task"] == "load"
    assert annotations["airflow-provider-feast/run-id"] == quickstart.run_id
    assert annotations["airflow-provider-feast/try-number"] == "1"
    assert annotations["airflow-provider-feast/provider-version"] == __version__
    assert job.spec.ttl_seconds_after_finished == 24 * 3600


def test_one_store_from_apply_to_teardown_with_an_inline_configuration(
    airflow: DagServer, cluster: Cluster
) -> None:
    run = airflow.run(f"""
common = dict(
    feast_conn_id="feast_bare",
    configuration={store("inline")!r},
    definitions=ConfigMapDefinitions("feast-demo-definitions"),
)
apply = FeastApplyOperator(task_id="apply", **common)
load = FeastMaterializeIncrementalOperator(
    task_id="load", end="{END.isoformat()}", feature_views=["customer_profile"], **common
)
other = FeastTeardownOperator(task_id="other", confirm="production", **common)
this = FeastTeardownOperator(task_id="this", confirm="inline", **common)
apply >> load >> [other, this]
""")
    assert (run["apply"].state, run["load"].state, run["this"].state) == ("success", "success", "success")
    result = run["load"].xcoms["result"]
    assert result["command"] == [
        *("materialize-incremental", f"{EVE}T23:59:59.999999", "--views", "customer_profile")
    ]
    assert {view: totals["rows"] for view, totals in result["views"].items()} == {"customer_profile": 4}
    assert run["other"].error.startswith(
        "FeastDagError: confirm='production', but the project in feature_store.yaml is 'inline'"
    )
    assert "job_name" not in run["other"].xcoms
    job = cluster.job(run["apply"].xcoms["job_name"])
    config_map = cluster.config_map(job.metadata.name)
    assert config_map.immutable
    assert [owner.uid for owner in config_map.metadata.owner_references] == [job.metadata.uid]
    cluster.batch.delete_namespaced_job(job.metadata.name, cluster.namespace, propagation_policy="Background")
    wait_for(lambda: cluster.config_map(job.metadata.name) is None, "the end of the Job's ConfigMap")


def test_a_window_is_loaded_chunk_by_chunk_in_one_job(airflow: DagServer, cluster: Cluster) -> None:
    run = airflow.run(f"""
common = dict(
    feast_conn_id="feast_bare",
    configuration={store("chunked")!r},
    definitions=ConfigMapDefinitions("feast-demo-definitions"),
)
apply = FeastApplyOperator(task_id="apply", **common)
load = FeastMaterializeOperator(
    task_id="load", start="{(END - timedelta(days=4)).isoformat()}", end="{END.isoformat()}", chunk="2d", **common
)
apply >> load
""")
    assert run["load"].state == "success", run["load"].error
    assert "The window is loaded in 2 chunks." in run["load"].log
    job = cluster.job(run["load"].xcoms["job_name"])
    assert (job.spec.completion_mode, job.spec.completions, job.status.completed_indexes) == (
        "Indexed",
        2,
        "0,1",
    )
    assert (job.spec.backoff_limit_per_index, job.spec.max_failed_indexes) == (0, 0)
    views = run["load"].xcoms["result"]["views"]
    assert {name: totals["windows"] for name, totals in views.items()} == dict.fromkeys(
        ("driver_hourly_stats", "driver_daily_rating", "customer_profile"), 4
    )
    assert views["driver_hourly_stats"]["rows"] == 4 * 5
    assert run["load"].xcoms["result"]["chunks"] == {"total": 2, "done": 2, "unknown": ""}
    assert "2 of 2 chunks done" in run["load"].log


def test_definitions_and_configuration_may_be_baked_into_the_image(
    airflow: DagServer, cluster: Cluster
) -> None:
    run = airflow.run("""
FeastApplyOperator(task_id="apply", feast_conn_id="feast_baked")
""")
    assert run["apply"].state == "success", run["apply"].error
    assert "Created feature view customer_profile" in run["apply"].log
    spec = cluster.job(run["apply"].xcoms["job_name"]).spec.template.spec
    assert not spec.init_containers
    assert "/opt/app/feature_repo" in spec.containers[0].command


def test_commands_and_mapped_views_come_from_other_tasks(airflow: DagServer, quickstart: Run) -> None:
    run = airflow.run(
        f"""
@task
def command():
    return ["version"]

@task
def views():
    return [["driver_hourly_stats"], ["customer_profile", "driver_daily_rating"]]

FeastCommandOperator(task_id="version", feast_conn_id="feast_quickstart", command=command())
FeastMaterializeOperator.partial(
    task_id="load", feast_conn_id="feast_quickstart", {LAST_DAY}
).expand(feature_views=views())
FeastMaterializeOperator.partial(task_id="recent", feast_conn_id="feast_quickstart", lookback="2h").expand(
    feature_views=[["customer_profile"]]
)
""",
        logical_date=None,
    )
    assert run.state == "success", {name: task.error for name, task in run.tasks.items()}
    assert "Feast SDK Version" in run["version"].log
    assert list(run["load[0]"].xcoms["result"]["views"]) == ["driver_hourly_stats"]
    assert set(run["load[1]"].xcoms["result"]["views"]) == {"customer_profile", "driver_daily_rating"}
    assert run["load[0]"].xcoms["job_name"] != run["load[1]"].xcoms["job_name"]
    start, end = map(datetime.fromisoformat, run["recent[0]"].xcoms["result"]["window"])
    assert end - start == timedelta(hours=2)
    assert abs(datetime.now(UTC) - end) < timedelta(minutes=10)


def test_names_of_service_accounts_and_pull_secrets_are_not_masked_in_logs(
    airflow: DagServer, cluster: Cluster
) -> None:
    run = airflow.run("""
FeastCommandOperator(task_id="default_puller", feast_conn_id="feast_named", command=["version"])
""")
    assert run["default_puller"].state == "success", run["default_puller"].error
    name = run["default_puller"].xcoms["job_name"]
    assert f"Job {name} succeeded" in run["default_puller"].log
    assert "default-puller" in name
    spec = cluster.job(name).spec.template.spec
    assert (spec.service_account_name, spec.image_pull_secrets[0].name) == ("default", "puller")


def test_cli_mode_runs_the_plain_feast_command(airflow: DagServer, cluster: Cluster, quickstart: Run) -> None:
    run = airflow.run(f"""
FeastCommandOperator(
    task_id="views", feast_conn_id="feast_quickstart", command=["feature-views", "list"], command_mode="cli"
)
FeastMaterializeOperator(
    task_id="unknown", feast_conn_id="feast_quickstart", command_mode="cli", feature_views=["nope"], {LAST_DAY}
)
""")
    assert run["views"].state == "success", run["views"].error
    assert "customer_profile" in run["views"].log
    command = cluster.job(run["views"].xcoms["job_name"]).spec.template.spec.containers[0].command
    assert (command[0], command[-2:]) == ("feast", ["feature-views", "list"])
    assert run["unknown"].state == "failed"
    assert run["unknown"].error.startswith("UnknownFeatureViewError")
    assert "nope" in run["unknown"].error
    assert "rows that are older than what is online are written as well" in run["unknown"].log
    assert "plain Feast" not in run["views"].log


def test_a_retry_runs_the_command_again_in_a_new_job(airflow: DagServer, cluster: Cluster) -> None:
    run = airflow.run("""
FeastCommandOperator(
    task_id="flaky", feast_conn_id="feast_quickstart", retries=1, retry_delay=timedelta(0),
    command=["entities", "describe", "nope"],
)
""")
    assert run["flaky"].state == "failed"
    assert (run["flaky"].tries, len(run["flaky"].errors)) == (2, 2)
    names = {error["text"].split("Job ", 1)[1].split()[0] for error in run["flaky"].errors}
    assert len(names) == 2
    tries = [cluster.job(name).metadata.annotations["airflow-provider-feast/try-number"] for name in names]
    assert sorted(tries) == ["1", "2"]
    assert {cluster.job(name).spec.ttl_seconds_after_finished for name in names} == {7 * 24 * 3600}


def test_what_a_retry_cannot_help_is_not_retried(airflow: DagServer, quickstart: Run) -> None:
    run = airflow.run("""
common = dict(feast_conn_id="feast_quickstart", retries=1, retry_delay=timedelta(0))
unknown = ["feature-views", "describe", "nope"]
FeastCommandOperator(task_id="hopeless", command=unknown, **common)
FeastCommandOperator(task_id="deferred", command=unknown, deferrable=True, **common)
FeastCommandOperator.partial(task_id="mapped", **common).expand(command=[unknown])
FeastCommandOperator(task_id="stubborn", command=unknown, retry_policy=None, **common)
FeastCommandOperator(task_id="hopeful", command=["entities", "describe", "nope"], **common)
""")
    assert {name: (task.state, task.tries) for name, task in run.tasks.items()} == {
        "hopeless": ("failed", 1),
        "deferred": ("failed", 1),
        "mapped[0]": ("failed", 1),
        "stubborn": ("failed", 2),
        "hopeful": ("failed", 2),
    }
    assert run["hopeless"].error.startswith("UnknownFeatureViewError")
    assert "unknown_feature_view: running it again would fail in the same way" in run["hopeless"].log


# --- the sensor ----------------------------------------------------------------------------------


def test_the_sensor_waits_for_jobs_of_others(airflow: DagServer, cluster: Cluster) -> None:
    cluster.start("cron-1", "print('done')", {"example.org/cron": "nightly"})
    cluster.start("cron-2", "raise SystemExit('the store is on fire')", {"example.org/cron": "hourly"})
    cluster.start("cron-3", "import time; time.sleep(2)", {"example.org/cron": "slow"})
    run = airflow.run("""
common = dict(feast_conn_id="feast_quickstart", poke_interval=0.2, mode="poke", timeout=60)
FeastJobSensor(task_id="by_name", job_name="cron-1", **common)
FeastJobSensor(task_id="by_labels", labels={"example.org/cron": "nightly"}, **common)
FeastJobSensor(task_id="failed", job_name="cron-2", **common)
FeastJobSensor(task_id="failed_deferred", labels={"example.org/cron": "hourly"}, deferrable=True, **common)
FeastJobSensor(task_id="slow", job_name="cron-3", deferrable=True, **common)
FeastJobSensor(
    task_id="too_old", labels={"example.org/cron": "nightly"}, created_after="2100-01-01T00:00:00Z",
    feast_conn_id="feast_quickstart", poke_interval=0.2, mode="poke", timeout=1,
)
""")
    assert {name: task.state for name, task in run.tasks.items()} == {
        **dict.fromkeys(("by_name", "by_labels", "slow"), "success"),
        **dict.fromkeys(("failed", "failed_deferred", "too_old"), "failed"),
    }, {name: task.error for name, task in run.tasks.items()}
    for name in ("failed", "failed_deferred"):
        assert "the store is on fire" in run[name].error
        assert "Job cron-2" in run[name].error
    assert "AirflowSensorTimeout" in run["too_old"].error


# --- what cannot work, and says so ---------------------------------------------------------------

BROKEN_AT_PARSE = {
    "a word as a time": (
        'FeastMaterializeOperator(task_id="t", start="yesterday", end="2026-06-06T00:00:00Z")',
        ("start='yesterday' is not a point in time", "write ISO 8601 with a time zone"),
    ),
    "a time without a zone": (
        'FeastMaterializeOperator(task_id="t", start="2026-06-05", end="2026-06-06T00:00:00Z")',
        ("start='2026-06-05T00:00:00' has no time zone", "start='2026-06-05T00:00:00+00:00' for UTC"),
    ),
    "a window of no length": (
        'FeastMaterializeOperator(task_id="t", start="2026-06-06T00:00:00Z", end="2026-06-06T02:00:00+02:00")',
        ("is the same as end=", "make end later"),
    ),
    "a reversed window": (
        'FeastMaterializeOperator(task_id="t", start="2026-06-07T00:00:00Z", end="2026-06-06T00:00:00Z")',
        ("is later than end=", "make end later"),
    ),
    "a command as one text": (
        'FeastCommandOperator(task_id="t", command="feature-views list")',
        ("no shell runs here", "command=['feature-views', 'list']"),
    ),
    "no command": (
        'FeastCommandOperator(task_id="t")',
        ("command is missing", "give command="),
    ),
    "an unconfirmed teardown": (
        'FeastTeardownOperator(task_id="t")',
        ("was not confirmed", "give confirm= the name of the project"),
    ),
    "one view as text": (
        'FeastMaterializeOperator(task_id="t", feature_views="driver")',
        ("not a list of names", "feature_views=["),
    ),
    "an override of the Job's name": (
        'FeastApplyOperator(task_id="t", job_overrides={"metadata": {"name": "x"}})',
        ("metadata.name",),
    ),
    "a sensor without a Job": (
        'FeastJobSensor(task_id="t")',
        ("needs to know which Job", "either job_name= or labels="),
    ),
}


@pytest.mark.parametrize("name", BROKEN_AT_PARSE)
def test_a_dag_that_cannot_work_is_an_import_error_that_says_what_to_write(
    airflow: DagServer, name: str
) -> None:
    tasks, fragments = BROKEN_AT_PARSE[name]
    error = airflow.import_error(tasks)
    assert "FeastDagError" in error
    for fragment in fragments:
        assert fragment in error


BROKEN_AT_RUN = {
    "unknown_connection": (
        'FeastApplyOperator(task_id=TASK, feast_conn_id="feast_nobody")',
        "FeastConfigurationError: the connection 'feast_nobody' does not exist",
        "airflow connections add feast_nobody --conn-type feast",
    ),
    "connection_of_another_type": (
        'FeastApplyOperator(task_id=TASK, feast_conn_id="feast_http")',
        "FeastConfigurationError: the connection 'feast_http' is of type 'http', not 'feast'",
        "the name of a connection of the type Feast",
    ),
    "extra_that_is_no_json": (
        'FeastApplyOperator(task_id=TASK, feast_conn_id="feast_not_json")',
        "FeastConfigurationError: the field Extra is not JSON",
        "Admin → Connections → feast_not_json",
    ),
    "misspelled_field": (
        'FeastApplyOperator(task_id=TASK, feast_conn_id="feast_typo")',
        "FeastConfigurationError: the field 'config_mapp' does not exist",
        "did you mean 'config_map'?",
    ),
    "no_image": (
        'FeastApplyOperator(task_id=TASK, feast_conn_id="feast_no_image")',
        "FeastConfigurationError: no image is set",
        "set the field `image`",
    ),
    "no_configuration": (
        'FeastApplyOperator(task_id=TASK, feast_conn_id="feast_bare")',
        "FeastConfigurationError: neither a configuration nor definitions are set",
        "set config_map",
    ),
    "unknown_cluster": (
        'FeastApplyOperator(task_id=TASK, feast_conn_id="feast_no_cluster")',
        "FeastConfigurationError: the Kubernetes connection 'other_cluster' does not exist",
        "with the type Kubernetes Cluster Connection",
    ),
    "missing_config_map": (
        'FeastApplyOperator(task_id=TASK, feast_conn_id="feast_no_map")',
        "MissingObjectError: the ConfigMap 'nowhere', which should hold feature_store.yaml, does not exist",
        "create configmap nowhere",
    ),
    "missing_key": (
        'FeastApplyOperator(task_id=TASK, feast_conn_id="feast_no_key")',
        "MissingObjectError: the ConfigMap 'feast-demo-config' has no key 'other.yaml'; it has feature_store.yaml",
        "correct the key",
    ),
    "missing_definitions": (
        'FeastApplyOperator(task_id=TASK, feast_conn_id="feast_no_definitions")',
        "MissingObjectError: the ConfigMap 'nowhere', which should hold the feature repository, does not exist",
        "create configmap nowhere",
    ),
    "missing_namespace": (
        'FeastApplyOperator(task_id=TASK, feast_conn_id="feast_no_namespace")',
        "MissingObjectError: the namespace 'no-such-namespace' does not exist",
        "kubectl create namespace no-such-namespace",
    ),
    "missing_image": (
        'FeastApplyOperator(task_id=TASK, feast_conn_id="feast_bad_image")',
        "ImageError: The image feast-sandbox:missing cannot be pulled",
        "Check name and tag of `image`",
    ),
    "wrong_command": (
        'FeastCommandOperator(task_id=TASK, feast_conn_id="feast_quickstart", command=["aply"])',
        "FeastUsageError: ",
        "aply",
    ),
    "wrong_option": (
        'FeastCommandOperator(task_id=TASK, feast_conn_id="feast_quickstart", command=["plan", "--hard"])',
        "FeastUsageError: ",
        "--hard",
    ),
    "no_program": (
        'FeastCommandOperator(task_id=TASK, feast_conn_id="feast_quickstart", command=["version"], '
        'job_overrides={"spec": {"template": {"spec": {"containers": [{"name": "feast", "command": ["snek"]}]}}}})',
        "ContainerStartError: The image feast-sandbox:local has no program snek",
        "Use an image with Python and Feast",
    ),
    "templated_word_as_a_time": (
        'FeastMaterializeOperator(task_id=TASK, feast_conn_id="feast_quickstart", start="{{ params.x }}", '
        'end="2026-06-06T00:00:00Z", params={"x": "monday"})',
        "FeastDagError: start='monday' is not a point in time",
        "write ISO 8601 with a time zone",
    ),
    "templated_day_without_a_zone": (
        'FeastMaterializeOperator(task_id=TASK, feast_conn_id="feast_quickstart", start="{{ ds }}", '
        'end="2100-01-01T00:00:00Z")',
        f"FeastDagError: start='{DAY}T00:00:00' has no time zone",
        f"start='{DAY}T00:00:00+00:00' for UTC",
    ),
    "templated_interval_of_no_length": (
        'FeastMaterializeOperator(task_id=TASK, feast_conn_id="feast_quickstart", '
        'start="{{ data_interval_start }}", end="{{ data_interval_end }}")',
        f"FeastDagError: start={DAY}T00:00:00+00:00 is the same as end={DAY}T00:00:00+00:00",
        "make end later",
    ),
    "schedule_that_is_only_a_trigger": (
        'FeastMaterializeOperator(task_id=TASK, feast_conn_id="feast_quickstart")',
        f"FeastDagError: this run's data interval starts and ends at {DAY}T00:00:00+00:00",
        "schedule=CronDataIntervalTimetable('@daily', timezone='UTC')",
    ),
    "unknown_feature_view": (
        'FeastMaterializeOperator(task_id=TASK, feast_conn_id="feast_quickstart", lookback="1d", '
        'feature_views=["driver_stats"])',
        "UnknownFeatureViewError: ",
        "driver_stats",
    ),
    "unexpanded_variable": (
        'FeastApplyOperator(task_id=TASK, feast_conn_id="feast_bare", configuration=UNEXPANDED, '
        'definitions=ConfigMapDefinitions("feast-demo-definitions"))',
        "UnexpandedVariablesError: ",
        "REGISTRY_NAME",
    ),
    "empty_registry": (
        'FeastMaterializeOperator(task_id=TASK, feast_conn_id="feast_bare", lookback="1d", configuration=EMPTY)',
        "NothingMaterializedError: ",
        "allow_empty=True",
    ),
    "deadline": (
        'FeastApplyOperator(task_id=TASK, feast_conn_id="feast_quickstart", deadline=1, '
        'definitions=ConfigMapDefinitions("ticking-definitions"))',
        "DeadlineExceededError: ",
        "deadline",
    ),
    "loosened_security": (
        'FeastApplyOperator(task_id=TASK, feast_conn_id="feast_quickstart", '
        'job_overrides={"spec": {"template": {"spec": {"hostNetwork": True}}}})',
        "FeastDagError: the pod is looser than its security profile 'restricted'",
        "name a looser profile",
    ),
}


@pytest.fixture(scope="module")
def broken(airflow: DagServer, quickstart: Run, cluster: Cluster) -> Run:
    """One run of all that cannot work; the tasks do not depend on one another."""
    body = {"metadata": {"name": "ticking-definitions"}, "data": {"definitions.py": TICKS}}
    cluster.core.create_namespaced_config_map(cluster.namespace, body)
    variable = "/feast/data/${REGISTRY_NAME}.db"
    tasks = [f"EMPTY = {store('empty')!r}", f"UNEXPANDED = {store('unexpanded', registry=variable)!r}"]
    tasks += [line.replace("TASK", repr(name)) for name, (line, _, _) in BROKEN_AT_RUN.items()]
    tasks += [
        'FeastMaterializeOperator(task_id="allowed_empty", feast_conn_id="feast_bare", lookback="1d", '
        'configuration={**EMPTY, "registry": "/feast/data/empty2.registry.db"}, allow_empty=True)'
    ]
    return airflow.run("\n".join(tasks), schedule='"@daily"', logical_date=END.isoformat())


@pytest.mark.parametrize("name", BROKEN_AT_RUN)
def test_what_cannot_work_fails_with_its_cause_and_its_cure(broken: Run, name: str) -> None:
    _, cause, cure = BROKEN_AT_RUN[name]
    assert broken[name].state == "failed"
    assert broken[name].error.startswith(cause)
    assert cure in broken[name].error
    assert "What to do: " in broken[name].error


def test_an_empty_materialization_succeeds_where_it_is_allowed(broken: Run) -> None:
    assert broken["allowed_empty"].state == "success"
    assert broken["allowed_empty"].xcoms["result"]["views"] == {}
