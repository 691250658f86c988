"""The verdict on a Job, from what the API says of it, its pods and its Events. Pure: no cluster, no clock."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from airflow_provider_feast.jobs.ending import pod_problem
from airflow_provider_feast.jobs.plan_progress import plan_progress
from airflow_provider_feast.jobs.pod_view import PodView, at, condition, mapping, pods_of, text, whole
from airflow_provider_feast.jobs.refusals import creation_problem
from airflow_provider_feast.jobs.remedies import remedy
from airflow_provider_feast.jobs.results import progress, result_of
from airflow_provider_feast.jobs.startup import pod_start_problem
from airflow_provider_feast.model.outcome import JobState, Outcome, Problem


def diagnose(
    job: dict[str, Any],
    pods: Iterable[dict[str, Any]],
    events: Iterable[dict[str, Any]],
    *,
    deleted: bool = False,
) -> Outcome:
    """Say where a Job is, and if something is wrong, what it is and what to do.

    Anything may be missing from the objects; their order does not matter. Pods and Events of other
    objects are left out by uid.

    * Final: ``FAILED`` or ``SUCCEEDED``, by the conditions `Failed` and `Complete`.
    * ``STARTING`` with a problem: what keeps the Job from running; its ``can_mend`` tells whether
      waiting can help.
    * ``RUNNING`` with a problem: with ``can_mend`` a try inside the Job failed and the Job goes on;
      without it, the Job is about to fail.

    :param job: the Job as the API's JSON (camelCase keys), as last seen.
    :param pods: its pods, as last seen; also those that are gone.
    :param events: Events of the Job and of its pods.
    :param deleted: whether the Job is gone.
    """
    job, events = mapping(job), [event for event in events if isinstance(event, dict)]
    views = pods_of(job, pods)
    outcome = _ended(job, views, events)
    if outcome is not None:
        outcome = outcome._replace(progress=plan_progress(job, views))
        sure = deleted or condition(job, "Failed") or condition(job, "Complete")
        return outcome if sure else outcome._replace(state=JobState.RUNNING)
    if deleted:
        return _lost(job, views)._replace(progress=plan_progress(job, views))
    suspended = at(job, "spec", "suspend")
    if suspended is True or (suspended is None and condition(job, "Suspended")):
        return Outcome(JobState.SUSPENDED)
    return _active(job, views, events)


def _ended(job: dict[str, Any], pods: list[PodView], events: list[dict[str, Any]]) -> Outcome | None:
    """The outcome that conditions tell. `FailureTarget` and `SuccessCriteriaMet` never turn back either."""
    if failed := condition(job, "Failed"):
        return _failed(job, pods, events, failed)
    if condition(job, "Complete"):
        return _succeeded(pods)
    if failing := condition(job, "FailureTarget"):
        return _failed(job, pods, events, failing)
    return _succeeded(pods) if condition(job, "SuccessCriteriaMet") else None


# --- the end -------------------------------------------------------------------------------------


def _succeeded(pods: list[PodView]) -> Outcome:
    done = [pod for pod in pods if pod.phase == "Succeeded"] or [
        pod for pod in pods if pod.main is not None and pod.main.ended and not pod.main.exit_code
    ]
    if not done:
        return Outcome(JobState.SUCCEEDED)
    last = max(done, key=lambda pod: (pod.finished_at, pod.name))
    return Outcome(JobState.SUCCEEDED, None, result_of(last), last.name)


def _failed(
    job: dict[str, Any], pods: list[PodView], events: list[dict[str, Any]], failed: dict[str, Any]
) -> Outcome:
    reason, said = text(failed.get("reason")), text(failed.get("message"))
    if reason == "DeadlineExceeded" and _all_done(job):
        return _succeeded(pods)  # it was stopped, but nothing was left to be done
    pod = _culprit(pods, said)
    result = result_of(pod) if pod else None
    name = pod.name if pod else ""
    if reason == "DeadlineExceeded":
        return Outcome(JobState.FAILED, _deadline(job, pods, events, pod), result, name)
    problem = pod_problem(pod, job) if pod else None
    if problem is None:
        detail = ": ".join(part for part in (reason, said) if part)
        gone = "its pods are gone" if pod is None else f"pod {name} does not say why"
        cause = f"The Job failed{f' ({detail})' if detail else ''}; {gone}."
        problem = Problem("job_failed", cause, remedy("job_failed"))
    else:
        problem = problem._replace(cause=_which_try(job, pod) + problem.cause)
    return Outcome(JobState.FAILED, problem, result, name)


def _culprit(pods: list[PodView], said: str) -> PodView | None:
    """The pod to blame: the one that the condition names, else the last that failed by itself."""
    named = re.search(r"\bpod (?:\S+/)?(\S+) failed", said)
    ended = [pod for pod in pods if pod.phase == "Failed" or _broken(pod)]
    if named and (exact := [pod for pod in ended if pod.name == named.group(1)]):
        return exact[0]
    return max(ended, key=lambda pod: (not pod.deleting, pod.finished_at, pod.name), default=None)


def _broken(pod: PodView) -> bool:
    return any(container.exit_code for container in (*pod.init_containers, *pod.containers))


def _which_try(job: dict[str, Any], pod: PodView | None) -> str:
    if at(job, "spec", "completionMode") == "Indexed" and pod is not None and pod.index:
        return f"Completion index {pod.index} failed. "
    tries = whole(at(job, "status", "failed"))
    return f"All {tries} tries inside the Job failed; the last one: " if tries > 1 else ""


def _deadline(
    job: dict[str, Any], pods: list[PodView], events: list[dict[str, Any]], pod: PodView | None
) -> Problem:
    seconds = whole(at(job, "spec", "activeDeadlineSeconds"))
    limit = f"of {seconds} s (activeDeadlineSeconds)" if seconds else "(activeDeadlineSeconds)"
    cause = f"The Job was stopped at its deadline {limit}"
    total, done = whole(at(job, "spec", "completions")), _completed(job)
    if hurdle := _never_started(job, pods, events):
        return Problem("deadline_exceeded", f"{cause} before it had started. {hurdle.cause}", hurdle.remedy)
    if total > 1:
        cause += f", with {done} of {total} completions done"
    if held := next((p for p in pods if _held_open(p)), None):
        others = ", ".join(c.name for c in held.containers if c.running is not None)
        cause += f". Feast had ended well, but {others} kept pod {held.name} alive."
        then = f"Leave {others} out of Feast's pods (istio_injection in the connection, for Istio)."
        return Problem("deadline_exceeded", cause, then)
    before = pod_problem(pod, job) if pod is not None and not pod.deleting else None
    if before is not None and before.kind not in ("interrupted", "disrupted"):
        cause += f". A try before that had failed: {before.cause}"
    else:
        cause += f".{progress(result_of(pod) if pod else None)}"
    return Problem("deadline_exceeded", cause, remedy("deadline_exceeded"))


def _held_open(pod: PodView) -> bool:
    main = pod.main
    ended_well = main is not None and bool(main.ended) and not main.exit_code
    return ended_well and any(container.running is not None for container in pod.containers)


def _completed(job: dict[str, Any]) -> int:
    """How many completions a Job has, by its index ranges ("0,2-4") or its count."""
    count = 0
    for part in text(at(job, "status", "completedIndexes")).split(","):
        if match := re.fullmatch(r"(\d+)(?:-(\d+))?", part):
            first, last = int(match.group(1)), int(match.group(2) or match.group(1))
            count += last - first + 1
    return max(count, whole(at(job, "status", "succeeded")))


def _all_done(job: dict[str, Any]) -> bool:
    return 0 < whole(at(job, "spec", "completions")) <= _completed(job)


def _never_started(job: dict[str, Any], pods: list[PodView], events: list[dict[str, Any]]) -> Problem | None:
    """What kept the Job from starting, also where only the Events of its pod are left."""
    if any(pod.started or pod.over for pod in pods):
        return None
    views = pods or _ghosts(job, events)
    for pod in reversed(views):
        if problem := pod_start_problem(pod, events):
            return problem
    return None if views else creation_problem(job, events)


def _ghosts(job: dict[str, Any], events: list[dict[str, Any]]) -> list[PodView]:
    """Pods that are known only by their Events, unless one of them had started a container."""
    name = text(at(job, "metadata", "name"))
    index = r"\d+-" if at(job, "spec", "completionMode") == "Indexed" else ""
    pattern = re.compile(rf"{re.escape(name)}-{index}[a-z0-9]{{5}}")
    about = [event for event in events if pattern.fullmatch(text(at(event, "involvedObject", "name")))]
    if any(event.get("reason") == "Started" for event in about):
        return []
    template = mapping(at(job, "spec", "template", "spec"))
    namespace = at(job, "metadata", "namespace")
    names = sorted({text(at(event, "involvedObject", "name")) for event in about})
    return [PodView({"metadata": {"namespace": namespace, "name": name}, "spec": template}) for name in names]


def _lost(job: dict[str, Any], pods: list[PodView]) -> Outcome:
    """A Job that vanished before its outcome was seen."""
    last = pods[-1] if pods else None
    problem = pod_problem(last, job) if last else None
    cause = "The Job was deleted before its outcome was known."
    if problem is not None and problem.kind != "interrupted":
        cause += f" Its last pod had failed by then: {problem.cause}"
    elif last is not None and last.phase == "Succeeded":
        cause += f" Its pod {last.name} had ended well by then."
    result = result_of(last) if last else None
    name = last.name if last else ""
    return Outcome(JobState.FAILED, Problem("job_deleted", cause, remedy("job_deleted")), result, name)


# --- on the way ----------------------------------------------------------------------------------


def _active(job: dict[str, Any], pods: list[PodView], events: list[dict[str, Any]]) -> Outcome:
    live = [pod for pod in pods if pod.live]
    running = [pod for pod in live if pod.started]
    if running:
        return _running(job, running[-1])
    if live:
        return _starting(job, live[-1], events)
    if not pods:
        return _without_pods(job, events)
    if problem := creation_problem(job, events, since=pods[-1].created):
        return Outcome(JobState.STARTING, problem)
    last = max(pods, key=lambda pod: (pod.finished_at, pod.name))
    return Outcome(JobState.RUNNING, _passing(pod_problem(last, job)), result_of(last), last.name)


def _running(job: dict[str, Any], pod: PodView) -> Outcome:
    """A pod whose command runs, or has run while the pod goes on (a sidecar, a restart in place)."""
    main = pod.main
    if main is not None and main.running is not None:
        return Outcome(JobState.RUNNING, None, None, pod.name)
    problem = pod_problem(pod, job)
    return Outcome(JobState.RUNNING, _passing(problem), result_of(pod), pod.name)


def _starting(job: dict[str, Any], pod: PodView, events: list[dict[str, Any]]) -> Outcome:
    failed_init = pod_problem(pod, job) if any(c.exit_code for c in pod.init_containers) else None
    problem = _passing(failed_init) or pod_start_problem(pod, events)
    return Outcome(JobState.STARTING, problem, None, pod.name)


def _without_pods(job: dict[str, Any], events: list[dict[str, Any]]) -> Outcome:
    if whole(at(job, "status", "ready")):
        return Outcome(JobState.RUNNING)
    if whole(at(job, "status", "active")):
        return Outcome(JobState.STARTING)
    return Outcome(JobState.STARTING, creation_problem(job, events))


def _passing(problem: Problem | None) -> Problem | None:
    """A failed try that the Job itself repeats."""
    return problem._replace(can_mend=True) if problem else None
