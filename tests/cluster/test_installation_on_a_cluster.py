"""What ``airflow feast manifests`` prints, applied to any Kubernetes."""

import argparse
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from cluster_helpers import Cluster, until
from kubernetes import utils
from kubernetes.client import ApiException, AuthorizationV1Api, NetworkingV1Api
from provider_helpers import may_list_jobs

from airflow_provider_feast.__main__ import add_commands
from airflow_provider_feast.cli.definition import get_feast_cli_commands
from airflow_provider_feast.cli.manifests_command import installation, rendered
from airflow_provider_feast.model import rights

pytestmark = pytest.mark.cluster


@pytest.fixture
def installed(cluster: Cluster) -> Iterator[str]:
    """The namespace of an installation with everything on request."""
    name = f"feast-install-{uuid.uuid4().hex[:10]}"
    parser = argparse.ArgumentParser()
    (feast,) = get_feast_cli_commands()
    add_commands(parser, feast.subcommands)
    text = (
        f"manifests --namespace {name} --feature-store production --egress redis.data.svc:6379 10.1.2.0/24:5432 "
        "--egress db.example.com:443 --workload-identity aws=arn:aws:iam::123456789012:role/feast --quota pods=20 "
        "--container-max cpu=4 memory=8Gi --airflow-service-account airflow --airflow-service-account elsewhere:worker"
    )
    objects = yaml.safe_load_all(rendered(installation(parser.parse_args(text.split()))))
    for manifest in filter(None, objects):
        utils.create_from_dict(cluster.api, manifest)
    yield name
    cluster.core.delete_namespace(name)


def test_the_server_takes_every_object(cluster: Cluster, installed: str) -> None:
    namespace = cluster.core.read_namespace(installed)
    assert namespace.metadata.labels["pod-security.kubernetes.io/enforce"] == "restricted"
    policies = NetworkingV1Api(cluster.api).list_namespaced_network_policy(installed).items
    assert {policy.metadata.name for policy in policies} == {
        "feast-default-deny",
        "feast-dns",
        "feast-egress-production",
    }
    account = cluster.core.read_namespaced_service_account("feast", installed)
    assert account.automount_service_account_token is False
    assert account.metadata.annotations["eks.amazonaws.com/role-arn"].endswith(":role/feast")
    assert cluster.core.read_namespaced_resource_quota("feast", installed).spec.hard == {"pods": "20"}
    limits = cluster.core.read_namespaced_limit_range("feast", installed).spec.limits
    assert [limit.max for limit in limits] == [{"cpu": "4", "memory": "8Gi"}]


def test_airflows_account_may_do_what_the_code_needs_and_nothing_else(
    cluster: Cluster, installed: str
) -> None:
    user = f"system:serviceaccount:{installed}:airflow"
    until(lambda: may_list_jobs(cluster, installed), "the server to go by Airflow's Role")

    def allowed(group: str, resource: str, verb: str) -> bool:
        name, _, sub = resource.partition("/")
        attributes: dict[str, Any] = {"group": group, "resource": name, "verb": verb, "namespace": installed}
        if sub:
            attributes["subresource"] = sub
        body = {"spec": {"user": user, "resourceAttributes": attributes}}
        return bool(AuthorizationV1Api(cluster.api).create_subject_access_review(body).status.allowed)

    for right in rights.rights_of():
        assert allowed(right.group, right.resource, right.verb), right
    for group, resource, verb in [
        ("", "secrets", "get"),
        ("", "pods", "create"),
        ("", "pods", "delete"),
        ("", "pods/exec", "create"),
        ("", "configmaps", "delete"),
        ("", "configmaps", "list"),
        ("batch", "jobs", "deletecollection"),
        ("coordination.k8s.io", "leases", "delete"),
        ("feast.dev", "featurestores", "get"),
        ("rbac.authorization.k8s.io", "roles", "create"),
    ]:
        assert not allowed(group, resource, verb), (verb, resource)


def test_a_pod_that_is_not_locked_down_is_refused(cluster: Cluster, installed: str) -> None:
    pod = {"metadata": {"name": "loose"}, "spec": {"containers": [{"name": "c", "image": "any"}]}}
    with pytest.raises(ApiException) as refused:
        cluster.core.create_namespaced_pod(installed, pod, dry_run="All")
    assert (refused.value.status, "PodSecurity" in refused.value.body) == (403, True)
