"""Configurations from every source, used by the real Feast on the sandbox."""

import json
import sys
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from airflow_helpers import Cluster, DagServer, Run, feast_connection, store
from kubernetes import client

from airflow_provider_feast.sandbox import Sandbox
from airflow_provider_feast.sandbox.demo_world import World

pytestmark = pytest.mark.xdist_group("airflow-configurations")
DEFINITIONS = 'definitions=ConfigMapDefinitions("feast-demo-definitions")'
VERSIONS = ("v1", "v1alpha1")


def yaml(content: dict[str, Any]) -> str:
    return json.dumps(content)  # JSON is YAML


@pytest.fixture(scope="module")
def connections(world: World, cluster: Cluster) -> dict[str, str]:
    """A connection without a configuration, and one for each source; the objects that they name."""
    core, place = cluster.core, cluster.namespace
    maps = {
        "feast-map": {"feature_store.yaml": yaml(store("mapped"))},
        "feast-env-variables": {"STORE_NAME": "by_convention"},
        "feast-named": {"name": "by_reference"},
    }
    for name, data in maps.items():
        core.create_namespaced_config_map(place, {"metadata": {"name": name}, "data": data})
    secrets = {
        "feast-secret": {"production.yaml": yaml(store("secret"))},
        "feast-broken": {"feature_store.yaml": "project: demo\n  registry: 'hidden-in-the-line"},
        "feast-values": {"name": "from_secret"},
        "feast-whole": {"STORE_NAME": "whole_secret"},
    }
    for name, data in secrets.items():
        core.create_namespaced_secret(place, {"metadata": {"name": name}, "stringData": data})
    known = json.loads(world.connection)["extra"]
    bare = {key: value for key, value in known.items() if key in ("namespace", "image", "job_overrides")}
    return {
        "feast_bare": feast_connection(**bare),
        "feast_variables": feast_connection(**bare),
        "feast_secret": feast_connection(
            **bare, config_secret="feast-secret", config_secret_key="production.yaml"
        ),
        "feast_no_secret": feast_connection(**bare, config_secret="feast-nowhere", startup_timeout_seconds=3),
        "feast_patched": feast_connection(
            **bare, config_map="feast-map", configuration_patch='{"project": "patched_once"}'
        ),
        "feast_resource": feast_connection(
            **{key: value for key, value in bare.items() if key != "image"}, feature_store_resource="shop"
        ),
    }


def apply(airflow: DagServer, conn: str, more: str = "") -> Run:
    """Apply the demo's definitions."""
    return airflow.run(f"""
FeastApplyOperator(task_id="apply", feast_conn_id={conn!r}, {DEFINITIONS}, {more})
""")


def own_config_map(cluster: Cluster, run: Run) -> Any:
    return cluster.config_map(run["apply"].xcoms["job_name"])


# --- Secret ----------------------------------------------------------------------------------------


def test_a_secret_is_used_by_the_pod_and_never_read_by_airflow(
    airflow: DagServer, cluster: Cluster, feast_sandbox: Sandbox
) -> None:
    run = apply(airflow, "feast_secret")
    assert run["apply"].state == "success", run["apply"].error
    assert own_config_map(cluster, run) is None
    spec = cluster.job(run["apply"].xcoms["job_name"]).spec.template.spec
    (volume,) = (volume for volume in spec.volumes if volume.name == "feast-config")
    assert (volume.secret.secret_name, volume.secret.items[0].key) == ("feast-secret", "production.yaml")
    requests = [json.loads(line) for line in feast_sandbox.audit_log.read_text().splitlines()]
    seen = [request for request in requests if f"/namespaces/{cluster.namespace}/secrets" in str(request)]
    assert {request["verb"] for request in seen} == {"create"}  # this test made them


def test_a_secret_is_patched_in_the_pod(airflow: DagServer, cluster: Cluster) -> None:
    patch = {"project": "secret_patched", "registry": "/feast/data/secret_patched.db"}
    run = apply(airflow, "feast_secret", f"configuration_patch={patch!r}")
    assert run["apply"].state == "success", run["apply"].error
    made = own_config_map(cluster, run)
    assert json.loads(made.data["configuration_patch.json"]) == [patch]
    show = airflow.run(f"""
FeastCommandOperator(
    task_id="apply", feast_conn_id="feast_secret", command=["projects", "list"], configuration_patch={patch!r}
)
""")
    assert "secret_patched" in show["apply"].log, show["apply"].error


