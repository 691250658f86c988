"""What a node or the scheduler did to a pod: eviction, preemption, loss, shutdown, refusal, a full disk.

Reasons and messages are after the sources of Kubernetes 1.29 to 1.36 (pkg/kubelet: eviction, nodeshutdown,
preemption, lifecycle; the pod garbage collector; the taint eviction controller), which
managed clusters pass on as they are.
"""

from __future__ import annotations

import re

from airflow_provider_feast.jobs.feast_texts import shorten
from airflow_provider_feast.jobs.pod_view import PodView, at, condition, mapping, text
from airflow_provider_feast.jobs.remedies import remedy
from airflow_provider_feast.jobs.results import progress, result_of
from airflow_provider_feast.model.outcome import Problem

_PREEMPTED = "was preempted by a pod of higher priority"
_SHUT_DOWN = "was ended by its node's shutdown"
_DISRUPTIONS = {
    "EvictionByEvictionAPI": "was evicted",
    "PreemptionByScheduler": _PREEMPTED,
    "PreemptionByKubeScheduler": _PREEMPTED,
    "DeletionByTaintManager": "had to leave its node (taint)",
    "DeletionByDeviceTaintManager": "had to leave its node (a device of it was tainted)",
    "DeletionByPodGC": "was lost with its node",
    "TerminationByKubelet": "was ended by its node",
}
_POD_REASONS = {
    "Evicted": "was evicted",
    "Preempting": _PREEMPTED,
    "Preempted": _PREEMPTED,
    "NodeLost": "was lost with its node",
    "Shutdown": _SHUT_DOWN,
    "NodeShutdown": _SHUT_DOWN,
    "Terminated": _SHUT_DOWN,
}
_REFUSED_BY_NODE = re.compile(
    r"OutOf[\w./-]+|NodeAffinity|NodeName|NodePorts|NodeUnschedulable|TaintToleration|InvalidNodeInfo"
    r"|UnexpectedAdmissionError|TopologyAffinityError|PodOSNotSupported|PodOSSelectorNodeLabelDoesNotMatch"
    r"|PodFitsHostPorts|VolumeAttachmentLimitExceeded|InitContainerRestartForbidden"
)
"""Reasons of pods that the kubelet did not admit: another node may take the next one."""


def full_disk(pod: PodView) -> Problem | None:
    """The problem of a pod that was evicted because it wrote too much itself."""
    said = " ".join((text(at(pod.raw, "status", "message")), _target_message(pod)))
    if match := re.search(r'Usage of EmptyDir volume "([^"]+)" exceeds the limit "([^"]+)"', said):
        volume, limit = match.groups()
        cause = f"Volume {volume} of pod {pod.name} outgrew its limit of {limit}, so the pod was evicted."
        return Problem("out_of_disk", cause, remedy("out_of_disk"))
    if match := re.search(
        r"ephemeral local storage usage exceeds the total limit of containers (\S+?)\.?(?:\s|$)"
        r'|exceeded its local ephemeral storage limit "([^"]+)"',
        said,
    ):
        limit = match.group(1) or match.group(2)
        cause = f"Pod {pod.name} wrote more than its ephemeral-storage limit of {limit} and was evicted."
        return Problem(
            "out_of_disk", cause, "Raise its ephemeral-storage limit (pod_options, job_overrides)."
        )
    return None


def _target_message(pod: PodView) -> str:
    return text(mapping(condition(pod.raw, "DisruptionTarget")).get("message"))


def disruption(pod: PodView) -> Problem | None:
    """The problem of a pod that something outside of it ended."""
    target = mapping(condition(pod.raw, "DisruptionTarget"))
    reason = text(target.get("reason")) or text(at(pod.raw, "status", "reason"))
    how = _how(pod, reason)
    if not how and not target:
        return None
    said = text(target.get("message")) or text(at(pod.raw, "status", "message"))
    detail = ": ".join(part for part in (reason, shorten(said, 200)) if part)
    cause = f"Pod {pod.name} {how or 'was disturbed'}{f' ({detail})' if detail else ''}.{progress(result_of(pod))}"
    then = remedy("disrupted")
    if "low on resource" in said:
        then = "Run the task again; raise memory_request (or ephemeral storage) so that the node sets enough aside."
    return Problem("disrupted", cause, then)


def _how(pod: PodView, reason: str) -> str:
    if known := _DISRUPTIONS.get(reason) or _POD_REASONS.get(reason):
        return known
    if _REFUSED_BY_NODE.fullmatch(reason):
        return "was refused by its node"
    ended = pod.main.ended if pod.main is not None else {}
    unknown = ended.get("reason") == "Unknown" and ended.get("exitCode") == 255  # containerd, after a reboot
    return "was lost with its node" if unknown or ended.get("reason") == "ContainerStatusUnknown" else ""
