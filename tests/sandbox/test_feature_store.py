"""FeatureStore resources of the Feast operator: the sensor, its trigger and the preflight, on a cluster that has them."""

import asyncio
import json
import os
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from airflow.providers.common.compat.sdk import TaskDeferred
from airflow_helpers import wait_for
from feature_stores import NO_ROOM, Store, install
from kubernetes import client, config, utils

from airflow_provider_feast.hooks.feast import FeastHook
from airflow_provider_feast.jobs.inspection import Subject, inspect
from airflow_provider_feast.jobs.trial import Trial
from airflow_provider_feast.model.command import FeastCommand
from airflow_provider_feast.model.errors import FeatureStoreNotReadyError, ForbiddenError, MissingObjectError
from airflow_provider_feast.model.feature_store import GROUP, PLURAL
from airflow_provider_feast.model.manifests import Installation, documents
from airflow_provider_feast.model.preflight import Report, Status
from airflow_provider_feast.sandbox import Sandbox
from airflow_provider_feast.sensors.feature_store import FeatureStoreReadySensor
from airflow_provider_feast.triggers.feast import Clusters
from airflow_provider_feast.triggers.feature_store import FeatureStoreTrigger

STORE = {"project": "p", "registry": "r", "provider": "local"}


class Place:
    """A namespace of a cluster, and a `feast` connection to it."""

    def __init__(self, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, version: str = "v1") -> None:
        self.sandbox, self.version = sandbox, version
        self.api = config.new_client_from_config(str(sandbox.kubeconfig))
        self.namespace = f"stores-{uuid.uuid4().hex[:8]}"
        store = Store(self.api, self.namespace, version)
        self.create, self.become = store.create, store.become
        client.CoreV1Api(self.api).create_namespace({"metadata": {"name": self.namespace}})
        extra = {"kube_config_path": str(sandbox.kubeconfig)}
        monkeypatch.setenv("AIRFLOW_CONN_CLUSTER", json.dumps({"conn_type": "kubernetes", "extra": extra}))
        fields = {
            "kubernetes_conn_id": "cluster",
            "namespace": self.namespace,
            "image": "quay.io/feastdev/feature-server:0.67.0",
            "configuration": json.dumps(STORE),
        }
        body = {"conn_type": "feast", "extra": fields}
        monkeypatch.setenv("AIRFLOW_CONN_FEAST_DEFAULT", json.dumps(body))

    def trigger(self, **more: Any) -> FeatureStoreTrigger:
        return FeatureStoreTrigger("cluster", self.namespace, "store", self.version, **more)

    def watched(self) -> bool:
        """Whether somebody has listed the FeatureStores of this namespace."""
        records = map(json.loads, self.sandbox.audit_log.read_text().splitlines())
        return any(
            (record["verb"], record["namespace"], record["resource"])
            == ("list", self.namespace, f"{PLURAL}.{GROUP}")
            for record in records
        )


@pytest.fixture(scope="module")
def with_operator() -> Iterator[Sandbox]:
    """A cluster that knows FeatureStores in both versions."""
    with Sandbox(time_scale=0.05) as sandbox:
        api = config.new_client_from_config(str(sandbox.kubeconfig))
        install(api, "v1", "v1alpha1")
        yield sandbox