def test_a_secret_that_does_not_exist_is_named(airflow: DagServer) -> None:
    run = apply(airflow, "feast_no_secret")
    assert run["apply"].state == "failed"
    assert "feast-nowhere" in run["apply"].error


def test_a_broken_secret_is_not_quoted(airflow: DagServer) -> None:
    run = apply(airflow, "feast_bare", 'configuration=SecretConfiguration("feast-broken")')
    assert run["apply"].error.startswith("FeastConfigurationError"), run["apply"].error
    assert "is not YAML" in run["apply"].error
    assert "hidden-in-the-line" not in run["apply"].log + run["apply"].error


# --- patches where Airflow may read ------------------------------------------------------------------


def test_patches_of_connection_and_task_are_merged_over_a_config_map(
    airflow: DagServer, cluster: Cluster
) -> None:
    patch = {"registry": "/feast/data/twice.db", "online_store": {"path": "/feast/data/twice.online.db"}}
    run = apply(airflow, "feast_patched", f"configuration_patch={patch!r}")
    assert run["apply"].state == "success", run["apply"].error
    made, job = own_config_map(cluster, run), cluster.job(run["apply"].xcoms["job_name"])
    text = made.data["feature_store.yaml"]
    for line in (
        "project: patched_once",
        "registry: /feast/data/twice.db",
        "type: sqlite",
        "twice.online.db",
    ):
        assert line in text
    assert made.immutable
    assert [owner.uid for owner in made.metadata.owner_references] == [job.metadata.uid]
    annotation = "airflow-provider-feast/configuration-digest"
    assert made.metadata.annotations[annotation] == job.metadata.annotations[annotation] != ""


# --- values of variables ------------------------------------------------------------------------------

VARIABLES = {**store("x"), "project": "${STORE_NAME}", "registry": "/feast/data/${STORE_NAME}.db"}


@pytest.mark.parametrize(
    ("more", "project"),
    [
        ("", "by_convention"),
        ('env={"STORE_NAME": "in_the_dag"}', "in_the_dag"),
        ('env={"STORE_NAME": SecretRef("feast-values", "name")}', "from_secret"),
        ('env={"STORE_NAME": {"config_map": "feast-named", "key": "name"}}', "by_reference"),
        ('env_from=["secret/feast-whole"]', "whole_secret"),
    ],
)
def test_values_come_from_the_environment_and_references_stay_references(
    airflow: DagServer, cluster: Cluster, more: str, project: str
) -> None:
    run = apply(airflow, "feast_variables", f"configuration={VARIABLES!r}, {more}")
    assert run["apply"].state == "success", run["apply"].error
    assert "project: ${STORE_NAME}" in own_config_map(cluster, run).data["feature_store.yaml"]
    show = airflow.run(f"""
FeastCommandOperator(
    task_id="apply", feast_conn_id="feast_bare", command=["projects", "list"],
    configuration={dict(VARIABLES, project=project, registry=f"/feast/data/{project}.db")!r},
)
""")
    assert project in show["apply"].log, show["apply"].error


def test_without_a_value_the_variable_is_named(airflow: DagServer) -> None:
    run = apply(airflow, "feast_bare", f"configuration={VARIABLES!r}")
    assert run["apply"].error.startswith("UnexpandedVariablesError"), run["apply"].error
    assert "STORE_NAME" in run["apply"].error


# --- a FeatureStore of the Feast operator ---------------------------------------------------------------


@pytest.fixture(scope="module")
def definition(world: World) -> Iterator[None]:
    """The kind `FeatureStore`, as the Feast operator installs it, in both of its versions."""
    api = client.ApiextensionsV1Api(world.api)
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    versions = [
        {"name": name, "served": True, "storage": name == "v1", "schema": {"openAPIV3Schema": schema}}
        for name in VERSIONS
    ]
    names = {"plural": "featurestores", "singular": "featurestore", "kind": "FeatureStore"}
    body = {
        "metadata": {"name": "featurestores.feast.dev"},
        "spec": {"group": "feast.dev", "scope": "Namespaced", "names": names, "versions": versions},
    }
    api.create_custom_resource_definition(body)
    yield
    api.delete_custom_resource_definition("featurestores.feast.dev")


