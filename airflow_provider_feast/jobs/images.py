"""Why an image cannot be had: its name, its registry, its credentials, the node.

Worded after containerd 1.6 to 2.1, CRI-O 1.29 to 1.34 and the kubelet (pkg/kubelet/images).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from airflow_provider_feast.jobs.feast_texts import shorten
from airflow_provider_feast.jobs.pod_view import event_text
from airflow_provider_feast.model.outcome import Problem

IMAGE_REASONS = frozenset(
    {
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "ImageInspectError",
        "RegistryUnavailable",
        "SignatureValidationFailed",
        "ErrImageCredentialsUnavailable",
    }
)
"""Reasons of waiting containers that are about their image."""

_PREFIXES = (
    r'(?:^|(?<=: ))(?:Back-off pulling image "[^"]*"|ErrImagePull|rpc error: code = \w+ desc =):? ?',
    r'(?:[Ff]ailed to (?:pull|pull and unpack|inspect|apply default image tag) (?:image )?"[^"]*"): ',
)
_INVALID = re.compile(r"couldn't parse image|invalid reference format|repository name must be lowercase")
_BAD_KIND, _PASSING_KIND = "image_unavailable", "image_registry_unreachable"

# what the message says, the kind, the remedy; the first that matches counts
_RULES: tuple[tuple[re.Pattern[str], str, str], ...] = (
    (
        re.compile(r"toomanyrequests|\b429\b|rate limit|pull QPS exceeded", re.I),
        _PASSING_KIND,
        "The registry limits pulls: wait, log in with image_pull_secrets, or use a mirror.",
    ),
    (
        re.compile(r"no space left on device|disk quota exceeded", re.I),
        _PASSING_KIND,
        "The node's disk is full: run the task again, and have the cluster's administrators look at that node.",
    ),
    (
        re.compile(r"HTTP response to HTTPS client|x509|certificate"),
        _BAD_KIND,
        "Let the nodes trust the registry (its CA in the container runtime), or use a registry that they trust.",
    ),
    (
        re.compile(r"no such host"),
        _BAD_KIND,
        "Check the registry's host name in `image`, and that the nodes reach it (DNS, firewall, proxy, CA).",
    ),
    (
        re.compile(
            r"timeout|timed out|deadline exceeded|connection refused|unreachable|no route|connection reset"
            r"|\bEOF\b|server misbehaving|\b50[0234]\b|Service Unavailable|Bad Gateway|RegistryUnavailable",
            re.I,
        ),
        _PASSING_KIND,
        "Check the registry's host name in `image`, and that the nodes reach it (DNS, firewall, proxy, CA).",
    ),
    (
        re.compile(
            r"unauthorized|denied|authenti|authoriz|\b40[13]\b|forbidden|no basic auth|credentials", re.I
        ),
        _BAD_KIND,
        "Name a Secret with the registry's credentials in image_pull_secrets; check the image's name, too.",
    ),
    (
        re.compile(r"no match for platform|no matching manifest|no image found in (?:manifest|image index)"),
        _BAD_KIND,
        "Use an image that is built for the nodes' processors.",
    ),
    (
        re.compile(r"signature|SignatureValidationFailed", re.I),
        _BAD_KIND,
        "Use a signed image, or ask the owner of the nodes' signature policy.",
    ),
    (
        re.compile(r"short.name"),
        _BAD_KIND,
        "Write `image` with its registry, e.g. quay.io/feastdev/feature-server:0.67.0.",
    ),
)
_CHECK_NAME = "Check name and tag of `image` in the connection or on the operator."


def pull_problem(image: str, reason: str, message: str, about: Iterable[dict[str, Any]]) -> Problem:
    """The problem of a container whose image cannot be had.

    :param reason: one of :data:`IMAGE_REASONS`.
    :param message: what the container's state says of it.
    :param about: the pod's Events, oldest first.
    """
    events = list(about)
    why = _essence(_pull_message(reason, message, events), image) or reason
    if reason == "InvalidImageName" or _INVALID.search(why):
        cause = f"The image name {image!r} is not valid: {why}."
        return Problem(_BAD_KIND, cause, "Correct `image`: NAME:TAG or NAME@sha256:….")
    if reason == "ErrImageNeverPull":
        then = "Load the image onto the nodes, or change image_pull_policy from Never."
        return Problem(_BAD_KIND, f"The image {image} cannot be pulled: {why}.", then, can_mend=True)
    words = f"{why} {reason}".replace(image, "")
    kind, then = next(
        ((kind, then) for pattern, kind, then in _RULES if pattern.search(words)), (_BAD_KIND, _CHECK_NAME)
    )
    cause = f"The image {image} cannot be pulled: {why}."
    if kind == _BAD_KIND and (secrets := _missing_pull_secrets(events)):
        cause += f" The pull secret {secrets} cannot be read, either."
        then = f"Create the Secret {secrets} in the Jobs' namespace, or correct image_pull_secrets. {then}"
    return Problem(kind, cause, then, can_mend=True)


def pull_problem_of_event(message: str, image: str, about: Iterable[dict[str, Any]]) -> Problem:
    """The same, where only an Event (``Failed``, ``InspectFailed``) tells.

    :param image: the main container's, where the message names none.
    """
    quoted = re.search(r'"([^"]+)"', message)
    return pull_problem(quoted.group(1) if quoted else image, "ErrImagePull", message, about)


def _pull_message(reason: str, message: str, about: list[dict[str, Any]]) -> str:
    """While backing off the state may not say why the pull failed; the last Event about it does."""
    if message and not (
        reason == "ImagePullBackOff" and re.fullmatch(r'Back-off pulling image "[^"]*"', message)
    ):
        return message
    pulls = [event_text(event) for event in about if event.get("reason") == "Failed"]
    return next((pull for pull in reversed(pulls) if pull.startswith("Failed to pull")), message)


def _essence(message: str, image: str) -> str:
    """A runtime's message without what every one of them begins with."""
    for prefix in _PREFIXES:
        message = re.sub(prefix, "", message)
    why = shorten(message).rstrip(".")
    return "" if why == image else why


def _missing_pull_secrets(about: list[dict[str, Any]]) -> str:
    """The names in ``Unable to retrieve some image pull secrets (a, b)``."""
    for event in reversed(about):
        if event.get("reason") == "FailedToRetrieveImagePullSecret" and (
            match := re.search(r"image pull secrets \(([^)]+)\)", event_text(event))
        ):
            return match.group(1)
    return ""
