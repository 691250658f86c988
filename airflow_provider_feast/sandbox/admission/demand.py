"""What a pod asks for of CPU, memory and other resources."""

from decimal import Decimal

from airflow_provider_feast.sandbox import quantity
from airflow_provider_feast.sandbox.shapes import Obj

Amounts = dict[str, Decimal]


def demand(spec: Obj, kind: str = "requests") -> Amounts:
    """The requests (or limits) of a pod: the sum of its containers, or its largest init container."""
    total: Amounts = {}
    for container in spec["containers"]:
        for name, value in (container["resources"].get(kind) or {}).items():
            total[name] = total.get(name, Decimal(0)) + quantity.parse(value)
    for container in spec.get("initContainers") or ():
        for name, value in (container["resources"].get(kind) or {}).items():
            total[name] = max(total.get(name, Decimal(0)), quantity.parse(value))
    return total
