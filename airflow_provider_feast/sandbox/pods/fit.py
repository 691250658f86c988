"""Whether a pod fits the node: the scheduler's filters, in their order and words."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from airflow_provider_feast.sandbox import quantity
from airflow_provider_feast.sandbox.admission.affinity import REQUIRED
from airflow_provider_feast.sandbox.admission.demand import demand
from airflow_provider_feast.sandbox.recorder import NODE
from airflow_provider_feast.sandbox.selectors import expression_matches, selector_matches
from airflow_provider_feast.sandbox.shapes import Obj

LABELS = {"kubernetes.io/hostname": NODE, "kubernetes.io/os": "linux", "kubernetes.io/arch": "amd64"}
CAPACITY = {"cpu": "32", "memory": "64Gi", "pods": "110", "ephemeral-storage": "100Gi"}
FULL = "1 Too many pods"
NO_PEER = "1 node(s) didn't match pod affinity rules"


@dataclass(frozen=True)
class Problem:
    """Why a pod does not fit, and whether the node could ever hold it if others left."""

    words: str
    others_could_leave: bool = False

    @property
    def message(self) -> str:
        """The message of FailedScheduling."""
        why = (
            "No preemption victims found for incoming pod"
            if self.others_could_leave
            else "Preemption is not helpful for scheduling"
        )
        return (
            f"0/1 nodes are available: {self.words}. no new claims to deallocate, preemption: 0/1 nodes are "
            f"available: 1 {why}."
        )


@dataclass
class Placed:
    """What the pods on the node hold: their requests, and the pods themselves."""

    requests: dict[str, dict[str, Decimal]] = field(default_factory=dict)
    pods: dict[str, Obj] = field(default_factory=dict)

    def add(self, pod: Obj) -> None:
        uid = pod["metadata"]["uid"]
        self.requests[uid], self.pods[uid] = demand(pod["spec"]), pod

    def remove(self, uid: str) -> bool:
        self.pods.pop(uid, None)
        return self.requests.pop(uid, None) is not None

    def used(self, name: str) -> Decimal:
        return sum((held.get(name, Decimal(0)) for held in self.requests.values()), Decimal(0))


def problem(pod: Obj, namespaces: Mapping[str, Obj], placed: Placed) -> Problem | None:
    """The first filter that refuses a pod; `namespaces` by name, for selectors of namespaces."""
    spec = pod["spec"]
    if not _node_matches(spec):
        return Problem("1 node(s) didn't match Pod's node affinity/selector")
    taken = {port for other in placed.pods.values() for port in _host_ports(other["spec"])}
    if taken & set(_host_ports(spec)):
        return Problem(
            "1 node(s) didn't have free ports for the requested pod ports", others_could_leave=True
        )
    return _no_room(spec, placed) or _no_domain(spec) or _company(pod, namespaces, placed)


def _no_room(spec: Obj, placed: Placed) -> Problem | None:
    if len(placed.requests) >= int(CAPACITY["pods"]):
        return Problem(FULL, others_could_leave=True)
    for name, amount in demand(spec).items():
        capacity = quantity.parse(CAPACITY.get(name, 0))
        if placed.used(name) + amount > capacity:
            return Problem(f"1 Insufficient {name}", others_could_leave=amount <= capacity)
    return None


def _node_matches(spec: Obj) -> bool:
    if any(LABELS.get(key) != value for key, value in (spec.get("nodeSelector") or {}).items()):
        return False
    needed = ((spec.get("affinity") or {}).get("nodeAffinity") or {}).get(REQUIRED)
    return needed is None or any(_term_matches(term) for term in needed["nodeSelectorTerms"])


def _term_matches(term: Obj) -> bool:
    rules, fields = term.get("matchExpressions") or [], term.get("matchFields") or []
    if not rules and not fields:
        return False  # an empty term selects no node
    return all(expression_matches(rule, LABELS) for rule in rules) and all(
        expression_matches(rule, {"metadata.name": NODE}) for rule in fields
    )


def _no_domain(spec: Obj) -> Problem | None:
    """A spread over one node is always even; only a node without the label is no domain."""
    for rule in spec.get("topologySpreadConstraints") or ():
        if rule["whenUnsatisfiable"] == "DoNotSchedule" and rule["topologyKey"] not in LABELS:
            return Problem("1 node(s) didn't match pod topology spread constraints (missing required label)")
    return None


def _company(pod: Obj, namespaces: Mapping[str, Obj], placed: Placed) -> Problem | None:
    """Affinity and anti-affinity of pods; an anti-affinity holds both ways."""
    others = list(placed.pods.values())
    for term in _terms(pod, "podAffinity"):
        if term["topologyKey"] not in LABELS or not _has_peer(term, pod, [*others, pod], namespaces):
            return Problem(NO_PEER)
    for term in _terms(pod, "podAntiAffinity"):
        if term["topologyKey"] in LABELS and _has_peer(term, pod, others, namespaces):
            return Problem("1 node(s) didn't match pod anti-affinity rules", others_could_leave=True)
    for other in others:
        for term in _terms(other, "podAntiAffinity"):
            if term["topologyKey"] in LABELS and _selects(term, other, pod, namespaces):
                words = "1 node(s) didn't satisfy existing pods anti-affinity rules"
                return Problem(words, others_could_leave=True)
    return None


def _terms(pod: Obj, kind: str) -> list[Obj]:
    found: list[Obj] = ((pod["spec"].get("affinity") or {}).get(kind) or {}).get(REQUIRED) or []
    return found


def _has_peer(term: Obj, pod: Obj, others: Iterable[Obj], namespaces: Mapping[str, Obj]) -> bool:
    return any(_selects(term, pod, other, namespaces) for other in others)


def _selects(term: Obj, owner: Obj, other: Obj, namespaces: Mapping[str, Obj]) -> bool:
    """Whether a term of one pod selects another; without a selector it selects none."""
    selector = term.get("labelSelector")
    if selector is None or not selector_matches(selector, other["metadata"].get("labels") or {}):
        return False
    where = other["metadata"]["namespace"]
    listed, by_label = term.get("namespaces") or [], term.get("namespaceSelector")
    if not listed and by_label is None:
        return bool(where == owner["metadata"]["namespace"])
    labels = (namespaces.get(where) or {"metadata": {}})["metadata"].get("labels") or {}
    return where in listed or (by_label is not None and selector_matches(by_label, labels))


def _host_ports(spec: Obj) -> list[tuple[str, int]]:
    return [
        (port.get("protocol", "TCP"), port["hostPort"])
        for container in spec["containers"]
        for port in container.get("ports") or ()
        if port.get("hostPort")
    ]
