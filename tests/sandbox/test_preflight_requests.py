"""What a preflight costs: requests to the API server, counted in its audit log."""

import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from kubernetes import client, config

from airflow_provider_feast.hooks.feast import FeastHook
from airflow_provider_feast.jobs.preflight import QUICK_OBJECTS
from airflow_provider_feast.model.errors import ApiUnavailableError, ForbiddenError
from airflow_provider_feast.model.lock import LockRequest
from airflow_provider_feast.model.preflight import Status
from airflow_provider_feast.sandbox import Sandbox

STORE = {"project": "p", "registry": "r", "provider": "local"}
Connect = Callable[..., FeastHook]


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """A cluster of the tests' own: its requests are counted."""
    with Sandbox(time_scale=0.05) as made:
        yield made


@pytest.fixture
def connect(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Connect:
    """Makes a feature store in a namespace of its own, with the objects that its connection may name."""
    api = config.new_client_from_config(str(sandbox.kubeconfig))
    core, namespace = client.CoreV1Api(api), f"counted-{uuid.uuid4().hex[:8]}"
    core.create_namespace({"metadata": {"name": namespace}})
    for name in ("config", "defs", "ca", *(f"env-{number}" for number in range(5))):
        data = {"feature_store.yaml": json.dumps(STORE), "ca-bundle.crt": "pem"}
        core.create_namespaced_config_map(namespace, {"metadata": {"name": name}, "data": data})
    core.create_namespaced_service_account(namespace, {"metadata": {"name": "feast"}})
    extra = {"kube_config_path": str(sandbox.kubeconfig)}
    monkeypatch.setenv("AIRFLOW_CONN_CLUSTER", json.dumps({"conn_type": "kubernetes", "extra": extra}))

    def make(**fields: Any) -> FeastHook:
        common = {"kubernetes_conn_id": "cluster", "namespace": namespace, "image": "i:1"}
        body = {"conn_type": "feast", "extra": {**common, **fields}}
        monkeypatch.setenv("AIRFLOW_CONN_FEAST_COUNTED", json.dumps(body))
        return FeastHook("feast_counted", api_outage_tolerance_seconds=0)

    return make


def asked(sandbox: Sandbox, act: Callable[[], Any]) -> list[str]:
    """The requests that something makes, as verb and resource."""
    before = len(sandbox.audit_log.read_text().splitlines())
    act()
    lines = [json.loads(line) for line in sandbox.audit_log.read_text().splitlines()[before:]]
    return [f"{line['verb']} {line['resource']}" for line in lines]


def test_an_ordinary_preflight_takes_four_requests(sandbox: Sandbox, connect: Connect) -> None:
    hook = connect(config_map="config", definitions_config_map="defs", service_account="feast")
    found = asked(sandbox, lambda: hook.preflight.quick(LockRequest("l", hook.namespace)))
    assert sorted(found) == [
        "create selfsubjectrulesreviews.authorization.k8s.io",
        "get configmaps",
        "get configmaps",
        "get serviceaccounts",
    ]


def test_no_connection_makes_a_preflight_take_more_than_eight_requests(
    sandbox: Sandbox, connect: Connect
) -> None:
    hook = connect(
        config_map="config",
        definitions_config_map="defs",
        service_account="feast",
        ca_bundle_config_map="ca",
        env_from=",".join(f"configmap/env-{number}" for number in range(5)),
        image_pull_secrets="one,two",
        lock_namespace="default",
    )
    reports: list[Any] = []
    found = asked(sandbox, lambda: reports.append(hook.preflight.quick(LockRequest("l", "default"))))
    assert len(found) == 2 + QUICK_OBJECTS == 8
    (report,) = reports
    assert not report.failed
    unseen = [finding.what for finding in report.of(Status.NOT_CHECKED)]
    assert len(unseen) == 5
    assert any("'env-4'" in what for what in unseen)
    assert any("Airflow reads no Secrets" in what for what in unseen)


def test_a_pure_image_costs_one_request(sandbox: Sandbox, connect: Connect) -> None:
    hook = connect(definitions_path="/repo")
    found = asked(sandbox, lambda: hook.preflight.quick(None))
    assert found == ["create selfsubjectrulesreviews.authorization.k8s.io"]


def test_an_api_server_that_does_not_answer_is_told_as_such(sandbox: Sandbox, connect: Connect) -> None:
    hook = connect(definitions_path="/repo")
    for code in (500, 503):
        sandbox.fault("selfsubjectrulesreviews", code=code, times=1)
        with pytest.raises(ApiUnavailableError):
            hook.preflight.quick(None)


def test_credentials_that_are_not_accepted_are_told_as_such(
    sandbox: Sandbox, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = connect(definitions_path="/repo")
    known = yaml.safe_load(sandbox.kubeconfig.read_text())
    for user in known["users"]:
        user["user"] = {"token": "of-yesterday"}
    extra = {"kube_config": json.dumps(known)}
    monkeypatch.setenv("AIRFLOW_CONN_CLUSTER", json.dumps({"conn_type": "kubernetes", "extra": extra}))
    with pytest.raises(ForbiddenError, match="does not accept Airflow's credentials"):
        hook.preflight.quick(None)


def test_a_connection_that_is_not_complete_is_told_once(connect: Connect) -> None:
    works, message = connect(image="", config_map="config").test_connection()
    assert (works, message.count("no image is set")) == (False, 1)
