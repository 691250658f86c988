"""Resource quotas: what counts for them, and the refusal of what would exceed them."""

from collections.abc import Iterator
from decimal import Decimal

from airflow_provider_feast.sandbox import quantity, resources, status
from airflow_provider_feast.sandbox.admission.demand import Amounts, demand
from airflow_provider_feast.sandbox.resources import Resource
from airflow_provider_feast.sandbox.shapes import Obj
from airflow_provider_feast.sandbox.store import Key, Store

_OVER = frozenset({"Succeeded", "Failed"})
_COUNTED = frozenset({"configmaps", "secrets", "persistentvolumeclaims", "resourcequotas"})
_COMPUTE = ("cpu", "memory", "ephemeral-storage")


def usage(key: Key, obj: Obj) -> Amounts:
    """What one object counts, under every name that a quota may use."""
    group, plural = key
    found: Amounts = {f"count/{status.qualified(group, plural)}": Decimal(1)}
    if plural in _COUNTED and not group:
        found[plural] = Decimal(1)
    if key == resources.CLAIMS.key:
        storage = ((obj["spec"].get("resources") or {}).get("requests") or {}).get("storage", 0)
        found["requests.storage"] = quantity.parse(storage)
    if key == resources.PODS.key and (obj.get("status") or {}).get("phase") not in _OVER:
        found["pods"] = Decimal(1)
        for name, amount in demand(obj["spec"]).items():
            found[name] = found[f"requests.{name}"] = amount
        for name, amount in demand(obj["spec"], "limits").items():
            found[f"limits.{name}"] = amount
    return found


def used(store: Store, quota: Obj) -> Amounts:
    """What a quota's namespace uses of everything that the quota limits."""
    namespace = quota["metadata"]["namespace"]
    total = dict.fromkeys(quota["spec"].get("hard") or {}, Decimal(0))
    for key in store.held_keys():
        for obj in store.objects(key, namespace):
            for name, amount in usage(key, obj).items():
                if name in total:
                    total[name] += amount
    return total


def check(store: Store, resource: Resource, obj: Obj) -> None:
    """403 for a new object that a quota of its namespace does not leave room for."""
    for quota in store.objects(resources.QUOTAS.key, obj["metadata"].get("namespace") or " "):
        hard = quota["spec"].get("hard") or {}
        if resource == resources.PODS:
            _require(quota, obj)
        wanted = {key: amount for key, amount in usage(resource.key, obj).items() if key in hard}
        if not wanted:
            continue
        before = used(store, quota)
        over = sorted(key for key in wanted if before[key] + wanted[key] > quantity.parse(hard[key]))
        if over:
            why = _exceeded(quota, over, wanted, before)
            raise status.forbidden(resource.group, resource.plural, obj["metadata"]["name"], why)


def _exceeded(quota: Obj, over: list[str], wanted: Amounts, before: Amounts) -> str:
    hard = quota["spec"]["hard"]
    asked = ",".join(f"{key}={quantity.write(key, wanted[key])}" for key in over)
    held = ",".join(f"{key}={quantity.write(key, before[key])}" for key in over)
    limits = ",".join(f"{key}={hard[key]}" for key in over)
    name = quota["metadata"]["name"]
    return f"exceeded quota: {name}, requested: {asked}, used: {held}, limited: {limits}"


def _require(quota: Obj, pod: Obj) -> None:
    """A quota of CPU or memory wants each container to name its own."""
    missing = sorted(_unnamed(quota["spec"].get("hard") or {}, pod["spec"]))
    if missing:
        why = f"failed quota: {quota['metadata']['name']}: must specify {'; '.join(missing)}"
        raise status.forbidden("", "pods", pod["metadata"]["name"], why)


def _unnamed(hard: Obj, spec: Obj) -> Iterator[str]:
    for key in hard:
        kind, _, name = key.rpartition(".")
        if name not in _COMPUTE or kind not in {"", "requests", "limits"}:
            continue
        lacking = sorted(
            container["name"]
            for container in (*spec["containers"], *(spec.get("initContainers") or ()))
            if name not in (container["resources"].get(kind or "requests") or {})
        )
        if lacking:
            yield f"{key} for: {','.join(lacking)}"
