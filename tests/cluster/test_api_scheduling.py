"""What keeps a pod from being made or placed, on any Kubernetes: priorities, affinity, gates, quotas."""

import json
import uuid
from typing import Any

import pytest
from cluster_helpers import SECURITY, Jobs, true_conditions, wait_for
from kubernetes import client
from kubernetes.client import ApiException

pytestmark = pytest.mark.cluster

NEEDED = "requiredDuringSchedulingIgnoredDuringExecution"
SLEEP = "import time; time.sleep(120)"


def on_nodes(key: str, operator: str, *values: str) -> dict[str, Any]:
    rule = {"key": key, "operator": operator, **({"values": list(values)} if values else {})}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [rule]}]}
    return {"affinity": {"nodeAffinity": {NEEDED: terms}}}


def near(kind: str, label: str, value: str) -> dict[str, Any]:
    selector = {"matchExpressions": [{"key": label, "operator": "In", "values": [value]}]}
    return {"affinity": {kind: {NEEDED: [{"labelSelector": selector, "topologyKey": "kubernetes.io/os"}]}}}


def labelled(jobs: Jobs, name: str, label: str, **pod: Any) -> dict[str, Any]:
    """A Job whose pods carry a label."""
    body = jobs.manifest(SLEEP, name, pod=pod)
    body["spec"]["template"]["metadata"] = {"labels": {"team": label}}
    return body


def refusal(error: ApiException) -> tuple[int, str]:
    status = json.loads(error.body)
    return status["code"], status["message"]


def test_a_pod_of_an_unknown_priority_is_not_made(jobs: Jobs) -> None:
    jobs.create(pod={"priorityClassName": "no-such-class"})
    message = jobs.events("FailedCreate")[0].message
    assert message.startswith('Error creating: pods "job-')
    assert message.endswith("is forbidden: no PriorityClass with name no-such-class was found")
    assert jobs.pods() == []


def test_a_priority_class_gives_a_pod_its_number(jobs: Jobs) -> None:
    classes = client.SchedulingV1Api(jobs.cluster.api)
    name = f"feast-test-{uuid.uuid4().hex[:10]}"
    classes.create_priority_class({"metadata": {"name": name}, "value": 1234, "preemptionPolicy": "Never"})
    try:
        assert "Complete" in true_conditions(jobs.run(pod={"priorityClassName": name}))
        spec = jobs.pods()[0].spec
        assert (spec.priority, spec.preemption_policy) == (1234, "Never")
    finally:
        classes.delete_priority_class(name)


def test_a_pod_of_an_unknown_runtime_is_not_made(jobs: Jobs) -> None:
    jobs.create(pod={"runtimeClassName": "no-such-runtime"})
    message = jobs.events("FailedCreate")[0].message
    assert message.endswith('is forbidden: pod rejected: RuntimeClass "no-such-runtime" not found')


@pytest.mark.parametrize(
    "rule", [("kubernetes.io/os", "In", "linux"), ("kubernetes.io/os", "Exists"), ("no-such", "DoesNotExist")]
)
def test_a_pod_runs_on_a_node_that_it_likes(jobs: Jobs, rule: tuple[str, ...]) -> None:
    assert "Complete" in true_conditions(jobs.run(pod=on_nodes(*rule)))


@pytest.mark.parametrize("rule", [("no-such", "In", "node"), ("kubernetes.io/os", "NotIn", "linux")])
def test_a_pod_that_likes_no_node_waits(jobs: Jobs, rule: tuple[str, ...]) -> None:
    jobs.create(pod=on_nodes(*rule))
    assert "didn't match Pod's node affinity/selector" in jobs.events("FailedScheduling")[0].message


def test_what_a_pod_only_prefers_does_not_keep_it_from_running(jobs: Jobs) -> None:
    rule = {"matchExpressions": [{"key": "disktype", "operator": "In", "values": ["ssd"]}]}
    wish = {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "preference": rule}]}
    assert "Complete" in true_conditions(jobs.run(pod={"affinity": {"nodeAffinity": wish}}))


def test_a_pod_that_wants_company_waits_for_it(jobs: Jobs) -> None:
    create = jobs.cluster.batch.create_namespaced_job
    create(jobs.namespace, labelled(jobs, "guest", "a", **near("podAffinity", "team", "b")))
    assert "didn't match pod affinity rules" in jobs.events("FailedScheduling")[0].message
    create(jobs.namespace, labelled(jobs, "host", "b"))
    jobs.pod_until(lambda pod: pod["status"]["phase"] == "Running", "guest")


