"""One look at one Job: count what finished, decide whether it is over, and what its pods should be."""

from dataclasses import dataclass, field
from datetime import timedelta

from airflow_provider_feast.sandbox import clock
from airflow_provider_feast.sandbox.controllers import failure_policy, indexes, job_pods
from airflow_provider_feast.sandbox.controllers.job_pods import Pods
from airflow_provider_feast.sandbox.shapes import Obj, clone

SUCCESS_TARGET, COMPLETE = "SuccessCriteriaMet", "Complete"
FAILURE_TARGET, FAILED, SUSPENDED = "FailureTarget", "Failed", "Suspended"
_COMPLETED = ("CompletionsReached", "Reached expected number of succeeded pods")
_BACKOFF = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
_DEADLINE = ("DeadlineExceeded", "Job was active longer than specified deadline")
_TOO_MANY_INDEXES = (
    "MaxFailedIndexesExceeded",
    "Job has exceeded the specified maximal number of failed indexes",
)
_FAILED_INDEXES = ("FailedIndexes", "Job has failed indexes")


def condition(job: Obj, kind: str) -> Obj | None:
    """A condition of a Job that is true."""
    for found in (job.get("status") or {}).get("conditions") or ():
        if found["type"] == kind and found["status"] == "True":
            return dict(found)
    return None


def is_finished(job: Obj) -> bool:
    return condition(job, COMPLETE) is not None or condition(job, FAILED) is not None


def set_condition(status: Obj, kind: str, value: str, why: tuple[str, str]) -> bool:
    """Add or change a condition; says whether anything changed."""
    conditions = status.setdefault("conditions", [])
    found = next((c for c in conditions if c["type"] == kind), None)
    if found is not None and (found["status"], found["reason"]) == (value, why[0]):
        return False
    moment = clock.stamp()
    new = {"type": kind, "status": value, "lastProbeTime": moment, "lastTransitionTime": moment}
    new |= {"reason": why[0], "message": why[1]}
    if found is None:
        conditions.append(new)
    else:
        found.update(new)
    return True


