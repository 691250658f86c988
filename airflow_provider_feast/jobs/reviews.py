"""Questions to the API server that a preflight asks: its version, Airflow's own rights, FeatureStore resources."""

from __future__ import annotations

from typing import Any

from kubernetes.client import AuthenticationV1Api, AuthorizationV1Api, CustomObjectsApi, VersionApi

from airflow_provider_feast.jobs.api import ClusterApi
from airflow_provider_feast.model.errors import FeastError, MissingObjectError
from airflow_provider_feast.model.feature_store import GROUP, PLURAL, VERSIONS, no_operator
from airflow_provider_feast.model.rights import Right


def server_version(cluster: ClusterApi) -> tuple[int, int]:
    """Major and minor version of the API server."""
    found = cluster.call("get", "version", VersionApi(cluster.api_client).get_code) or {}
    return int(found.get("major") or 0), int(str(found.get("minor") or 0).rstrip("+"))


def own_rules(cluster: ClusterApi, namespace: str) -> tuple[list[dict[str, Any]], bool]:
    """The RBAC rules that Airflow's account has in a namespace, in one request.

    :returns: the rules, and whether they are all: a cluster may also ask others (webhooks, clouds).
    """
    create = AuthorizationV1Api(cluster.api_client).create_self_subject_rules_review
    body = {"spec": {"namespace": namespace}}
    status = _status(cluster.call("create", "selfsubjectrulesreviews", create, body))
    return list(status.get("resourceRules") or ()), not status.get("incomplete")


def may(cluster: ClusterApi, right: Right, namespace: str) -> bool:
    """Whether Airflow's account has a right in a namespace: the server's own answer, whatever it asks."""
    create = AuthorizationV1Api(cluster.api_client).create_self_subject_access_review
    resource, _, sub = right.resource.partition("/")
    wanted = {"namespace": namespace, "group": right.group, "resource": resource, "verb": right.verb}
    if sub:
        wanted["subresource"] = sub
    body = {"spec": {"resourceAttributes": wanted}}
    return bool(_status(cluster.call("create", "selfsubjectaccessreviews", create, body)).get("allowed"))


def own_name(cluster: ClusterApi) -> str:
    """Airflow's account as Kubernetes knows it, or "" where it does not say."""
    create = AuthenticationV1Api(cluster.api_client).create_self_subject_review
    try:
        answer = cluster.call("create", "selfsubjectreviews", create, {})
    except FeastError:  # only for a message
        return ""
    return str((_status(answer).get("userInfo") or {}).get("username") or "")


def read_feature_store(cluster: ClusterApi, name: str, namespace: str) -> tuple[dict[str, Any] | None, str]:
    """A FeatureStore or ``None``, and the version in which the cluster serves such resources.

    :raises MissingObjectError: when it does not know them.
    """
    there = cluster.of_namespace(namespace)
    read = CustomObjectsApi(there.api_client).get_namespaced_custom_object
    for version in VERSIONS:
        try:
            return there.call("get", PLURAL, read, GROUP, version, namespace, PLURAL, name), version
        except MissingObjectError as error:
            if f'"{name}" not found' in error.what:
                return None, version
    raise no_operator(namespace)


def _status(answer: dict[str, Any] | None) -> dict[str, Any]:
    found: dict[str, Any] = (answer or {}).get("status") or {}
    return found
