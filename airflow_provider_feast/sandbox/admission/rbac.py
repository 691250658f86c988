"""What is wrong with roles and bindings (`pkg/apis/rbac/validation` of Kubernetes)."""

from collections.abc import Iterator

from airflow_provider_feast.sandbox.shapes import Obj
from airflow_provider_feast.sandbox.status import Cause, required, unsupported, wrong

GROUP = "rbac.authorization.k8s.io"
_SUBJECTS = ("ServiceAccount", "User", "Group")


def update(before: Obj, after: Obj) -> Iterator[Cause]:
    """What is wrong with a change."""
    if after["kind"] in {"Role", "ClusterRole"}:
        yield from role(after) if after["kind"] == "Role" else cluster_role(after)
        return
    if before["roleRef"] != after["roleRef"]:
        yield wrong("roleRef", after["roleRef"], "cannot change roleRef")
    yield from binding(after)


def role(obj: Obj) -> Iterator[Cause]:
    """A Role: its rules speak of resources only."""
    for at, rule in enumerate(obj.get("rules") or ()):
        if rule.get("nonResourceURLs"):
            urls, why = rule["nonResourceURLs"], "namespaced rules cannot apply to non-resource URLs"
            yield wrong(f"rules[{at}].nonResourceURLs", urls, why)
        yield from _rule(f"rules[{at}]", rule)


def cluster_role(obj: Obj) -> Iterator[Cause]:
    """A ClusterRole."""
    for at, rule in enumerate(obj.get("rules") or ()):
        yield from _rule(f"rules[{at}]", rule)


def _rule(path: str, rule: Obj) -> Iterator[Cause]:
    if not rule.get("verbs"):
        yield required(f"{path}.verbs", "verbs must contain at least one value")
    if rule.get("nonResourceURLs"):
        if any(rule.get(key) for key in ("apiGroups", "resources", "resourceNames")):
            urls, why = (
                rule["nonResourceURLs"],
                "rules cannot apply to both regular resources and non-resource URLs",
            )
            yield wrong(f"{path}.nonResourceURLs", urls, why)
        return
    if not rule.get("apiGroups"):
        yield required(f"{path}.apiGroups", "resource rules must supply at least one api group")
    if not rule.get("resources"):
        yield required(f"{path}.resources", "resource rules must supply at least one resource")


def binding(obj: Obj) -> Iterator[Cause]:
    """A RoleBinding or ClusterRoleBinding."""
    reference = obj["roleRef"]
    kinds = ["ClusterRole"] if obj["kind"] == "ClusterRoleBinding" else ["Role", "ClusterRole"]
    if reference.get("apiGroup") != GROUP:
        yield unsupported("roleRef.apiGroup", reference.get("apiGroup", ""), [GROUP])
    if reference.get("kind") not in kinds:
        yield unsupported("roleRef.kind", reference.get("kind", ""), kinds)
    if not reference.get("name"):
        yield required("roleRef.name", "")
    for at, subject in enumerate(obj.get("subjects") or ()):
        yield from _subject(f"subjects[{at}]", subject)


def _subject(path: str, subject: Obj) -> Iterator[Cause]:
    if not subject.get("name"):
        yield required(f"{path}.name", "")
    kind, group = subject.get("kind", ""), subject.get("apiGroup", "")
    if kind not in _SUBJECTS:
        yield unsupported(f"{path}.kind", kind, list(_SUBJECTS))
    elif kind == "ServiceAccount":
        if not subject.get("namespace"):
            yield required(f"{path}.namespace", "")
        if group:
            yield unsupported(f"{path}.apiGroup", group, [""])
    elif group != GROUP:
        yield unsupported(f"{path}.apiGroup", group, [GROUP])
