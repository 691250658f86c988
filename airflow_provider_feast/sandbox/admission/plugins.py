"""Admission of pods: service accounts, Pod Security, quotas; warnings for Jobs."""

from dataclasses import dataclass

from airflow_provider_feast.sandbox import resources, status
from airflow_provider_feast.sandbox.admission import defaults, podsecurity, quota
from airflow_provider_feast.sandbox.shapes import Obj
from airflow_provider_feast.sandbox.store import Store


@dataclass(frozen=True)
class Admission:
    """What is asked of a new object beyond its own validity."""

    store: Store
    suffix: str

    def before_name(self, resource: resources.Resource, obj: Obj) -> None:
        """Plugins that run before a generated name is known."""
        if resource != resources.PODS:
            return
        meta, spec = obj["metadata"], obj["spec"]
        account = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
        spec["serviceAccountName"] = spec["serviceAccount"] = account
        found = self.store.get(resources.SERVICEACCOUNTS.key, meta["namespace"], account)
        if found is None:
            why = (
                f"error looking up service account {meta['namespace']}/{account}: "
                f'serviceaccount "{account}" not found'
            )
            raise status.forbidden("", "pods", meta.get("name") or meta.get("generateName", ""), why)
        self._priority(meta, spec)
        if spec.get("runtimeClassName"):
            why = f'pod rejected: RuntimeClass "{spec["runtimeClassName"]}" not found'
            raise status.forbidden("", "pods", meta.get("name") or meta.get("generateName", ""), why)
        automount = spec.get("automountServiceAccountToken")
        if automount is None:
            automount = found.get("automountServiceAccountToken")
        defaults.admit_pod(spec, "" if automount is False else f"kube-api-access-{self.suffix}")
        if not spec.get("imagePullSecrets") and found.get("imagePullSecrets"):
            spec["imagePullSecrets"] = found["imagePullSecrets"]

    def _priority(self, meta: Obj, spec: Obj) -> None:
        """The plugin Priority: from the name of a class to its number."""
        name = spec.get("priorityClassName") or ""
        found = self._priority_class(name)
        subject = meta.get("name") or meta.get("generateName", "")
        if name and found is None:
            raise status.forbidden("", "pods", subject, f"no PriorityClass with name {name} was found")
        value = found["value"] if found else 0
        if spec.get("priority") not in {None, value}:
            why = (
                f"the integer value of priority ({spec['priority']}) must not be provided in pod spec; priority "
                f"admission controller computed {value} from the given PriorityClass name"
            )
            raise status.forbidden("", "pods", subject, why)
        if found:
            spec["priorityClassName"], spec["priority"] = found["metadata"]["name"], value
            defaults.set_default(spec, "preemptionPolicy", found["preemptionPolicy"])

    def _priority_class(self, name: str) -> Obj | None:
        """The class of this name; without a name, the default of the cluster if there is one."""
        if name:
            return self.store.get(resources.PRIORITYCLASSES.key, "", name)
        classes = self.store.objects(resources.PRIORITYCLASSES.key)
        return max(
            (found for found in classes if found.get("globalDefault")),
            key=lambda c: int(c["value"]),
            default=None,
        )

    def after_name(self, resource: resources.Resource, obj: Obj) -> list[str]:
        """Plugins that look at the whole object; returns warnings."""
        warnings = self._pod_security(resource, obj)
        quota.check(self.store, resource, obj)
        return warnings

    def _pod_security(self, resource: resources.Resource, obj: Obj) -> list[str]:
        if resource not in (resources.PODS, resources.JOBS):
            return []
        meta = obj["metadata"]
        namespace = self.store.get(resources.NAMESPACES.key, "", meta["namespace"]) or {"metadata": {}}
        if resource == resources.JOBS:
            found = podsecurity.violations(namespace, obj["spec"]["template"]["spec"], "warn")
            return [f"would violate {found}"] if found else []
        if found := podsecurity.violations(namespace, obj["spec"], "enforce"):
            raise status.forbidden("", "pods", meta["name"], f"violates {found}")
        warned = podsecurity.violations(namespace, obj["spec"], "warn")
        return [f"would violate {warned}"] if warned else []


def pod_status(spec: Obj) -> Obj:
    """The status of a pod that was just created."""
    return {"phase": "Pending", "qosClass": quality_of_service(spec)}


def quality_of_service(spec: Obj) -> str:
    """Guaranteed, Burstable or BestEffort, by the pod's requests and limits."""
    containers = [*(spec.get("initContainers") or ()), *spec["containers"]]
    named = [
        (container["resources"].get(kind) or {})
        for container in containers
        for kind in ("requests", "limits")
    ]
    if not any(found.get(name) for found in named for name in ("cpu", "memory")):
        return "BestEffort"
    for container in containers:
        limits = container["resources"].get("limits") or {}
        wanted = {**limits, **(container["resources"].get("requests") or {})}
        if any(name not in limits or wanted[name] != limits[name] for name in ("cpu", "memory")):
            return "Burstable"
    return "Guaranteed"
