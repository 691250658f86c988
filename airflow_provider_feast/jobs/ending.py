"""Why a pod failed: memory, a container that could not start, an init container, or what Feast itself said."""

from __future__ import annotations

from typing import Any

from airflow_provider_feast.jobs.disruption import disruption, full_disk
from airflow_provider_feast.jobs.feast_texts import (
    clean,
    definitions_away,
    error_text,
    no_access,
    recognise,
    shorten,
)
from airflow_provider_feast.jobs.git_texts import GIT_STEPS, git_problem
from airflow_provider_feast.jobs.pod_view import Container, PodView, at, mapping, text
from airflow_provider_feast.jobs.remedies import remedy
from airflow_provider_feast.jobs.results import progress
from airflow_provider_feast.jobs.startup import missing_object, start_problem, starved
from airflow_provider_feast.model.errors import ERRORS
from airflow_provider_feast.model.outcome import Problem
from airflow_provider_feast.model.result import CommandResult

COMPONENT = "app.kubernetes.io/component"
_RUNNER_FILE = "feast_runner.py"
_RUNNER_EXITS = {
    64: ("usage_error", "The runner does not understand its own command line"),
    65: ("nothing_materialized", "Nothing was materialized"),
    66: ("configuration_invalid", "feature_store.yaml cannot be used"),
    67: ("definitions_invalid", "The definitions cannot be copied"),
    68: ("deletions_refused", "The runner refused what it was asked for"),
}
_SIGNALS = {
    132: "an illegal instruction (SIGILL): the image needs a newer processor than the node has",
    134: "an abort (SIGABRT)",
    135: "a bus error (SIGBUS)",
    136: "an arithmetic error (SIGFPE)",
    139: "a segmentation fault (SIGSEGV)",
}


def pod_problem(pod: PodView, job: dict[str, Any]) -> Problem | None:
    """Why a pod failed, or ``None`` when nothing in it failed.

    Conditions and reasons that Kubernetes set come first, then init containers, then what the main
    container left: the runner's result, else its exit code and last words.
    """
    if problem := full_disk(pod) or disruption(pod):
        return problem
    for container in pod.init_containers:
        if container.exit_code and text(container.spec.get("restartPolicy")) != "Always":
            return _init_problem(pod, container, job)
    main = pod.main
    if main is not None and main.exit_code:
        return _container_problem(pod, main, job)
    return _bystander(pod, main, job) or _reason_only(pod)


# --- the pod as a whole --------------------------------------------------------------------------


def _bystander(pod: PodView, main: Container | None, job: dict[str, Any]) -> Problem | None:
    """A failure of another container than the main one."""
    for container in pod.containers:
        if container.exit_code and (main is None or container.name != main.name):
            if container.ended.get("reason") == "OOMKilled":
                found = _out_of_memory(pod, container, job, None)
                then = f"Raise the memory limit of {container.name}, or leave that container out."
                return found._replace(remedy=then) if found.kind == "out_of_memory" else found
            return Problem(
                "job_failed",
                f"Container {container.name}, not the one that runs Feast, ended with exit code "
                f"{container.exit_code}, so Kubernetes counts pod {pod.name} as failed.",
                f"Look at {container.name}'s logs, or leave that container out.",
            )
    return None


def _reason_only(pod: PodView) -> Problem | None:
    if pod.phase != "Failed":
        return None
    reason, said = text(at(pod.raw, "status", "reason")), text(at(pod.raw, "status", "message"))
    if reason == "DeadlineExceeded":
        seconds = pod.spec.get("activeDeadlineSeconds")
        limit = f" of {seconds} s" if seconds else ""
        cause = f"Pod {pod.name} ran into its own deadline{limit} (activeDeadlineSeconds of the pod)."
        return Problem("deadline_exceeded", cause, remedy("deadline_exceeded"))
    detail = ": ".join(part for part in (reason, shorten(said, 200)) if part)
    cause = f"Pod {pod.name} failed{f' ({detail})' if detail else ''} and left nothing that says why."
    return Problem("job_failed", cause, remedy("job_failed"))


# --- one container -------------------------------------------------------------------------------


def _init_problem(pod: PodView, container: Container, job: dict[str, Any]) -> Problem:
    if (
        container.name in GIT_STEPS
        and text(container.ended.get("reason")) == "Error"
        and container.exit_code < 129
    ):
        return git_problem(container.name, container.exit_code, text(container.ended.get("message")))
    problem = _container_problem(pod, container, job)
    if problem.kind not in ("command_failed", "usage_error"):
        return problem
    said = error_text(text(container.ended.get("message")))
    kind = "definitions_invalid" if container.name == "definitions" else "command_failed"
    cause = f"Init container {container.name} ended with exit code {container.exit_code}{f': {said}' if said else ''}."
    then = "Correct what it prepares; the command itself never started."
    return Problem(kind, _one_stop(cause), remedy(kind) if kind == "definitions_invalid" else then)


def _container_problem(pod: PodView, container: Container, job: dict[str, Any]) -> Problem:
    ended = container.ended
    reason, message = text(ended.get("reason")), text(ended.get("message"))
    result = CommandResult.parse(message)
    if reason == "OOMKilled":
        return _out_of_memory(pod, container, job, result)
    if reason in ("StartError", "ContainerCannotRun", "RunContainerError", "CreateContainerConfigError"):
        if problem := starved(container, message):
            return problem._replace(remedy=_more_memory(pod, job))
        return missing_object(pod, message) or start_problem(container, message)._replace(can_mend=False)
    if result is not None and result.verdict in ("failed", "interrupted"):
        return _by_result(result, pod, container, job)
    return _by_signal(pod, container, job, result) or _by_words(container, message, result)


