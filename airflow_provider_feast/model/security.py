"""How locked down a Job's pod is: named profiles, and the rules a finished pod is held to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from airflow_provider_feast.model.errors import FeastDagError

RUN_AS_USER = 1001
"""The user of the feature-server image."""

_VOLUMES = frozenset(
    {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
)


class SecurityProfile(NamedTuple):
    """One level of isolation.

    :param name: how connections and operators call it.
    :param standard: the Pod Security Standard the pod meets: ``restricted``, ``baseline`` or ``privileged``.
    :param read_only_root: whether only mounted volumes can be written.
    :param fixed_user: whether the pod asks for a user id; off, the cluster gives one (OpenShift).
    """

    name: str
    standard: str = "restricted"
    read_only_root: bool = True
    fixed_user: bool = True


PROFILES: dict[str, SecurityProfile] = {
    profile.name: profile
    for profile in (
        SecurityProfile("restricted"),
        SecurityProfile("arbitrary-uid", fixed_user=False),
        SecurityProfile("writable-root", read_only_root=False),
        SecurityProfile("baseline", standard="baseline", read_only_root=False, fixed_user=False),
        SecurityProfile("privileged", standard="privileged", read_only_root=False, fixed_user=False),
    )
}
"""Every profile by its name, tightest first."""


def profile_named(name: str) -> SecurityProfile:
    """The profile with that name.

    :raises FeastDagError: when there is none.
    """
    if name not in PROFILES:
        raise FeastDagError(
            f"security_profile={name!r} does not exist", remedy=f"choose one of {', '.join(PROFILES)}"
        )
    return PROFILES[name]


def pod_security_context(profile: SecurityProfile, run_as_user: int | None) -> dict[str, Any]:
    """The pod's ``securityContext``.

    :param run_as_user: the user id for a profile that fixes one.
    """
    if profile.standard == "privileged":
        return {}
    context: dict[str, Any] = {"seccompProfile": {"type": "RuntimeDefault"}}
    if profile.standard == "restricted":
        context["runAsNonRoot"] = True
    if profile.fixed_user and run_as_user is not None:
        context |= {"runAsUser": run_as_user, "fsGroup": run_as_user}
    return context


def container_security_context(profile: SecurityProfile) -> dict[str, Any]:
    """A container's ``securityContext``."""
    if profile.standard == "privileged":
        return {}
    context: dict[str, Any] = {}
    if profile.standard == "restricted":
        context |= {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    if profile.read_only_root:
        context["readOnlyRootFilesystem"] = True
    return context


def loosened(spec: dict[str, Any], profile: SecurityProfile) -> list[str]:
    """Which fields of a finished pod spec are looser than its profile; empty when none is.

    The rules are those of https://kubernetes.io/docs/concepts/security/pod-security-standards/, plus
    the profile's read-only root.

    :param spec: a pod spec as the API takes it.
    """
    found: list[str] = []
    if profile.standard != "privileged":
        found += _baseline(spec)
    if profile.standard == "restricted":
        found += _restricted(spec)
    if profile.read_only_root:
        found += [
            f"{where}.securityContext.readOnlyRootFilesystem must be true"
            for where, container in _containers(spec)
            if not (container.get("securityContext") or {}).get("readOnlyRootFilesystem")
        ]
    return found


def _containers(spec: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(field) or ():
            yield f"{field}[{container.get('name')}]", container


def _baseline(spec: dict[str, Any]) -> Iterator[str]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if spec.get(field):
            yield f"{field} must not be true"
    for volume in spec.get("volumes") or ():
        if "hostPath" in volume:
            yield f"volumes[{volume.get('name')}].hostPath must not be used"
    pod_context = spec.get("securityContext") or {}
    if (pod_context.get("seccompProfile") or {}).get("type") == "Unconfined":
        yield "securityContext.seccompProfile.type must not be Unconfined"
    for where, container in _containers(spec):
        context = container.get("securityContext") or {}
        if context.get("privileged"):
            yield f"{where}.securityContext.privileged must not be true"
        if (context.get("seccompProfile") or {}).get("type") == "Unconfined":
            yield f"{where}.securityContext.seccompProfile.type must not be Unconfined"
        if any(port.get("hostPort") for port in container.get("ports") or ()):
            yield f"{where}.ports must not set hostPort"


def _restricted(spec: dict[str, Any]) -> Iterator[str]:
    pod_context = spec.get("securityContext") or {}
    for volume in spec.get("volumes") or ():
        if not _VOLUMES.intersection(volume):
            yield f"volumes[{volume.get('name')}] must be one of {', '.join(sorted(_VOLUMES))}"
    if pod_context.get("runAsUser") == 0:
        yield "securityContext.runAsUser must not be 0"
    for where, container in _containers(spec):
        context = container.get("securityContext") or {}
        if context.get("allowPrivilegeEscalation") is not False:
            yield f"{where}.securityContext.allowPrivilegeEscalation must be false"
        capabilities = context.get("capabilities") or {}
        if "ALL" not in (capabilities.get("drop") or ()):
            yield f"{where}.securityContext.capabilities.drop must include ALL"
        if set(capabilities.get("add") or ()) - {"NET_BIND_SERVICE"}:
            yield f"{where}.securityContext.capabilities.add may only hold NET_BIND_SERVICE"
        if context.get("runAsNonRoot", pod_context.get("runAsNonRoot")) is not True:
            yield f"{where}.securityContext.runAsNonRoot must be true"
        if context.get("runAsUser") == 0:
            yield f"{where}.securityContext.runAsUser must not be 0"
        seccomp = context.get("seccompProfile") or pod_context.get("seccompProfile") or {}
        if seccomp.get("type") not in ("RuntimeDefault", "Localhost"):
            yield f"{where}.securityContext.seccompProfile.type must be RuntimeDefault or Localhost"
