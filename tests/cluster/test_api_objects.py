"""Objects, versions, patches, selectors, watches, ownership and access on any Kubernetes."""

import json
import uuid
from typing import Any

import pytest
from cluster_helpers import PATIENCE, SECURITY, Cluster, Jobs, true_conditions, wait_for
from kubernetes import client, watch
from kubernetes.client import ApiException

pytestmark = pytest.mark.cluster


def config_map(name: str, **more: Any) -> dict[str, Any]:
    meta = {"name": name, **more.pop("metadata", {})}
    return {"metadata": meta, "data": {"key": "value"}, **more}


def refusal(error: ApiException) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(error.body)
    assert status["kind"] == "Status"
    assert status["code"] == error.status
    return status


def test_a_new_object_gets_an_identity(cluster: Cluster, namespace: str) -> None:
    made = cluster.core.create_namespaced_config_map(namespace, config_map("a"))
    assert uuid.UUID(made.metadata.uid)
    assert int(made.metadata.resource_version) > 0
    assert made.metadata.creation_timestamp is not None
    other = cluster.core.create_namespaced_config_map(namespace, {"metadata": {"generateName": "gen-"}})
    assert other.metadata.name.startswith("gen-")
    assert len(other.metadata.name) == len("gen-") + 5


def test_a_name_exists_once(cluster: Cluster, namespace: str) -> None:
    cluster.core.create_namespaced_config_map(namespace, config_map("a"))
    with pytest.raises(ApiException) as refused:
        cluster.core.create_namespaced_config_map(namespace, config_map("a"))
    status = refusal(refused.value)
    assert (status["reason"], status["message"]) == ("AlreadyExists", 'configmaps "a" already exists')
    assert status["details"] == {"name": "a", "kind": "configmaps"}


