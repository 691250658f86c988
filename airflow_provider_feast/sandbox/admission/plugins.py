"""Admission of pods: service accounts, Pod Security, quotas; warnings for Jobs."""

from dataclasses import dataclass

from airflow_provider_feast.sandbox import quantity, resources, status
from airflow_provider_feast.sandbox.admission import defaults, podsecurity
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
        automount = spec.get("automountServiceAccountToken")
        if automount is None:
            automount = found.get("automountServiceAccountToken")
        defaults.admit_pod(spec, "" if automount is False else f"kube-api-access-{self.suffix}")
        if not spec.get("imagePullSecrets") and found.get("imagePullSecrets"):
            spec["imagePullSecrets"] = found["imagePullSecrets"]

    def after_name(self, resource: resources.Resource, obj: Obj) -> list[str]:
        """Plugins that look at the whole object; returns warnings."""
        if resource not in (resources.PODS, resources.JOBS):
            return []
        meta = obj["metadata"]
        namespace = self.store.get(resources.NAMESPACES.key, "", meta["namespace"]) or {"metadata": {}}
        if resource == resources.JOBS:
            found = podsecurity.violations(namespace, obj["spec"]["template"]["spec"], "warn")
            return [f"would violate {found}"] if found else []
        if found := podsecurity.violations(namespace, obj["spec"], "enforce"):
            raise status.forbidden("", "pods", meta["name"], f"violates {found}")
        self._quota(meta["namespace"], meta["name"])
        warned = podsecurity.violations(namespace, obj["spec"], "warn")
        return [f"would violate {warned}"] if warned else []

    def _quota(self, namespace: str, name: str) -> None:
        """Only counts of pods are enforced (`pods`, `count/pods`)."""
        running = [
            pod
            for pod in self.store.objects(resources.PODS.key, namespace)
            if pod["status"].get("phase") not in {"Succeeded", "Failed"}
        ]
        for quota in self.store.objects(resources.QUOTAS.key, namespace):
            hard = quota["spec"].get("hard") or {}
            for key, used in (("pods", len(running)), ("count/pods", len(running))):
                if key in hard and used + 1 > quantity.parse(hard[key]):
                    why = (
                        f"exceeded quota: {quota['metadata']['name']}, requested: {key}=1, "
                        f"used: {key}={used}, limited: {key}={hard[key]}"
                    )
                    raise status.forbidden("", "pods", name, why)


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
