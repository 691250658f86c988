"""The ClusterRoles and bindings that a new cluster has, as far as they speak of what the sandbox serves.

Kubernetes writes them in `plugin/pkg/auth/authorizer/rbac/bootstrappolicy/policy.go`.
"""

from airflow_provider_feast.sandbox.shapes import Obj

ADMIN_GROUP = "system:masters"
KNOWN, UNKNOWN = "system:authenticated", "system:unauthenticated"
_READ = ("get", "list", "watch")
_WRITE = ("create", "delete", "deletecollection", "patch", "update")
_RBAC = "rbac.authorization.k8s.io"
_HEALTH = ("/healthz", "/livez", "/readyz", "/version", "/version/")
_DISCOVERY = ("/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*")


def _rule(verbs: tuple[str, ...], group: str, *names: str) -> Obj:
    return {"verbs": list(verbs), "apiGroups": [group], "resources": list(names)}


def _paths(*paths: str) -> Obj:
    return {"verbs": ["get"], "nonResourceURLs": list(paths)}


_VIEW = (
    _rule(_READ, "", "configmaps", "persistentvolumeclaims", "persistentvolumeclaims/status", "pods"),
    _rule(
        _READ, "", "serviceaccounts", "events", "namespaces", "namespaces/status", "pods/log", "pods/status"
    ),
    _rule(_READ, "", "resourcequotas", "resourcequotas/status"),
    _rule(_READ, "batch", "jobs", "jobs/status"),
)
_EDIT = (
    *_VIEW,
    _rule(_READ, "", "pods/exec", "secrets"),
    _rule(("impersonate",), "", "serviceaccounts"),
    _rule(_WRITE, "", "pods", "pods/exec", "configmaps", "persistentvolumeclaims", "secrets"),
    _rule(_WRITE, "", "serviceaccounts", "events"),
    _rule(("create",), "", "pods/eviction", "serviceaccounts/token"),
    _rule(_WRITE, "batch", "jobs"),
    _rule((*_READ, *_WRITE), "coordination.k8s.io", "leases"),
)
_RULES: dict[str, tuple[Obj, ...]] = {
    "cluster-admin": (_rule(("*",), "*", "*"), {"verbs": ["*"], "nonResourceURLs": ["*"]}),
    "admin": (
        *_EDIT,
        _rule(("create",), "authorization.k8s.io", "localsubjectaccessreviews"),
        _rule((*_READ, *_WRITE), _RBAC, "roles", "rolebindings"),
    ),
    "edit": _EDIT,
    "view": _VIEW,
    "system:basic-user": (
        _rule(("create",), "authorization.k8s.io", "selfsubjectaccessreviews", "selfsubjectrulesreviews"),
        _rule(("create",), "authentication.k8s.io", "selfsubjectreviews"),
    ),
    "system:discovery": (_paths(*_DISCOVERY, *_HEALTH),),
    "system:public-info-viewer": (_paths(*_HEALTH),),
}
_BOUND = {
    "cluster-admin": (ADMIN_GROUP,),
    "system:basic-user": (KNOWN,),
    "system:discovery": (KNOWN,),
    "system:public-info-viewer": (KNOWN, UNKNOWN),
}
_LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}


def cluster_roles() -> list[Obj]:
    """What a new cluster lets be bound."""
    return [{"metadata": _meta(name), "rules": [dict(r) for r in rules]} for name, rules in _RULES.items()]


def cluster_role_bindings() -> list[Obj]:
    """Who may do what in a new cluster."""
    return [
        {
            "metadata": _meta(name),
            "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": _RBAC, "kind": "Group", "name": group} for group in groups],
        }
        for name, groups in _BOUND.items()
    ]


def _meta(name: str) -> Obj:
    return {"name": name, "labels": dict(_LABELS)}