def make_feature_store(world: World, namespace: str, name: str, status: dict[str, Any], version: str) -> None:
    body = {
        "apiVersion": f"feast.dev/{version}",
        "kind": "FeatureStore",
        "metadata": {"name": name},
        "spec": {"feastProject": "shop"},
        "status": status,
    }
    client.CustomObjectsApi(world.api).create_namespaced_custom_object(
        "feast.dev", version, namespace, "featurestores", body
    )


def ready(name: str, version: str = "0.67.0") -> dict[str, Any]:
    return {"phase": "Ready", "clientConfigMap": f"feast-{name}-client", "feastVersion": version}


@pytest.mark.usefixtures("definition")
def test_a_feature_store_gives_its_configuration_its_account_and_its_image(
    airflow: DagServer, cluster: Cluster, world: World, feast_sandbox: Sandbox
) -> None:
    feast_sandbox.add_image("quay.io/feastdev/feature-server:0.67.0", sys.prefix)
    make_feature_store(world, cluster.namespace, "shop", ready("shop"), "v1")
    core, place = cluster.core, cluster.namespace
    core.create_namespaced_service_account(place, {"metadata": {"name": "feast-shop"}})
    text = {"feature_store.yaml": yaml(store("shop"))}
    core.create_namespaced_config_map(place, {"metadata": {"name": "feast-shop-client"}, "data": text})
    run = apply(airflow, "feast_resource")
    assert run["apply"].state == "success", run["apply"].error
    spec = cluster.job(run["apply"].xcoms["job_name"]).spec.template.spec
    assert spec.service_account_name == "feast-shop"
    assert run["apply"].xcoms["result"]["image"] == "quay.io/feastdev/feature-server:0.67.0"
    (volume,) = (volume for volume in spec.volumes if volume.name == "feast-config")
    assert volume.config_map.name == "feast-shop-client"
    explicit = apply(airflow, "feast_resource", f"image={world.image!r}, service_account='default'")
    assert explicit["apply"].state == "success", explicit["apply"].error
    assert explicit["apply"].xcoms["result"]["image"] == world.image


@pytest.mark.usefixtures("definition")
@pytest.mark.parametrize("version", VERSIONS)
def test_the_configuration_of_another_namespace_is_copied(
    airflow: DagServer, cluster: Cluster, world: World, version: str
) -> None:
    other = f"stores-{uuid.uuid4().hex[:8]}"
    cluster.core.create_namespace({"metadata": {"name": other}})
    make_feature_store(world, other, "far", ready("far"), version)
    text = {"feature_store.yaml": yaml(store("far"))}
    cluster.core.create_namespaced_config_map(other, {"metadata": {"name": "feast-far-client"}, "data": text})
    run = apply(airflow, "feast_bare", f"configuration=FeatureStoreConfiguration('far', {other!r})")
    assert run["apply"].state == "success", run["apply"].error
    assert own_config_map(cluster, run).data == text
    assert cluster.job(run["apply"].xcoms["job_name"]).metadata.namespace == cluster.namespace
    cluster.core.delete_namespace(other)


@pytest.mark.usefixtures("definition")
def test_a_feature_store_that_is_not_ready_or_not_there_says_so(
    airflow: DagServer, cluster: Cluster, world: World
) -> None:
    failing = {"type": "Registry", "status": "False", "message": "the registry's volume is full"}
    make_feature_store(
        world, cluster.namespace, "slow", {"phase": "Pending", "conditions": [failing]}, "v1alpha1"
    )
    run = airflow.run(f"""
FeastApplyOperator(
    task_id="slow", feast_conn_id="feast_bare", {DEFINITIONS}, configuration=FeatureStoreConfiguration("slow")
)
FeastApplyOperator(
    task_id="none", feast_conn_id="feast_bare", {DEFINITIONS}, configuration=FeatureStoreConfiguration("none")
)
""")
    assert run["slow"].error.startswith("FeatureStoreNotReadyError: the FeatureStore 'slow' is Pending")
    assert "Registry (no reason): the registry's volume is full" in run["slow"].error
    assert run["none"].error.startswith("MissingObjectError: the FeatureStore 'none' does not exist")
