"""Why a pod has no running container yet: scheduling, mounts, images, container set-up."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from airflow_provider_feast.jobs.feast_texts import shorten
from airflow_provider_feast.jobs.pod_view import (
    Container,
    PodView,
    at,
    condition,
    event_time,
    events_about,
    mapping,
    objects,
    text,
)
from airflow_provider_feast.model.outcome import Problem

_QUOTED = re.compile(r'"([^"]+)"')
_IMAGE_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
    }
)
_START_REASONS = frozenset({"RunContainerError", "CreateContainerError", "StartError", "ContainerCannotRun"})
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
    if problem := _scheduling(pod, about):
        return problem
    for container in (*pod.init_containers, *pod.containers):
        if problem := _waiting(pod, container, about):
            return problem
    for event in reversed(_standing(pod, about)):
        if problem := _event(pod, event):
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


# --- scheduling ----------------------------------------------------------------------------------


def _scheduling(pod: PodView, about: list[dict[str, Any]]) -> Problem | None:
    conditions = objects(at(pod.raw, "status", "conditions"))
    scheduled = next((entry for entry in conditions if entry.get("type") == "PodScheduled"), None)
    if scheduled is not None and scheduled.get("status") == "False":
        return unschedulable(pod, text(scheduled.get("message")) or text(scheduled.get("reason")))
    if scheduled is not None or text(pod.spec.get("nodeName")):
        return None
    waiting = [event for event in _standing(pod, about) if event.get("reason") == "FailedScheduling"]
    return unschedulable(pod, text(waiting[-1].get("message"))) if waiting else None


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
    if "taint" in reason:
        return "", "Add a toleration for that taint (pod_options, job_overrides), or free a node of it."
    if "volume" in reason.lower():
        return "", "Check that the pod's volume claims are bound and reachable from a node."
    return "", "Change what the pod asks for, or add a node that has it."


# --- containers that wait ------------------------------------------------------------------------


def _waiting(pod: PodView, container: Container, about: list[dict[str, Any]]) -> Problem | None:
    reason, message = text(container.waiting.get("reason")), text(container.waiting.get("message"))
    if reason in _IMAGE_REASONS:
        return image_problem(container.image, reason, _pull_message(reason, message, about))
    if reason == "CreateContainerConfigError":
        return _config_error(pod, container, message)
    if reason in _START_REASONS:
        return start_problem(container, message, can_mend=reason == "CreateContainerError")
    return None


def _pull_message(reason: str, message: str, about: list[dict[str, Any]]) -> str:
    """While backing off the state may not say why the pull failed; the last Event about it does."""
    if message and not (
        reason == "ImagePullBackOff" and re.fullmatch(r'Back-off pulling image "[^"]*"', message)
    ):
        return message
    pulls = [text(event.get("message")) for event in about if event.get("reason") == "Failed"]
    return next((pull for pull in reversed(pulls) if pull.startswith("Failed to pull")), message)


def image_problem(image: str, reason: str, message: str) -> Problem:
    """The problem of an image that cannot be had."""
    why = re.sub(
        r'(?:^|(?<=: ))(?:Back-off pulling image "[^"]*"|ErrImagePull|rpc error: code = \w+ desc =):? ?',
        "",
        message,
    )
    why = re.sub(r'(?:[Ff]ailed to (?:pull|pull and unpack) image "[^"]*"): ', "", why)
    why = shorten(why or reason).rstrip(".")
    kind = "image_unavailable"
    if reason == "InvalidImageName":
        return Problem(
            kind,
            f"The image name {image!r} is not valid: {why}.",
            "Correct `image`: NAME:TAG or NAME@sha256:….",
        )
    if reason == "ErrImageNeverPull":
        then = "Load the image onto the nodes, or change image_pull_policy from Never."
    elif re.search(r"toomanyrequests|\b429\b|rate limit", why):
        then = "The registry limits pulls: wait, log in with image_pull_secrets, or use a mirror."
    elif re.search(r"no such host|timeout|timed out|refused|x509|certificate|unreachable|no route", why):
        then = "Check the registry's host name in `image`, and that the nodes reach it (DNS, firewall, proxy, CA)."
    elif re.search(r"unauthorized|denied|authentication|403|401|no basic auth", why, re.IGNORECASE):
        then = "Name a Secret with the registry's credentials in image_pull_secrets; check the image's name, too."
    elif re.search(r"no match for platform|no matching manifest", why):
        then = "Use an image that is built for the nodes' processors."
    else:
        then = "Check name and tag of `image` in the connection or on the operator."
    return Problem(kind, f"The image {image} cannot be pulled: {why}.", then, can_mend=True)


def _config_error(pod: PodView, container: Container, message: str) -> Problem:
    if "runAsNonRoot" in message or "run as root" in message:
        why = shorten(re.sub(r" \(pod: .*$", "", message))
        return Problem(
            "start_error",
            f"The image {container.image} wants to run as root, which the pod forbids: {why}.",
            "Set run_as_user in the connection to a user of the image (1001 for feast's own), or use an image "
            "that names a numeric USER other than 0.",
        )
    return missing_object(pod, message) or start_problem(container, message)


def missing_object(pod: PodView, message: str, volume: str = "", *, can_mend: bool = False) -> Problem | None:
    """The missing ConfigMap, Secret or key that a kubelet's message tells of, or ``None``."""
    namespace = text(at(pod.raw, "metadata", "namespace"))
    if match := re.search(r'\b(configmap|secret) (?:"([^"]+)"|([\w./-]+)) not found', message, re.IGNORECASE):
        kind = {"configmap": "ConfigMap", "secret": "Secret"}[match.group(1).lower()]
        name = (match.group(2) or match.group(3)).rsplit("/", 1)[-1]
        where = f" in namespace {namespace}" if namespace else ""
        return Problem(
            "missing_object",
            f"The {kind} {name} does not exist{where}; pod {pod.name} needs it.",
            f"Create the {kind} {name}{where}, or correct its name in the connection or on the operator.",
            can_mend,
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


def start_problem(container: Container, message: str, *, can_mend: bool = False) -> Problem:
    """The problem of a container that the node cannot start."""
    why = (
        shorten(re.sub(r"^.*unable to start container process: ", "", message, flags=re.DOTALL))
        or "no reason given"
    )
    if match := re.search(r'exec: "([^"]+)"', why):
        return Problem(
            "start_error",
            f"The image {container.image} has no program {match.group(1)}, so container {container.name} cannot "
            f"start: {why.rstrip('.')}.",
            "Use an image with Python and Feast, or name its interpreter as `python` in the connection.",
        )
    return Problem(
        "start_error",
        f"Container {container.name} cannot start: {why.rstrip('.')}.",
        "Change what the message names (image, security profile, mounts).",
        can_mend,
    )


# --- events --------------------------------------------------------------------------------------


def _event(pod: PodView, event: dict[str, Any]) -> Problem | None:
    reason, message = text(event.get("reason")), text(event.get("message"))
    if reason in _MOUNT_REASONS:
        return _mount(pod, message)
    if reason in ("FailedCreatePodSandBox", "NetworkNotReady"):
        return Problem(
            "start_error",
            f"The node cannot set up pod {pod.name}: {shorten(message)}",
            "If it goes on, have the cluster's administrators look at that node.",
            can_mend=True,
        )
    if reason in ("Failed", "InspectFailed") and message.startswith(
        ("Failed to pull image", "Failed to apply")
    ):
        quoted = _QUOTED.search(message)
        main = pod.main
        image = quoted.group(1) if quoted else main.image if main else ""
        return image_problem(image, "InvalidImageName" if "parse" in message else "ErrImagePull", message)
    return None


def _mount(pod: PodView, message: str) -> Problem:
    match = re.search(r'for volume "([^"]+)"', message)
    volume = match.group(1) if match else ""
    return missing_object(pod, message, volume, can_mend=True) or Problem(
        "start_error",
        f"A volume of pod {pod.name} cannot be mounted: {shorten(message)}",
        "Check that what the volume names exists and that the node reaches it.",
        can_mend=True,
    )
