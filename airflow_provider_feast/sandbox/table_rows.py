"""One row of `kubectl get` for each built-in kind: its columns (`+` only with `-o wide`) and its cells.

The columns are those of Kubernetes' `pkg/printers/internalversion/printers.go`.
"""

from collections.abc import Callable
from typing import Any

from airflow_provider_feast.sandbox import clock
from airflow_provider_feast.sandbox.ages import age, duration
from airflow_provider_feast.sandbox.shapes import Obj

Row = Callable[[Obj], list[Any]]
_NONE = "<none>"
_OVER = ("Succeeded", "Failed")
_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


def _name(obj: Obj) -> str:
    return str(obj["metadata"]["name"])


def _age(obj: Obj) -> str:
    return age(obj["metadata"].get("creationTimestamp"))


def _named(*getters: Callable[[Obj], Any]) -> Row:
    return lambda obj: [_name(obj), *(get(obj) for get in getters), _age(obj)]


def _pod(pod: Obj) -> list[Any]:
    status, spec = pod["status"], pod["spec"]
    states = status.get("containerStatuses") or []
    ready = sum(s["ready"] and "running" in s["state"] for s in states)
    counted = states if _initialized(status) else status.get("initContainerStatuses") or []
    cells = [_name(pod), f"{ready}/{len(spec['containers'])}", pod_reason(pod), _restarts(counted), _age(pod)]
    return [*cells, status.get("podIP") or _NONE, spec.get("nodeName") or _NONE, _NONE, _NONE]


def _restarts(states: list[Obj]) -> str:
    count = sum(state["restartCount"] for state in states)
    ends = [state["lastState"]["terminated"]["finishedAt"] for state in states if state.get("lastState")]
    return f"{count} ({age(max(ends))} ago)" if count and ends else str(count)


def _initialized(status: Obj) -> bool:
    return any(c["type"] == "Initialized" and c["status"] == "True" for c in status.get("conditions") or ())


def pod_reason(pod: Obj) -> str:
    """The STATUS column of pods."""
    status = pod["status"]
    phase = status.get("phase", "")
    if pod["metadata"].get("deletionTimestamp") and phase not in _OVER:
        return "Terminating"
    reason = status.get("reason") or phase
    if any(c.get("reason") == "SchedulingGated" for c in status.get("conditions") or ()):
        reason = "SchedulingGated"
    initializing = _init_reason(status)
    if initializing and not _initialized(status):
        return initializing
    return _main_reason(status, reason)


def _init_reason(status: Obj) -> str:
    """Where the init containers are; empty when all have done their work."""
    states = status.get("initContainerStatuses") or []
    for at, state in enumerate(states):
        ended = state["state"].get("terminated")
        if ended and ended["exitCode"] == 0:
            continue
        if ended:
            return f"Init:{ended['reason']}"
        waiting = (state["state"].get("waiting") or {}).get("reason", "PodInitializing")
        return f"Init:{at}/{len(states)}" if waiting == "PodInitializing" else f"Init:{waiting}"
    return ""


def _main_reason(status: Obj, reason: str) -> str:
    running = False
    for state in reversed(status.get("containerStatuses") or []):
        inner = state["state"]
        if "waiting" in inner or "terminated" in inner:
            reason = (inner.get("waiting") or inner["terminated"])["reason"]
        elif state["ready"]:
            running = True
    if reason == "Completed" and running:
        ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status["conditions"])
        return "Running" if ready else "NotReady"
    return str(reason)


def _job_state(job: Obj) -> str:
    kinds = {c["type"] for c in (job.get("status") or {}).get("conditions") or () if c["status"] == "True"}
    ended = next((kind for kind in ("Complete", "Failed") if kind in kinds), "")
    if ended or job["metadata"].get("deletionTimestamp"):
        return ended or "Terminating"
    return next((k for k in ("Suspended", "FailureTarget", "SuccessCriteriaMet") if k in kinds), "Running")


def _job(job: Obj) -> list[Any]:
    status, spec = job.get("status") or {}, job["spec"]
    wanted, parallel = spec.get("completions"), spec.get("parallelism") or 0
    done = f"{status.get('succeeded', 0)}/{wanted or 1}"
    if wanted is None and parallel > 1:
        done += f" of {parallel}"
    start, end = status.get("startTime"), status.get("completionTime")
    took = ""
    if start:
        took = duration((clock.parse_stamp(end) if end else clock.now()) - clock.parse_stamp(start))
    containers = spec["template"]["spec"]["containers"]
    selector = (spec.get("selector") or {}).get("matchLabels") or {}
    wide = [",".join(c[key] for c in containers) for key in ("name", "image")]
    labels = ",".join(f"{key}={value}" for key, value in selector.items())
    return [_name(job), _job_state(job), done, took, _age(job), *wide, labels or _NONE]


def _event(event: Obj) -> list[Any]:
    involved, series = event.get("involvedObject") or {}, event.get("series") or {}
    first = event.get("firstTimestamp") or event.get("eventTime")
    last = series.get("lastObservedTime") or event.get("lastTimestamp") or first
    source = event.get("source") or {}
    component = source.get("component") or event.get("reportingComponent") or ""
    host = source.get("host") or event.get("reportingInstance") or ""
    return [
        age(last),
        event.get("type", ""),
        event.get("reason", ""),
        f"{involved.get('kind', '').lower()}/{involved.get('name', '')}",
        involved.get("fieldPath", ""),
        f"{component}, {host}" if host else component,
        event.get("message", "").strip(),
        age(first),
        str(series.get("count") or event.get("count") or 1),
        _name(event),
    ]