def _by_signal(
    pod: PodView, container: Container, job: dict[str, Any], result: CommandResult | None
) -> Problem | None:
    """A command that was killed or asked to stop and had no chance to say so."""
    if container.exit_code == 137:
        return _killed(pod, container, job, result)
    if container.exit_code in (143, 130):
        signal = "SIGTERM" if container.exit_code == 143 else "SIGINT"
        cause = f"The command was asked to stop ({signal}) before it had finished.{progress(result)}"
        return Problem("interrupted", cause, remedy("interrupted"))
    return None


def _out_of_memory(
    pod: PodView, container: Container, job: dict[str, Any], result: CommandResult | None
) -> Problem:
    limit = container.memory_limit or text(at(pod.spec, "resources", "limits", "memory"))
    what, done = f"Container {container.name} ran out of memory and was killed", progress(result)
    if limit:
        cause = f"{what} at its memory limit of {limit} (OOMKilled).{done}"
        return Problem("out_of_memory", cause, _more_memory(pod, job))
    cause = f"{what} without a memory limit of its own, so because its node had none left (OOMKilled).{done}"
    then = "Run the task again; set memory_request and memory_limit, so that the node sets enough aside."
    return Problem("disrupted", cause, then)


def _killed(pod: PodView, container: Container, job: dict[str, Any], result: CommandResult | None) -> Problem:
    if pod.deleting:
        cause = f"Pod {pod.name} was deleted while its command ran (exit code 137).{progress(result)}"
        return Problem("interrupted", cause, remedy("interrupted"))
    limit = container.memory_limit
    which = f"its memory limit is {limit}" if limit else "it has no memory limit"
    cause = (
        f"Container {container.name} was killed (SIGKILL, exit code 137) and nothing says by whom: most likely for want "
        f"of memory; {which}."
    )
    then = f"{remedy('killed')} {_more_memory(pod, job)}"
    return Problem("killed", f"{cause}{progress(result)}", then)


def _more_memory(pod: PodView, job: dict[str, Any]) -> str:
    labels = mapping(at(job, "metadata", "labels")) | mapping(at(pod.raw, "metadata", "labels"))
    then = remedy("out_of_memory")
    if text(labels.get(COMPONENT)).startswith("materialize"):
        then += (
            " Or lower materialization.online_write_batch_size in feature_store.yaml (10000 where it is not set): it "
            "bounds how many rows a materialization prepares for the online store at once."
        )
    return then


def _by_result(result: CommandResult, pod: PodView, container: Container, job: dict[str, Any]) -> Problem:
    """The runner's own account; its exact kinds win, its vague ones are looked at once more."""
    known, said = recognise(result.message), shorten(clean(result.message))
    if result.verdict == "interrupted":
        cause = f"The command was asked to stop before it had finished.{progress(result)}"
        return Problem("interrupted", cause, remedy("interrupted"))
    if result.kind == "definitions_invalid" and (away := definitions_away(result.message)):
        return Problem(away.kind, _one_stop(away.cause), away.remedy)
    kind = result.kind if result.kind in ERRORS else "command_failed"
    if known and (kind == "command_failed" or issubclass(ERRORS[known.kind], ERRORS[kind])):
        then = _more_memory(pod, job) if known.kind == "out_of_memory" else known.remedy
        return Problem(known.kind, _one_stop(known.cause), then)
    if kind in ("registry_unreachable", "store_unreachable") and said:
        symptom = no_access(kind.removesuffix("_unreachable"), result.message, said)
        return Problem(symptom.kind, _one_stop(symptom.cause), symptom.remedy)
    cause = f"Feast failed with exit code {container.exit_code}{f': {said}' if said else ''}."
    return Problem(
        kind, _one_stop(cause), _more_memory(pod, job) if kind == "out_of_memory" else remedy(kind)
    )


def _by_words(container: Container, message: str, result: CommandResult | None) -> Problem:
    """Plain CLI mode: the message is a log's tail, or empty; or a runner that died without a word."""
    code = container.exit_code
    if result is not None:
        held = f"while the runner held it for {result.verdict}"
        cause = f"The command ended with exit code {code}{_signal(code)} {held}.{progress(result)}"
        return Problem("command_failed", cause, remedy("command_failed"))
    if symptom := recognise(message):
        return Problem(symptom.kind, _one_stop(symptom.cause), symptom.remedy)
    said = error_text(message)
    argv = [*_list(container.spec.get("command")), *_list(container.spec.get("args"))]
    if code in _RUNNER_EXITS and any(str(part).endswith(_RUNNER_FILE) for part in argv):
        kind, what = _RUNNER_EXITS[code]
        return Problem(kind, _one_stop(f"{what}{f': {said}' if said else ''}"), remedy(kind))
    kind = {2: "usage_error", 126: "start_error", 127: "start_error"}.get(code, "command_failed")
    meaning = {
        2: ", which Feast uses for a command line it does not understand",
        126: " (the program may not be run)",
        127: " (no such program)",
    }.get(code, "")
    cause = f"Container {container.name} ended with exit code {code}{meaning}{_signal(code)}"
    return Problem(
        kind, _one_stop(f"{cause}: {said}" if said else f"{cause}, and left no message"), remedy(kind)
    )


def _signal(code: int) -> str:
    return f", {_SIGNALS[code]}" if code in _SIGNALS else ""


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _one_stop(sentence: str) -> str:
    return sentence.rstrip(" .") + "." if not sentence.endswith("…") else sentence
