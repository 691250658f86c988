"""Why Kubernetes refuses to create a Job's pods: admission, quotas, missing accounts. Only Events tell."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from airflow_provider_feast.jobs.feast_texts import shorten
from airflow_provider_feast.jobs.pod_view import at, event_time, events_about, text
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
    return refusal(text(refusals[-1].get("message")), job)


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
    if match := re.search(
        r"no PriorityClass with name (\S+) was found|RuntimeClass \"([^\"]+)\" not found", said
    ):
        name = match.group(1) or match.group(2)
        return Problem(
            "missing_object",
            f"The cluster has no class named {name}: {said}",
            "Correct the pod's priorityClassName or runtimeClassName, or have the class created.",
        )
    return _admission(said, where)


def _admission(said: str, where: str) -> Problem:
    kind = "admission_refused"
    if match := re.search(r'violates PodSecurity "([^"]+)": (.*)', said):
        level, wrong = match.groups()
        return Problem(
            kind,
            f"Pod Security ({level}){where} refuses the pod: {wrong}",
            "Use the security profile `restricted` (the default) and drop what loosens it from pod_options and "
            "job_overrides, or run in a namespace that allows more.",
        )
    if match := re.search(r"exceeded quota: ([^,]+), (.*)", said):
        return Problem(
            kind,
            f"The ResourceQuota {match.group(1)}{where} is used up: {match.group(2)}",
            "Wait for other pods to end, ask for less (memory_request, cpu_request), or have the quota raised.",
            can_mend=True,
        )
    if match := re.search(r"failed quota: ([^:]+): must specify (.*)", said):
        return Problem(
            kind,
            f"The ResourceQuota {match.group(1)}{where} wants the pod to state {match.group(2)}.",
            "Set those requests and limits in the connection or on the operator.",
        )
    if re.search(r"failed calling webhook|timed out|connection refused|etcdserver|try again", said):
        return Problem(
            kind,
            f"An admission check{where} does not answer: {said}",
            "If it goes on, have the webhook's owner look at it.",
            can_mend=True,
        )
    if re.search(r"denied|being terminated|(?:max|min)imum|is invalid|must (?:be|specify)", said):
        return Problem(
            kind,
            f"The pod is refused{where}: {said}",
            "Change what the message names (pod_options, job_overrides, limits), or ask the owner of that rule.",
        )
    return Problem(
        kind,
        f"Kubernetes cannot create the pod{where}: {said}",
        "Change what the message names, or ask the cluster's administrators.",
        can_mend=True,
    )