@pytest.fixture
def place(with_operator: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(with_operator, monkeypatch)


def sensor(**more: Any) -> FeatureStoreReadySensor:
    return FeatureStoreReadySensor(task_id="ready", feature_store="store", **more)


def event_after(trigger: FeatureStoreTrigger, act: Any) -> dict[str, Any]:
    """The trigger's event, with something done while it waits."""

    async def first() -> Any:
        waiting = asyncio.create_task(anext(aiter(trigger.run())))
        try:
            await asyncio.to_thread(act)
            return (await asyncio.wait_for(waiting, 30)).payload
        finally:
            waiting.cancel()
            for known in Clusters._loops.get(asyncio.get_running_loop(), {}).values():
                await known.close()

    found: dict[str, Any] = asyncio.run(first())
    assert json.loads(json.dumps(found)) == found
    return found


def test_a_ready_store_ends_the_wait_at_once(place: Place) -> None:
    place.create("Ready")
    assert sensor().poke({})
    assert sensor(deferrable=True).execute({}) is None


@pytest.mark.parametrize("phase", ["", "Pending"])
def test_a_store_that_is_not_ready_is_waited_for(place: Place, phase: str) -> None:
    place.create(phase)
    assert not sensor().poke({})


def test_a_store_that_does_not_exist_yet_is_waited_for_until_it_is_ready(place: Place) -> None:
    assert not sensor().poke({})
    with pytest.raises(TaskDeferred) as deferred:
        sensor(deferrable=True).execute({})
    trigger = deferred.value.trigger
    path, arguments = trigger.serialize()
    assert path == f"{FeatureStoreTrigger.__module__}.{FeatureStoreTrigger.__name__}"

    def appear() -> None:
        wait_for(place.watched, "the watch to begin")
        place.create("Pending")
        place.become("Ready")

    event = event_after(FeatureStoreTrigger(**arguments), appear)
    assert event["phase"] == "Ready"
    getattr(sensor(), deferred.value.method_name)({}, event)


def test_a_store_that_failed_fails_the_sensor_with_its_condition(place: Place) -> None:
    place.create("Pending")

    def fail() -> None:
        wait_for(place.watched, "the watch to begin")
        place.become("Failed", NO_ROOM)

    event = event_after(place.trigger(), fail)
    with pytest.raises(FeatureStoreNotReadyError) as raised:
        sensor().resume({}, event)
    assert "'store' is Failed: Registry (RegistryDeploymentFailed): no storage class" in raised.value.what
    assert f"kubectl -n {place.namespace} describe {PLURAL} store" in raised.value.remedy
    with pytest.raises(FeatureStoreNotReadyError, match="no storage class"):
        sensor().poke({})


def test_a_failure_that_the_operator_may_mend_is_waited_out_on_request(place: Place) -> None:
    place.create()
    place.become("Failed", NO_ROOM)
    assert not sensor(fail_on_failed=False).poke({})

    def mend() -> None:
        wait_for(place.watched, "the watch to begin")
        place.become("Ready")

    event = event_after(place.trigger(fail_on_failed=False), mend)
    sensor().resume({}, event)


def test_a_cut_watch_misses_nothing(place: Place) -> None:
    place.create("Pending")

    def cut() -> None:
        wait_for(place.watched, "the watch to begin")
        place.sandbox.cut_watches()
        place.become("Ready")

    assert event_after(place.trigger(), cut)["phase"] == "Ready"


def test_an_old_operator_is_asked_in_its_own_version(monkeypatch: pytest.MonkeyPatch) -> None:
    with Sandbox(time_scale=0.05) as sandbox:
        place = Place(sandbox, monkeypatch, "v1alpha1")
        install(place.api, "v1alpha1")
        place.create("Ready")
        assert FeastHook().feature_store("store")[1] == "v1alpha1"
        assert sensor().poke({})
        event = event_after(place.trigger(), lambda: None)
        assert event["phase"] == "Ready"


def test_a_cluster_without_the_operator_is_told_as_such(
    feast_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(feast_sandbox, monkeypatch)
    for act in (
        lambda: sensor().poke({}),
        lambda: sensor(deferrable=True).execute({}),
        lambda: sensor().resume({}, event_after(place.trigger(), lambda: None)),
    ):
        with pytest.raises(MissingObjectError, match="the Feast operator is not installed there") as raised:
            act()
        assert "install the Feast operator" in raised.value.remedy


def checks(place: Place) -> dict[str, list[tuple[str, str]]]:
    """The full preflight with the FeatureStore: statuses and words by check."""
    hook = FeastHook()
    report = inspect(Subject(hook, lambda: Trial(hook, FeastCommand("version")).build(), "store"))
    found: dict[str, list[tuple[str, str]]] = {}
    for finding in report.findings:
        found.setdefault(finding.check, []).append((finding.status.value, finding.what))
    return found


def test_the_preflight_says_what_keeps_a_store_from_being_ready(place: Place) -> None:
    (absent,) = checks(place)["feature store"]
    assert absent == ("fail", "the FeatureStore 'store' does not exist")
    place.create()
    (new,) = checks(place)["feature store"]
    assert new == ("fail", "the FeatureStore 'store' is not yet looked at by the Feast operator")
    place.become("Failed", NO_ROOM)
    (broken,) = checks(place)["feature store"]
    assert broken[0] == "fail"
    assert "no storage class" in broken[1]


CLIENT = """
project: p
provider: local
registry: {registry_type: remote, path: feast-store-registry.stores.svc:443, cert: /tls/registry/tls.crt}
auth: {type: kubernetes}
"""
"""A client's configuration as the Feast operator writes it by default on OpenShift."""


def test_the_preflight_says_what_a_clients_configuration_wants_that_pods_have_not(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = json.loads(os.environ["AIRFLOW_CONN_FEAST_DEFAULT"])
    known["extra"] |= {"configuration": "", "feature_store_resource": "store"}
    monkeypatch.setenv("AIRFLOW_CONN_FEAST_DEFAULT", json.dumps(known))
    body = {"metadata": {"name": "feast-store-client"}, "data": {"feature_store.yaml": CLIENT}}
    client.CoreV1Api(place.api).create_namespaced_config_map(place.namespace, body)
    place.create()
    place.become("Ready", feastVersion="0.67.0", clientConfigMap="feast-store-client")
    found = [what for status, what in checks(place)["configuration"] if status == "warn"]
    assert len(found) == 2
    assert "want the token of the pods' account" in found[0]
    assert "wants the certificate /tls/registry/tls.crt (registry.cert)" in found[1]


class Elsewhere:
    """A FeatureStore in a namespace of its own, used by an Airflow whose account may only do what tasks need."""

    def __init__(self, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
        self._place, self.namespace = place, f"elsewhere-{uuid.uuid4().hex[:8]}"
        core, kinds = client.CoreV1Api(place.api), utils.create_from_dict
        core.create_namespace({"metadata": {"name": self.namespace}})
        for document in documents(Installation(namespace=place.namespace)):
            if document.manifest["kind"] != "Namespace":
                kinds(place.api, document.manifest)
        store = Store(place.api, self.namespace, place.version)
        store.create("Ready", feastVersion="0.67.0", clientConfigMap="feast-store-client")
        body = {"metadata": {"name": "feast-store-client"}, "data": {"feature_store.yaml": json.dumps(STORE)}}
        core.create_namespaced_config_map(self.namespace, body)
        request = {"spec": {"audiences": None, "expirationSeconds": 3600}}
        token = core.create_namespaced_service_account_token("airflow", place.namespace, request).status.token
        known = yaml.safe_load(place.sandbox.kubeconfig.read_text())
        known["users"][0]["user"] = {"token": token}
        cluster = {"conn_type": "kubernetes", "extra": {"kube_config": json.dumps(known)}}
        monkeypatch.setenv("AIRFLOW_CONN_CLUSTER", json.dumps(cluster))
        feast = json.loads(os.environ["AIRFLOW_CONN_FEAST_DEFAULT"])
        feast["extra"] |= {"configuration": "", "feature_store_resource": f"{self.namespace}/store"}
        monkeypatch.setenv("AIRFLOW_CONN_FEAST_DEFAULT", json.dumps(feast))

    def allow(self, group: str, resource: str, *verbs: str) -> None:
        """Give Airflow's account a right there."""
        rbac, name = client.RbacAuthorizationV1Api(self._place.api), f"airflow-{resource}"
        rule = {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}
        rbac.create_namespaced_role(self.namespace, {"metadata": {"name": name}, "rules": [rule]})
        account = {"kind": "ServiceAccount", "name": "airflow", "namespace": self._place.namespace}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name}
        body = {"metadata": {"name": name}, "roleRef": role, "subjects": [account]}
        rbac.create_namespaced_role_binding(self.namespace, body)

    def report(self) -> Report:
        hook = FeastHook()
        return inspect(Subject(hook, lambda: Trial(hook, FeastCommand("version")).build()))


def test_a_store_of_another_namespace_is_looked_at_with_the_rights_there(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Elsewhere(place, monkeypatch)
    error = elsewhere.report().error()
    assert isinstance(error, ForbiddenError)
    assert f"namespace '{elsewhere.namespace}'" in error.where
    elsewhere.allow("feast.dev", "featurestores", "get")
    error = elsewhere.report().error()
    assert isinstance(error, ForbiddenError)
    assert error.what.startswith("Airflow may not get configmaps: ")
    assert f"namespace '{elsewhere.namespace}'" in error.where
    elsewhere.allow("", "configmaps", "get")
    report = elsewhere.report()
    assert not report.failed, report
    assert [finding.what for finding in report.of(Status.WARN) if finding.check == "rights"] == [
        f"Airflow's account system:serviceaccount:{place.namespace}:airflow may not: "
        "list featurestores (to wait until one is Ready); watch featurestores (to wait until one is Ready)"
    ]


@pytest.mark.parametrize(
    ("version", "status"), [("0.67.0", "pass"), ("0.67.2", "pass"), ("0.59.0", "warn"), ("", "not checked")]
)
def test_the_preflight_compares_the_image_with_the_stores_feast(
    place: Place, version: str, status: str
) -> None:
    place.create()
    place.become("Ready", feastVersion=version)
    found = checks(place)
    assert found["feature store"] == [("pass", "the FeatureStore 'store' is Ready")]
    assert [kind for kind, _ in found["versions"]] == [status]
