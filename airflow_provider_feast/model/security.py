"""How locked down a Job's pod is: named profiles, and the rules a finished pod is held to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from airflow_provider_feast.model.errors import FeastDagError

RUN_AS_USER = 1001
"""The user of the feature-server image."""

_CAPABILITIES = frozenset(
    {
        "AUDIT_WRITE",
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "MKNOD",
        "NET_BIND_SERVICE",
        "SETFCAP",
        "SETGID",
        "SETPCAP",
        "SETUID",
        "SYS_CHROOT",
    }
)
_SELINUX_TYPES = frozenset({"", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"})
_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.ping_group_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_wmem",
    }
)
_VOLUMES = frozenset(
    {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
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
    the profile's read-only root, under which whatever else can be written has a limit.

    :param spec: a pod spec as the API takes it.
    """
    found: list[str] = []
    if profile.standard != "privileged":
        found += _baseline(spec)
    if profile.standard == "restricted":
        found += _restricted(spec)
    if profile.read_only_root:
        found += [
            f"volumes[{volume.get('name')}].emptyDir.sizeLimit must be set"
            for volume in spec.get("volumes") or ()
            if "emptyDir" in volume and _unlimited((volume["emptyDir"] or {}).get("sizeLimit"))
        ]
        found += [
            f"{where}.securityContext.readOnlyRootFilesystem must be true"
            for where, container in _containers(spec)
            if not (container.get("securityContext") or {}).get("readOnlyRootFilesystem")
        ]
    return found


def _unlimited(size: Any) -> bool:
    """Whether a quantity sets no limit: kubelets take 0 for none."""
    return not any(digit in str(size or "") for digit in "123456789")


def api_token(spec: Mapping[str, Any]) -> str:
    """The field by which a finished pod spec gets a token for the Kubernetes API, and what it must be; else "".

    Pods that say nothing of it get one. A projected token for somebody else (Vault, a cloud) is none for the API.
    """
    if spec.get("automountServiceAccountToken") is not False:
        return "automountServiceAccountToken must be false"
    for volume in spec.get("volumes") or ():
        for source in (volume.get("projected") or {}).get("sources") or ():
            token = source.get("serviceAccountToken")
            audience = str((token or {}).get("audience") or "")
            if token is not None and (not audience or "kubernetes.default" in audience):
                name = f"volumes[{volume.get('name')}]"
                return f"{name}.projected must not hold a serviceAccountToken for the Kubernetes API"
    return ""


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
    yield from _confinement("securityContext", pod_context)
    for sysctl in pod_context.get("sysctls") or ():
        if sysctl.get("name") not in _SYSCTLS:
            yield f"securityContext.sysctls must not set {sysctl.get('name')}"
    for where, container in _containers(spec):
        context = container.get("securityContext") or {}
        yield from _confinement(f"{where}.securityContext", context)
        if context.get("privileged"):
            yield f"{where}.securityContext.privileged must not be true"
        if added := sorted(set((context.get("capabilities") or {}).get("add") or ()) - _CAPABILITIES):
            yield f"{where}.securityContext.capabilities.add must not hold {', '.join(added)}"
        if context.get("procMount", "Default") != "Default":
            yield f"{where}.securityContext.procMount must be Default"
        if any(port.get("hostPort") for port in container.get("ports") or ()):
            yield f"{where}.ports must not set hostPort"
        yield from _hosts(where, container)


def _hosts(where: str, container: dict[str, Any]) -> Iterator[str]:
    """Probes and hooks that name a host (refused since Kubernetes 1.34)."""
    hooks = container.get("lifecycle") or {}
    handlers = {
        name: container.get(name) or {} for name in ("livenessProbe", "readinessProbe", "startupProbe")
    }
    handlers |= {f"lifecycle.{name}": hooks.get(name) or {} for name in ("postStart", "preStop")}
    for name, handler in handlers.items():
        for action in ("httpGet", "tcpSocket"):
            if (handler.get(action) or {}).get("host"):
                yield f"{where}.{name}.{action}.host must not be set"


def _confinement(where: str, context: dict[str, Any]) -> Iterator[str]:
    """What pods and containers can both loosen."""
    for field in ("seccompProfile", "appArmorProfile"):
        if (context.get(field) or {}).get("type") == "Unconfined":
            yield f"{where}.{field}.type must not be Unconfined"
    selinux = context.get("seLinuxOptions") or {}
    if selinux.get("user") or selinux.get("role") or (selinux.get("type") or "") not in _SELINUX_TYPES:
        yield f"{where}.seLinuxOptions must not set a user, a role or a type of its own"
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        yield f"{where}.windowsOptions.hostProcess must not be true"


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
