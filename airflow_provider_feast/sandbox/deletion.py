"""Deleting: preconditions, grace periods, propagation policies."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from airflow_provider_feast.sandbox import clock, resources, status
from airflow_provider_feast.sandbox.api import Api
from airflow_provider_feast.sandbox.resources import Resource
from airflow_provider_feast.sandbox.shapes import Obj, clone

FOREGROUND, BACKGROUND, ORPHAN = "Foreground", "Background", "Orphan"
FOREGROUND_FINALIZER, ORPHAN_FINALIZER = "foregroundDeletion", "orphan"
JOBS_WARNING = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove "
    "them or set propagationPolicy=Orphan to suppress this warning"
)
_RETURNS_OBJECT = frozenset({resources.PODS, resources.SERVICEACCOUNTS, resources.CLAIMS, resources.QUOTAS})
_POLICIES = (FOREGROUND, BACKGROUND, ORPHAN)


@dataclass(frozen=True)
class DeleteOptions:
    """`DeleteOptions` of the request, from its body and its query."""

    grace: int | None = None
    policy: str | None = None
    uid: str | None = None
    version: str | None = None
    dry_run: bool = False

    @classmethod
    def read(cls, body: Obj, query: dict[str, str]) -> "DeleteOptions":
        grace = body.get("gracePeriodSeconds", query.get("gracePeriodSeconds"))
        policy = body.get("propagationPolicy") or query.get("propagationPolicy")
        orphan = body.get(
            "orphanDependents", {"true": True, "false": False}.get(query.get("orphanDependents", ""))
        )
        if policy is None and orphan is not None:
            policy = ORPHAN if orphan else BACKGROUND
        if policy is not None and policy not in _POLICIES:
            cause = status.unsupported("propagationPolicy", policy, [*_POLICIES, "nil"])
            raise status.invalid("meta.k8s.io", "DeleteOptions", "", [cause])
        conditions = body.get("preconditions") or {}
        dry = bool(body.get("dryRun")) or bool(query.get("dryRun"))
        return cls(_seconds(grace), policy, conditions.get("uid"), conditions.get("resourceVersion"), dry)


def _seconds(value: Any) -> int | None:
    try:
        return None if value is None else int(value)
    except ValueError:
        raise status.bad_request(f"gracePeriodSeconds must be a number, not {value!r}") from None


def delete(api: Api, resource: Resource, namespace: str, name: str, options: DeleteOptions) -> Obj:
    """Delete an object, or mark it to be deleted.

    Returns:
        What the client gets: the object while something still holds it, else a `Status`.
    """
    before = api.get(resource, namespace, name)
    _check(resource, before, options)
    after = _marked(api, resource, before, options)
    if options.dry_run:
        return after
    if _gone_at_once(resource, after):
        if after != before and resource == resources.PODS and not before["metadata"].get("deletionTimestamp"):
            after = api.store.put(resource.key, clone(after))
        last = api.store.remove(resource.key, after)
        return last if resource in _RETURNS_OBJECT else _deleted(resource, last)
    return api.commit(resource, before, after)


def _deleted(resource: Resource, obj: Obj) -> Obj:
    meta = obj["metadata"]
    return status.success(resource.group, resource.plural, meta["name"], meta["uid"])


def _check(resource: Resource, obj: Obj, options: DeleteOptions) -> None:
    meta = obj["metadata"]
    wanted = (
        ("UID", options.uid, meta["uid"], "deleted and then recreated"),
        ("ResourceVersion", options.version, meta["resourceVersion"], "modified"),
    )
    for what, given, actual, might in wanted:
        if given is not None and given != actual:
            why = (
                f"the {what} in the precondition ({given}) does not match the {what} in record ({actual}). "
                f"The object might have been {might}"
            )
            raise status.conflict(
                resource.group, resource.kind, meta["name"], why
            )  # so the real one names it


def default_policy(resource: Resource) -> str:
    """Jobs keep their pods unless told otherwise (legacy of batch/v1)."""
    return ORPHAN if resource == resources.JOBS else BACKGROUND


def _marked(api: Api, resource: Resource, before: Obj, options: DeleteOptions) -> Obj:
    after: Obj = clone(before)
    meta = after["metadata"]
    finalizers = [
        f for f in meta.get("finalizers") or () if f not in {FOREGROUND_FINALIZER, ORPHAN_FINALIZER}
    ]
    policy = options.policy or _standing_policy(before) or default_policy(resource)
    if policy == FOREGROUND and resource != resources.PODS:
        finalizers.append(FOREGROUND_FINALIZER)
    elif policy == ORPHAN and api.store.dependents(meta["uid"]):
        finalizers.append(ORPHAN_FINALIZER)
    if finalizers:
        meta["finalizers"] = finalizers
    else:
        meta.pop("finalizers", None)
    grace = _grace(resource, before, options)
    first = not meta.get("deletionTimestamp")
    known = meta.get("deletionGracePeriodSeconds") or 0
    if first or grace < known:
        asked = (
            clock.now() if first else clock.parse_stamp(meta["deletionTimestamp"]) - timedelta(seconds=known)
        )
        meta["deletionTimestamp"] = clock.stamp(asked + timedelta(seconds=grace))
        meta["deletionGracePeriodSeconds"] = grace
        if first and resource.has_generation:
            meta["generation"] = meta.get("generation", 0) + 1
    if resource == resources.NAMESPACES:
        after["status"] = {**after.get("status", {}), "phase": "Terminating"}
        meta.pop("deletionGracePeriodSeconds", None)
    return after


def _standing_policy(obj: Obj) -> str | None:
    """A second delete without a policy keeps the first one's."""
    finalizers = obj["metadata"].get("finalizers") or ()
    if FOREGROUND_FINALIZER in finalizers:
        return FOREGROUND
    return ORPHAN if ORPHAN_FINALIZER in finalizers else None


def _grace(resource: Resource, pod: Obj, options: DeleteOptions) -> int:
    if resource != resources.PODS:
        return 0
    if not pod["spec"].get("nodeName") or pod["status"].get("phase") in {"Succeeded", "Failed"}:
        return 0
    if options.grace is not None:
        return options.grace if options.grace >= 0 else 1
    return int(pod["spec"].get("terminationGracePeriodSeconds", 30))


def _gone_at_once(resource: Resource, obj: Obj) -> bool:
    meta = obj["metadata"]
    if meta.get("finalizers") or resource == resources.NAMESPACES:
        return False
    return resource != resources.PODS or not meta.get("deletionGracePeriodSeconds")
