"""`airflow feast preflight` and `manifests` as a person or a pipeline runs them."""

import json
import subprocess
import sys
from typing import Any

import pytest
import yaml
from airflow_helpers import Cluster, environment, feast_connection

from airflow_provider_feast.model import naming
from airflow_provider_feast.sandbox.demo_world import World

pytestmark = pytest.mark.xdist_group("airflow-cli")
AIRFLOW = ("airflow", "feast")
MODULE = (sys.executable, "-m", "airflow_provider_feast")


CLI = {
    "command_mode": "cli",
    "env": {"STORE": {"secret": "preflight-secret", "key": "store"}},
    "configuration_patch": {"online_store": {"type": "sqlite", "path": "/tmp/${STORE}.db"}},
}
"""Plain Feast, with a configuration that takes a value from a Secret."""


class Commands:
    """Runs commands with connections of every kind."""

    def __init__(self, world: World, home: Any) -> None:
        extra = {**json.loads(world.connection)["extra"], "service_account": "default"}
        unreachable = {"kube_config": json.dumps(_kubeconfig("http://127.0.0.1:9"))}
        connections = {
            "feast_good": feast_connection(**extra),
            "feast_no_map": feast_connection(**{**extra, "config_map": "nowhere"}),
            "feast_no_image": feast_connection(
                **{**extra, "image": "registry.invalid/feast:none", "startup_timeout_seconds": 2}
            ),
            "feast_away": feast_connection(**{**extra, "kubernetes_conn_id": "away"}),
            "feast_gone": feast_connection(**{**extra, "namespace": "gone"}),
            "feast_cli": feast_connection(**{**extra, **CLI}),
            "away": json.dumps({"conn_type": "kubernetes", "extra": unreachable}),
        }
        self._variables = environment(home, world.kubeconfig, connections)

    def run(self, *arguments: str, program: tuple[str, ...] = MODULE) -> subprocess.CompletedProcess[str]:
        command = [*program, *arguments]
        return subprocess.run(
            command, env=self._variables, capture_output=True, text=True, check=False, timeout=120
        )

    def report(self, conn_id: str, *more: str) -> tuple[int, dict[str, tuple[str, str]]]:
        """The exit code, and each check's status and words."""
        done = self.run("preflight", "--conn-id", conn_id, "-o", "json", *more)
        assert done.stdout, done.stderr
        checks = json.loads(done.stdout)["checks"]
        return done.returncode, {check["check"]: (check["status"], check["what"]) for check in checks}


def _kubeconfig(server: str) -> dict[str, Any]:
    """A kubeconfig that leads somewhere without a user."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }


@pytest.fixture(scope="module")
def commands(world: World, tmp_path_factory: pytest.TempPathFactory) -> Commands:
    return Commands(world, tmp_path_factory.mktemp("airflow"))


def test_a_good_connection_passes_with_a_job_that_is_gone_afterwards(
    commands: Commands, cluster: Cluster
) -> None:
    code, checks = commands.report("feast_good", "--deep", "version")
    assert code == 0
    assert {status for status, _ in checks.values()} <= {"pass", "not checked"}
    assert checks["dry run"] == ("pass", "the server takes the Job")
    assert "`feast version` ran in a Job with Feast 0." in checks["deep check"][1]
    labels = f"{naming.L_DAG}=airflow-feast-preflight"
    left = cluster.batch.list_namespaced_job(cluster.namespace, label_selector=labels).items
    assert [job.metadata.name for job in left if not job.metadata.deletion_timestamp] == []


def test_people_read_a_table_with_what_to_do_and_scripts_an_exit_code(commands: Commands) -> None:
    done = commands.run("preflight", "--conn-id", "feast_no_map", program=AIRFLOW)
    assert done.returncode == 1
    assert "the ConfigMap 'nowhere', which should hold feature_store.yaml, does not exist" in done.stdout
    assert "What to do:\n  configuration: kubectl -n" in done.stdout


@pytest.mark.parametrize(
    ("conn_id", "check", "words"),
    [
        ("feast_away", "API", "the Kubernetes API did not answer"),
        ("feast_gone", "namespace", "the namespace 'gone' does not exist"),
    ],
)
def test_a_report_ends_where_nothing_more_can_be_known(
    commands: Commands, conn_id: str, check: str, words: str
) -> None:
    code, checks = commands.report(conn_id)
    assert code == 1
    assert list(checks)[-1] == check
    status, what = checks[check]
    assert status == "fail"
    assert words in what


def test_a_deep_check_finds_what_only_a_pod_can_find(commands: Commands) -> None:
    code, checks = commands.report("feast_no_image")
    assert code == 0
    code, checks = commands.report("feast_no_image", "--deep", "version")
    assert code == 1
    assert checks["deep check"][0] == "fail"
    assert "cannot be pulled" in checks["deep check"][1]


def test_a_deep_check_prints_no_secret_where_no_runner_masks_it(commands: Commands, cluster: Cluster) -> None:
    secret = {"metadata": {"name": "preflight-secret"}, "stringData": {"store": "canary-5e77"}}
    cluster.core.create_namespaced_secret(cluster.namespace, secret)
    done = commands.run("preflight", "--conn-id", "feast_cli", "-o", "json", "--deep", "configuration")
    assert "canary-5e77" not in done.stdout + done.stderr
    (deep,) = [check for check in json.loads(done.stdout)["checks"] if check["check"] == "deep check"]
    assert deep["status"] == "not checked"
    assert "prints the values of Secrets" in deep["what"]
    assert "--deep version" in deep["remedy"]


def test_manifests_are_yaml_on_standard_output_alone(commands: Commands) -> None:
    done = commands.run("manifests", "--namespace", "features", program=AIRFLOW)
    assert done.returncode == 0
    kinds = [found["kind"] for found in yaml.safe_load_all(done.stdout) if found]
    assert kinds[:3] == ["Namespace", "ServiceAccount", "ServiceAccount"]
    assert "NetworkPolicy" in kinds
    wrong = commands.run("manifests", "--egress", "redis")
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "egress='redis' is not HOST:PORT" in wrong.stderr
