"""Every error a user can meet: one class per kind, grouped by what a person would do about it.

A message says what happened, where, and what to do next, in that order. ``kind`` is a stable
identifier (logs, metrics, XCom); ``retryable`` says whether the same task could succeed when it is
simply run again.
"""

from __future__ import annotations

from typing import ClassVar

LONGEST_PART = 4000
"""Characters of each part of a message; a value that somebody pasted by mistake may have millions."""


def _readable(text: str) -> str:
    half = LONGEST_PART // 2
    return text if len(text) <= LONGEST_PART else f"{text[:half]} … {text[-half:]}"


class FeastError(Exception):
    """Base of every error of this package.

    :param what: what happened, in the user's words, one or more lines.
    :param where: the object it happened to (a Job, a field, a connection), or "".
    :param remedy: what to do next, or "".
    """

    kind: ClassVar[str] = "unknown"
    retryable: ClassVar[bool] = False

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        what, where, remedy = (_readable(part) for part in (what, where, remedy))
        self.what, self.where, self.remedy = what, where, remedy
        parts = [what]
        if where:
            parts.append(f"Where: {where}")
        if remedy:
            parts.append(f"What to do: {remedy}")
        super().__init__("\n".join(parts))

    def with_more(self, sentence: str) -> FeastError:
        """The same error, with a further sentence of what happened."""
        return type(self)(f"{self.what}\n{sentence}", where=self.where, remedy=self.remedy)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.where, self.remedy)


def _rebuild(cls: type[FeastError], what: str, where: str, remedy: str) -> FeastError:
    return cls(what, where=where, remedy=remedy)


# --- groups: what a person does about it ---------------------------------------------------------


class FeastDagError(FeastError, ValueError):
    """Fix the DAG: an argument of an operator or sensor cannot work."""

    kind = "dag_invalid"


class FeastConfigurationError(FeastError):
    """Fix the configuration: the connection, feature_store.yaml, or the definitions."""

    kind = "configuration_invalid"


class FeastClusterError(FeastError):
    """Fix the cluster: permissions, admission, images, capacity, missing objects.

    What has no kind of its own below (a Job that does not go away, a Lease that changes again and again, an odd answer)
    may pass by itself.
    """

    kind = "cluster"
    retryable = True


class FeastResourceError(FeastError):
    """Give it more: memory or time."""

    kind = "resources"
    retryable = True


class FeastTransientError(FeastError):
    """Try again: nothing has to be changed."""

    kind = "transient"
    retryable = True


class FeastCommandError(FeastError):
    """The Feast command itself failed; its last lines say why."""

    kind = "command_failed"
    retryable = True


# --- kinds ---------------------------------------------------------------------------------------


class FeastUsageError(FeastCommandError):
    """Feast did not understand the command line (exit code 2)."""

    kind = "usage_error"
    retryable = False


class UnknownFeatureViewError(FeastCommandError):
    """A feature view that was asked for is not in the registry, or is offline-only."""

    kind = "unknown_feature_view"
    retryable = False


class NothingMaterializedError(FeastCommandError):
    """The command ended well but wrote nothing, and that was not allowed."""

    kind = "nothing_materialized"
    retryable = False


class OlderWindowError(FeastCommandError):
    """A window is older than what is online already, and loading it was refused."""

    kind = "older_window"
    retryable = False


class DeletionsRefusedError(FeastConfigurationError):
    """``feast apply`` would delete objects of the registry, and that was not allowed."""

    kind = "deletions_refused"


class DefinitionsError(FeastConfigurationError):
    """The feature repository cannot be imported or copied."""

    kind = "definitions_invalid"


class DefinitionsRefusedError(DefinitionsError):
    """The Git server refused the credentials."""

    kind = "definitions_refused"


class UnexpandedVariablesError(FeastConfigurationError):
    """feature_store.yaml names environment variables that the pod does not have."""

    kind = "unexpanded_variables"


class RegistryUnreachableError(FeastCommandError):
    """The registry cannot be reached or refused the credentials."""

    kind = "registry_unreachable"


class StoreUnreachableError(FeastCommandError):
    """The online or offline store cannot be reached or refused the credentials."""

    kind = "store_unreachable"


