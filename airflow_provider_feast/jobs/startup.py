"""Why a pod has no running container yet: no node, mounts, images, container set-up."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from airflow_provider_feast.jobs.feast_texts import shorten
from airflow_provider_feast.jobs.images import IMAGE_REASONS, pull_problem, pull_problem_of_event
from airflow_provider_feast.jobs.pod_view import (
    Container,
    PodView,
    at,
    condition,
    event_text,
    event_time,
    events_about,
    mapping,
    objects,
    text,
)
from airflow_provider_feast.jobs.remedies import remedy
from airflow_provider_feast.jobs.scheduling import scheduling_problem
from airflow_provider_feast.model.outcome import Problem

_REPEATED = frozenset(
    {"CreateContainerError", "CreatePodSandboxError", "ConfigPodSandboxError", "PreStartHookError"}
)
"""What the kubelet tries again by itself, and another node may do better."""

_START_REASONS = _REPEATED | {"RunContainerError", "StartError", "ContainerCannotRun"}
_MOUNT_REASONS = frozenset({"FailedMount", "FailedAttachVolume", "FailedMapVolume"})
_STAGES = {"Scheduled": 1, "Pulling": 2, "Pulled": 3, "Created": 4, "Started": 5}
_WARNING_STAGES = {
    "FailedScheduling": 0,
    "FailedMount": 1,
    "FailedAttachVolume": 1,
    "FailedMapVolume": 1,
    "FailedCreatePodSandBox": 1,
    "NetworkNotReady": 1,
    "InspectFailed": 2,
    "Failed": 2,
}


def pod_start_problem(pod: PodView, events: Iterable[Any]) -> Problem | None:
    """Why a pod has not started, or ``None`` when it is merely on its way.

    The pod's own conditions and container states come first; Events only where those are silent, and
    only if no later Event says that the pod got over it.
    """
    about = events_about(pod.raw, "Pod", events)
    standing = _standing(pod, about)
    if problem := scheduling_problem(pod, about, standing):
        return problem
    for container in (*pod.init_containers, *pod.containers):
        if problem := _waiting(pod, container, about):
            return problem
    for event in reversed(standing):
        if problem := _event(pod, event, about):
            return problem
    return None


def _standing(pod: PodView, about: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The warnings that no later stage of the same pod has overtaken."""
    ready = condition(pod.raw, "PodReadyToStartContainers") is not None
    stages = [(event_time(event), _STAGES.get(text(event.get("reason")), 0)) for event in about]

    def stands(event: dict[str, Any]) -> bool:
        stage = _WARNING_STAGES.get(text(event.get("reason")))
        if stage is None or event.get("type") != "Warning" or (ready and stage < 2):
            return False
        return not any(when >= event_time(event) and later > stage for when, later in stages)

    return [event for event in about if stands(event)]


# --- containers that wait ------------------------------------------------------------------------


def _waiting(pod: PodView, container: Container, about: list[dict[str, Any]]) -> Problem | None:
    reason, message = text(container.waiting.get("reason")), text(container.waiting.get("message"))
    if reason in IMAGE_REASONS:
        return pull_problem(container.image, reason, message, about)
    if reason == "CreateContainerConfigError":
        return _config_error(pod, container, message)
    if reason in _START_REASONS:
        return starved(container, message) or start_problem(container, message, can_mend=reason in _REPEATED)
    return None


def _config_error(pod: PodView, container: Container, message: str) -> Problem:
    if re.search(r"runAsNonRoot|run as root|breaks non-root policy", message):
        why = shorten(re.sub(r" \(pod: .*$", "", message))
        return Problem(
            "start_error",
            f"The image {container.image} wants to run as root, which the pod forbids: {why}.",
            "Set run_as_user in the connection to a user of the image (1001 for feast's own), or use an image "
            "that names a numeric USER other than 0.",
        )
    return missing_object(pod, message) or start_problem(container, message, can_mend=True)


def starved(container: Container, message: str) -> Problem | None:
    """The problem of a container that its runtime could not even start for want of memory (runc, crun, CRI-O)."""
    if not re.search(r"OOM-killed|memory limit too low|set memory limit \d+ too low", message):
        return None
    limit = container.memory_limit
    cause = f"Container {container.name} cannot even start within its memory limit{f' of {limit}' if limit else ''}."
    return Problem("out_of_memory", cause, remedy("out_of_memory"))


_MISSING = re.compile(
    r'\b(configmap|secret)s? (?:"([^"]+)"|([\w./-]+)) (?:not found|is forbidden: .*no relationship found)',
    re.I,
)
"""The last is how a node is told of an object that does not exist when it has never been told of it before."""


def missing_object(pod: PodView, message: str, volume: str = "", *, can_mend: bool = False) -> Problem | None:
    """The missing ConfigMap, Secret or key that a kubelet's message tells of, or ``None``."""
    namespace = text(at(pod.raw, "metadata", "namespace"))
    if match := _MISSING.search(message):
        kind = {"configmap": "ConfigMap", "secret": "Secret"}[match.group(1).lower()]
        name = (match.group(2) or match.group(3)).rsplit("/", 1)[-1]
        where = f" in namespace {namespace}" if namespace else ""
        return Problem(
            "missing_object",
            f"The {kind} {name} does not exist{where}; pod {pod.name} needs it.",
            f"Create the {kind} {name}{where}, or correct its name in the connection or on the operator.",
            can_mend or "no relationship found" in message,
        )
    if match := re.search(r"couldn't find key (\S+) in (ConfigMap|Secret) (\S+)", message):
        key, kind, name = match.group(1), match.group(2), match.group(3).rsplit("/", 1)[-1]
    elif match := re.search(r"non-existent (?:config|secret) key: (\S+)", message):
        kind, name = _volume_source(pod, volume, match.group(1))
        key = match.group(1)
    else:
        return None
    return Problem(
        "missing_object",
        f"The {kind} {name} has no key {key}; pod {pod.name} needs it.",
        f"Add the key {key} to the {kind} {name}, or correct the key in the connection (config_map_key) or on the "
        "operator.",
    )


