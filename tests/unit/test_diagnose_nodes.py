"""What kubelets, container runtimes and schedulers say, each in its own words: the verdict on it.

Worded after the sources of the kubelet, containerd, CRI-O, runc, crun and the scheduler, and after people's reports; only
``tests/data/recordings`` was recorded.
"""

from __future__ import annotations

from typing import Any

import pytest
from job_objects import (
    IMAGE,
    container,
    ended,
    event,
    failure,
    pod,
    startup,
    waits,
)

MENDS, STUCK = True, False


# --- containers that do not start ----------------------------------------------------------------

RUNC = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
STARTS: dict[str, tuple[str, str, str, bool, str]] = {
    "a non-root policy": (
        "CreateContainerConfigError",
        'container\'s runAsUser breaks non-root policy (pod: "load-aaaaa_ns(1)", container: feast)',
        "start_error",
        STUCK,
        "run_as_user",
    ),
    "a ConfigMap that the kubelet has not read yet": (
        "CreateContainerConfigError",
        "failed to sync configmap cache: timed out waiting for the condition",
        "pod_setup_failed",
        MENDS,
        "goes on",
    ),
    "a ConfigMap for variables": (
        "CreateContainerConfigError",
        'configmap "feast-env" not found',
        "missing_object",
        STUCK,
        "Create the ConfigMap feast-env",
    ),
    "a name that is still reserved": (
        "CreateContainerError",
        'failed to reserve container name "feast_load_ns_1_0": name "feast_load_ns_1_0" is reserved for "ab12"',
        "pod_setup_failed",
        MENDS,
        "goes on",
    ),
    "an image without a command": (
        "CreateContainerError",
        'failed to generate container "ab" spec: failed to apply OCI options: no command specified',
        "start_error",
        STUCK,
        "Change what the message names",
    ),
    "crun without the program": (
        "CreateContainerError",
        "container create failed: executable file `python3` not found in $PATH: No such file or directory",
        "start_error",
        STUCK,
        "name its interpreter",
    ),
    "runc without the program": (
        "RunContainerError",
        f'{RUNC}unable to start container process: error during container init: exec: "python3": executable file not '
        "found in $PATH: unknown",
        "start_error",
        STUCK,
        "name its interpreter",
    ),
    "a mount over a file": (
        "RunContainerError",
        f'{RUNC}unable to start container process: error during container init: error mounting "/var/lib/kubelet/x" to '
        'rootfs at "/feast/config": not a directory: Are you trying to mount a directory onto a file (or vice-versa)?',
        "start_error",
        STUCK,
        "mounts",
    ),
    "runc, killed for memory": (
        "RunContainerError",
        f"{RUNC}unable to start container process: container init was OOM-killed (memory limit too low?): unknown",
        "out_of_memory",
        STUCK,
        "memory_limit",
    ),
    "CRI-O, less than its least": (
        "CreateContainerError",
        "set memory limit 4194304 too low; should be at least 12582912 bytes",
        "out_of_memory",
        STUCK,
        "memory_limit",
    ),
}


@pytest.mark.parametrize("case", STARTS)
def test_a_container_that_does_not_start_says_why(case: str) -> None:
    reason, message, kind, can_mend, advice = STARTS[case]
    problem = startup(pod("load-aaaaa", "Pending", container(waits(reason, message))))
    assert problem is not None
    assert (problem.kind, problem.can_mend) == (kind, can_mend)
    assert advice in problem.remedy


@pytest.mark.parametrize("reason", ["StartError", "ContainerCannotRun"])
def test_a_container_that_could_not_start_ends_as_a_start_error(reason: str) -> None:
    message = (
        f'{RUNC}unable to start container process: exec: "feast": executable file not found in $PATH: unknown'
    )
    problem = failure(pod("p", "Failed", container(ended(128, message, reason))))
    assert problem.kind == "start_error"
    assert "no program feast" in problem.cause


def test_a_container_too_small_to_start_is_out_of_memory() -> None:
    message = f"{RUNC}container init was OOM-killed (memory limit too low?): unknown"
    problem = failure(pod("p", "Failed", container(ended(128, message, "StartError"))))
    assert problem.kind == "out_of_memory"
    assert "2Gi" in problem.cause


def test_an_image_for_another_processor_is_called_so() -> None:
    message = "exec /usr/bin/python3: exec format error"
    problem = failure(pod("p", "Failed", container(ended(128, message, "StartError"))))
    assert problem.kind == "start_error"
    assert "another processor" in problem.cause


def test_a_pod_too_small_for_its_sandbox_is_out_of_memory() -> None:
    creating = pod("load-aaaaa", "Pending", container(waits("ContainerCreating")))
    said = (
        "Failed to create pod sandbox: rpc error: code = Unknown desc = pod set memory limit 1048576 too low"
    )
    problem = startup(creating, event("load-aaaaa", "FailedCreatePodSandBox", said))
    assert problem is not None
    assert (problem.kind, problem.can_mend) == ("out_of_memory", False)


