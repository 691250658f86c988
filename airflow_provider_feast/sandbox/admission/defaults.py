"""The values that the real server fills in when they are absent."""

import base64
from collections.abc import Callable
from typing import Any

from airflow_provider_feast.sandbox.shapes import Obj, clone

_MAX_INT32 = 2_147_483_647
_NOT_READY_SECONDS = 300


def set_default(obj: Obj, key: str, value: Any) -> None:
    if obj.get(key) is None:
        obj[key] = value


def apply(kind: str, obj: Obj) -> None:
    """Fill in the defaults of an object, in place."""
    setter = _BY_KIND.get(kind)
    if setter:
        setter(obj)


def _job(job: Obj) -> None:
    spec = job["spec"]
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = spec["parallelism"] = 1
    set_default(spec, "parallelism", 1)
    per_index = spec.get("backoffLimitPerIndex") is not None
    set_default(spec, "backoffLimit", _MAX_INT32 if per_index else 6)
    set_default(spec, "manualSelector", False)
    set_default(spec, "completionMode", "NonIndexed")
    set_default(spec, "suspend", False)
    policy = spec.get("podFailurePolicy")
    for rule in (policy or {}).get("rules") or ():
        for condition in rule.get("onPodConditions") or ():
            set_default(condition, "status", "True")
    set_default(spec, "podReplacementPolicy", "Failed" if policy else "TerminatingOrFailed")
    pod_spec(spec["template"].setdefault("spec", {}))
    spec["template"].setdefault("metadata", {})


def job_identity(job: Obj) -> None:
    """The selector and labels that tie pods to a Job; needs the Job's uid and name."""
    meta, spec = job["metadata"], job["spec"]
    template_labels = spec["template"]["metadata"].get("labels") or {}
    if not spec.get("manualSelector"):
        tie = {
            "batch.kubernetes.io/controller-uid": meta["uid"],
            "batch.kubernetes.io/job-name": meta["name"],
            "controller-uid": meta["uid"],
            "job-name": meta["name"],
        }
        template_labels = {**template_labels, **tie}
        spec["template"]["metadata"]["labels"] = template_labels
        spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": meta["uid"]}}


def job_labels(job: Obj) -> None:
    """A Job without labels of its own shows its template's."""
    meta = job["metadata"]
    if not meta.get("labels"):
        meta["labels"] = dict(job["spec"]["template"]["metadata"].get("labels") or {})


def pod_spec(spec: Obj) -> None:
    set_default(spec, "restartPolicy", "Always")
    set_default(spec, "terminationGracePeriodSeconds", 30)
    set_default(spec, "dnsPolicy", "ClusterFirst")
    set_default(spec, "securityContext", {})
    set_default(spec, "schedulerName", "default-scheduler")
    if spec.get("serviceAccountName"):
        spec["serviceAccount"] = spec["serviceAccountName"]
    elif spec.get("serviceAccount"):
        spec["serviceAccountName"] = spec["serviceAccount"]
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        _container(container)
    for volume in spec.get("volumes") or ():
        _volume(volume)


def _container(container: Obj) -> None:
    set_default(container, "resources", {})
    set_default(container, "terminationMessagePath", "/dev/termination-log")
    set_default(container, "terminationMessagePolicy", "File")
    image = container.get("image") or ""
    tag = image.rsplit("/", 1)[-1].partition(":")[2]
    floating = "@" not in image and tag in {"", "latest"}
    set_default(container, "imagePullPolicy", "Always" if floating else "IfNotPresent")
    for port in container.get("ports") or ():
        set_default(port, "protocol", "TCP")
    for variable in container.get("env") or ():
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference is not None:
            set_default(reference, "apiVersion", "v1")
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(probe):
            defaults = {
                "timeoutSeconds": 1,
                "periodSeconds": 10,
                "successThreshold": 1,
                "failureThreshold": 3,
            }
            for key, value in defaults.items():
                set_default(container[probe], key, value)
            if container[probe].get("httpGet") is not None:
                set_default(container[probe]["httpGet"], "scheme", "HTTP")
                set_default(container[probe]["httpGet"], "path", "/")