def _volume_source(pod: PodView, volume: str, key: str) -> tuple[str, str]:
    """Kind and name of the object that a volume takes a key from."""
    for entry in objects(pod.spec.get("volumes")):
        if entry.get("name") != volume:
            continue
        for source in (entry, *objects(at(entry, "projected", "sources"))):
            for field, kind, name in (("configMap", "ConfigMap", "name"), ("secret", "Secret", "secretName")):
                found = mapping(source.get(field))
                keys = [item.get("key") for item in objects(found.get("items"))]
                if found and (key in keys or not keys):
                    return kind, text(found.get(name)) or text(found.get("name")) or volume
    return "ConfigMap or Secret", f"of volume {volume}"


_NO_PROGRAM = re.compile(
    r'exec: "(?P<runc>[^"]+)"|executable file `(?P<crun>[^`]+)` not found|exec (?P<kernel>/\S+): exec format error'
)
_LASTING = re.compile(
    r"no command specified|not a directory|read-only file system|permission denied|operation not permitted"
    r"|seccomp|AppArmor|apparmor|invalid capabilit|unknown capabilit"
)
"""What a container runtime says of a pod that it will never be able to start."""

_PASSING = re.compile(
    r"deadline exceeded|timed out|timeout|resource temporarily unavailable|cannot allocate memory|from pipe: EOF"
    r"|connection (?:error|refused)|transport is closing|ttrpc: closed"
)
"""What a node in trouble says; another one, or the same later, may do better."""


def start_problem(container: Container, message: str, *, can_mend: bool = False) -> Problem:
    """The problem of a container that the node cannot start.

    :param can_mend: whether the kubelet tries again, and the message does not say that it will be in vain.
    """
    why = shorten(re.sub(r"^.*unable to start container process: ", "", message, flags=re.DOTALL))
    why = why.rstrip(".") or "no reason given"
    if match := _NO_PROGRAM.search(why):
        return _no_program(container, next(name for name in match.groups() if name), why)
    lasting = not (can_mend or _PASSING.search(why)) or _LASTING.search(why)
    return Problem(
        "start_error" if lasting else "pod_setup_failed",
        f"Container {container.name} cannot start: {why}.",
        "Change what the message names (image, security profile, mounts)."
        if lasting
        else "If it goes on, look at the pod with `kubectl describe`, and have that node looked at.",
        not lasting,
    )


def _no_program(container: Container, program: str, why: str) -> Problem:
    if "exec format error" in why:
        return Problem(
            "start_error",
            f"The image {container.image} is built for another processor than the node's: {why}.",
            "Use an image that is built for the nodes' processors.",
        )
    if "permission denied" in why:
        return Problem(
            "start_error",
            f"The program {program} of the image {container.image} may not be run by the pod's user: {why}.",
            "Use an image whose program any user may run, or set run_as_user in the connection.",
        )
    return Problem(
        "start_error",
        f"The image {container.image} has no program {program}, so container {container.name} cannot "
        f"start: {why}.",
        "Use an image with Python and Feast, or name its interpreter as `python` in the connection.",
    )


# --- events --------------------------------------------------------------------------------------


def _event(pod: PodView, event: dict[str, Any], about: list[dict[str, Any]]) -> Problem | None:
    reason, message = text(event.get("reason")), event_text(event)
    if reason in _MOUNT_REASONS:
        return _mount(pod, message)
    if reason in ("FailedCreatePodSandBox", "NetworkNotReady"):
        if pod.main is not None and (small := starved(pod.main, message)):
            return small
        then = "If it goes on, have the cluster's administrators look at that node."
        if re.search(
            r"failed to assign an IP|no (?:available )?IP|IP address|insufficient.*addresses", message
        ):
            then = "The node or its subnet has no free IP address: wait for other pods to end, or add nodes or subnets."
        return Problem(
            "pod_setup_failed",
            f"The node cannot set up pod {pod.name}: {shorten(message)}",
            then,
            can_mend=True,
        )
    if reason in ("Failed", "InspectFailed") and message.startswith(
        ("Failed to pull image", "Failed to apply")
    ):
        return pull_problem_of_event(message, pod.main.image if pod.main else "", about)
    return None


def _mount(pod: PodView, message: str) -> Problem:
    match = re.search(r'for volume "([^"]+)"', message)
    volume = match.group(1) if match else ""
    if found := missing_object(pod, message, volume, can_mend=True):
        return found
    then = "Check that what the volume names exists and that the node reaches it."
    if "Multi-Attach error" in message:
        then = "Another pod uses this volume (ReadWriteOnce): wait until it ends, or use a volume that pods can share."
    return Problem(
        "pod_setup_failed",
        f"A volume of pod {pod.name} cannot be mounted: {shorten(message)}",
        then,
        can_mend=True,
    )
