"""The Job controller: creates pods, counts them, ends Jobs, and removes finished ones in time."""

from datetime import datetime, timedelta

from airflow_provider_feast.sandbox import actors, clock, resources, status
from airflow_provider_feast.sandbox.api import Api
from airflow_provider_feast.sandbox.clock import Backoff
from airflow_provider_feast.sandbox.controllers import job_pods, job_round
from airflow_provider_feast.sandbox.controllers.job_round import Round
from airflow_provider_feast.sandbox.controllers.queue import WorkQueue
from airflow_provider_feast.sandbox.deletion import BACKGROUND, FOREGROUND, DeleteOptions, delete
from airflow_provider_feast.sandbox.recorder import Recorder
from airflow_provider_feast.sandbox.shapes import Obj
from airflow_provider_feast.sandbox.store import Change

At = tuple[str, str]
_POD_BACKOFF = (timedelta(seconds=10), timedelta(minutes=10))
_CREATE_BACKOFF = (timedelta(seconds=1), timedelta(minutes=10))
_MANAGER = "kubernetes.io/job-controller"
_MOST_PODS_AT_ONCE = 500


class JobController:
    """Reconciles Jobs whenever they or their pods change."""

    def __init__(self, api: Api, backoff: Backoff) -> None:
        self._api = api
        self._backoff = backoff
        self._events = Recorder(api, "job-controller")
        self._failures: dict[str, dict[int, tuple[int, datetime]]] = {}
        self._refusals: dict[str, tuple[int, datetime]] = {}
        self.queue: WorkQueue[At] = WorkQueue(self._reconcile, actors.JOB_CONTROLLER)
        self.orphans: WorkQueue[At] = WorkQueue(self._release_orphan, actors.JOB_CONTROLLER)
        api.store.listen(self._changed)

    def _changed(self, change: Change) -> None:
        if change.key == resources.JOBS.key:
            if change.type == "DELETED":
                self._forget(change)
            else:
                self.queue.add((change.namespace, change.name))
        elif change.key == resources.PODS.key:
            self._pod_changed(change)

    def _forget(self, change: Change) -> None:
        uid = change.obj["metadata"]["uid"]
        self._failures.pop(uid, None)
        self._refusals.pop(uid, None)
        self._events.forget(uid)
        for key, pod in self._api.store.dependents(uid):
            if key == resources.PODS.key:
                self.orphans.add((change.namespace, pod["metadata"]["name"]))

    def _pod_changed(self, change: Change) -> None:
        meta = change.obj["metadata"]
        owner = next((o for o in meta.get("ownerReferences") or () if o.get("controller")), None)
        if owner is not None and self._api.store.by_uid(owner["uid"]) is not None:
            if owner["kind"] == "Job":
                self.queue.add((change.namespace, owner["name"]))
        elif job_pods.TRACKING in (meta.get("finalizers") or ()):
            self.orphans.add((change.namespace, change.name))

    def _release_orphan(self, at: At) -> None:
        self._release(*at)

    def _release(self, namespace: str, name: str) -> None:
        def drop(pod: Obj) -> None:
            left = [f for f in pod["metadata"].get("finalizers") or () if f != job_pods.TRACKING]
            pod["metadata"]["finalizers"] = left

        self._api.modify(resources.PODS, namespace, name, drop)

    def _reconcile(self, at: At) -> None:
        job = self._api.store.get(resources.JOBS.key, *at)
        if job is None or job["spec"].get("managedBy", _MANAGER) != _MANAGER:
            return
        pods = job_pods.owned(self._api.store, job)
        if job["metadata"].get("deletionTimestamp"):
            for pod in pods:
                if pod["metadata"].get("deletionTimestamp") or _over(pod):
                    self._release(at[0], pod["metadata"]["name"])
        elif job_round.is_finished(job):
            for pod in filter(_over, pods):
                self._release(at[0], pod["metadata"]["name"])
            self._expire(at, job)
        else:
            self._advance(at, job, pods)

    def _advance(self, at: At, job: Obj, pods: list[Obj]) -> None:
        now = Round(job, job_pods.classify(job, pods))
        self._suspension(now)
        self._remember(now)
        verdict = now.verdict()
        if verdict:
            job_round.set_condition(now.status, verdict[0], "True", verdict[1])
        if verdict or now.spec.get("suspend"):
            self._stop(now)
        else:
            self._manage(at, now)
        left = job_pods.classify(job, job_pods.owned(self._api.store, job))
        fresh = [*now.pods.fresh_succeeded, *now.pods.fresh_failed]
        if fresh:
            self._store(at, now.publish(left, counted=False))
            for pod in fresh:
                self._release(at[0], pod["metadata"]["name"])
        if verdict and not left.active and not left.terminating:
            self._finish(now, verdict)
        self._store(at, now.publish(left, counted=True))
        seconds = now.seconds_left()
        if seconds is not None:
            self.queue.add_after(at, seconds)

    def _store(self, at: At, new: Obj) -> None:
        def change(job: Obj) -> None:
            job["status"] = new

        self._api.modify(resources.JOBS, *at, change)

    def _suspension(self, now: Round) -> None:
        if now.spec.get("suspend"):
            if job_round.set_condition(
                now.status, job_round.SUSPENDED, "True", ("JobSuspended", "Job suspended")
            ):
                self._events.normal(now.job, "Suspended", "Job suspended")
            return
        if job_round.condition({"status": now.status}, job_round.SUSPENDED):
            job_round.set_condition(now.status, job_round.SUSPENDED, "False", ("JobResumed", "Job resumed"))
            self._events.normal(now.job, "Resumed", "Job resumed")
            now.status["startTime"] = clock.stamp()
        now.status.setdefault("startTime", clock.stamp())

    def _remember(self, now: Round) -> None:
        """Failures in a row, of the Job or of each index, for the back-off."""
        known = self._failures.setdefault(now.job["metadata"]["uid"], {})
        for pod in now.pods.fresh_succeeded:
            known.pop(self._slot(now, pod), None)
        for pod in now.pods.fresh_failed:
            slot = self._slot(now, pod)
            count = known[slot][0] if slot in known else 0
            known[slot] = (count + 1, clock.now())

    @staticmethod
    def _slot(now: Round, pod: Obj) -> int:
        return job_pods.index_of(pod) if now.indexed and now.per_index is not None else -1

    def _wait(self, now: Round, slot: int) -> float:
        """Seconds until the back-off of a Job (slot -1) or an index is over."""
        known = self._failures.get(now.job["metadata"]["uid"], {}).get(slot)
        if known is None:
            return 0.0
        ends = known[1] + self._backoff.delay(known[0], *_POD_BACKOFF)
        return (ends - clock.now()).total_seconds()

    def _stop(self, now: Round) -> None:
        for pod in now.pods.active:
            self._delete_pod(now, pod)

    def _delete_pod(self, now: Round, pod: Obj) -> None:
        meta = pod["metadata"]
        options = DeleteOptions(policy=BACKGROUND, uid=meta["uid"])
        delete(self._api, resources.PODS, meta["namespace"], meta["name"], options)
        self._events.normal(now.job, "SuccessfulDelete", f"Deleted pod: {meta['name']}")

    def _manage(self, at: At, now: Round) -> None:
        busy = len(now.pods.active)
        want = now.wanted_active()
        for pod in now.pods.active[want:]:
            self._delete_pod(now, pod)
        if now.waits_for_termination:
            busy += len(now.pods.terminating)
        missing = min(want - busy, _MOST_PODS_AT_ONCE)
        if missing <= 0:
            return
        refused = self._refusals.get(now.job["metadata"]["uid"])
        if refused:
            wait = (refused[1] - clock.now()).total_seconds()
            if wait > 0:
                self.queue.add_after(at, wait)
                return
        slots: list[int | None] = list(now.pending_indexes()[:missing]) if now.indexed else [None] * missing
        for slot in slots:
            wait = self._wait(now, slot if slot is not None and now.per_index is not None else -1)
            if wait > 0:
                self.queue.add_after(at, wait)
            elif not self._create(at, now, slot):
                return

    def _create(self, at: At, now: Round, index: int | None) -> bool:
        uid = now.job["metadata"]["uid"]
        failures = self._failures.get(uid, {}).get(-1 if index is None else index, (0, None))[0]
        try:
            pod = self._api.admit(resources.PODS, at[0], job_pods.manifest(now.job, index, failures))
        except status.ApiError as refusal:
            if any(c["reason"] == "NamespaceTerminating" for c in (refusal.details or {}).get("causes", ())):
                return False
            self._events.warning(now.job, "FailedCreate", f"Error creating: {refusal.message}")
            count = self._refusals.get(uid, (0, None))[0] + 1
            delay = self._backoff.delay(count, *_CREATE_BACKOFF)
            self._refusals[uid] = (count, clock.now() + delay)
            self.queue.add_after(at, delay.total_seconds())
            return False
        self._refusals.pop(uid, None)
        self._events.normal(now.job, "SuccessfulCreate", f"Created pod: {pod['metadata']['name']}")
        return True

    def _finish(self, now: Round, verdict: tuple[str, tuple[str, str]]) -> None:
        kind, why = verdict
        if kind == job_round.SUCCESS_TARGET:
            job_round.set_condition(now.status, job_round.COMPLETE, "True", why)
            now.status["completionTime"] = clock.stamp()
            self._events.normal(now.job, "Completed", "Job completed")
        else:
            job_round.set_condition(now.status, job_round.FAILED, "True", why)
            self._events.warning(now.job, *why)

    def _expire(self, at: At, job: Obj) -> None:
        """ttlSecondsAfterFinished."""
        ttl = job["spec"].get("ttlSecondsAfterFinished")
        done = job_round.condition(job, job_round.COMPLETE) or job_round.condition(job, job_round.FAILED)
        if ttl is None or done is None:
            return
        ends = clock.parse_stamp(done["lastTransitionTime"]) + timedelta(seconds=ttl)
        seconds = (ends - clock.now()).total_seconds()
        if seconds > 0:
            self.queue.add_after(at, seconds)
            return
        options = DeleteOptions(policy=FOREGROUND, uid=job["metadata"]["uid"])
        delete(self._api, resources.JOBS, *at, options)


def _over(pod: Obj) -> bool:
    return pod["status"]["phase"] in {"Succeeded", "Failed"}