@dataclass
class Round:
    """The Job, its pods sorted, and the status that this look leads to."""

    job: Obj
    pods: Pods
    status: Obj = field(default_factory=dict)
    failed: int = 0
    completed: set[int] = field(default_factory=set)
    failed_indexes: set[int] = field(default_factory=set)
    policy_failure: str = ""
    counted_failures: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.status = clone(self.job.get("status") or {})
        self.failed = self.status.get("failed", 0)
        self.completed = indexes.parse(self.status.get("completedIndexes", ""))
        self.failed_indexes = indexes.parse(self.status.get("failedIndexes", ""))
        self.succeeded = self.status.get("succeeded", 0)
        self._count()

    @property
    def spec(self) -> Obj:
        found: Obj = self.job["spec"]
        return found

    @property
    def indexed(self) -> bool:
        return bool(self.spec["completionMode"] == "Indexed")

    @property
    def per_index(self) -> int | None:
        found: int | None = self.spec.get("backoffLimitPerIndex")
        return found

    @property
    def waits_for_termination(self) -> bool:
        return bool(self.spec["podReplacementPolicy"] == "Failed")

    def _count(self) -> None:
        total = self.spec.get("completions")
        for pod in self.pods.fresh_succeeded:
            if not self.indexed:
                self.succeeded += 1
            elif 0 <= job_pods.index_of(pod) < (total or 0):
                self.completed.add(job_pods.index_of(pod))
        if self.indexed:
            self.succeeded = len(self.completed)
        for pod in self.pods.fresh_failed:
            self._count_failure(pod)
        self.failed_indexes -= self.completed

    def _count_failure(self, pod: Obj) -> None:
        verdict = failure_policy.judge(self.spec.get("podFailurePolicy"), pod)
        if verdict.action == failure_policy.IGNORE:
            return
        self.failed += 1
        self.counted_failures.append(pod["metadata"]["uid"])
        if verdict.action == failure_policy.FAIL_JOB:
            self.policy_failure = self.policy_failure or verdict.message
        if self.indexed and self.per_index is not None:
            spent = job_pods.failures_of(pod) >= self.per_index
            if spent or verdict.action == failure_policy.FAIL_INDEX:
                self.failed_indexes.add(job_pods.index_of(pod))

    def verdict(self) -> tuple[str, tuple[str, str]] | None:
        """The interim condition that ends this Job, with reason and message; `None` while it goes on."""
        for kind in (FAILURE_TARGET, SUCCESS_TARGET):
            found = condition({"status": self.status}, kind)
            if found:
                return kind, (found["reason"], found["message"])
        if self.policy_failure:
            return FAILURE_TARGET, ("PodFailurePolicy", self.policy_failure)
        if self.spec.get("suspend"):
            return None
        failure = self._failure()
        if failure:
            return FAILURE_TARGET, failure
        return (SUCCESS_TARGET, _COMPLETED) if self._complete() else None

    def _failure(self) -> tuple[str, str] | None:
        if self.pods.fresh_failed and self.failed > self.spec["backoffLimit"]:
            return _BACKOFF
        if self._too_many_restarts():
            return _BACKOFF
        if self.seconds_left() is not None and (self.seconds_left() or 0) <= 0:
            return _DEADLINE
        if self.indexed and self.per_index is not None:
            most = self.spec.get("maxFailedIndexes")
            if most is not None and len(self.failed_indexes) > most:
                return _TOO_MANY_INDEXES
            done = len(self.completed) + len(self.failed_indexes) >= self.spec["completions"]
            if done and self.failed_indexes:
                return _FAILED_INDEXES
        return None

    def _too_many_restarts(self) -> bool:
        if self.spec["template"]["spec"]["restartPolicy"] != "OnFailure":
            return False
        restarts = sum(
            container["restartCount"]
            for pod in self.pods.active
            for kind in ("initContainerStatuses", "containerStatuses")
            for container in pod["status"].get(kind, ())
        )
        limit = self.spec["backoffLimit"]
        return bool(restarts > 0 if limit == 0 else restarts >= limit)

    def _complete(self) -> bool:
        total = self.spec.get("completions")
        if total is None:
            return bool(self.succeeded) and not self.pods.active
        return bool(self.succeeded >= total)

    def seconds_left(self) -> float | None:
        """Until the deadline; `None` without one, or before the start."""
        limit, start = self.spec.get("activeDeadlineSeconds"), self.status.get("startTime")
        if limit is None or not start or self.spec.get("suspend"):
            return None
        return (clock.parse_stamp(start) + timedelta(seconds=limit) - clock.now()).total_seconds()

    def wanted_active(self) -> int:
        total, parallelism = self.spec.get("completions"), self.spec["parallelism"]
        if total is None:
            return len(self.pods.active) if self.succeeded else int(parallelism)
        left = total - self.succeeded - (len(self.failed_indexes) if self.indexed else 0)
        return int(max(min(left, parallelism), 0))

    def pending_indexes(self) -> list[int]:
        """Indexes that have no pod and are neither completed nor failed, ascending."""
        busy = {job_pods.index_of(pod) for pod in self.pods.active}
        if self.waits_for_termination:
            busy |= {job_pods.index_of(pod) for pod in self.pods.terminating}
        taken = busy | self.completed | self.failed_indexes
        return [index for index in range(self.spec["completions"]) if index not in taken]

    def publish(self, pods: Pods, *, counted: bool) -> Obj:
        """The status to store: numbers of pods as they are, results only once they are `counted`."""
        status: Obj = clone(self.status)
        _set_or_drop(status, "active", len(pods.active))
        status["ready"] = pods.ready
        status["terminating"] = len(pods.terminating)
        status["uncountedTerminatedPods"] = {} if counted else self._uncounted()
        if counted:
            _set_or_drop(status, "failed", self.failed)
        if counted or self.indexed:  # an index says by itself that it was counted
            _set_or_drop(status, "succeeded", self.succeeded)
        if self.indexed:
            _set_or_drop(status, "completedIndexes", indexes.write(self.completed))
        if self.per_index is not None:
            status["failedIndexes"] = indexes.write(self.failed_indexes)
        return status

    def _uncounted(self) -> Obj:
        found: Obj = {}
        if self.pods.fresh_succeeded and not self.indexed:
            found["succeeded"] = [pod["metadata"]["uid"] for pod in self.pods.fresh_succeeded]
        if self.counted_failures:
            found["failed"] = list(self.counted_failures)
        return found


def _set_or_drop(status: Obj, key: str, value: int | str) -> None:
    if value:
        status[key] = value
    else:
        status.pop(key, None)
