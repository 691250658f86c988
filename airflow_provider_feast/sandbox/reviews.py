"""Access reviews: objects that are answered, not stored."""

from airflow_provider_feast.sandbox.authz import Attributes, Authorizer, User
from airflow_provider_feast.sandbox.resources import Resource
from airflow_provider_feast.sandbox.shapes import Obj


def answer(authorizer: Authorizer, user: User, resource: Resource, namespace: str, body: Obj) -> Obj:
    """Fill in the status of a review."""
    kind = resource.kind
    if kind == "SelfSubjectReview":
        info: Obj = {"username": user.name, "groups": list(user.groups)}
        return {**body, "metadata": body.get("metadata") or {}, "status": {"userInfo": info}}
    spec = body.get("spec") or {}
    if kind == "SelfSubjectRulesReview":
        rules = [dict(rule) for rule in authorizer.rules(user, spec.get("namespace", ""))]
        paths = [rule for rule in rules if rule.get("nonResourceURLs")]
        others = [rule for rule in rules if not rule.get("nonResourceURLs")]
        status: Obj = {"resourceRules": others, "nonResourceRules": paths, "incomplete": False}
        return {**body, "metadata": body.get("metadata") or {}, "status": status}
    if kind in {"SubjectAccessReview", "LocalSubjectAccessReview"}:
        user = User(spec.get("user", ""), tuple(spec.get("groups") or ()))
    allowed = authorizer.allows(user, _attributes(spec, namespace))
    return {**body, "metadata": body.get("metadata") or {}, "status": {"allowed": allowed}}


def _attributes(spec: Obj, namespace: str) -> Attributes:
    other = spec.get("nonResourceAttributes")
    if other:
        return Attributes(other.get("verb", ""), path=other.get("path", ""))
    found = spec.get("resourceAttributes") or {}
    return Attributes(
        verb=found.get("verb", ""),
        group=found.get("group", ""),
        resource=found.get("resource", ""),
        subresource=found.get("subresource", ""),
        namespace=found.get("namespace", namespace),
        name=found.get("name", ""),
    )
