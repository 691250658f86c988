"""The Pod Security Standards, as the PodSecurity admission plugin checks and words them."""

from collections.abc import Callable, Iterator

from airflow_provider_feast.sandbox.shapes import Obj

_PREFIX = "pod-security.kubernetes.io/"
_BASELINE_CAPABILITIES = frozenset(
    [
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
    ]
)
_RESTRICTED_VOLUMES = frozenset(
    [
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "image",
        "persistentVolumeClaim",
        "projected",
        "secret",
    ]
)

Check = Callable[[Obj], Iterator[str]]


def violations(namespace: Obj, spec: Obj, mode: str) -> str:
    """The words of a violation of the namespace's level in this mode (enforce, warn); empty if none."""
    labels = namespace["metadata"].get("labels") or {}
    level = labels.get(f"{_PREFIX}{mode}", "")
    version = labels.get(f"{_PREFIX}{mode}-version", "latest")
    if not level and mode == "warn":
        level = labels.get(f"{_PREFIX}enforce", "")
        version = labels.get(f"{_PREFIX}enforce-version", "latest")
    checks = {"baseline": _BASELINE, "restricted": (*_BASELINE, *_RESTRICTED)}.get(level, ())
    found = [message for check in checks for message in check(spec)]
    return f'PodSecurity "{level}:{version}": {", ".join(found)}' if found else ""


def _containers(spec: Obj) -> list[Obj]:
    return [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]


def _context(container: Obj) -> Obj:
    return container.get("securityContext") or {}


def _listed(word: str, names: list[str]) -> str:
    quoted = ", ".join(f'"{name}"' for name in names)
    return f"{word}{'s' if len(names) > 1 else ''} {quoted}"


def _failing(spec: Obj, failed: Callable[[Obj], bool]) -> str:
    names = [container["name"] for container in _containers(spec) if failed(_context(container))]
    return _listed("container", names) if names else ""


def _host_namespaces(spec: Obj) -> Iterator[str]:
    used = [f"{key}=true" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    if used:
        yield f"host namespaces ({', '.join(used)})"


def _privileged(spec: Obj) -> Iterator[str]:
    if who := _failing(spec, lambda context: bool(context.get("privileged"))):
        yield f"privileged ({who} must not set securityContext.privileged=true)"


def _added_capabilities(spec: Obj) -> Iterator[str]:
    def adds(context: Obj) -> bool:
        return bool(set((context.get("capabilities") or {}).get("add") or ()) - _BASELINE_CAPABILITIES)

    if who := _failing(spec, adds):
        yield f"non-default capabilities ({who} must not include added capabilities in securityContext.capabilities.add)"


def _host_paths(spec: Obj) -> Iterator[str]:
    names = [volume["name"] for volume in spec.get("volumes") or () if volume.get("hostPath") is not None]
    if names:
        yield f"hostPath volumes ({_listed('volume', names)})"


def _host_ports(spec: Obj) -> Iterator[str]:
    ports = [
        str(port["hostPort"])
        for container in _containers(spec)
        for port in container.get("ports") or ()
        if port.get("hostPort")
    ]
    if ports:
        yield f"hostPort ({', '.join(ports)})"


def _privilege_escalation(spec: Obj) -> Iterator[str]:
    if who := _failing(spec, lambda context: context.get("allowPrivilegeEscalation") is not False):
        yield f"allowPrivilegeEscalation != false ({who} must set securityContext.allowPrivilegeEscalation=false)"


def _unrestricted_capabilities(spec: Obj) -> Iterator[str]:
    def capabilities(context: Obj, verb: str) -> list[str]:
        return (context.get("capabilities") or {}).get(verb) or []

    keeps = _failing(spec, lambda context: "ALL" not in capabilities(context, "drop"))
    adds = _failing(spec, lambda context: bool(set(capabilities(context, "add")) - {"NET_BIND_SERVICE"}))
    parts = []
    if keeps:
        parts.append(f'{keeps} must set securityContext.capabilities.drop=["ALL"]')
    if adds:
        parts.append(f"{adds} must not include added capabilities in securityContext.capabilities.add")
    if parts:
        yield f"unrestricted capabilities ({'; '.join(parts)})"


def _volume_types(spec: Obj) -> Iterator[str]:
    bad = {
        volume["name"]: kind
        for volume in spec.get("volumes") or ()
        for kind in volume
        if kind != "name" and kind not in _RESTRICTED_VOLUMES
    }
    if bad:
        kinds = ", ".join(f'"{kind}"' for kind in dict.fromkeys(bad.values()))
        plural = "s" if len(set(bad.values())) > 1 else ""
        who = _listed("volume", list(bad))
        yield f"restricted volume types ({who} use{'' if len(bad) > 1 else 's'} restricted volume type{plural} {kinds})"


def _non_root(spec: Obj) -> Iterator[str]:
    pod = _context(spec).get("runAsNonRoot")

    def fails(context: Obj) -> bool:
        own = context.get("runAsNonRoot")
        return own is False or (own is None and pod is not True)

    if who := _failing(spec, fails):
        yield f"runAsNonRoot != true (pod or {who} must set securityContext.runAsNonRoot=true)"


def _root_user(spec: Obj) -> Iterator[str]:
    pod = "pod" if _context(spec).get("runAsUser") == 0 else ""
    containers = _failing(spec, lambda context: context.get("runAsUser") == 0)
    if who := " and ".join(part for part in (pod, containers) if part):
        yield f"runAsUser=0 ({who} must not set runAsUser=0)"


def _seccomp(spec: Obj) -> Iterator[str]:
    allowed = {"RuntimeDefault", "Localhost"}
    pod = (_context(spec).get("seccompProfile") or {}).get("type")

    def fails(context: Obj) -> bool:
        own = (context.get("seccompProfile") or {}).get("type")
        return (own or pod) not in allowed

    if who := _failing(spec, fails):
        wanted = '"RuntimeDefault" or "Localhost"'
        yield f"seccompProfile (pod or {who} must set securityContext.seccompProfile.type to {wanted})"


_BASELINE: tuple[Check, ...] = (_host_namespaces, _privileged, _added_capabilities, _host_paths, _host_ports)
_RESTRICTED: tuple[Check, ...] = (
    _privilege_escalation,
    _unrestricted_capabilities,
    _volume_types,
    _non_root,
    _root_user,
    _seccomp,
)
