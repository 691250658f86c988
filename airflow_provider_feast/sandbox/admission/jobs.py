"""Validation of Jobs: limits, Indexed Jobs, failure policies, immutable fields."""

from collections.abc import Iterator

from airflow_provider_feast.sandbox.admission import names, pods
from airflow_provider_feast.sandbox.shapes import Obj
from airflow_provider_feast.sandbox.status import Cause, required, unsupported, wrong

_NOT_NEGATIVE = "must be greater than or equal to 0"
_COUNTS = (
    "parallelism",
    "completions",
    "activeDeadlineSeconds",
    "backoffLimit",
    "ttlSecondsAfterFinished",
    "backoffLimitPerIndex",
    "maxFailedIndexes",
)
_IMMUTABLE = (
    "selector",
    "completionMode",
    "podFailurePolicy",
    "backoffLimitPerIndex",
    "successPolicy",
    "managedBy",
)
_SCHEDULING = ("nodeSelector", "tolerations", "affinity", "schedulingGates")
_POLICY_ACTIONS = ["Count", "FailIndex", "FailJob", "Ignore"]


def create(job: Obj) -> Iterator[Cause]:
    """Everything that is wrong with a new Job."""
    spec = job["spec"]
    yield from _template_labels(job)
    yield from _limits(spec)
    yield from _indexed(job)
    yield from _failure_policy(spec)
    template = spec["template"]
    yield from names.annotations("spec.template.annotations", template["metadata"].get("annotations"))
    if template["spec"].get("restartPolicy") in {"Never", "OnFailure"}:
        yield from pods.spec("spec.template.spec", template["spec"])
    else:
        yield required("spec.template.spec.restartPolicy", 'valid values: "OnFailure", "Never"')


def _template_labels(job: Obj) -> Iterator[Cause]:
    own = job["spec"]["template"]["metadata"].get("labels")
    yield from names.labels("spec.template.labels", own)


def _limits(spec: Obj) -> Iterator[Cause]:
    for name in _COUNTS:
        value = spec.get(name)
        if value is not None and value < 0:
            yield wrong(f"spec.{name}", value, _NOT_NEGATIVE)
    if spec["completionMode"] not in {"NonIndexed", "Indexed"}:
        yield unsupported("spec.completionMode", spec["completionMode"], ["Indexed", "NonIndexed"])
    if spec["podReplacementPolicy"] not in {"Failed", "TerminatingOrFailed"}:
        allowed = ["Failed"] if spec.get("podFailurePolicy") else ["Failed", "TerminatingOrFailed"]
        yield unsupported("spec.podReplacementPolicy", spec["podReplacementPolicy"], allowed)
    elif spec.get("podFailurePolicy") and spec["podReplacementPolicy"] != "Failed":
        yield unsupported("spec.podReplacementPolicy", spec["podReplacementPolicy"], ["Failed"])


def _indexed(job: Obj) -> Iterator[Cause]:
    spec = job["spec"]
    indexed = spec["completionMode"] == "Indexed"
    per_index = spec.get("backoffLimitPerIndex")
    if per_index is not None and not indexed:
        yield wrong("spec.backoffLimitPerIndex", per_index, "requires indexed completion mode")
    most = spec.get("maxFailedIndexes")
    if most is not None and per_index is None:
        yield required("spec.backoffLimitPerIndex", "when maxFailedIndexes is specified")
    if not indexed:
        return
    completions = spec.get("completions")
    if completions is None:
        yield required("spec.completions", "when completion mode is Indexed")
        return
    if most is not None and most > completions:
        yield wrong("spec.maxFailedIndexes", most, "must be less than or equal to completions")
    name = job["metadata"].get("name") or ""
    longest = f"{name}-{max(completions - 1, 0)}"
    if name and completions > 0 and not names.is_dns_label(longest):
        yield wrong("metadata.name", name, f"will not able to create pod with invalid DNS label: {longest}")


