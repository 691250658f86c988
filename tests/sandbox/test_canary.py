"""Secret values, planted everywhere a Secret may be used, are in nothing that Airflow or the cluster keeps."""

import base64
import json
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow_helpers import Cluster, DagServer, Run, feast_connection, store
from git_server import GitServer, Origin
from kubernetes import client

from airflow_provider_feast.sandbox import Sandbox, demo_repo
from airflow_provider_feast.sandbox.demo_world import World

pytestmark = pytest.mark.xdist_group("airflow-canary")

CANARIES = {
    "env": "canary-env/0f8a+W?x",
    "env_from": "canary whole 'Secret' 71\"c2",
    "file": "canary-lines-4d1e\nsecond-canary-line-9b",
    "config": "canary-config-5e:77@ab",
    "url": "canary-url-3c#9d",
    "git": "canary-git-ghp_88/zz",
    "pod": "canary-of-pod-options-e1",
}
"""A value for each place, with characters that URLs, Python, JSON and YAML each spell in their own way."""

LEAK = """
import json, os, subprocess, sys, urllib.parse, base64, yaml
for name in ("CANARY_ENV", "CANARY_FROM", "CANARY_POD_TOKEN"):
    value = os.environ[name]
    print("print", value)
    print("repr", repr(value), json.dumps(value), [value], urllib.parse.quote(value, safe=""))
    print("yaml", yaml.safe_dump([value]), yaml.safe_dump([value], default_style="'"))
    print("base64", base64.b64encode(value.encode()).decode(), file=sys.stderr)
for line in os.environ["CANARY_FILE"].splitlines():
    print("line", line)
sys.stdout.write("x" * 70000 + os.environ["CANARY_ENV"] + "\\n")
os.write(1, ("raw " + os.environ["CANARY_ENV"] + "\\n").encode())
subprocess.run([sys.executable, "-c", "import os; print('child', os.environ['CANARY_FROM'])"])
"""


@pytest.fixture(scope="module")
def git_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    """Definitions that print secrets, on a server that asks for one."""
    origin = Origin(tmp_path_factory.mktemp("canary-git"))
    origin.commit({"definitions.py": LEAK + demo_repo.definitions_text()})
    origin.commit(
        {"definitions.py": LEAK + "raise ValueError('no: ' + os.environ['CANARY_ENV'])\n"}, "raises"
    )
    server = GitServer(origin.bare.parent, CANARIES["git"])
    yield server
    server.stop()


@pytest.fixture(scope="module")
def connections(world: World, cluster: Cluster, git_server: GitServer) -> dict[str, str]:
    """One connection that takes a secret from everywhere."""
    password = urllib.parse.quote(CANARIES["url"], safe="")
    broken_registry = {
        "registry_type": "sql",
        "path": f"postgresql+psycopg://feast:{password}@127.0.0.1:1/db",
        "sqlalchemy_config_kwargs": {"connect_args": {"application_name": CANARIES["config"]}},
    }
    wrong_type = {"type": "sqlite", "path": ["canary", CANARIES["config"] * 20]}
    secrets: dict[str, dict[str, str]] = {
        "canary-env": {"value": CANARIES["env"]},
        "canary-whole": {"CANARY_FROM": CANARIES["env_from"], "CANARY_FILE": CANARIES["file"]},
        "canary-pod": {"value": CANARIES["pod"]},
        "canary-git": {"token": CANARIES["git"]},
        "canary-good": {"feature_store.yaml": json.dumps(store("canary_good"))},
        "canary-down": {"feature_store.yaml": json.dumps(store("canary_down", registry=broken_registry))},
        "canary-wrong": {"feature_store.yaml": json.dumps(store("canary_wrong", online_store=wrong_type))},
        "canary-torn": {"feature_store.yaml": f"project: torn\n  password: '{CANARIES['config']}"},
    }
    for name, data in secrets.items():
        body = {"metadata": {"name": name}, "stringData": data}
        cluster.core.create_namespaced_secret(cluster.namespace, body)
    ca = {"metadata": {"name": "canary-ca"}, "data": {"ca-bundle.crt": git_server.ca}}
    cluster.core.create_namespaced_config_map(cluster.namespace, ca)
    extra = json.loads(world.connection)["extra"]
    known = {key: extra[key] for key in ("namespace", "image", "job_overrides")}
    variable = {
        "name": "CANARY_POD_TOKEN",
        "valueFrom": {"secretKeyRef": {"name": "canary-pod", "key": "value"}},
    }
    known["job_overrides"]["spec"]["template"]["spec"]["containers"][0]["env"] = [variable]
    everything = {
        **known,
        "env": {"CANARY_ENV": {"secret": "canary-env", "key": "value"}},
        "env_from": "secret/canary-whole",
        "definitions_git_url": f"{git_server.url}/features.git",
        "definitions_git_secret": "canary-git",
        "definitions_git_image": world.image,
        "ca_bundle_config_map": "canary-ca",
        "config_secret": "canary-good",
    }
    return {"feast_canary": feast_connection(**everything)}


