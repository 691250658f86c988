"""Who may do what on any Kubernetes: tokens, roles, reviews."""

import json
from typing import Any

import pytest
from cluster_helpers import Cluster, until
from kubernetes import client
from kubernetes.client import ApiException

pytestmark = pytest.mark.cluster


def refusal(error: ApiException) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(error.body)
    return status


def token_client(cluster: Cluster, namespace: str, account: str) -> client.ApiClient:
    cluster.core.create_namespaced_service_account(namespace, {"metadata": {"name": account}})
    request = {"spec": {"audiences": None, "expirationSeconds": 3600}}
    token = cluster.core.create_namespaced_service_account_token(account, namespace, request).status.token
    settings = client.Configuration(host=cluster.api.configuration.host)
    settings.ssl_ca_cert = cluster.api.configuration.ssl_ca_cert
    settings.verify_ssl = cluster.api.configuration.verify_ssl
    settings.api_key = {"authorization": f"Bearer {token}"}
    return client.ApiClient(settings)


def test_a_service_account_may_do_what_its_role_says(cluster: Cluster, namespace: str) -> None:
    weak = client.BatchV1Api(token_client(cluster, namespace, "weak"))
    with pytest.raises(ApiException) as refused:
        weak.list_namespaced_job(namespace)
    status = refusal(refused.value)
    assert status["reason"] == "Forbidden"
    assert status["message"] == (
        f'jobs.batch is forbidden: User "system:serviceaccount:{namespace}:weak" cannot list resource "jobs" in '
        f'API group "batch" in the namespace "{namespace}"'
    )
    rules = [{"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["list"]}]
    cluster.rbac.create_namespaced_role(namespace, {"metadata": {"name": "lister"}, "rules": rules})
    binding = {
        "metadata": {"name": "lister"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "lister"},
        "subjects": [{"kind": "ServiceAccount", "name": "weak", "namespace": namespace}],
    }
    cluster.rbac.create_namespaced_role_binding(namespace, binding)
    attributes = {"namespace": namespace, "verb": "list", "group": "batch", "resource": "jobs"}
    reviews = client.AuthorizationV1Api(weak.api_client)

    def allowed(verb: str) -> bool:
        body = {"spec": {"resourceAttributes": {**attributes, "verb": verb}}}
        return bool(reviews.create_self_subject_access_review(body).status.allowed)

    until(lambda: allowed("list"), "the server to go by the new role")
    assert not allowed("create")
    assert weak.list_namespaced_job(namespace).items == []


def test_a_bad_token_is_unauthorized(cluster: Cluster, namespace: str) -> None:
    settings = client.Configuration(host=cluster.api.configuration.host)
    settings.ssl_ca_cert = cluster.api.configuration.ssl_ca_cert
    settings.api_key = {"authorization": "Bearer wrong"}
    with pytest.raises(ApiException) as refused:
        client.BatchV1Api(client.ApiClient(settings)).list_namespaced_job(namespace)
    assert refusal(refused.value)["message"] == "Unauthorized"


def test_somebody_without_a_token_may_read_the_version_and_nothing_else(cluster: Cluster) -> None:
    settings = client.Configuration(host=cluster.api.configuration.host.partition("/as/")[0])
    settings.ssl_ca_cert = cluster.api.configuration.ssl_ca_cert
    nobody = client.ApiClient(settings)
    with pytest.raises(ApiException) as refused:
        client.CoreV1Api(nobody).list_namespace()
    if refused.value.status == 401:  # a server may know no anonymous user
        assert refusal(refused.value)["message"] == "Unauthorized"
        return
    assert client.VersionApi(nobody).get_code().major == "1"
    assert refusal(refused.value)["message"] == (
        'namespaces is forbidden: User "system:anonymous" cannot list resource "namespaces" in API group "" at the '
        "cluster scope"
    )


MAY = [
    ("view", "list", "batch", "jobs", "", True),
    ("view", "get", "", "pods", "log", True),
    ("view", "create", "batch", "jobs", "", False),
    ("view", "get", "", "secrets", "", False),
    ("edit", "create", "batch", "jobs", "", True),
    ("edit", "delete", "", "configmaps", "", True),
    ("edit", "get", "", "secrets", "", True),
    ("edit", "create", "", "pods", "eviction", True),
    ("edit", "patch", "batch", "jobs", "status", False),
    ("edit", "delete", "", "pods", "log", False),
    ("edit", "update", "", "resourcequotas", "", False),
    ("edit", "create", "rbac.authorization.k8s.io", "roles", "", False),
    ("admin", "create", "rbac.authorization.k8s.io", "rolebindings", "", True),
    ("admin", "patch", "batch", "jobs", "status", False),
    ("cluster-admin", "patch", "batch", "jobs", "status", True),
]


@pytest.mark.parametrize(("role", "verb", "group", "resource", "subresource", "allowed"), MAY)
def test_the_roles_of_every_cluster_allow_what_they_allow(
    cluster: Cluster,
    namespace: str,
    role: str,
    verb: str,
    group: str,
    resource: str,
    subresource: str,
    allowed: bool,
) -> None:
    user = f"system:serviceaccount:{namespace}:somebody"
    binding = {
        "metadata": {"name": "somebody"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
        "subjects": [{"kind": "ServiceAccount", "name": "somebody", "namespace": namespace}],
    }
    cluster.rbac.create_namespaced_role_binding(namespace, binding)
    reviews = client.AuthorizationV1Api(cluster.api)

    def may(verb: str, group: str, resource: str, subresource: str = "") -> bool:
        asked = {"namespace": namespace, "verb": verb, "group": group, "resource": resource}
        spec = {"user": user, "resourceAttributes": {**asked, "subresource": subresource}}
        body = {"metadata": {"namespace": namespace}, "spec": spec}
        found = reviews.create_namespaced_local_subject_access_review(namespace, body)
        return bool(found.status.allowed)

    until(lambda: may("list", "batch", "jobs"), "the server to go by the new binding")
    assert may(verb, group, resource, subresource) is allowed


ROLE = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "r"}
WRONG_ROLES = [
    (
        {"apiGroups": [""], "resources": ["pods"]},
        "rules[0].verbs: Required value: verbs must contain at least one",
    ),
    (
        {"verbs": ["get"], "resources": ["pods"]},
        "rules[0].apiGroups: Required value: resource rules must supply",
    ),
    ({"verbs": ["get"], "apiGroups": [""]}, "rules[0].resources: Required value: resource rules must supply"),
    (
        {"verbs": ["get"], "nonResourceURLs": ["/version"]},
        "namespaced rules cannot apply to non-resource URLs",
    ),
]


@pytest.mark.parametrize(("rule", "words"), WRONG_ROLES)
def test_a_rule_that_says_too_little_is_refused(
    cluster: Cluster, namespace: str, rule: dict[str, Any], words: str
) -> None:
    rule = {"verbs": [], **rule}  # a role without the key is refused earlier, when it is read
    with pytest.raises(ApiException) as refused:
        cluster.rbac.create_namespaced_role(namespace, {"metadata": {"name": "r"}, "rules": [rule]})
    assert refused.value.status == 422
    assert words in refusal(refused.value)["message"]


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        ({"kind": "ServiceAccount", "name": "a"}, "subjects[0].namespace: Required value"),
        ({"kind": "Robot", "name": "a"}, 'subjects[0].kind: Unsupported value: "Robot": supported values:'),
        ({"kind": "User", "name": ""}, "subjects[0].name: Required value"),
    ],
)
def test_a_binding_to_nobody_is_refused(
    cluster: Cluster, namespace: str, subject: dict[str, Any], words: str
) -> None:
    body = {"metadata": {"name": "b"}, "roleRef": ROLE, "subjects": [subject]}
    with pytest.raises(ApiException) as refused:
        cluster.rbac.create_namespaced_role_binding(namespace, body)
    assert refused.value.status == 422
    assert words in refusal(refused.value)["message"]
