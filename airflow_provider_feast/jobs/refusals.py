"""Why Kubernetes refuses to create a Job's pods: admission, quotas, missing accounts. Only Events tell.

Worded after the sources of Kubernetes 1.29 to 1.36 (plugin/pkg/admission, pkg/quota, the webhook dispatcher), of
OpenShift's security context constraints, and of the policy engines in wide use.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from airflow_provider_feast.jobs.feast_texts import shorten
from airflow_provider_feast.jobs.pod_view import at, event_text, event_time, events_about, text
from airflow_provider_feast.model.outcome import Problem


def creation_problem(job: dict[str, Any], events: Iterable[Any], *, since: str = "") -> Problem | None:
    """Why Kubernetes refuses to create the Job's pods, if that is what it does now.

    :param since: the creation time of the newest pod there is; a refusal before it is history.
    """
    about = events_about(job, "Job", events)
    refusals = [event for event in about if event.get("reason") == "FailedCreate"]
    created = [event_time(event) for event in about if event.get("reason") == "SuccessfulCreate"]
    overcome = max([since, *created])
    if not refusals or (overcome and event_time(refusals[-1]) <= overcome):
        return None
    return refusal(event_text(refusals[-1]), job)


def refusal(message: str, job: dict[str, Any]) -> Problem:
    """The problem that a ``FailedCreate`` Event of a Job tells of."""
    namespace = text(at(job, "metadata", "namespace"))
    where = f" in namespace {namespace}" if namespace else ""
    said = shorten(re.sub(r'^Error creating: (?:pods "[^"]*" is forbidden: )?', "", message))
    if match := re.search(r'service ?account "([^"]+)" not found', said):
        name = match.group(1)
        return Problem(
            "missing_object",
            f"The ServiceAccount {name} does not exist{where}, so no pod can be created.",
            f"Create it (`kubectl create serviceaccount {name}{f' -n {namespace}' if namespace else ''}`), or name "
            "another one as service_account in the connection or on the operator.",
        )
    if problem := _quota(said, where):
        return problem
    for rule in _RULES:
        if match := rule.pattern.search(said):
            words = {key: value or said for key, value in match.groupdict().items()}
            cause = rule.says.format(where=where, said=said, **words)
            return Problem(rule.kind, cause, rule.remedy, rule.can_mend)
    return Problem(
        "admission_refused",
        f"Kubernetes cannot create the pod{where}: {said}",
        "Change what the message names, or ask the cluster's administrators.",
        can_mend=True,
    )


class _Rule(NamedTuple):
    kind: str
    pattern: re.Pattern[str]
    says: str
    remedy: str
    can_mend: bool = False


_ASK_OWNER = (
    "Change what the message names (pod_options, job_overrides, limits), or ask the owner of that rule."
)

_RULES = (
    _Rule(
        "missing_object",
        re.compile(
            r"no PriorityClass with name (?P<priority>\S+) was found|RuntimeClass \"(?P<runtime>[^\"]+)\" not found"
        ),
        "The cluster has no such class: {said}",
        "Correct the pod's priorityClassName or runtimeClassName, or have the class created.",
    ),
    _Rule(
        "missing_object",
        re.compile(r'namespaces "(?P<name>[^"]+)" not found'),
        "The namespace {name} does not exist any more, so no pod can be created.",
        "Create the namespace, or correct `namespace` in the connection.",
    ),
    _Rule(
        "admission_refused",
        re.compile(r'violates PodSecurity "(?P<level>[^"]+)": (?P<wrong>.*)'),
        "Pod Security ({level}){where} refuses the pod: {wrong}",
        "Use the security profile `restricted` (the default) and drop what loosens it from pod_options and "
        "job_overrides, or run in a namespace that allows more.",
    ),
    _Rule(
        "admission_refused",
        re.compile(r"unable to validate against any security context constraint: (?P<wrong>.*)"),
        "OpenShift's security context constraints{where} refuse the pod: {wrong}",
        "Use the security profile `arbitrary-uid`, which lets OpenShift choose the user, or let an administrator grant "
        "the service account a constraint that fits.",
    ),
    _Rule(
        "admission_refused",
        re.compile(r'admission webhook "(?P<name>[^"]+)" denied the request(?:: (?P<wrong>.+))?'),
        "The admission webhook {name} refuses the pod{where}: {wrong}",
        _ASK_OWNER,
    ),
    _Rule(
        "admission_refused",
        re.compile(
            r"ValidatingAdmissionPolicy '(?P<name>[^']+)' with binding '[^']*' denied request(?:: (?P<wrong>.+))?"
        ),
        "The admission policy {name} refuses the pod{where}: {wrong}",
        _ASK_OWNER,
    ),
    _Rule(
        "admission_refused",
        re.compile(r"(?:max|min)imum \S+ usage per|max limit to request ratio per"),
        "A LimitRange{where} refuses the pod: {said}",
        "Set requests and limits within it (memory_request, memory_limit, cpu_request, cpu_limit), or have the "
        "LimitRange changed.",
    ),
    _Rule(
        "admission_unanswered",
        re.compile(
            r"failed calling webhook|webhook backend|timed out|Timeout:|connection refused|no endpoints available"
            r"|etcdserver|try again|context deadline exceeded|Too Many Requests"
        ),
        "An admission check or the API server{where} does not answer: {said}",
        "If it goes on, have the webhook's owner look at it.",
        can_mend=True,
    ),
    _Rule(
        "admission_refused",
        re.compile(r"denied|being terminated|is invalid|must (?:not )?(?:be|specify)|Forbidden: "),
        "The pod is refused{where}: {said}",
        _ASK_OWNER,
    ),
)


# --- quotas --------------------------------------------------------------------------------------

_SUFFIXES = {"m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15} | {
    f"{letter}i": 1024.0**power for power, letter in enumerate("KMGTP", start=1)
}


def _quota(said: str, where: str) -> Problem | None:
    if match := re.search(r"exceeded quota: ([^,]+), (.*)", said):
        return _exceeded(match.group(1), match.group(2), where)
    if match := re.search(r"failed quota: ([^:]+): must specify (.*)", said):
        return Problem(
            "admission_refused",
            f"The ResourceQuota {match.group(1)}{where} wants the pod to state {match.group(2)}.",
            "Set those requests and limits in the connection or on the operator.",
        )
    if "insufficient quota to match these scopes" in said:
        return Problem(
            "admission_refused",
            f"No ResourceQuota{where} allows such a pod: {said}",
            "Leave out the priorityClassName (pod_options, job_overrides), or have a quota made for it.",
        )
    return None


def _exceeded(quota: str, amounts: str, where: str) -> Problem:
    requested, limited = _amounts(amounts, "requested"), _amounts(amounts, "limited")
    if beyond := [name for name, size in requested.items() if size > limited.get(name, size)]:
        return Problem(
            "admission_refused",
            f"The pod asks for more {' and '.join(beyond)} than the whole ResourceQuota {quota}{where}: {amounts}",
            "Ask for less (memory_request, memory_limit, cpu_request, cpu_limit), or have the quota raised.",
            can_mend=True,
        )
    return Problem(
        "quota_exceeded",
        f"The ResourceQuota {quota}{where} is used up: {amounts}",
        "Wait for other pods to end, ask for less (memory_request, cpu_request), or have the quota raised.",
        can_mend=True,
    )


def _amounts(said: str, which: str) -> dict[str, float]:
    """The quantities behind ``requested:`` or ``limited:``; what cannot be read is left out."""
    listed = re.search(rf"\b{which}: ((?:[\w./-]+=\w+,?)+)", said)
    found = {}
    for name, number, suffix in re.findall(
        r"([\w./-]+)=(\d+)([A-Za-z]*)(?=,|$)", listed.group(1) if listed else ""
    ):
        if suffix == "" or suffix in _SUFFIXES:
            found[name] = float(number) * _SUFFIXES.get(suffix, 1.0)
    return found
