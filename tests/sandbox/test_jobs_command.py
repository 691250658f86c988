"""`airflow feast jobs` beside a real Airflow, its database and the sandbox."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from airflow_helpers import Cluster, DagServer, Run, environment, feast_connection
from kubernetes import client

from airflow_provider_feast.jobs.submit import runner_config_map_name
from airflow_provider_feast.model import naming
from airflow_provider_feast.model.lock import A_HOLDERS, Holder, write_holders
from airflow_provider_feast.model.naming import TaskKey
from airflow_provider_feast.sandbox.demo_world import World

pytestmark = pytest.mark.xdist_group("airflow-cli")
LOCK = "feast-quickstart"
GONE = TaskKey("", "features", "load", "manual__2026-01-01T00:00:00+00:00")
OF_ANOTHER = GONE._replace(deployment="staging")


class Commands(NamedTuple):
    """Runs `airflow feast …` as a person does."""

    variables: dict[str, str]

    def run(self, *arguments: str, stdin: str = "", program: tuple[str, ...] = ("airflow", "feast")) -> Any:
        command = [*program, "jobs", *arguments, "--conn-id", "feast_quickstart"]
        return subprocess.run(
            command, env=self.variables, input=stdin, capture_output=True, text=True, check=False, timeout=120
        )


@pytest.fixture(scope="module")
def connections(world: World) -> dict[str, str]:
    extra = json.loads(world.connection)["extra"]
    return {"feast_quickstart": feast_connection(**extra)}


@pytest.fixture(scope="module")
def commands(world: World, connections: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Commands:
    """The same environment as that of the Airflow below."""
    return Commands(environment(tmp_path_factory.mktemp("airflow"), world.kubeconfig, connections))


@pytest.fixture(scope="module")
def airflow(commands: Commands) -> Iterator[DagServer]:
    server = DagServer(Path(commands.variables["AIRFLOW_HOME"]), commands.variables)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def finished(airflow: DagServer) -> Run:
    """A DAG run whose task has succeeded."""
    return airflow.run(
        'FeastCommandOperator(task_id="load", feast_conn_id="feast_quickstart", command=["version"])'
    )


class Litter(NamedTuple):
    """Makes what people leave behind."""

    cluster: Cluster

    def job(self, name: str, key: TaskKey | None, *, suspend: bool = False) -> str:
        """A Job of ours that sleeps; its uid."""
        labels = naming.job_labels("materialize", key or GONE, "0", "quickstart")
        known = {naming.A_INSTANCE: json.dumps(key._asdict()), naming.A_RUN: key.run_id} if key else {}
        about = {naming.A_COMMAND: '["materialize", "a", "b"]', naming.A_TRY: "2"}
        about[naming.A_LOCK] = f"{self.cluster.namespace}/{LOCK}"
        container = {
            "name": "feast",
            "image": self.cluster.world.image,
            "command": ["python3", "-c", "import time; time.sleep(600)"],
            "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        }
        locked = {"runAsNonRoot": True, "runAsUser": 1001, "seccompProfile": {"type": "RuntimeDefault"}}
        spec = {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 0,
            "securityContext": locked,
            "containers": [container],
        }
        body = {
            "metadata": {"name": name, "labels": labels, "annotations": {**known, **about}},
            "spec": {"suspend": suspend, "template": {"metadata": {"labels": labels}, "spec": spec}},
        }
        made = self.cluster.batch.create_namespaced_job(self.cluster.namespace, body)
        return str(made.metadata.uid)

    def runner(self, name: str) -> None:
        labels = {naming.L_MANAGED_BY: naming.MANAGED_BY, naming.L_COMPONENT: "runner"}
        body = {"metadata": {"name": name, "labels": labels}, "data": {"feast_runner.py": "pass"}}
        self.cluster.core.create_namespaced_config_map(self.cluster.namespace, body)

    def lock(self, **holders: str) -> None:
        """A Lease that Jobs hold, by name and uid."""
        namespace, since = self.cluster.namespace, "2026-01-01T00:00:00+00:00"
        known = {
            uid: Holder(uid, name.replace("_", "-"), namespace, ("*",), since)
            for name, uid in holders.items()
        }
        metadata = {
            "name": LOCK,
            "labels": {naming.L_MANAGED_BY: naming.MANAGED_BY},
            "annotations": {A_HOLDERS: write_holders(known)},
        }
        leases = client.CoordinationV1Api(self.cluster.world.api)
        leases.create_namespaced_lease(namespace, {"metadata": metadata, "spec": {}})

    def holders(self) -> list[str]:
        leases = client.CoordinationV1Api(self.cluster.world.api)
        lease = leases.read_namespaced_lease(LOCK, self.cluster.namespace)
        return [holder["job"] for holder in json.loads(lease.metadata.annotations[A_HOLDERS]).values()]

    def live(self) -> set[str]:
        """The Jobs that are there and are not being deleted."""
        jobs = self.cluster.batch.list_namespaced_job(self.cluster.namespace).items
        return {job.metadata.name for job in jobs if job.metadata.deletion_timestamp is None}


@pytest.fixture(scope="module")
def litter(cluster: Cluster, finished: Run) -> Litter:
    """Jobs, locks and runners, some of them left behind."""
    made = Litter(cluster)
    key = TaskKey("", "dag_1", "load", finished.run_id)
    made.job("of-a-finished-task", key)
    made.job("of-a-run-that-is-gone", GONE, suspend=True)
    waiting = made.job("of-another-airflow", OF_ANOTHER, suspend=True)
    made.job("of-an-older-release", None)
    made.runner("feast-runner-of-an-older-release")
    made.lock(of_another_airflow=waiting, dead="uid-of-the-dead")
    return made


def test_the_list_tells_what_runs_for_whom_and_who_holds_the_lock(commands: Commands, litter: Litter) -> None:
    done = commands.run("list", "-o", "json")
    assert done.returncode == 0, done.stderr
    body = json.loads(done.stdout)
    jobs = {job["job"]: job for job in body["jobs"]}
    assert set(jobs) == {
        "of-a-finished-task",
        "of-a-run-that-is-gone",
        "of-another-airflow",
        "of-an-older-release",
    }
    waiting = jobs["of-a-run-that-is-gone"]
    assert (waiting["state"], waiting["suspended"], waiting["problem"]) == ("suspended", True, None)
    assert (waiting["task"], waiting["run_id"], waiting["try"]) == ("features.load", GONE.run_id, "2")
    assert (waiting["feature_store"], waiting["command"]) == ("quickstart", ["materialize", "a", "b"])
    assert waiting["lock"].startswith(f"waits for {litter.cluster.namespace}/{LOCK} since 20")
    assert jobs["of-another-airflow"]["lock"].startswith(
        f"holds {litter.cluster.namespace}/{LOCK} since 2026"
    )
    assert jobs["of-an-older-release"]["task"] == "features.load"
    assert {(lock["job"], lock["alive"]) for lock in body["locks"]} == {
        ("of-another-airflow", True),
        ("dead", False),
    }


def test_the_list_is_a_table_for_people_and_shows_ended_jobs_on_request(
    commands: Commands, litter: Litter, finished: Run
) -> None:
    done = commands.run("list", "--all")
    assert done.returncode == 0, done.stderr
    assert "JOB" in done.stdout
    assert ["dag_1.load", finished.run_id] in [line.split()[4:6] for line in done.stdout.splitlines()]
    assert finished["load"].xcoms["job_name"] in done.stdout
    assert "the whole registry" in done.stdout


def test_the_same_commands_exist_for_an_airflow_without_provider_commands(
    commands: Commands, litter: Litter
) -> None:
    program = (sys.executable, "-m", "airflow_provider_feast")
    done = commands.run("list", "-o", "yaml", program=program)
    assert done.returncode == 0, done.stderr
    assert "of-a-finished-task" in {job["job"] for job in yaml.safe_load(done.stdout)["jobs"]}


def test_what_is_left_behind_is_told_then_asked_for_and_only_then_deleted(
    commands: Commands, litter: Litter
) -> None:
    there = litter.live()
    young = commands.run("clean", "--yes")
    assert young.returncode == 0, young.stderr
    assert "lock feast-quickstart" in young.stdout
    assert "uid-of-the-dead" not in young.stdout
    assert litter.live() == there
    assert litter.holders() == ["of-another-airflow"]

    told = commands.run("clean", "--older-than", "0s", "--dry-run")
    assert told.returncode == 0, told.stderr
    assert "Job of-a-finished-task" in told.stdout
    assert "its task dag_1.load has ended as success" in told.stdout
    assert "Job of-a-run-that-is-gone is left alone: there is no DAG run" in told.stdout
    assert "Job of-another-airflow is left alone: it belongs to the Airflow named 'staging'." in told.stdout
    assert "feast-runner-of-an-older-release" in told.stdout
    assert "Dry run: 2 would be deleted." in told.stdout

    refused = commands.run("clean", "--older-than", "0s", "--sole-airflow", stdin="n\n")
    assert refused.returncode == 1
    assert f"there is no DAG run {GONE.run_id} in Airflow any more" in refused.stdout
    assert "Nothing was deleted." in refused.stderr
    assert litter.live() == there

    nobody = commands.run("clean", "--older-than", "0s")
    assert nobody.returncode == 1
    assert "give --yes" in nobody.stdout

    done = commands.run("clean", "--older-than", "0s", "--sole-airflow", "--yes")
    assert done.returncode == 0, done.stderr + done.stdout
    assert there - litter.live() == {"of-a-finished-task", "of-a-run-that-is-gone"}
    assert litter.cluster.config_map("feast-runner-of-an-older-release") is None
    assert litter.cluster.config_map(runner_config_map_name()) is not None

    again = commands.run("clean", "--older-than", "0s", "--sole-airflow", "--yes")
    assert (again.returncode, again.stdout.splitlines()[-1]) == (
        0,
        f"Nothing is left behind in namespace {litter.cluster.namespace}.",
    )


def test_a_connection_that_does_not_exist_ends_with_its_cure(commands: Commands) -> None:
    variables = {k: v for k, v in commands.variables.items() if k != "AIRFLOW_CONN_FEAST_QUICKSTART"}
    done = Commands(variables).run("list")
    assert done.returncode == 1
    assert "the connection 'feast_quickstart' does not exist" in done.stderr
    assert "Traceback" not in done.stderr