def _volume(volume: Obj) -> None:
    if len(volume) == 1:
        volume["emptyDir"] = {}
    for source in ("configMap", "secret", "projected", "downwardAPI"):
        if volume.get(source) is not None:
            set_default(volume[source], "defaultMode", 420)
    if volume.get("hostPath") is not None:
        set_default(volume["hostPath"], "type", "")


def _pod(pod: Obj) -> None:
    spec = pod["spec"]
    pod_spec(spec)
    set_default(spec, "enableServiceLinks", True)
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        resources = container["resources"]
        if resources.get("limits"):
            resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}


def admit_pod(spec: Obj, token_volume: str) -> None:
    """What the admission plugins add to a pod: priority, tolerations, the service account's volume."""
    set_default(spec, "priority", 0)
    set_default(spec, "preemptionPolicy", "PreemptLowerPriority")
    tolerations = spec.setdefault("tolerations", [])
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        if not any(item.get("key") in {key, None} for item in tolerations):
            toleration = {"key": key, "operator": "Exists", "effect": "NoExecute"}
            tolerations.append({**toleration, "tolerationSeconds": _NOT_READY_SECONDS})
    if token_volume:
        _mount_token(spec, token_volume)


TOKEN_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path


def _mount_token(spec: Obj, name: str) -> None:
    spec.setdefault("volumes", []).append({"name": name, "projected": clone(_TOKEN_SOURCES)})
    for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
        mounts = container.setdefault("volumeMounts", [])
        if not any(mount["mountPath"] == TOKEN_PATH for mount in mounts):
            mounts.append({"name": name, "readOnly": True, "mountPath": TOKEN_PATH})


_TOKEN_SOURCES: Obj = {
    "sources": [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {
            "downwardAPI": {
                "items": [
                    {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}
                ]
            }
        },
    ],
    "defaultMode": 420,
}


def _secret(secret: Obj) -> None:
    set_default(secret, "type", "Opaque")
    plain = secret.pop("stringData", None)
    if plain:
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in plain.items()}
        secret["data"] = {**(secret.get("data") or {}), **encoded}


def _claim(claim: Obj) -> None:
    set_default(claim["spec"], "volumeMode", "Filesystem")
    set_default(claim["spec"], "storageClassName", "standard")


def _namespace(namespace: Obj) -> None:
    name = namespace["metadata"].get("name")
    if name:
        namespace["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name
    namespace.setdefault("spec", {})["finalizers"] = ["kubernetes"]
    namespace["status"] = {"phase": "Active"}


def _event(event: Obj) -> None:
    for key in ("source", "firstTimestamp", "lastTimestamp", "eventTime"):
        event.setdefault(key, {} if key == "source" else None)
    for key in ("reportingComponent", "reportingInstance"):
        event.setdefault(key, "")


def _storage_class(storage: Obj) -> None:
    set_default(storage, "reclaimPolicy", "Delete")
    set_default(storage, "volumeBindingMode", "Immediate")


def _priority_class(found: Obj) -> None:
    set_default(found, "preemptionPolicy", "PreemptLowerPriority")
    set_default(found, "value", 0)


def _binding(binding: Obj) -> None:
    set_default(binding["roleRef"], "apiGroup", "rbac.authorization.k8s.io")
    for subject in binding.get("subjects") or ():
        if subject.get("kind") in {"User", "Group"}:
            set_default(subject, "apiGroup", "rbac.authorization.k8s.io")


_BY_KIND: dict[str, Callable[[Obj], None]] = {
    "Job": _job,
    "Pod": _pod,
    "Secret": _secret,
    "PersistentVolumeClaim": _claim,
    "Event": _event,
    "StorageClass": _storage_class,
    "PriorityClass": _priority_class,
    "RoleBinding": _binding,
    "ClusterRoleBinding": _binding,
    "Namespace": _namespace,
}
