"""Why no node takes a pod, in the words of the scheduler and the cluster autoscaler."""

from __future__ import annotations

import re
from typing import Any

from airflow_provider_feast.jobs.feast_texts import shorten
from airflow_provider_feast.jobs.pod_view import PodView, at, event_text, mapping, objects, text
from airflow_provider_feast.model.outcome import Problem


def scheduling_problem(
    pod: PodView, about: list[dict[str, Any]], standing: list[dict[str, Any]]
) -> Problem | None:
    """Why a pod has no node yet, or ``None``.

    :param about: its Events, oldest first.
    :param standing: those warnings among them that are not history.
    """
    conditions = objects(at(pod.raw, "status", "conditions"))
    scheduled = next((entry for entry in conditions if entry.get("type") == "PodScheduled"), None)
    if scheduled is not None and scheduled.get("status") == "False":
        if scheduled.get("reason") == "SchedulingGated":
            return _gated(pod)
        problem = unschedulable(pod, text(scheduled.get("message")) or text(scheduled.get("reason")))
        return _with_autoscaler(problem, about)
    if scheduled is not None or text(pod.spec.get("nodeName")):
        return None
    waiting = [event for event in standing if event.get("reason") == "FailedScheduling"]
    return _with_autoscaler(unschedulable(pod, event_text(waiting[-1])), about) if waiting else None


def _gated(pod: PodView) -> Problem:
    gates = ", ".join(text(gate.get("name")) for gate in objects(pod.spec.get("schedulingGates")))
    return Problem(
        "unschedulable",
        f"Pod {pod.name} is held back from scheduling by {gates or 'a scheduling gate'}.",
        "Look at the queue or quota of what set the gate (Kueue, for example).",
        can_mend=True,
    )


def _with_autoscaler(problem: Problem, about: list[dict[str, Any]]) -> Problem:
    """The cluster autoscaler's last word on a pod that no node takes, if it had one."""
    told = [e for e in about if e.get("reason") in ("NotTriggerScaleUp", "TriggeredScaleUp")]
    if not told:
        return problem
    said = shorten(event_text(told[-1]), 200).rstrip(".")
    return problem._replace(cause=f"{problem.cause} Cluster autoscaler: {said}.")


def unschedulable(pod: PodView, message: str) -> Problem:
    """The problem of a pod that no node takes, in the scheduler's own words."""
    reason = shorten(re.split(r"\.? (?:no new claims to deallocate|preemption:)", message)[0])
    if match := re.search(r'persistentvolumeclaim "([^"]+)" not found', reason):
        return Problem(
            "missing_object",
            f"The PersistentVolumeClaim {match.group(1)}, which pod {pod.name} mounts, does not exist.",
            "Create it, or correct its name in pod_options or job_overrides.",
            can_mend=True,
        )
    asks, then = _wishes(pod, reason)
    cause = f"No node can take pod {pod.name}: {reason.rstrip('.')}.{asks}"
    return Problem("unschedulable", cause, then, can_mend=True)


def _wishes(pod: PodView, reason: str) -> tuple[str, str]:
    """What the pod asks for that no node has, and what to do about it."""
    if match := re.search(r"Insufficient (\w[\w./-]*\w)", reason):
        resource = match.group(1)
        amounts = [text(at(c.spec, "resources", "requests", resource)) for c in pod.containers]
        asked = ", ".join(amount for amount in amounts if amount)
        field = f"{resource}_request" if resource in ("memory", "cpu") else "its request"
        return (
            f" It asks for {resource} {asked}." if asked else "",
            f"Ask for less ({field} in the connection or on the operator), or add a node that large.",
        )
    if "affinity/selector" in reason or "selector" in reason:
        wanted = mapping(pod.spec.get("nodeSelector"))
        pairs = ", ".join(f"{key}={value}" for key, value in sorted(wanted.items()))
        return (
            f" Its node selector is {pairs}." if pairs else "",
            "Correct the node selector or affinity (pod_options, job_overrides), or label a node so.",
        )
    then = next((then for pattern, then in _REMEDIES if re.search(pattern, reason)), "")
    return "", then or "Change what the pod asks for, or add a node that has it."


_REMEDIES = (
    (
        r"node\.kubernetes\.io/[\w-]+|were unschedulable",
        "Nodes are not ready, under pressure, or cordoned: wait for them, or have them looked at.",
    ),
    (r"Too many pods", "Wait for other pods to end, or add nodes."),
    (r"taint", "Add a toleration for that taint (pod_options, job_overrides), or free a node of it."),
    (
        r"[Vv]olume",
        "See why the pod's volume claims are not bound to a volume that a node reaches: `kubectl describe pvc`.",
    ),
)
"""What to do about what the scheduler says; the first that matches counts."""