def test_absent_things_are_not_found(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(ApiException) as refused:
        cluster.batch.read_namespaced_job("absent", namespace)
    status = refusal(refused.value)
    assert status["message"] == 'jobs.batch "absent" not found'
    assert status["details"] == {"name": "absent", "group": "batch", "kind": "jobs"}
    with pytest.raises(ApiException) as refused:
        cluster.core.create_namespaced_config_map("no-such-namespace", config_map("a"))
    assert refusal(refused.value)["message"] == 'namespaces "no-such-namespace" not found'


def test_a_stale_version_is_a_conflict(cluster: Cluster, namespace: str) -> None:
    lease = {"metadata": {"name": "lock"}, "spec": {"holderIdentity": "one"}}
    first = cluster.leases.create_namespaced_lease(namespace, lease)
    first.spec.holder_identity = "two"
    cluster.leases.replace_namespaced_lease("lock", namespace, first)
    first.spec.holder_identity = "three"
    with pytest.raises(ApiException) as refused:
        cluster.leases.replace_namespaced_lease("lock", namespace, first)
    status = refusal(refused.value)
    assert status["reason"] == "Conflict"
    assert status["message"] == (
        'Operation cannot be fulfilled on leases.coordination.k8s.io "lock": the object has been modified; '
        "please apply your changes to the latest version and try again"
    )
    assert cluster.leases.read_namespaced_lease("lock", namespace).spec.holder_identity == "two"


def test_a_dry_run_stores_nothing(cluster: Cluster, namespace: str) -> None:
    made = cluster.core.create_namespaced_config_map(namespace, config_map("a"), dry_run="All")
    assert made.metadata.uid
    with pytest.raises(ApiException) as refused:
        cluster.core.read_namespaced_config_map("a", namespace)
    assert refused.value.status == 404


def test_a_write_that_changes_nothing_keeps_the_version(cluster: Cluster, namespace: str) -> None:
    made = cluster.core.create_namespaced_config_map(namespace, config_map("a"))
    same = cluster.core.patch_namespaced_config_map("a", namespace, {"data": {"key": "value"}})
    assert same.metadata.resource_version == made.metadata.resource_version


def test_an_immutable_config_map_stays_as_it_is(cluster: Cluster, namespace: str) -> None:
    cluster.core.create_namespaced_config_map(namespace, config_map("a", immutable=True))
    with pytest.raises(ApiException) as refused:
        cluster.core.patch_namespaced_config_map("a", namespace, {"data": {"key": "other"}})
    assert "data: Forbidden: field is immutable when `immutable` is set" in refusal(refused.value)["message"]
    cluster.core.patch_namespaced_config_map("a", namespace, {"metadata": {"labels": {"x": "y"}}})


def test_secrets_take_text_and_keep_base64(cluster: Cluster, namespace: str) -> None:
    made = cluster.core.create_namespaced_secret(
        namespace, {"metadata": {"name": "s"}, "stringData": {"k": "v"}}
    )
    assert (made.data, made.type, made.string_data) == ({"k": "dg=="}, "Opaque", None)


@pytest.mark.parametrize(
    ("kind", "key"),
    [("kubernetes.io/tls", "tls.crt"), ("kubernetes.io/dockerconfigjson", ".dockerconfigjson")],
)
def test_a_secret_of_a_kind_needs_what_that_kind_has(
    cluster: Cluster, namespace: str, kind: str, key: str
) -> None:
    with pytest.raises(ApiException) as refused:
        cluster.core.create_namespaced_secret(namespace, {"metadata": {"name": "s"}, "type": kind})
    assert refused.value.status == 422
    assert f"data[{key}]: Required value" in refusal(refused.value)["message"]


def patched(cluster: Cluster, namespace: str, media_type: str, body: Any) -> dict[str, Any]:
    path = f"/api/v1/namespaces/{namespace}/configmaps/a"
    raw = cluster.api.call_api(
        path,
        "PATCH",
        header_params={"Content-Type": media_type},
        body=body,
        auth_settings=["BearerToken"],
        _preload_content=False,
    )
    response = raw[0] if isinstance(raw, tuple) else raw
    found: dict[str, Any] = json.loads(response.data)
    return found


def test_json_patches_and_merge_patches_change_objects(cluster: Cluster, namespace: str) -> None:
    cluster.core.create_namespaced_config_map(namespace, config_map("a"))
    operations = [{"op": "test", "path": "/data/key", "value": "value"}]
    operations += [{"op": "add", "path": "/data/new", "value": "1"}, {"op": "remove", "path": "/data/key"}]
    assert patched(cluster, namespace, "application/json-patch+json", operations)["data"] == {"new": "1"}
    merge = {"data": {"new": None, "more": "2"}}
    assert patched(cluster, namespace, "application/merge-patch+json", merge)["data"] == {"more": "2"}


def test_a_strategic_patch_joins_lists_by_their_key(jobs: Jobs) -> None:
    jobs.create(suspend=True)
    path = {"metadata": {"finalizers": ["example.com/one"]}}
    jobs.cluster.batch.patch_namespaced_job("job", jobs.namespace, path)
    again = {"metadata": {"finalizers": ["example.com/two"]}}
    job = jobs.cluster.batch.patch_namespaced_job("job", jobs.namespace, again)
    assert sorted(job.metadata.finalizers) == ["example.com/one", "example.com/two"]
    clear = [{"op": "remove", "path": "/metadata/finalizers"}]
    assert jobs.cluster.batch.patch_namespaced_job("job", jobs.namespace, clear).metadata.finalizers is None


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ("tier=a", ["one"]),
        ("tier==a", ["one"]),
        ("tier!=a", ["two", "three"]),
        ("tier in (a,b)", ["one", "two"]),
        ("tier notin (a)", ["two", "three"]),
        ("tier", ["one", "two"]),
        ("!tier,mine", ["three"]),
        ("tier=b,mine=yes", ["two"]),
    ],
)
def test_labels_select(cluster: Cluster, namespace: str, selector: str, names: list[str]) -> None:
    labels = {"one": {"tier": "a"}, "two": {"tier": "b"}, "three": {}}
    for name, own in labels.items():
        cluster.core.create_namespaced_config_map(
            namespace, config_map(name, metadata={"labels": {**own, "mine": "yes"}})
        )
    found = cluster.core.list_namespaced_config_map(namespace, label_selector=f"mine,{selector}").items
    assert sorted(item.metadata.name for item in found) == sorted(names)


