"""Leases on any Kubernetes: what a lock that is taken by compare-and-swap rests on."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cluster_helpers import PATIENCE, Cluster
from kubernetes import client, watch
from kubernetes.client import ApiException

pytestmark = pytest.mark.cluster


def lease(name: str, holder: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"holderIdentity": holder}}


def refusal(error: ApiException) -> tuple[int, str, str]:
    status = json.loads(error.body)
    return status["code"], status["reason"], status["message"]


def test_a_lease_keeps_its_fields_and_counts_its_versions(cluster: Cluster, namespace: str) -> None:
    moment = datetime(2026, 1, 2, 3, 4, 5, 6000, tzinfo=UTC)
    body = client.V1Lease(
        metadata=client.V1ObjectMeta(name="lock", annotations={"a": "b"}),
        spec=client.V1LeaseSpec(
            holder_identity="one", lease_duration_seconds=15, acquire_time=moment, lease_transitions=1
        ),
    )
    made = cluster.leases.create_namespaced_lease(namespace, body)
    read = cluster.leases.read_namespaced_lease("lock", namespace)
    assert read.spec == body.spec
    assert (read.metadata.uid, read.metadata.annotations) == (made.metadata.uid, {"a": "b"})
    patch = {"metadata": {"annotations": {"a": None, "c": "d"}}, "spec": {"holderIdentity": "two"}}
    patched = cluster.leases.patch_namespaced_lease("lock", namespace, patch)
    assert (patched.spec.holder_identity, patched.metadata.annotations) == ("two", {"c": "d"})
    assert int(patched.metadata.resource_version) > int(made.metadata.resource_version)
    assert patched.metadata.generation is None


def test_a_lease_exists_once(cluster: Cluster, namespace: str) -> None:
    cluster.leases.create_namespaced_lease(namespace, lease("lock", "one"))
    with pytest.raises(ApiException) as refused:
        cluster.leases.create_namespaced_lease(namespace, lease("lock", "two"))
    message = 'leases.coordination.k8s.io "lock" already exists'
    assert refusal(refused.value) == (409, "AlreadyExists", message)


@pytest.mark.parametrize("how", ["replace", "patch", "delete"])
def test_of_two_who_read_the_same_version_only_one_may_write(
    cluster: Cluster, namespace: str, how: str
) -> None:
    first = cluster.leases.create_namespaced_lease(namespace, lease("lock", "one"))
    stale = first.metadata.resource_version
    newer = cluster.leases.patch_namespaced_lease(
        "lock", namespace, {"metadata": {"resourceVersion": stale}, "spec": {"holderIdentity": "two"}}
    )
    with pytest.raises(ApiException) as refused:
        if how == "replace":
            first.spec.holder_identity = "three"
            cluster.leases.replace_namespaced_lease("lock", namespace, first)
        elif how == "patch":
            patch = {"metadata": {"resourceVersion": stale}, "spec": {"holderIdentity": "three"}}
            cluster.leases.patch_namespaced_lease("lock", namespace, patch)
        else:
            body = {"preconditions": {"resourceVersion": stale}}
            cluster.leases.delete_namespaced_lease("lock", namespace, body=body)
    code, reason, message = refusal(refused.value)
    assert (code, reason) == (409, "Conflict")
    assert message.startswith("Operation cannot be fulfilled on ")
    if how == "delete":
        current = newer.metadata.resource_version
        assert (
            f"the ResourceVersion in the precondition ({stale}) does not match the ResourceVersion in record "
            f"({current}). The object might have been modified"
        ) in message
    else:
        assert "the object has been modified; please apply your changes to the latest version" in message
    assert cluster.leases.read_namespaced_lease("lock", namespace).spec.holder_identity == "two"


def test_a_lease_that_was_made_anew_is_not_the_one_that_was_read(cluster: Cluster, namespace: str) -> None:
    first = cluster.leases.create_namespaced_lease(namespace, lease("lock", "one"))
    cluster.leases.delete_namespaced_lease("lock", namespace)
    second = cluster.leases.create_namespaced_lease(namespace, lease("lock", "two"))
    first.metadata.resource_version = second.metadata.resource_version
    with pytest.raises(ApiException) as refused:
        cluster.leases.replace_namespaced_lease("lock", namespace, first)
    code, reason, message = refusal(refused.value)
    assert (code, reason) == (409, "Conflict")
    assert "Precondition failed: UID in precondition: " in message


def test_a_lease_is_not_replaced_without_a_version(cluster: Cluster, namespace: str) -> None:
    cluster.leases.create_namespaced_lease(namespace, lease("lock", "one"))
    with pytest.raises(ApiException) as refused:
        cluster.leases.replace_namespaced_lease("lock", namespace, lease("lock", "two"))
    code, reason, message = refusal(refused.value)
    assert (code, reason) == (422, "Invalid")
    assert "metadata.resourceVersion" in message
    assert message.endswith("must be specified for an update")


def test_a_lease_that_is_not_there_is_made_by_replacing_it(cluster: Cluster, namespace: str) -> None:
    made = cluster.leases.replace_namespaced_lease("new", namespace, lease("new", "one"))
    assert made.metadata.uid
    assert cluster.leases.read_namespaced_lease("new", namespace).spec.holder_identity == "one"


def test_one_lease_can_be_listed_and_watched_by_its_name(cluster: Cluster, namespace: str) -> None:
    for name in ("lock", "other"):
        cluster.leases.create_namespaced_lease(namespace, lease(name, "one"))
    lister = cluster.leases.list_namespaced_lease
    selector = "metadata.name=lock"
    found = lister(namespace, field_selector=selector)
    assert [item.metadata.name for item in found.items] == ["lock"]
    cluster.leases.patch_namespaced_lease("other", namespace, {"spec": {"holderIdentity": "x"}})
    cluster.leases.patch_namespaced_lease("lock", namespace, {"spec": {"holderIdentity": "two"}})
    cluster.leases.delete_namespaced_lease("lock", namespace)
    seen = []
    for event in watch.Watch().stream(
        lister,
        namespace,
        field_selector=selector,
        resource_version=found.metadata.resource_version,
        timeout_seconds=PATIENCE,
    ):
        meta, spec = event["object"].metadata, event["object"].spec
        seen.append((event["type"], meta.name, spec.holder_identity))
        if event["type"] == "DELETED":
            break
    assert seen == [("MODIFIED", "lock", "two"), ("DELETED", "lock", "two")]


@pytest.mark.parametrize(
    ("spec", "code", "message"),
    [
        (
            {"leaseDurationSeconds": 0},
            422,
            "spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0",
        ),
        (
            {"leaseTransitions": -1},
            422,
            "spec.leaseTransitions: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            {"renewTime": "2026-01-02T03:04:05Z"},
            400,
            'parsing time "2026-01-02T03:04:05Z" as "2006-01-02T15:04:05.000000Z07:00": cannot parse "Z" as ".000000"',
        ),
    ],
)
def test_a_wrong_lease_is_refused(
    cluster: Cluster, namespace: str, spec: dict[str, Any], code: int, message: str
) -> None:
    with pytest.raises(ApiException) as refused:
        cluster.leases.create_namespaced_lease(namespace, {"metadata": {"name": "wrong"}, "spec": spec})
    assert refusal(refused.value)[0] == code
    assert message in refusal(refused.value)[2]