@pytest.fixture(scope="module")
def run(airflow: DagServer, git_server: GitServer, world: World) -> Run:
    """Commands that work and that fail in every way that quotes values."""
    url, image = f"{git_server.url}/features.git", world.image
    return airflow.run(f"""
common = dict(feast_conn_id="feast_canary")
FeastApplyOperator(task_id="good", **common)
FeastApplyOperator(
    task_id="raises",
    definitions=GitDefinitions({url!r}, "raises", secret="canary-git", image={image!r}),
    **common,
)
FeastApplyOperator(task_id="down", configuration=SecretConfiguration("canary-down"), **common)
FeastApplyOperator(task_id="wrong", configuration=SecretConfiguration("canary-wrong"), **common)
FeastApplyOperator(task_id="torn", configuration=SecretConfiguration("canary-torn"), **common)
FeastApplyOperator(
    task_id="variable",
    configuration={store("canary_variable", online_store={"type": "${CANARY_ENV}"})!r},
    **common,
)
FeastApplyOperator(
    task_id="patched", configuration_patch={{"online_store": {{"type": "${{CANARY_FROM}}"}}}}, **common
)
""")


def spellings(value: str) -> set[str]:
    """A value as logs, databases and manifests may hold it."""
    found: set[str] = set()
    for line in value.splitlines():
        found |= {line, urllib.parse.quote(line), urllib.parse.quote(line, safe=""), repr(line)[1:-1]}
        found |= {
            line.replace("'", "''"),
            json.dumps(line)[1:-1],
            base64.b64encode(line.encode()).decode().rstrip("="),
        }
    return found


def leaks(where: str, text: str) -> list[str]:
    return [
        f"{name} in {where}" for name, value in CANARIES.items() if any(s in text for s in spellings(value))
    ]


def test_all_that_could_leak_did_run(run: Run) -> None:
    states = {name: task.state for name, task in run.tasks.items()}
    failed = dict.fromkeys(("raises", "down", "wrong", "torn", "variable", "patched"), "failed")
    assert states == {"good": "success", **failed}, {name: task.error for name, task in run.tasks.items()}
    assert "print ***" in run["good"].log
    assert "line ***" in run["good"].log
    assert "raw ***" in run["good"].log
    assert "child ***" in run["good"].log
    assert run["raises"].error.startswith("DefinitionsError")
    assert "no: ***" in run["raises"].error


def test_no_log_no_error_and_no_result_holds_a_secret(run: Run) -> None:
    for name, task in run.tasks.items():
        assert leaks(name, task.log + json.dumps(task.errors) + json.dumps(task.xcoms)) == []


@pytest.mark.usefixtures("run")
def test_nothing_that_airflow_stored_holds_a_secret(airflow: DagServer) -> None:
    files = [path for path in airflow.home.rglob("*") if path.is_file()]
    assert {"airflow.db", "dag-server.log"} <= {path.name for path in files}
    found = [leaks(path.name, path.read_bytes().decode(errors="replace")) for path in files]
    assert [leak for part in found for leak in part] == []


@pytest.mark.usefixtures("run")
def test_nothing_that_the_cluster_stored_holds_a_secret(cluster: Cluster, world: World) -> None:
    core, batch, place = cluster.core, cluster.batch, cluster.namespace
    listed = {
        "jobs": batch.list_namespaced_job(place),
        "pods": core.list_namespaced_pod(place),
        "events": core.list_namespaced_event(place),
        "config maps": core.list_namespaced_config_map(place),
        "leases": client.CoordinationV1Api(world.api).list_namespaced_lease(place),
    }
    assert all(found.items for found in listed.values())
    found = [leaks(name, json.dumps(world.api.sanitize_for_serialization(o))) for name, o in listed.items()]
    for pod in listed["pods"].items:
        for container in (*(pod.spec.init_containers or ()), *pod.spec.containers):
            where = (pod.metadata.name, place)
            log = core.read_namespaced_pod_log(*where, container=container.name, _preload_content=False)
            found.append(leaks(f"log of {pod.metadata.name}/{container.name}", log.data.decode()))
    assert [leak for part in found for leak in part] == []


@pytest.mark.usefixtures("run")
def test_the_sandbox_s_own_files_hold_secrets_only_where_pods_mount_them(
    feast_sandbox: Sandbox, cluster: Cluster
) -> None:
    """Logs, termination messages and the audit log of all pods; what is mounted is the pod's own."""
    root = Path(feast_sandbox.directory)
    files = [
        path for path in root.rglob("*") if path.is_file() and path.parent.name in ("logs", "termination")
    ]
    files.append(feast_sandbox.audit_log)
    assert len(files) > 10
    found = [leaks(path.name, path.read_bytes().decode(errors="replace")) for path in files]
    assert [leak for part in found for leak in part] == []
    assert cluster.namespace in feast_sandbox.audit_log.read_text()