def test_a_pod_that_wants_to_be_alone_waits_until_the_other_has_left(jobs: Jobs) -> None:
    create = jobs.cluster.batch.create_namespaced_job
    create(jobs.namespace, labelled(jobs, "first", "a"))
    jobs.pod_until(lambda pod: pod["status"]["phase"] == "Running", "first")
    create(jobs.namespace, labelled(jobs, "second", "b", **near("podAntiAffinity", "team", "a")))
    assert "didn't match pod anti-affinity rules" in jobs.events("FailedScheduling")[0].message
    jobs.cluster.batch.delete_namespaced_job("first", jobs.namespace, propagation_policy="Background")
    jobs.pod_until(lambda pod: pod["status"]["phase"] == "Running", "second")


def test_an_affinity_without_a_topology_is_refused(jobs: Jobs) -> None:
    affinity = {"podAffinity": {NEEDED: [{"labelSelector": {"matchLabels": {"a": "b"}}}]}}
    with pytest.raises(ApiException) as refused:
        jobs.create(pod={"affinity": affinity})
    code, message = refusal(refused.value)
    field = f"spec.template.spec.affinity.podAffinity.{NEEDED}[0].topologyKey"
    assert (code, f"{field}: Required value: can not be empty" in message) == (422, True)


def test_a_gated_pod_is_placed_when_its_gate_opens(jobs: Jobs) -> None:
    container = {"name": "main", "image": jobs.image, "command": ["python3", "-c", "pass"]}
    spec = {
        "restartPolicy": "Never",
        "schedulingGates": [{"name": "example.com/wait"}],
        "containers": [{**container, "securityContext": SECURITY}],
    }
    core = jobs.cluster.core
    core.create_namespaced_pod(jobs.namespace, {"metadata": {"name": "gated"}, "spec": spec})

    def until(reason: str, phase: str) -> dict[str, Any]:
        return wait_for(
            core.list_namespaced_pod,
            jobs.namespace,
            lambda pod: (
                pod["status"].get("phase") == phase
                and reason in {c.get("reason", "") for c in pod["status"].get("conditions", [])}
            ),
            field_selector="metadata.name=gated",
        )

    assert "nodeName" not in until("SchedulingGated", "Pending")["spec"]
    gates = [{"op": "remove", "path": "/spec/schedulingGates"}]
    core.patch_namespaced_pod("gated", jobs.namespace, gates)
    until("PodCompleted", "Succeeded")


def quota(jobs: Jobs, **hard: str) -> None:
    core = jobs.cluster.core
    names = {name.replace("__", ".").replace("_", "/"): value for name, value in hard.items()}
    core.create_namespaced_resource_quota(
        jobs.namespace, {"metadata": {"name": "q"}, "spec": {"hard": names}}
    )
    wait_for(
        core.list_namespaced_resource_quota,
        jobs.namespace,
        lambda found: set(found.get("status", {}).get("used", {})) == set(names),
    )


def test_a_quota_of_pods_refuses_the_next_one(jobs: Jobs) -> None:
    quota(jobs, pods="0")
    jobs.create()
    message = jobs.events("FailedCreate")[0].message
    assert message.startswith('Error creating: pods "job-')
    assert message.endswith(
        "is forbidden: exceeded quota: q, requested: pods=1, used: pods=0, limited: pods=0"
    )
    assert "conditions" not in jobs.until(lambda job: "startTime" in job.get("status", {}))["status"]


def test_a_quota_of_memory_counts_requests(jobs: Jobs) -> None:
    quota(jobs, requests__memory="100Mi")
    jobs.create(container={"resources": {"requests": {"memory": "200Mi"}}})
    assert jobs.events("FailedCreate")[0].message.endswith(
        "is forbidden: exceeded quota: q, requested: requests.memory=200Mi, used: requests.memory=0, "
        "limited: requests.memory=100Mi"
    )


def test_a_quota_of_memory_wants_it_named(jobs: Jobs) -> None:
    quota(jobs, limits__memory="1Gi")
    jobs.create()
    message = jobs.events("FailedCreate")[0].message
    assert message.endswith("is forbidden: failed quota: q: must specify limits.memory for: main")


def test_a_quota_of_objects_refuses_at_once_and_tells_what_is_used(jobs: Jobs) -> None:
    quota(jobs, count_jobs__batch="1")
    jobs.create(suspend=True)
    wait_for(
        jobs.cluster.core.list_namespaced_resource_quota,
        jobs.namespace,
        lambda found: found["status"]["used"] == {"count/jobs.batch": "1"},
    )
    with pytest.raises(ApiException) as refused:
        jobs.create(name="another")
    code, message = refusal(refused.value)
    assert code == 403
    assert message == (
        'jobs.batch "another" is forbidden: exceeded quota: q, requested: count/jobs.batch=1, '
        "used: count/jobs.batch=1, limited: count/jobs.batch=1"
    )
