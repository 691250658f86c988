"""FeatureStore resources on the sandbox: their definition, and what their operator would write."""

from typing import Any

from kubernetes import client

from airflow_provider_feast.model.feature_store import GROUP, PLURAL

NO_ROOM = {
    "type": "Registry",
    "status": "False",
    "reason": "RegistryDeploymentFailed",
    "message": "no storage class",
}


def definition(*versions: str) -> dict[str, Any]:
    """The CRD, as far as it matters here."""
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "properties": {"spec": anything, "status": anything}}
    served = [
        {
            "name": version,
            "served": True,
            "storage": number == 0,
            "schema": {"openAPIV3Schema": schema},
            "subresources": {"status": {}},
        }
        for number, version in enumerate(versions)
    ]
    names = {"plural": PLURAL, "singular": "featurestore", "kind": "FeatureStore"}
    spec = {"group": GROUP, "scope": "Namespaced", "names": names, "versions": served}
    return {"metadata": {"name": f"{PLURAL}.{GROUP}"}, "spec": spec}


def install(api: client.ApiClient, *versions: str) -> None:
    """Make a cluster know FeatureStores, the first version being the stored one."""
    client.ApiextensionsV1Api(api).create_custom_resource_definition(definition(*versions))


class Store:
    """The FeatureStore `store` of a namespace."""

    def __init__(self, api: client.ApiClient, namespace: str, version: str = "v1") -> None:
        self._custom, self.version = client.CustomObjectsApi(api), version
        self._where = (GROUP, version, namespace, PLURAL)

    def create(self, phase: str = "", **status: Any) -> None:
        """As a platform team creates it, and as the operator finds it."""
        body = {
            "apiVersion": f"{GROUP}/{self.version}",
            "kind": "FeatureStore",
            "metadata": {"name": "store"},
        }
        self._custom.create_namespaced_custom_object(*self._where, {**body, "spec": {"feastProject": "p"}})
        if phase:
            self.become(phase, **status)

    def become(self, phase: str, *conditions: dict[str, str], **status: Any) -> None:
        """Write the status, as the operator does."""
        body = {"status": {"phase": phase, "conditions": list(conditions), **status}}
        self._custom.patch_namespaced_custom_object_status(*self._where, "store", body)
