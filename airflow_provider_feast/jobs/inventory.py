"""What of this provider there is in a namespace: Jobs with their verdicts, locks with their holders, runners."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

from airflow_provider_feast.jobs.async_api import AsyncApi
from airflow_provider_feast.jobs.diagnose import diagnose
from airflow_provider_feast.jobs.pod_view import PodView, at, mapping, objects, text
from airflow_provider_feast.jobs.submit import ended
from airflow_provider_feast.model import naming
from airflow_provider_feast.model.errors import FeastError, ForbiddenError
from airflow_provider_feast.model.lock import Holder, read_holders
from airflow_provider_feast.model.outcome import JobState, Outcome

OURS = f"{naming.L_MANAGED_BY}={naming.MANAGED_BY}"
_RUNNERS = f"{OURS},{naming.L_COMPONENT}=runner"


class JobEntry(NamedTuple):
    """One Job of ours.

    :param raw: the Job as the API's JSON.
    :param outcome: the verdict on it at this moment.
    """

    raw: dict[str, Any]
    outcome: Outcome

    @property
    def metadata(self) -> dict[str, Any]:
        """Its ``metadata``."""
        return mapping(self.raw.get("metadata"))

    @property
    def name(self) -> str:
        """Its name."""
        return text(self.metadata.get("name"))

    @property
    def uid(self) -> str:
        """Its uid."""
        return text(self.metadata.get("uid"))

    @property
    def created(self) -> datetime:
        """When it was created."""
        return moment_of(self.raw)

    @property
    def ended(self) -> bool:
        """Whether it has come to its end."""
        return ended(self.raw)

    @property
    def never_started(self) -> bool:
        """Whether it is suspended and was so from the beginning."""
        return bool(at(self.raw, "spec", "suspend")) and not at(self.raw, "status", "startTime")

    @property
    def lock(self) -> str:
        """``namespace/name`` of the Lease that it needs, or ""."""
        return self.annotation(naming.A_LOCK)

    @property
    def task(self) -> naming.TaskKey | None:
        """The task it belongs to; ``None`` for Jobs of older releases."""
        return naming.read_instance(self.metadata)

    def annotation(self, name: str) -> str:
        """An annotation, or ""."""
        return text(at(self.metadata, "annotations", name))

    def label(self, name: str) -> str:
        """A label, or ""."""
        return text(at(self.metadata, "labels", name))


class HolderEntry(NamedTuple):
    """One holder of a lock.

    :param alive: whether it may still write; ``None`` where that may not be looked up.
    """

    holder: Holder
    alive: bool | None


class LockEntry(NamedTuple):
    """One Lease.

    :param trouble: why its holders cannot be read, or "".
    """

    namespace: str
    name: str
    holders: tuple[HolderEntry, ...] = ()
    trouble: str = ""


class Inventory(NamedTuple):
    """All that there is.

    :param jobs: oldest first.
    :param runners: the runner's ConfigMaps, as the API's JSON.
    :param notes: what could not be looked up, and why.
    """

    namespace: str
    jobs: tuple[JobEntry, ...]
    locks: tuple[LockEntry, ...]
    runners: tuple[dict[str, Any], ...]
    notes: tuple[str, ...] = ()


def moment_of(resource: dict[str, Any]) -> datetime:
    """When an object was created; the beginning of time if it does not say."""
    created = text(at(resource, "metadata", "creationTimestamp"))
    return datetime.fromisoformat(created) if created else datetime.min.replace(tzinfo=UTC)


async def take_inventory(api: AsyncApi, namespace: str, lock_namespace: str) -> Inventory:
    """Look at everything of ours in a namespace.

    :param namespace: where the Jobs are.
    :param lock_namespace: where their locks are; those that Jobs name elsewhere are found, too.
    :raises FeastError: when the Jobs themselves cannot be listed.
    """
    notes: list[str] = []
    pods = await list_all(api, "pods", namespace, OURS)
    jobs = [await _entry(api, job, pods) for job in await list_all(api, "jobs", namespace, OURS)]
    jobs.sort(key=lambda entry: (entry.created, entry.name))
    places = {lock_namespace, *(job.lock.partition("/")[0] for job in jobs if job.lock)}
    locks: list[LockEntry] = []
    for place in sorted(places):
        try:
            leases = await list_all(api, "leases", place, OURS)
        except ForbiddenError as error:
            notes.append(f"Locks in namespace {place} are not shown: {error.what}")
            continue
        locks += [await _lock(api, lease, namespace, jobs) for lease in leases]
    runners: list[dict[str, Any]] = []
    try:
        runners = await list_all(api, "configmaps", namespace, _RUNNERS)
    except ForbiddenError as error:
        notes.append(f"Runners in namespace {namespace} are not looked at: {error.what}")
    return Inventory(namespace, tuple(jobs), tuple(locks), tuple(runners), tuple(notes))


_METHODS = {
    "jobs": ("batch", "list_namespaced_job"),
    "pods": ("core", "list_namespaced_pod"),
    "configmaps": ("core", "list_namespaced_config_map"),
    "leases": ("coordination", "list_namespaced_lease"),
    "events": ("core", "list_namespaced_event"),
}


async def list_all(
    api: AsyncApi, resource: str, namespace: str, selector: str = "", field_selector: str = ""
) -> list[dict[str, Any]]:
    """The objects of a namespace that carry labels, or fulfil a field selector."""
    chosen = {"label_selector": selector} if selector else {"field_selector": field_selector}
    group, method = _METHODS[resource]
    found = await api.ask("list", resource, namespace, group, method, namespace, expected=(), **chosen)
    return objects(mapping(found).get("items"))


async def _entry(api: AsyncApi, job: dict[str, Any], pods: list[dict[str, Any]]) -> JobEntry:
    uid = at(job, "metadata", "uid")
    own = [
        pod
        for pod in pods
        if any(o.get("uid") == uid for o in objects(at(pod, "metadata", "ownerReferences")))
    ]
    outcome = diagnose(job, own, [])
    if outcome.state is JobState.STARTING:
        namespace = text(at(job, "metadata", "namespace"))
        about = [("Job", at(job, "metadata", "name")), *(("Pod", at(pod, "metadata", "name")) for pod in own)]
        events: list[Any] = []
        for kind, name in about:
            field = f"involvedObject.kind={kind},involvedObject.name={name}"
            events += await list_all(api, "events", namespace, field_selector=field)
        outcome = diagnose(job, own, events)
    return JobEntry(job, outcome)


async def _lock(api: AsyncApi, lease: dict[str, Any], namespace: str, jobs: list[JobEntry]) -> LockEntry:
    where, name = text(at(lease, "metadata", "namespace")), text(at(lease, "metadata", "name"))
    known = {job.uid for job in jobs if not job.ended}
    try:
        holders = read_holders(lease)
    except FeastError as error:
        return LockEntry(where, name, (), str(error))
    return LockEntry(
        where,
        name,
        tuple(
            [
                HolderEntry(h, True if h.uid in known and h.namespace == namespace else await _alive(api, h))
                for h in holders.values()
            ]
        ),
    )


async def _alive(api: AsyncApi, holder: Holder) -> bool | None:
    """Whether a holder may still write: its Job has not ended, or one of its pods goes on."""
    try:
        job = await api.read_job(holder.namespace, holder.job)
        if job is not None and at(job, "metadata", "uid") == holder.uid and not ended(job):
            return True
        pods = await api.list_pods(holder.namespace, holder.uid)
    except ForbiddenError:
        return None
    return any(not PodView(pod).over for pod in pods)
