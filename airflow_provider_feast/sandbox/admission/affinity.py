"""Validation of where a pod may run: affinity of nodes and pods, spread, scheduling gates."""

from collections.abc import Iterator

from airflow_provider_feast.sandbox.admission import names
from airflow_provider_feast.sandbox.shapes import Obj
from airflow_provider_feast.sandbox.status import Cause, forbidden_field, required, unsupported, wrong

REQUIRED, PREFERRED = (
    "requiredDuringSchedulingIgnoredDuringExecution",
    "preferredDuringSchedulingIgnoredDuringExecution",
)
_NODE_OPERATORS = ["DoesNotExist", "Exists", "Gt", "In", "Lt", "NotIn"]
_LABEL_OPERATORS = ["DoesNotExist", "Exists", "In", "NotIn"]


def placement(field: str, spec: Obj) -> Iterator[Cause]:
    """Everything that is wrong with the scheduling part of a pod spec."""
    affinity = spec.get("affinity") or {}
    yield from _node(f"{field}.affinity.nodeAffinity", affinity.get("nodeAffinity") or {})
    for kind in ("podAffinity", "podAntiAffinity"):
        yield from _pods(f"{field}.affinity.{kind}", affinity.get(kind) or {})
    for at, rule in enumerate(spec.get("topologySpreadConstraints") or ()):
        yield from _spread(f"{field}.topologySpreadConstraints[{at}]", rule)


def _node(field: str, found: Obj) -> Iterator[Cause]:
    needed = found.get(REQUIRED)
    if needed is not None:
        where = f"{field}.{REQUIRED}.nodeSelectorTerms"
        if not needed.get("nodeSelectorTerms"):
            yield required(where, "must have at least one node selector term")
        for at, term in enumerate(needed.get("nodeSelectorTerms") or ()):
            yield from _node_term(f"{where}[{at}]", term)
    for at, wish in enumerate(found.get(PREFERRED) or ()):
        yield from _weight(f"{field}.{PREFERRED}[{at}].weight", wish)
        yield from _node_term(f"{field}.{PREFERRED}[{at}].preference", wish.get("preference") or {})


def _node_term(field: str, term: Obj) -> Iterator[Cause]:
    for kind in ("matchExpressions", "matchFields"):
        for at, rule in enumerate(term.get(kind) or ()):
            yield from _rule(f"{field}.{kind}[{at}]", rule, _NODE_OPERATORS)


def _rule(field: str, rule: Obj, operators: list[str]) -> Iterator[Cause]:
    operator, values = rule.get("operator"), rule.get("values") or []
    if operator not in operators:
        yield unsupported(f"{field}.operator", operator, operators)
    elif operator in {"In", "NotIn"} and not values:
        yield required(f"{field}.values", "must be specified when `operator` is 'In' or 'NotIn'")
    elif operator in {"Exists", "DoesNotExist"} and values:
        why = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        yield forbidden_field(f"{field}.values", why)
    elif operator in {"Gt", "Lt"} and len(values) != 1:
        yield required(f"{field}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'")
    yield from names.qualified_name(f"{field}.key", rule.get("key") or "")


def _weight(field: str, wish: Obj) -> Iterator[Cause]:
    weight = wish.get("weight") or 0
    if not 1 <= weight <= 100:
        yield wrong(field, weight, "must be in the range 1-100")


def _pods(field: str, found: Obj) -> Iterator[Cause]:
    for at, term in enumerate(found.get(REQUIRED) or ()):
        yield from _pod_term(f"{field}.{REQUIRED}[{at}]", term)
    for at, wish in enumerate(found.get(PREFERRED) or ()):
        yield from _weight(f"{field}.{PREFERRED}[{at}].weight", wish)
        yield from _pod_term(f"{field}.{PREFERRED}[{at}].podAffinityTerm", wish.get("podAffinityTerm") or {})


def _pod_term(field: str, term: Obj) -> Iterator[Cause]:
    yield from _selector(f"{field}.labelSelector", term.get("labelSelector"))
    yield from _selector(f"{field}.namespaceSelector", term.get("namespaceSelector"))
    if not term.get("topologyKey"):
        yield required(f"{field}.topologyKey", "can not be empty")


def _selector(field: str, selector: Obj | None) -> Iterator[Cause]:
    yield from names.labels(f"{field}.matchLabels", (selector or {}).get("matchLabels"))
    for at, rule in enumerate((selector or {}).get("matchExpressions") or ()):
        yield from _rule(f"{field}.matchExpressions[{at}]", rule, _LABEL_OPERATORS)


def _spread(field: str, rule: Obj) -> Iterator[Cause]:
    if (rule.get("maxSkew") or 0) <= 0:
        yield wrong(f"{field}.maxSkew", rule.get("maxSkew") or 0, "must be greater than zero")
    if not rule.get("topologyKey"):
        yield required(f"{field}.topologyKey", "can not be empty")
    if rule.get("whenUnsatisfiable") not in {"DoNotSchedule", "ScheduleAnyway"}:
        allowed = ["DoNotSchedule", "ScheduleAnyway"]
        yield unsupported(f"{field}.whenUnsatisfiable", rule.get("whenUnsatisfiable"), allowed)
    yield from _selector(f"{field}.labelSelector", rule.get("labelSelector"))