@pytest.mark.parametrize("reason", ["StartError", "ContainerCannotRun"])
@pytest.mark.parametrize(
    "message",
    [
        f"{RUNC}unable to start container process: can't get final child's PID from pipe: EOF: unknown",
        "failed to create containerd task: failed to create shim task: context deadline exceeded: unknown",
    ],
)
def test_a_container_that_a_node_in_trouble_could_not_start_may_start_elsewhere(
    reason: str, message: str
) -> None:
    problem = failure(pod("p", "Failed", container(ended(128, message, reason))))
    assert (problem.kind, problem.retryable, problem.can_mend) == ("pod_setup_failed", True, False)


def test_a_program_that_may_not_be_run_is_not_called_missing() -> None:
    message = f'{RUNC}unable to start container process: exec: "/opt/python": permission denied: unknown'
    problem = failure(pod("p", "Failed", container(ended(126, message, "StartError"))))
    assert "may not be run by the pod's user" in problem.cause


def test_the_kernels_word_on_a_wrong_processor_is_understood() -> None:
    problem = failure(pod("p", "Failed", container(ended(255, "exec /usr/bin/python3: exec format error\n"))))
    assert problem.kind == "start_error"
    assert "another processor" in problem.cause


def test_a_sidecar_that_runs_out_of_memory_is_named_with_its_limit() -> None:
    killed = container(ended(137, "", "OOMKilled"), "istio-proxy")
    problem = failure(pod("p", "Failed", killed, container(ended(0))))
    assert problem.kind == "out_of_memory"
    assert "istio-proxy" in problem.cause
    assert "istio-proxy" in problem.remedy


# --- volumes, networks, nodes --------------------------------------------------------------------

SETUPS: dict[str, tuple[str, str, str, str]] = {
    "a volume of another node": (
        "FailedAttachVolume",
        'Multi-Attach error for volume "pvc-1" Volume is already used by pod(s) serving-0',
        "pod_setup_failed",
        "ReadWriteOnce",
    ),
    "a volume that does not come": (
        "FailedMount",
        "Unable to attach or mount volumes: unmounted volumes=[data], unattached volumes=[]: timed out waiting for the "
        "condition",
        "pod_setup_failed",
        "node reaches it",
    ),
    "a driver that is missing": (
        "FailedMount",
        'MountVolume.MountDevice failed for volume "pvc-1" : kubernetes.io/csi: attacher.MountDevice failed to create '
        "newCsiDriverClient: driver name efs.csi.aws.com not found in the list of registered CSI drivers",
        "pod_setup_failed",
        "node reaches it",
    ),
    "an object that the kubelet has not read yet": (
        "FailedMount",
        'MountVolume.SetUp failed for volume "c" : object "ns"/"cfg" not registered',
        "pod_setup_failed",
        "node reaches it",
    ),
    "a Secret that the node may not see": (
        "FailedMount",
        'MountVolume.SetUp failed for volume "c" : failed to fetch secret: secrets "sec" is forbidden: User '
        '"system:node:n1" cannot get resource "secrets" in API group "" in the namespace "ns": no relationship '
        "found between node 'n1' and this object",
        "missing_object",
        "Create the Secret sec",
    ),
    "no address (EKS)": (
        "FailedCreatePodSandBox",
        'Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox "ab": plugin '
        'type="aws-cni" name="aws-cni" failed (add): add cmd: failed to assign an IP address to container',
        "pod_setup_failed",
        "no free IP address",
    ),
    "a network that is not up": (
        "NetworkNotReady",
        "network is not ready: container runtime network not ready: NetworkReady=false cni plugin not initialized",
        "pod_setup_failed",
        "look at that node",
    ),
}


@pytest.mark.parametrize("case", SETUPS)
def test_a_pod_that_its_node_cannot_set_up_says_why_and_is_waited_for(case: str) -> None:
    reason, message, kind, advice = SETUPS[case]
    creating = pod("load-aaaaa", "Pending", container(waits("ContainerCreating")))
    problem = startup(creating, event("load-aaaaa", reason, message))
    assert problem is not None
    assert (problem.kind, problem.can_mend) == (kind, True)
    assert advice in problem.remedy


def unscheduled(message: str, reason: str = "Unschedulable", **spec: Any) -> dict[str, Any]:
    refused = [{"type": "PodScheduled", "status": "False", "reason": reason, "message": message}]
    return pod("load-aaaaa", "Pending", conditions=refused, spec=spec)