def test_a_selector_that_cannot_be_read_is_refused(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(ApiException) as refused:
        cluster.core.list_namespaced_pod(namespace, label_selector="a===b")
    assert refusal(refused.value)["message"] == "unable to parse requirement: found '=', expected: identifier"


def test_fields_select(cluster: Cluster, namespace: str) -> None:
    for name in ("a", "b"):
        cluster.core.create_namespaced_config_map(namespace, config_map(name))
    found = cluster.core.list_namespaced_config_map(namespace, field_selector="metadata.name=b").items
    assert [item.metadata.name for item in found] == ["b"]


def test_long_lists_come_in_pages(cluster: Cluster, namespace: str) -> None:
    for number in range(5):
        cluster.core.create_namespaced_config_map(
            namespace, config_map(f"m{number}", metadata={"labels": {"p": "y"}})
        )
    first = cluster.core.list_namespaced_config_map(namespace, label_selector="p", limit=3)
    assert [item.metadata.name for item in first.items] == ["m0", "m1", "m2"]
    rest = cluster.core.list_namespaced_config_map(
        namespace, label_selector="p", limit=3, _continue=first.metadata._continue
    )
    assert [item.metadata.name for item in rest.items] == ["m3", "m4"]
    assert not rest.metadata._continue


def test_a_watch_starts_where_a_list_ended(cluster: Cluster, namespace: str) -> None:
    lister = cluster.core.list_namespaced_config_map
    start = lister(namespace).metadata.resource_version
    cluster.core.create_namespaced_config_map(namespace, config_map("a"))
    cluster.core.patch_namespaced_config_map("a", namespace, {"data": {"key": "2"}})
    cluster.core.delete_namespaced_config_map("a", namespace)
    seen = []
    for event in watch.Watch().stream(lister, namespace, resource_version=start, timeout_seconds=PATIENCE):
        if event["object"].metadata.name == "a":
            seen.append(event["type"])
        if seen[-1:] == ["DELETED"]:
            break
    assert seen == ["ADDED", "MODIFIED", "DELETED"]


def test_a_watch_sees_objects_enter_and_leave_its_selection(cluster: Cluster, namespace: str) -> None:
    lister = cluster.core.list_namespaced_config_map
    start = lister(namespace).metadata.resource_version
    cluster.core.create_namespaced_config_map(namespace, config_map("a"))
    for value in ("in", None):
        cluster.core.patch_namespaced_config_map("a", namespace, {"metadata": {"labels": {"sel": value}}})
    options = {"resource_version": start, "label_selector": "sel=in", "timeout_seconds": PATIENCE}
    seen = []
    for event in watch.Watch().stream(lister, namespace, **options):
        seen.append(event["type"])
        if seen[-1] == "DELETED":
            break
    assert seen == ["ADDED", "DELETED"]


def test_a_watch_from_a_forgotten_version_is_gone(cluster: Cluster, namespace: str) -> None:
    raw = cluster.core.list_namespaced_config_map(
        namespace, watch=True, resource_version="1", timeout_seconds=5, _preload_content=False
    )
    event = json.loads(raw.data.splitlines()[0])
    assert event["type"] == "ERROR"
    assert (event["object"]["code"], event["object"]["reason"]) == (410, "Expired")
    assert event["object"]["message"].startswith("too old resource version: 1 (")


def test_a_watch_ends_at_its_timeout(cluster: Cluster, namespace: str) -> None:
    stream = watch.Watch().stream(cluster.batch.list_namespaced_job, namespace, timeout_seconds=1)
    assert list(stream) == []


def owned(name: str, owner: Any) -> dict[str, Any]:
    reference = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "name": owner.metadata.name,
        "uid": owner.metadata.uid,
    }
    return config_map(name, metadata={"ownerReferences": [{**reference, "blockOwnerDeletion": True}]})


