"""Read Jobs, pods and Events as the API sends them, whatever is missing from them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

MAIN_CONTAINER = "feast"
DEFAULT_CONTAINER_ANNOTATION = "kubectl.kubernetes.io/default-container"
INDEX_KEY = "batch.kubernetes.io/job-completion-index"


def at(value: Any, *path: str) -> Any:
    """The value below nested keys, or ``None`` where any of them is missing."""
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def mapping(value: Any) -> dict[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def objects(value: Any) -> list[dict[str, Any]]:
    """The objects of a list; anything else is left out."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(value: Any) -> str:
    """The value if it is text, else ""."""
    return value if isinstance(value, str) else ""


def whole(value: Any) -> int:
    """The value if it is a whole number, else 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def moment(*values: Any) -> str:
    """The latest of some API time stamps, to the second, in a form that sorts; "" if there is none."""
    return max((text(value)[:19] for value in values), default="")


def condition(resource: dict[str, Any], kind: str) -> dict[str, Any] | None:
    """A condition of that type that holds: its ``status`` is the text "True", not merely set."""
    found = (entry for entry in objects(at(resource, "status", "conditions")) if entry.get("type") == kind)
    return next((entry for entry in found if entry.get("status") == "True"), None)


def event_time(event: dict[str, Any]) -> str:
    """When an Event was last seen; core and scheduler Events keep that in different fields."""
    return moment(
        at(event, "series", "lastObservedTime"),
        event.get("lastTimestamp"),
        event.get("eventTime"),
        event.get("firstTimestamp"),
        at(event, "metadata", "creationTimestamp"),
    )


def event_text(event: dict[str, Any]) -> str:
    """What an Event says, without what the API's aggregation of many similar ones puts in front."""
    return text(event.get("message")).removeprefix("(combined from similar events): ")


def events_about(resource: dict[str, Any], kind: str, events: Iterable[Any]) -> list[dict[str, Any]]:
    """The Events of one object, oldest first, told by uid so that an older namesake's do not count."""
    uid, name = text(at(resource, "metadata", "uid")), text(at(resource, "metadata", "name"))

    def matches(event: dict[str, Any]) -> bool:
        involved = mapping(event.get("involvedObject"))
        if uid and involved.get("uid"):
            return bool(involved["uid"] == uid)
        return bool(name) and involved.get("name") == name and involved.get("kind", kind) == kind

    about = [event for event in events if isinstance(event, dict) and matches(event)]
    return sorted(about, key=lambda event: (event_time(event), event_text(event)))


@dataclass(frozen=True)
class Container:
    """One container of a pod: what was asked for and how it is doing.

    :param spec: its entry in the pod's spec, or an empty object.
    :param status: its entry in the pod's status, or an empty object.
    :param init: whether it runs before the main container.
    """

    name: str
    spec: dict[str, Any]
    status: dict[str, Any]
    init: bool = False

    @property
    def running(self) -> dict[str, Any] | None:
        """``state.running``, if that is its state."""
        found = at(self.status, "state", "running")
        return found if isinstance(found, dict) else None

    @property
    def waiting(self) -> dict[str, Any]:
        """``state.waiting``, or an empty object."""
        return mapping(at(self.status, "state", "waiting"))

    @property
    def ended(self) -> dict[str, Any]:
        """How it ended, or, when it is being restarted in place, how it ended before; or an empty object."""
        now = mapping(at(self.status, "state", "terminated"))
        return now or mapping(at(self.status, "lastState", "terminated"))

    @property
    def exit_code(self) -> int:
        """The exit code of :attr:`ended`, 0 if there is none."""
        return whole(self.ended.get("exitCode"))

    @property
    def image(self) -> str:
        """The image that was asked for."""
        return text(self.spec.get("image")) or text(self.status.get("image"))

    @property
    def memory_limit(self) -> str:
        """``resources.limits.memory`` of the spec, or ""."""
        return text(at(self.spec, "resources", "limits", "memory"))


@dataclass(frozen=True)
class PodView:
    """A pod's JSON with names for what a diagnosis asks."""

    raw: dict[str, Any]

    @property
    def name(self) -> str:
        """``metadata.name``."""
        return text(at(self.raw, "metadata", "name"))

    @property
    def created(self) -> str:
        """``metadata.creationTimestamp``, to the second."""
        return moment(at(self.raw, "metadata", "creationTimestamp"))

    @property
    def deleting(self) -> bool:
        """Whether it is being deleted."""
        return bool(at(self.raw, "metadata", "deletionTimestamp"))

    @property
    def phase(self) -> str:
        """``status.phase``."""
        return text(at(self.raw, "status", "phase"))

    @property
    def over(self) -> bool:
        """Whether it has come to its end."""
        return self.phase in ("Succeeded", "Failed")

    @property
    def live(self) -> bool:
        """Whether it still has work before it."""
        return not self.over and not self.deleting

    @property
    def spec(self) -> dict[str, Any]:
        """The pod's spec."""
        return mapping(self.raw.get("spec"))

    @property
    def index(self) -> str:
        """The completion index of an Indexed Job's pod, or ""."""
        label = text(at(self.raw, "metadata", "labels", INDEX_KEY))
        return label or text(at(self.raw, "metadata", "annotations", INDEX_KEY))

    @property
    def init_containers(self) -> list[Container]:
        """Its init containers, in order."""
        return self._join("initContainers", "initContainerStatuses", init=True)

    @property
    def containers(self) -> list[Container]:
        """Its other containers, in order."""
        return self._join("containers", "containerStatuses", init=False)

    @property
    def main(self) -> Container | None:
        """The container that runs Feast: `feast`, else the pod's default one, else the first."""
        known = {container.name: container for container in reversed(self.containers)}
        default = text(at(self.raw, "metadata", "annotations", DEFAULT_CONTAINER_ANNOTATION))
        for name in (MAIN_CONTAINER, default):
            if name in known:
                return known[name]
        return next(iter(self.containers), None)

    @property
    def started(self) -> bool:
        """Whether its main container runs or has run."""
        main = self.main
        if main is not None and (main.running is not None or main.ended):
            return True
        return self.phase == "Running" and not (main and main.waiting)

    @property
    def finished_at(self) -> str:
        """When the last of its containers ended, to the second, else when it was created."""
        ends = [c.ended.get("finishedAt") for c in (*self.init_containers, *self.containers)]
        return moment(*ends) or self.created

    def _join(self, specs: str, statuses: str, *, init: bool) -> list[Container]:
        by_name = {text(s.get("name")): s for s in objects(at(self.raw, "status", statuses))}
        wanted = {text(s.get("name")): s for s in objects(self.spec.get(specs))}
        names = [*wanted, *(name for name in by_name if name not in wanted)]
        return [Container(name, wanted.get(name, {}), by_name.get(name, {}), init) for name in names]


def pods_of(job: dict[str, Any], pods: Iterable[Any]) -> list[PodView]:
    """The pods of a Job, oldest first; those of an older Job of the same name are left out by owner."""
    uid = at(job, "metadata", "uid")

    def ours(pod: dict[str, Any]) -> bool:
        owners = [o.get("uid") for o in objects(at(pod, "metadata", "ownerReferences")) if o.get("uid")]
        return not uid or not owners or uid in owners

    views = [PodView(pod) for pod in pods if isinstance(pod, dict) and ours(pod)]
    return sorted(views, key=lambda pod: (pod.created, pod.name))