def _failure_policy(spec: Obj) -> Iterator[Cause]:
    policy = spec.get("podFailurePolicy")
    if policy is None:
        return
    field = "spec.podFailurePolicy"
    if spec["template"]["spec"].get("restartPolicy") != "Never":
        why = 'only "Never" is supported when podFailurePolicy is specified'
        yield wrong("spec.template.spec.restartPolicy", spec["template"]["spec"].get("restartPolicy"), why)
    if len(policy.get("rules") or ()) > 20:
        yield Cause("FieldValueTooMany", "Too many: must have at most 20 items", f"{field}.rules")
    for at, rule in enumerate(policy.get("rules") or ()):
        yield from _failure_rule(f"{field}.rules[{at}]", rule, spec)


def _failure_rule(field: str, rule: Obj, spec: Obj) -> Iterator[Cause]:
    if rule.get("action") not in _POLICY_ACTIONS:
        yield unsupported(f"{field}.action", rule.get("action"), _POLICY_ACTIONS)
    if rule.get("action") == "FailIndex" and spec.get("backoffLimitPerIndex") is None:
        why = "requires the backoffLimitPerIndex to be set"
        yield wrong(f"{field}.action", "FailIndex", why)
    codes, conditions = rule.get("onExitCodes"), rule.get("onPodConditions")
    if (codes is None) == (not conditions):
        yield wrong(field, "", "specifying one of OnExitCodes and OnPodConditions is required")
    if codes is not None:
        yield from _exit_codes(f"{field}.onExitCodes", codes, spec)
    for at, condition in enumerate(conditions or ()):
        if condition.get("status") not in {"True", "False", "Unknown"}:
            allowed = ["False", "True", "Unknown"]
            yield unsupported(f"{field}.onPodConditions[{at}].status", condition.get("status"), allowed)


def _exit_codes(field: str, codes: Obj, spec: Obj) -> Iterator[Cause]:
    if codes.get("operator") not in {"In", "NotIn"}:
        yield unsupported(f"{field}.operator", codes.get("operator"), ["In", "NotIn"])
    values = codes.get("values") or []
    if not values:
        yield wrong(f"{field}.values", values, "at least one value is required")
    if codes.get("operator") == "In" and 0 in values:
        yield wrong(f"{field}.values[{values.index(0)}]", 0, "must not be 0 for the In operator")
    if sorted(set(values)) != values:
        yield wrong(f"{field}.values", values, "must be ordered")
    pod = spec["template"]["spec"]
    known = {item.get("name") for kind in ("containers", "initContainers") for item in pod.get(kind) or ()}
    name = codes.get("containerName")
    if name is not None and name not in known:
        why = "must be one of the container or initContainer names in the pod template"
        yield wrong(f"{field}.containerName", name, why)


def update(before: Obj, after: Obj) -> Iterator[Cause]:
    """Which changes of an existing Job are refused."""
    old, new = before["spec"], after["spec"]
    yield from _limits(new)
    if old["completionMode"] != "Indexed" and old.get("completions") != new.get("completions"):
        yield wrong("spec.completions", new.get("completions"), "field is immutable")
    elif old.get("completions") != new.get("completions") and new.get("completions") != new["parallelism"]:
        yield wrong(
            "spec.completions", new.get("completions"), "can only be modified in tandem with spec.parallelism"
        )
    for name in _IMMUTABLE:
        if old.get(name) != new.get(name):
            yield wrong(f"spec.{name}", new.get(name), "field is immutable")
    if _frozen_template(before, old) != _frozen_template(before, new):
        yield wrong("spec.template", new["template"], "field is immutable")


def _frozen_template(job: Obj, spec: Obj) -> Obj:
    """The part of the template that may not change: while suspended and unstarted, scheduling may."""
    template: Obj = spec["template"]
    conditions = (job.get("status") or {}).get("conditions") or ()
    suspended = any(c["type"] == "Suspended" and c["status"] == "True" for c in conditions)
    never_started = job["spec"].get("suspend") and not (job.get("status") or {}).get("startTime")
    if not (suspended or never_started):
        return template
    pod = {key: value for key, value in template["spec"].items() if key not in _SCHEDULING}
    for kind in ("containers", "initContainers"):
        if kind in pod:
            pod[kind] = [{**container, "resources": {}} for container in pod[kind]]
    return {"spec": pod}