@pytest.mark.parametrize("policy", ["Background", "Foreground"])
def test_what_a_job_owns_goes_with_it(jobs: Jobs, policy: str) -> None:
    job = jobs.create("import time; time.sleep(300)")
    lister = jobs.cluster.core.list_namespaced_config_map
    jobs.cluster.core.create_namespaced_config_map(jobs.namespace, owned("mine", job))
    start = lister(jobs.namespace).metadata.resource_version
    jobs.pod_until(lambda pod: pod["status"]["phase"] == "Running")
    jobs.cluster.batch.delete_namespaced_job("job", jobs.namespace, propagation_policy=policy)
    for event in watch.Watch().stream(
        lister, jobs.namespace, resource_version=start, timeout_seconds=PATIENCE
    ):
        if event["type"] == "DELETED" and event["object"].metadata.name == "mine":
            break
    else:
        pytest.fail("the ConfigMap that the Job owned is still there")
    pods = jobs.cluster.core.list_namespaced_pod
    listed = pods(jobs.namespace)
    if listed.items:
        version = listed.metadata.resource_version
        events = watch.Watch().stream(
            pods, jobs.namespace, resource_version=version, timeout_seconds=PATIENCE
        )
        assert next(event for event in events if event["type"] == "DELETED")
    assert jobs.pods() == []


def test_orphans_stay(jobs: Jobs) -> None:
    job = jobs.create(suspend=True)
    jobs.cluster.core.create_namespaced_config_map(jobs.namespace, owned("mine", job))
    jobs.cluster.batch.delete_namespaced_job("job", jobs.namespace, propagation_policy="Orphan")
    found = wait_for(
        jobs.cluster.core.list_namespaced_config_map,
        jobs.namespace,
        lambda item: not item["metadata"].get("ownerReferences"),
        field_selector="metadata.name=mine",
    )
    assert "deletionTimestamp" not in found["metadata"]


def test_deleting_a_job_without_a_policy_warns(jobs: Jobs) -> None:
    jobs.create(suspend=True)
    _, _, headers = jobs.cluster.batch.delete_namespaced_job_with_http_info("job", jobs.namespace)
    assert "child pods are preserved by default when jobs are deleted" in headers["Warning"]


def test_a_delete_can_insist_on_a_uid(cluster: Cluster, namespace: str) -> None:
    made = cluster.core.create_namespaced_config_map(namespace, config_map("a"))
    other = str(uuid.uuid4())
    body = client.V1DeleteOptions(preconditions=client.V1Preconditions(uid=other))
    with pytest.raises(ApiException) as refused:
        cluster.core.delete_namespaced_config_map("a", namespace, body=body)
    status = refusal(refused.value)
    assert status["reason"] == "Conflict"
    assert status["message"] == (
        f'Operation cannot be fulfilled on ConfigMap "a": the UID in the precondition ({other}) does not match the '
        f"UID in record ({made.metadata.uid}). The object might have been deleted and then recreated"
    )
    body.preconditions.uid = made.metadata.uid
    assert cluster.core.delete_namespaced_config_map("a", namespace, body=body).status == "Success"


def test_a_finalizer_holds_an_object_until_it_is_removed(cluster: Cluster, namespace: str) -> None:
    held = config_map("a", metadata={"finalizers": ["example.com/hold"]})
    cluster.core.create_namespaced_config_map(namespace, held)
    cluster.core.delete_namespaced_config_map("a", namespace)
    found = cluster.core.read_namespaced_config_map("a", namespace)
    assert found.metadata.deletion_timestamp is not None
    cluster.core.patch_namespaced_config_map("a", namespace, {"metadata": {"finalizers": None}})
    with pytest.raises(ApiException) as refused:
        cluster.core.read_namespaced_config_map("a", namespace)
    assert refused.value.status == 404


