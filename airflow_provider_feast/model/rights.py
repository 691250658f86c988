"""What Airflow's account may do in the cluster: each rule once, with what it is for.

The Role that ``airflow feast manifests`` prints, the README's example, the preflight and the remedy of a refused request
all come from here.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

RUN, LOCK, CLEAN, FEATURE_STORES = "run", "lock", "clean", "feature-stores"
"""The parts of the rules: running Jobs; the Lease of a registry (in the lock's namespace); ``airflow feast jobs clean``;
``FeatureStore`` resources of the Feast operator."""

ALWAYS = (RUN, LOCK)


_ORDER = ("get", "list", "watch", "create", "update", "patch", "delete")


class Rule(NamedTuple):
    """One rule of a Role, for one resource.

    :param group: the API group, "" for the core one.
    :param resource: e.g. ``jobs`` or ``pods/log``.
    :param verbs: without these every task fails.
    :param why: what the verbs are for, to be read after "to".
    :param spare: verbs that some tasks can do without.
    :param spare_why: what those are for.
    """

    part: str
    group: str
    resource: str
    verbs: tuple[str, ...]
    why: str
    spare: tuple[str, ...] = ()
    spare_why: str = ""

    def manifest(self) -> dict[str, Any]:
        """The rule as a Role has it."""
        verbs = sorted((*self.verbs, *self.spare), key=_ORDER.index)
        return {"apiGroups": [self.group], "resources": [self.resource], "verbs": verbs}


class Right(NamedTuple):
    """One verb on one resource.

    :param needed: whether every task fails without it.
    """

    group: str
    resource: str
    verb: str
    why: str
    needed: bool

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}"

    @property
    def rule(self) -> str:
        """The rule that a Role lacks, as YAML."""
        return f'{{apiGroups: ["{self.group}"], resources: ["{self.resource}"], verbs: ["{self.verb}"]}}'


RULES: tuple[Rule, ...] = (
    Rule(
        RUN,
        "batch",
        "jobs",
        ("list", "watch", "create", "patch"),
        "create Jobs, let them run and see how they end",
        ("get", "delete"),
        "read a Job's end, and delete the Job of a task that is killed, cleared or changed",
    ),
    Rule(RUN, "", "pods", ("list", "watch"), "see what became of a Job's pods"),
    Rule(RUN, "", "pods/log", ("get",), "show Feast's output in the task's log"),
    Rule(RUN, "", "events", ("list",), "say why a pod does not start"),
    Rule(
        RUN,
        "",
        "configmaps",
        ("get",),
        "see whether the runner and what the connection names exist",
        ("create",),
        "put the runner and inline configurations into the cluster",
    ),
    Rule(RUN, "", "serviceaccounts", (), "", ("get",), "see before a Job is made whether its account exists"),
    Rule(RUN, "", "namespaces", (), "", ("get",), "tell a missing namespace from a missing object in it"),
    Rule(
        LOCK,
        "coordination.k8s.io",
        "leases",
        ("get", "update"),
        "take the registry's lock and give it back",
        ("list", "watch", "create"),
        "make a registry's first lock, and wait for one that another Job holds",
    ),
    Rule(
        CLEAN,
        "",
        "configmaps",
        ("list", "delete"),
        "find and delete runners of older releases (`airflow feast jobs clean`)",
    ),
    Rule(
        FEATURE_STORES,
        "feast.dev",
        "featurestores",
        ("get",),
        "read FeatureStore resources",
        ("list", "watch"),
        "wait until one is Ready",
    ),
)
"""Every rule; nothing else is asked of the API, but reviews of one's own rights, which everybody may ask."""


def rules_of(parts: Iterable[str] = ALWAYS) -> list[Rule]:
    """The rules of some parts, in order."""
    wanted = set(parts)
    return [rule for rule in RULES if rule.part in wanted]


def role_rules(parts: Iterable[str] = ALWAYS) -> list[dict[str, Any]]:
    """The ``rules`` of Airflow's Role."""
    return [rule.manifest() for rule in rules_of(parts)]


def rights_of(parts: Iterable[str] = ALWAYS) -> list[Right]:
    """The same, one verb at a time."""
    return [
        Right(rule.group, rule.resource, verb, why, needed)
        for rule in rules_of(parts)
        for verbs, why, needed in ((rule.verbs, rule.why, True), (rule.spare, rule.spare_why, False))
        for verb in verbs
    ]


def group_of(resource: str) -> str:
    """The API group of a resource that is asked for, "" for the core one."""
    return next((rule.group for rule in RULES if rule.resource == resource), "")


def granted(rules: Iterable[dict[str, Any]], right: Right) -> bool:
    """Whether RBAC rules (of a ``SelfSubjectRulesReview``) give a right for every object of its kind."""
    full = {right.resource, "*"}
    if "/" in right.resource:
        full.add(f"*/{right.resource.partition('/')[2]}")
    return any(
        {right.verb, "*"} & set(rule.get("verbs") or ())
        and {right.group, "*"} & set(rule.get("apiGroups") or ())
        and full & set(rule.get("resources") or ())
        and not rule.get("resourceNames")
        for rule in rules
    )