@pytest.mark.parametrize("reason", ["NotTriggerScaleUp", "TriggeredScaleUp"])
def test_the_autoscalers_word_stands_beside_the_schedulers(reason: str) -> None:
    said = event("load-aaaaa", reason, "pod didn't trigger scale-up: 1 max node group size reached")
    problem = startup(unscheduled("0/3 nodes are available: 3 Insufficient memory."), said)
    assert problem is not None
    assert problem.cause.endswith(
        "Cluster autoscaler: pod didn't trigger scale-up: 1 max node group size reached."
    )


@pytest.mark.parametrize(
    ("message", "advice"),
    [
        (
            "0/3 nodes are available: 3 node(s) had untolerated taint {node.kubernetes.io/not-ready: }.",
            "not ready",
        ),
        ("0/3 nodes are available: 3 node(s) were unschedulable.", "cordoned"),
        ("0/3 nodes are available: 3 Too many pods.", "other pods to end"),
        ("no nodes available to schedule pods", "add a node"),
    ],
)
def test_nodes_that_are_not_ready_are_not_answered_by_a_toleration(message: str, advice: str) -> None:
    problem = startup(unscheduled(message))
    assert problem is not None
    assert advice in problem.remedy


def test_what_the_api_put_together_of_many_events_is_read_like_one() -> None:
    combined = "(combined from similar events): "
    mount = 'MountVolume.SetUp failed for volume "c" : configmap "cfg" not found'
    creating = pod("load-aaaaa", "Pending", container(waits("ContainerCreating")))
    for reason, message, kind in (
        ("FailedMount", mount, "missing_object"),
        ("Failed", f'Failed to pull image "{IMAGE}": not found', "image_unavailable"),
    ):
        problem = startup(creating, event("load-aaaaa", reason, combined + message))
        assert problem is not None
        assert problem.kind == kind
        assert combined not in problem.cause


def test_a_pod_behind_a_gate_is_not_called_unschedulable_by_every_node() -> None:
    gated = unscheduled(
        "Scheduling is blocked due to non-empty scheduling gates",
        "SchedulingGated",
        schedulingGates=[{"name": "kueue.x-k8s.io/admission"}],
    )
    problem = startup(gated)
    assert problem is not None
    assert "held back from scheduling by kueue.x-k8s.io/admission" in problem.cause
    assert problem.can_mend


# --- disruptions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "message", "words"),
    [
        ("Preempting", "Preempted in order to admit critical pod", "preempted"),
        ("Terminated", "Pod was terminated in response to imminent node shutdown.", "shutdown"),
        ("NodeShutdown", "Pod was rejected as the node is shutting down.", "shutdown"),
        ("NodeLost", "Node n1 which was running pod p is unresponsive", "lost with its node"),
        ("OutOfnvidia.com/gpu", "Pod was rejected: Node didn't have enough resource", "refused by its node"),
        ("OutOfephemeral-storage", "Pod was rejected", "refused by its node"),
        ("NodeAffinity", "Pod was rejected: Predicate NodeAffinity failed", "refused by its node"),
        (
            "TopologyAffinityError",
            "Resources cannot be allocated with Topology locality",
            "refused by its node",
        ),
        ("TaintToleration", "Predicate TaintToleration failed", "refused by its node"),
        (
            "VolumeAttachmentLimitExceeded",
            "Node has insufficient volume attachment capacity",
            "refused by its node",
        ),
    ],
)
def test_a_nodes_own_reasons_are_disruptions(reason: str, message: str, words: str) -> None:
    problem = failure(pod("p", "Failed", reason=reason, message=message))
    assert problem.kind == "disrupted"
    assert problem.retryable
    assert words in problem.cause


@pytest.mark.parametrize(
    "reason", ["DeletionByDeviceTaintManager", "PreemptionByKubeScheduler", "SomethingNew"]
)
def test_a_disruption_target_counts_whatever_its_reason(reason: str) -> None:
    target = [{"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "m"}]
    assert failure(pod("p", "Failed", container(ended(143)), conditions=target)).kind == "disrupted"


def test_a_container_that_containerd_lost_in_a_reboot_was_disrupted() -> None:
    assert failure(pod("p", "Failed", container(ended(255, "", "Unknown")))).kind == "disrupted"
    assert failure(pod("p", "Failed", container(ended(255, "ValueError: x")))).kind == "command_failed"


def test_a_container_over_its_own_ephemeral_storage_is_out_of_disk() -> None:
    said = 'Container feast exceeded its local ephemeral storage limit "1Gi". '
    problem = failure(pod("p", "Failed", container(ended(137)), reason="Evicted", message=said))
    assert (problem.kind, problem.retryable) == ("out_of_disk", False)
    assert "1Gi" in problem.cause


def test_an_eviction_for_the_nodes_memory_asks_for_a_larger_request() -> None:
    said = (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 80Mi. Container feast was using "
        "2Gi, request is 512Mi, has larger consumption of memory. "
    )
    problem = failure(pod("p", "Failed", reason="Evicted", message=said))
    assert problem.kind == "disrupted"
    assert "memory_request" in problem.remedy