def test_a_deleted_namespace_takes_its_content_with_it(cluster: Cluster) -> None:
    name = f"feast-test-{uuid.uuid4().hex[:10]}"
    start = cluster.core.create_namespace({"metadata": {"name": name}}).metadata.resource_version
    cluster.core.create_namespaced_config_map(name, config_map("a"))
    cluster.core.delete_namespace(name)
    options = {
        "resource_version": start,
        "timeout_seconds": PATIENCE,
        "field_selector": f"metadata.name={name}",
    }
    events = watch.Watch().stream(cluster.core.list_namespace, **options)
    assert next(event for event in events if event["type"] == "DELETED")
    with pytest.raises(ApiException) as refused:
        cluster.core.read_namespaced_config_map("a", name)
    assert refused.value.status == 404


def test_custom_resources_live_once_they_are_defined(cluster: Cluster, namespace: str) -> None:
    group = f"t{uuid.uuid4().hex[:8]}.example.com"
    names = {"plural": "stores", "singular": "store", "kind": "Store", "shortNames": ["st"]}
    spec = {
        "type": "object",
        "properties": {"size": {"type": "integer"}, "mode": {"type": "string", "default": "a"}},
    }
    schema = {"type": "object", "properties": {"spec": spec, "status": {"type": "object"}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    version["subresources"] = {"status": {}}
    body = {
        "metadata": {"name": f"stores.{group}"},
        "spec": {"group": group, "names": names, "scope": "Namespaced", "versions": [version]},
    }
    definitions = client.ApiextensionsV1Api(cluster.api)
    definitions.create_custom_resource_definition(body)
    try:
        for event in watch.Watch().stream(
            definitions.list_custom_resource_definition,
            field_selector=f"metadata.name=stores.{group}",
            timeout_seconds=PATIENCE,
        ):
            if "Established" in true_conditions(event["raw_object"]):
                break
        made = {"apiVersion": f"{group}/v1", "kind": "Store", "metadata": {"name": "s"}, "spec": {"size": 1}}
        where = (group, "v1", namespace, "stores")
        found = cluster.custom.create_namespaced_custom_object(*where, made)
        assert (found["spec"], found["metadata"]["generation"]) == ({"size": 1, "mode": "a"}, 1)
        wrong = {**made, "metadata": {"name": "w"}, "spec": {"size": "big"}}
        with pytest.raises(ApiException) as refused:
            cluster.custom.create_namespaced_custom_object(*where, wrong)
        assert "spec.size" in refusal(refused.value)["message"]
        status = {"status": {"phase": "Ready"}}
        cluster.custom.patch_namespaced_custom_object_status(*where, "s", status)
        assert len(cluster.custom.list_namespaced_custom_object(*where)["items"]) == 1
    finally:
        definitions.delete_custom_resource_definition(f"stores.{group}")


def test_a_claim_can_be_written_by_one_pod_and_read_by_the_next(jobs: Jobs) -> None:
    classes = client.StorageV1Api(jobs.cluster.api).list_storage_class().items
    default = "storageclass.kubernetes.io/is-default-class"
    if not any((found.metadata.annotations or {}).get(default) == "true" for found in classes):
        pytest.skip("this cluster has no default storage class")
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "10Mi"}}}
    jobs.cluster.core.create_namespaced_persistent_volume_claim(
        jobs.namespace, {"metadata": {"name": "data"}, "spec": spec}
    )
    volumes = [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]
    mounts = [{"name": "d", "mountPath": "/data"}]
    context = {"fsGroup": 1001}
    for name, code in (
        ("write", "open(sys.argv[1]+'/f','w').write('kept')"),
        ("read", "print(open(sys.argv[1]+'/f').read())"),
    ):
        command = ["python3", "-c", f"import sys; {code}", "/data"]
        pod = {"volumes": volumes, "securityContext": context}
        jobs.run(name=name, pod=pod, container={"command": command, "volumeMounts": mounts})
    assert jobs.log("read") == "kept\n"


def test_restricted_settings_are_what_the_standard_asks(jobs: Jobs) -> None:
    assert set(SECURITY) == {"runAsNonRoot", "allowPrivilegeEscalation", "capabilities", "seccompProfile"}
    job = jobs.run(container={"securityContext": {**SECURITY, "readOnlyRootFilesystem": True}})
    assert "Complete" in true_conditions(job)