class RegistryRefusedError(RegistryUnreachableError):
    """The registry refused the credentials."""

    kind = "registry_refused"
    retryable = False


class StoreRefusedError(StoreUnreachableError):
    """The online or offline store refused the credentials."""

    kind = "store_refused"
    retryable = False


class OutOfMemoryError(FeastResourceError):
    """The container was killed at its memory limit."""

    kind = "out_of_memory"
    retryable = False


class KilledError(FeastResourceError):
    """The container was killed (exit code 137) and nothing says by whom, or why."""

    kind = "killed"


class OutOfDiskError(FeastResourceError):
    """The pod wrote more than its temporary directory or its disk may hold."""

    kind = "out_of_disk"
    retryable = False


class DeadlineExceededError(FeastResourceError):
    """The Job ran into its deadline."""

    kind = "deadline_exceeded"


class ImageError(FeastClusterError):
    """The image does not exist or may not be pulled."""

    kind = "image_unavailable"
    retryable = False


class ImageRegistryError(ImageError):
    """The image's registry did not answer, limits pulls, or the node could not store the image."""

    kind = "image_registry_unreachable"
    retryable = True


class UnschedulableError(FeastClusterError):
    """No node can take the pod."""

    kind = "unschedulable"
    retryable = True


class MissingObjectError(FeastClusterError):
    """A ConfigMap, Secret, key, ServiceAccount, volume or namespace that the Job needs does not exist."""

    kind = "missing_object"
    retryable = False


class AdmissionRefusedError(FeastClusterError):
    """Pod Security, a quota, validation or a webhook refused the Job or its pods."""

    kind = "admission_refused"
    retryable = False


class QuotaExceededError(AdmissionRefusedError):
    """A ResourceQuota is used up by other pods or Jobs."""

    kind = "quota_exceeded"
    retryable = True


class AdmissionUnansweredError(AdmissionRefusedError):
    """An admission webhook or the API server did not answer when the pod was to be created."""

    kind = "admission_unanswered"
    retryable = True


class ContainerStartError(FeastClusterError):
    """The container cannot be started: no such executable, root refused, bad mount."""

    kind = "start_error"
    retryable = False


class PodSetupError(ContainerStartError):
    """The node could not set up the pod: its network, a volume, its container."""

    kind = "pod_setup_failed"
    retryable = True


class ForbiddenError(FeastClusterError):
    """Kubernetes refused a request of Airflow: a right or a valid credential is missing."""

    kind = "forbidden"
    retryable = False


class NameTakenError(FeastClusterError):
    """Something that is not ours already has the name that the Job would get."""

    kind = "name_taken"
    retryable = False


class SupersededError(FeastClusterError):
    """A later state of this task has a Job already: this try is out of date, or it is another Airflow's task."""

    kind = "superseded"
    retryable = False


class FeatureStoreNotReadyError(FeastClusterError):
    """A FeatureStore of the Feast operator is Pending or Failed."""

    kind = "feature_store_not_ready"
    retryable = True


class DisruptedError(FeastTransientError):
    """The pod was evicted, preempted or lost with its node."""

    kind = "disrupted"


class JobDeletedError(FeastTransientError):
    """The Job was deleted before its outcome was seen."""

    kind = "job_deleted"


class DefinitionsUnreachableError(FeastTransientError):
    """A server does not answer: the Git server that has the definitions, or one that they ask when imported."""

    kind = "definitions_unreachable"


class RegistryLockedError(FeastTransientError):
    """Other Jobs wrote the same registry for as long as this one was to wait."""

    kind = "registry_locked"


class InterruptedCommandError(FeastTransientError):
    """The command was asked to stop (SIGTERM) before it had finished."""

    kind = "interrupted"


class ApiUnavailableError(FeastTransientError):
    """The Kubernetes API did not answer."""

    kind = "api_unavailable"


class JobFailedError(FeastCommandError):
    """The Job failed and left nothing that says why."""

    kind = "job_failed"


def _tree(cls: type[FeastError]) -> list[type[FeastError]]:
    return [cls, *(leaf for sub in cls.__subclasses__() for leaf in _tree(sub))]


ERRORS: dict[str, type[FeastError]] = {cls.kind: cls for cls in _tree(FeastError)}
"""Every error class by its ``kind``."""
