"""The preflight on any Kubernetes: what it finds before a Job is made, and what it must never find."""

import json
import os
from typing import Any

import pytest
from cluster_helpers import Cluster, until
from kubernetes.client import AuthorizationV1Api
from provider_helpers import ACCOUNT, Provider

from airflow_provider_feast.model.errors import AdmissionRefusedError, ForbiddenError, MissingObjectError
from airflow_provider_feast.operators.feast import FeastCommandOperator
from airflow_provider_feast.operators.preflight import FeastPreflightOperator

pytestmark = pytest.mark.cluster
ROLE = "airflow-feast"


def preflight(**more: Any) -> FeastPreflightOperator:
    return FeastPreflightOperator(**{"task_id": "preflight", "feast_conn_id": "feast_inline", **more})


def version(**more: Any) -> FeastCommandOperator:
    return FeastCommandOperator(task_id="version", feast_conn_id="feast_inline", command=["version"], **more)


def statuses(report: dict[str, Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for check in report["checks"]:
        found.setdefault(check["status"], []).append(check["check"])
    return found


def take_rights(provider: Provider, *taken: tuple[str, str]) -> None:
    """Take verbs from Airflow's Role and wait until the server goes by that."""
    rbac, namespace = provider.cluster.rbac, provider.namespace
    role = rbac.read_namespaced_role(ROLE, namespace)
    for rule in role.rules:
        rule.verbs = [verb for verb in rule.verbs if (rule.resources[0], verb) not in taken]
    role.rules = [rule for rule in role.rules if rule.verbs]
    rbac.replace_namespaced_role(ROLE, namespace, role)
    for resource, verb in taken:
        until(lambda r=resource, v=verb: not allowed(provider, r, v), f"{verb} {resource} to be taken")


def allowed(provider: Provider, resource: str, verb: str) -> bool:
    name, _, sub = resource.partition("/")
    group = {"jobs": "batch", "leases": "coordination.k8s.io"}.get(name, "")
    attributes = {"group": group, "resource": name, "verb": verb, "namespace": provider.namespace}
    user = f"system:serviceaccount:{provider.namespace}:{ACCOUNT}"
    body = {"spec": {"user": user, "resourceAttributes": attributes | ({"subresource": sub} if sub else {})}}
    return bool(AuthorizationV1Api(provider.cluster.api).create_subject_access_review(body).status.allowed)


def test_all_is_well_after_the_installation(provider: Provider) -> None:
    report, pushed = provider.run(preflight())
    assert pushed["report"] == report
    assert report["ok"]
    found = statuses(report)
    assert set(found) == {"pass"}
    assert found["pass"] == [
        *("connection", "API", "namespace", "rights", "service account", "configuration"),
        *("pod security", "dry run"),
    ]
    assert provider.jobs() == []


@pytest.mark.parametrize("deep", ["version", "configuration"])
def test_the_deep_check_runs_a_command_in_a_job(provider: Provider, deep: str) -> None:
    report, _ = provider.run(preflight(deep=deep))
    assert report["checks"][-1]["check"] == "deep check"
    assert f"`feast {deep}` ran with Feast 0." in report["checks"][-1]["what"]
    (job,) = provider.jobs()
    assert job.status.succeeded == 1


def test_a_deep_check_that_would_print_secrets_unmasked_is_not_made(provider: Provider) -> None:
    report, _ = provider.run(preflight(deep="configuration", command_mode="cli"))
    assert report["checks"][-1]["check"] == "deep check"
    assert report["checks"][-1]["status"] == "not checked"
    assert report["ok"]
    assert provider.jobs() == []


def test_everything_that_is_missing_is_told_at_once(provider: Provider) -> None:
    operator = preflight(feast_conn_id="feast_nowhere", service_account="nobody")
    with pytest.raises(MissingObjectError) as raised:
        provider.run(operator)
    assert (
        "1. the ConfigMap 'nowhere', which should hold feature_store.yaml, does not exist"
        in raised.value.what
    )
    assert (
        "2. the ServiceAccount 'nobody', which the Job's pods should run as, does not exist"
        in raised.value.what
    )
    assert f"kubectl -n {provider.namespace} create serviceaccount nobody makes it" in raised.value.remedy
    assert provider.jobs() == []


def test_another_namespace_is_told_by_the_rights_that_lack_there(provider: Provider) -> None:
    with pytest.raises(ForbiddenError) as raised:
        provider.run(version(namespace=f"{provider.namespace}-gone"))
    assert "may not" in raised.value.what


def test_an_operator_tells_a_missing_account_before_it_makes_a_job(provider: Provider) -> None:
    with pytest.raises(MissingObjectError, match="'nobody'"):
        provider.run(version(service_account="nobody"))
    assert provider.jobs() == []


def test_an_operator_without_preflight_makes_the_job_all_the_same(provider: Provider) -> None:
    with pytest.raises(MissingObjectError) as raised:
        provider.run(version(service_account="nobody", preflight=False))
    assert "so no pod can be created" in raised.value.what


def test_pods_that_the_namespace_would_refuse_are_told_with_level_and_field(provider: Provider) -> None:
    with pytest.raises(AdmissionRefusedError) as raised:
        provider.run(preflight(security_profile="privileged"))
    assert "enforces the Pod Security level 'restricted'" in raised.value.what
    assert "containers[feast].securityContext.allowPrivilegeEscalation must be false" in raised.value.what


def test_pods_that_the_namespace_refuses_fail_the_task_with_level_and_field(provider: Provider) -> None:
    with pytest.raises(AdmissionRefusedError) as raised:
        provider.run(version(security_profile="privileged"))
    assert "Pod Security (restricted" in raised.value.what
    assert "allowPrivilegeEscalation" in raised.value.what


def test_an_account_that_others_share_is_warned_of(provider: Provider) -> None:
    known = json.loads(os.environ["AIRFLOW_CONN_FEAST_INLINE"])
    del known["extra"]["service_account"]
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AIRFLOW_CONN_FEAST_INLINE", json.dumps(known))
        report, _ = provider.run(preflight())
    (warning,) = [check for check in report["checks"] if check["status"] == "warn"]
    assert "run as the account `default`" in warning["what"]
    assert report["ok"]


def test_a_job_that_the_server_does_not_take_is_told_with_its_field(provider: Provider) -> None:
    wrong = {
        "spec": {"template": {"spec": {"containers": [{"name": "feast", "imagePullPolicy": "Sometimes"}]}}}
    }
    with pytest.raises(AdmissionRefusedError, match="imagePullPolicy"):
        provider.run(preflight(job_overrides=wrong))


def test_rights_for_checks_alone_are_no_condition(provider: Provider) -> None:
    take_rights(provider, ("serviceaccounts", "get"), ("namespaces", "get"))
    result, _ = provider.run(version())
    assert result["outcome"] == "succeeded"
    report, _ = provider.run(preflight())
    found = statuses(report)
    assert report["ok"]
    assert found["not checked"] == ["namespace", "service account", "pod security"]
    assert found["warn"] == ["rights"]


def test_rights_that_only_some_tasks_need_are_no_condition(provider: Provider) -> None:
    take_rights(provider, ("jobs", "delete"), ("leases", "list"), ("leases", "watch"))
    result, _ = provider.run(version())
    assert result["outcome"] == "succeeded"
    report, _ = provider.run(preflight())
    (warning,) = [check for check in report["checks"] if check["status"] == "warn"]
    assert "delete jobs" in warning["what"]
    assert "watch leases (to make a registry's first lock, and wait for one" in warning["what"]


def test_every_right_that_all_tasks_need_is_missed_at_once(provider: Provider) -> None:
    take_rights(provider, ("pods/log", "get"), ("events", "list"))
    for operator in (version(), preflight()):
        with pytest.raises(ForbiddenError) as raised:
            provider.run(operator)
        assert f"system:serviceaccount:{provider.namespace}:{ACCOUNT} may not: " in raised.value.what
        assert "get pods/log (to show Feast's output in the task's log)" in raised.value.what
        assert 'resources: ["events"], verbs: ["list"]' in raised.value.remedy
    assert provider.jobs() == []


def test_a_job_that_runs_is_taken_over_whatever_a_preflight_would_say(
    provider: Provider, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    from provider_helpers import WAITS

    from airflow_provider_feast.jobs import task

    monkeypatch.setattr(task.TaskRun, "defer_after", 0.5)
    provider.defer(version(deferrable=True, job_overrides=WAITS, service_account="feast"))
    (first,) = provider.jobs()
    cluster.core.delete_namespaced_service_account("feast", provider.namespace)
    provider.defer(version(deferrable=True, job_overrides=WAITS, service_account="feast"), try_number=2)
    assert [job.metadata.uid for job in provider.jobs()] == [first.metadata.uid]
