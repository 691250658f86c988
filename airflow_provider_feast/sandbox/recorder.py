"""Events: written by the controllers and the kubelet, repeated ones counted."""

from typing import Any

from airflow_provider_feast.sandbox import clock, resources, status
from airflow_provider_feast.sandbox.api import Api
from airflow_provider_feast.sandbox.shapes import Obj

NODE = "sandbox"


class Recorder:
    """Writes one component's Events."""

    def __init__(self, api: Api, component: str, host: str = "") -> None:
        self._api = api
        self._component = component
        self._host = host
        self._seen: dict[tuple[str, ...], str] = {}

    def normal(self, obj: Obj, reason: str, message: str, field_path: str = "") -> None:
        self._record(obj, "Normal", reason, message, field_path)

    def warning(self, obj: Obj, reason: str, message: str, field_path: str = "") -> None:
        self._record(obj, "Warning", reason, message, field_path)

    def _record(self, obj: Obj, kind: str, reason: str, message: str, field_path: str) -> None:
        meta = obj["metadata"]
        key = (meta["uid"], kind, reason, message, field_path)
        known = self._seen.get(key)
        if known and self._count_up(meta["namespace"], known):
            return
        event = self._event(obj, kind, reason, message, field_path)
        try:
            self._api.admit(resources.EVENTS, meta["namespace"], event)
        except status.ApiError as refused:
            if refused.code not in {403, 404}:  # the namespace is going away: nobody can read this Event
                raise
            return
        self._seen[key] = event["metadata"]["name"]

    def forget(self, uid: str) -> None:
        """Drop what is known of an object that is gone."""
        for key in [key for key in self._seen if key[0] == uid]:
            del self._seen[key]

    def _count_up(self, namespace: str, name: str) -> bool:
        def again(event: Obj) -> None:
            event["count"] += 1
            event["lastTimestamp"] = clock.stamp()

        return self._api.modify(resources.EVENTS, namespace, name, again) is not None

    def _event(self, obj: Obj, kind: str, reason: str, message: str, field_path: str) -> Obj:
        meta = obj["metadata"]
        involved: Obj = {
            "kind": obj["kind"],
            "namespace": meta["namespace"],
            "name": meta["name"],
            "uid": meta["uid"],
            "apiVersion": obj["apiVersion"],
            "resourceVersion": meta["resourceVersion"],
        }
        if field_path:
            involved["fieldPath"] = field_path
        nanoseconds = int(clock.now().timestamp() * 1e9)
        event: Obj = {
            "metadata": {"name": f"{meta['name']}.{nanoseconds + len(self._seen):x}"},
            "involvedObject": involved,
            "reason": reason,
            "message": message,
            "type": kind,
        }
        return event | self._times(kind)

    def _times(self, kind: str) -> dict[str, Any]:
        moment = clock.stamp()
        source = {"component": self._component}
        if self._host:
            source["host"] = self._host
        return {
            "source": source,
            "firstTimestamp": moment,
            "lastTimestamp": moment,
            "count": 1,
            "eventTime": None,
            "reportingComponent": self._component,
            "reportingInstance": self._host,
        }


class SchedulerRecorder(Recorder):
    """The scheduler writes the newer form: `eventTime` and no count."""

    def _times(self, kind: str) -> dict[str, Any]:
        return {
            "action": "Binding" if kind == "Normal" else "Scheduling",
            "source": {},
            "firstTimestamp": None,
            "lastTimestamp": None,
            "eventTime": clock.micro_stamp(),
            "reportingComponent": self._component,
            "reportingInstance": f"{self._component}-{NODE}",
        }

    def _count_up(self, namespace: str, name: str) -> bool:
        return False
