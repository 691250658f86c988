"""Status subresources, Events, collections and field selectors on any Kubernetes."""

import json
import uuid
from typing import Any

import pytest
from cluster_helpers import SECURITY, Cluster, Jobs
from kubernetes.client import ApiException

pytestmark = pytest.mark.cluster


def message(error: ApiException) -> str:
    status: dict[str, Any] = json.loads(error.body)
    assert status["code"] == error.status
    return str(status["message"])


def test_the_status_of_a_job_has_its_own_door(jobs: Jobs) -> None:
    """The spec changes by one, the status by the other; neither lets the other's part through."""
    jobs.create(suspend=True)
    batch = jobs.cluster.batch
    marked = {"metadata": {"labels": {"seen": "yes"}}, "status": {"ready": 7}}
    job = batch.patch_namespaced_job("job", jobs.namespace, marked)
    assert (job.metadata.labels["seen"], job.status.ready in {None, 0}) == ("yes", True)
    condition = {"type": "example.com/Checked", "status": "True", "reason": "r", "message": "m"}
    condition |= {"lastProbeTime": None, "lastTransitionTime": "2026-01-01T00:00:00Z"}
    body = {"spec": {"suspend": False}, "status": {"conditions": [condition]}}
    job = batch.patch_namespaced_job_status("job", jobs.namespace, body)
    assert job.spec.suspend is True
    assert "example.com/Checked" in {found.type for found in job.status.conditions}
    assert batch.read_namespaced_job_status("job", jobs.namespace).metadata.uid == job.metadata.uid


def test_the_status_of_a_pod_has_its_own_door(jobs: Jobs) -> None:
    jobs.create("import time; time.sleep(120)")
    pod = jobs.pod_until(lambda pod: pod["status"]["phase"] == "Running")["metadata"]["name"]
    core = jobs.cluster.core
    condition = {"type": "example.com/Checked", "status": "True"}
    core.patch_namespaced_pod(pod, jobs.namespace, {"status": {"conditions": [condition]}})
    found = core.read_namespaced_pod_status(pod, jobs.namespace).status.conditions
    assert "example.com/Checked" not in {one.type for one in found}
    core.patch_namespaced_pod_status(pod, jobs.namespace, {"status": {"conditions": [condition]}})
    found = core.read_namespaced_pod_status(pod, jobs.namespace).status.conditions
    assert {"example.com/Checked", "PodScheduled"} <= {one.type for one in found}


def event(namespace: str, name: str, reason: str, kind: str = "Pod") -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "involvedObject": {"kind": kind, "name": name, "namespace": namespace, "uid": str(uuid.uuid4())},
        "reason": reason,
        "message": "written by a test",
        "type": "Warning",
    }


def test_events_can_be_written_and_are_found_by_what_they_are_about(cluster: Cluster, namespace: str) -> None:
    core = cluster.core
    core.create_namespaced_event(namespace, event(namespace, "one", "Seen"))
    core.create_namespaced_event(namespace, event(namespace, "two", "Seen", "Job"))
    core.create_namespaced_event(namespace, event(namespace, "three", "Unseen"))

    def names(selector: str) -> set[str]:
        found = core.list_namespaced_event(namespace, field_selector=selector).items
        return {item.metadata.name for item in found}

    assert names("involvedObject.name=one") == {"one"}
    assert names("involvedObject.kind=Pod,reason=Seen") == {"one"}
    assert names("reason!=Seen") == {"three"}
    assert names("type=Warning") == {"one", "two", "three"}


def test_an_event_belongs_to_the_namespace_of_its_object(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(ApiException) as refused:
        cluster.core.create_namespaced_event(namespace, event("default", "one", "Seen"))
    assert refused.value.status == 422
    assert "involvedObject.namespace: Invalid value:" in message(refused.value)


def test_pods_are_found_by_phase_and_node(jobs: Jobs) -> None:
    jobs.run("pass", "ended")
    jobs.create("import time; time.sleep(120)", "running")
    jobs.pod_until(lambda pod: pod["status"]["phase"] == "Running", "running")

    def jobs_of(selector: str) -> set[str]:
        found = jobs.cluster.core.list_namespaced_pod(jobs.namespace, field_selector=selector).items
        return {pod.metadata.labels["job-name"] for pod in found}

    assert jobs_of("status.phase=Running") == {"running"}
    assert jobs_of("status.phase!=Running") == {"ended"}
    node = jobs.pods("running")[0].spec.node_name
    assert "running" in jobs_of(f"spec.nodeName={node}")
    assert jobs_of("spec.restartPolicy=Always") == set()


def test_a_field_that_nobody_can_select_by_is_refused(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(ApiException) as refused:
        cluster.core.list_namespaced_pod(namespace, field_selector="spec.hostname=x")
    assert refused.value.status == 400
    assert message(refused.value).endswith("field label not supported: spec.hostname")


def test_a_selection_can_be_deleted_at_once(cluster: Cluster, namespace: str) -> None:
    core = cluster.core
    for name, team in (("a", "x"), ("b", "x"), ("c", "y")):
        body = {"metadata": {"name": name, "labels": {"team": team}}}
        core.create_namespaced_config_map(namespace, body)
    core.delete_collection_namespaced_config_map(namespace, label_selector="team=x", dry_run="All")
    assert len(core.list_namespaced_config_map(namespace, label_selector="team").items) == 3
    core.delete_collection_namespaced_config_map(namespace, label_selector="team=x")
    left = core.list_namespaced_config_map(namespace, label_selector="team").items
    assert [item.metadata.name for item in left] == ["c"]


def test_a_dry_deletion_deletes_nothing(cluster: Cluster, namespace: str) -> None:
    core = cluster.core
    core.create_namespaced_config_map(namespace, {"metadata": {"name": "a"}})
    core.delete_namespaced_config_map("a", namespace, dry_run="All")
    assert core.read_namespaced_config_map("a", namespace).metadata.deletion_timestamp is None


def pod(image: str, **container: Any) -> dict[str, Any]:
    main = {"name": "main", "image": image, "command": ["python3", "-c", "pass"], **container}
    return {"metadata": {"name": "p"}, "spec": {"restartPolicy": "Never", "containers": [main]}}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"privileged": True, "allowPrivilegeEscalation": None}, "privileged (container"),
        ({"allowPrivilegeEscalation": None}, "allowPrivilegeEscalation != false"),
        ({"capabilities": {"add": ["SYS_ADMIN"], "drop": ["ALL"]}}, "must not include"),
        ({"runAsNonRoot": None}, "runAsNonRoot != true"),
        ({"runAsUser": 0}, "runAsUser=0"),
        ({"seccompProfile": {"type": "Unconfined"}}, "seccompProfile"),
    ],
)
def test_a_pod_that_the_restricted_standard_forbids_is_not_made(
    cluster: Cluster, namespace: str, image: str, change: dict[str, Any], words: str
) -> None:
    security = {key: value for key, value in {**SECURITY, **change}.items() if value is not None}
    with pytest.raises(ApiException) as refused:
        cluster.core.create_namespaced_pod(namespace, pod(image, securityContext=security))
    assert refused.value.status == 403
    assert 'pods "p" is forbidden: violates PodSecurity "restricted:latest": ' in message(refused.value)
    assert words in message(refused.value)


def test_a_pod_that_the_restricted_standard_allows_is_made(
    cluster: Cluster, namespace: str, image: str
) -> None:
    made = cluster.core.create_namespaced_pod(namespace, pod(image, securityContext=SECURITY), dry_run="All")
    assert made.metadata.uid