def _claim(claim: Obj) -> list[Any]:
    status, spec = claim.get("status") or {}, claim["spec"]
    bound = bool(spec.get("volumeName"))
    return [
        _name(claim),
        "Terminating" if claim["metadata"].get("deletionTimestamp") else status.get("phase", ""),
        spec.get("volumeName", ""),
        (status.get("capacity") or {}).get("storage", "") if bound else "",
        ",".join(_MODES[mode] for mode in status.get("accessModes") or ()) if bound else "",
        spec.get("storageClassName", ""),
        "<unset>",
        _age(claim),
        spec.get("volumeMode", "<unset>"),
    ]


def _quota(quota: Obj) -> list[Any]:
    status = quota.get("status") or {}
    used, hard = status.get("used") or {}, status.get("hard") or {}
    words = {name: f"{name}: {used.get(name, '0')}/{hard[name]}" for name in sorted(hard)}
    limits = ", ".join(text for name, text in words.items() if name.startswith("limits."))
    requests = ", ".join(text for name, text in words.items() if not name.startswith("limits."))
    return [_name(quota), requests, limits, _age(quota)]


def _binding(binding: Obj) -> list[Any]:
    subjects = binding.get("subjects") or ()
    role = binding["roleRef"]

    def of(kind: str) -> str:
        return ", ".join(s["name"] for s in subjects if s["kind"] == kind)

    accounts = ", ".join(
        f"{s.get('namespace', '')}/{s['name']}" for s in subjects if s["kind"] == "ServiceAccount"
    )
    return [
        _name(binding),
        f"{role['kind']}/{role['name']}",
        _age(binding),
        of("User"),
        of("Group"),
        accounts,
    ]


def _node(node: Obj) -> list[Any]:
    status = node["status"]
    info = status["nodeInfo"]
    ready = any(c["type"] == "Ready" and c["status"] == "True" for c in status["conditions"])
    address = next(a["address"] for a in status["addresses"] if a["type"] == "InternalIP")
    cells = [_name(node), "Ready" if ready else "NotReady", _NONE, _age(node), info["kubeletVersion"]]
    return [*cells, address, _NONE, info["osImage"], info["kernelVersion"], info["containerRuntimeVersion"]]


def _storage_class(found: Obj) -> list[Any]:
    annotations = found["metadata"].get("annotations") or {}
    default = annotations.get("storageclass.kubernetes.io/is-default-class") == "true"
    return [
        _name(found) + (" (default)" if default else ""),
        found.get("provisioner", ""),
        found.get("reclaimPolicy", "Delete"),
        found.get("volumeBindingMode", "<unset>"),
        str(bool(found.get("allowVolumeExpansion"))).lower(),
        _age(found),
    ]


def _created(obj: Obj) -> list[Any]:
    return [_name(obj), obj["metadata"].get("creationTimestamp")]


def _data(obj: Obj) -> int:
    return len(obj.get("data") or {}) + len(obj.get("binaryData") or {})


_CREATED_AT: tuple[tuple[str, ...], Row] = (("Name", "Created At"), _created)
_BINDINGS: tuple[tuple[str, ...], Row] = (
    ("Name", "Role", "Age", "+Users", "+Groups", "+ServiceAccounts"),
    _binding,
)
_POD = ("Name", "Ready", "Status", "Restarts", "Age", "+IP", "+Node", "+Nominated Node", "+Readiness Gates")
_EVENT = (
    "Last Seen",
    "Type",
    "Reason",
    "Object",
    "+Subobject",
    "+Source",
    "Message",
    "+First Seen",
    "+Count",
)
_CLAIM = (
    "Name",
    "Status",
    "Volume",
    "Capacity",
    "Access Modes",
    "StorageClass",
    "VolumeAttributesClass",
    "Age",
)
_NODE = ("Name", "Status", "Roles", "Age", "Version", "+Internal-IP", "+External-IP", "+OS-Image")
_CLASS = ("Name", "Provisioner", "ReclaimPolicy", "VolumeBindingMode", "AllowVolumeExpansion", "Age")
KINDS: dict[str, tuple[tuple[str, ...], Row]] = {
    "Pod": (_POD, _pod),
    "Job": (
        ("Name", "Status", "Completions", "Duration", "Age", "+Containers", "+Images", "+Selector"),
        _job,
    ),
    "Event": ((*_EVENT, "+Name"), _event),
    "ConfigMap": (("Name", "Data", "Age"), _named(_data)),
    "Secret": (("Name", "Type", "Data", "Age"), _named(lambda o: o.get("type", ""), _data)),
    "ServiceAccount": (("Name", "Secrets", "Age"), _named(lambda o: len(o.get("secrets") or ()))),
    "Namespace": (("Name", "Status", "Age"), _named(lambda o: o["status"].get("phase", ""))),
    "Node": ((*_NODE, "+Kernel-Version", "+Container-Runtime"), _node),
    "Lease": (("Name", "Holder", "Age"), _named(lambda o: (o.get("spec") or {}).get("holderIdentity", ""))),
    "PersistentVolumeClaim": ((*_CLAIM, "+VolumeMode"), _claim),
    "ResourceQuota": (("Name", "Request", "Limit", "Age"), _quota),
    "StorageClass": (_CLASS, _storage_class),
    "RoleBinding": _BINDINGS,
    "ClusterRoleBinding": _BINDINGS,
    "Role": _CREATED_AT,
    "ClusterRole": _CREATED_AT,
    "CustomResourceDefinition": _CREATED_AT,
    "PriorityClass": (
        ("Name", "Value", "Global-Default", "Age", "PreemptionPolicy"),
        lambda o: [
            _name(o),
            o["value"],
            bool(o.get("globalDefault")),
            _age(o),
            o.get("preemptionPolicy", "PreemptLowerPriority"),
        ],
    ),
}
PLAIN: tuple[tuple[str, ...], Row] = (("Name", "Age"), _named())
