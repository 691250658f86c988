"""The trigger that waits in the triggerer until a FeatureStore of the Feast operator is Ready."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_feast.jobs.stream import ObjectStream, custom
from airflow_provider_feast.jobs.watch import WatchOptions
from airflow_provider_feast.model.errors import FeastError, MissingObjectError
from airflow_provider_feast.model.feature_store import (
    GROUP,
    PLURAL,
    FeatureStoreState,
    no_operator,
    read_state,
)
from airflow_provider_feast.triggers.feast import EVENT_VERSION, Clusters, error_event


class FeatureStoreTrigger(BaseTrigger):
    """Waits until a FeatureStore is Ready, or has Failed where that ends the wait.

    :param name: the FeatureStore's name.
    :param api_version: in which the cluster serves it, e.g. ``v1``.
    :param fail_on_failed: whether the phase ``Failed`` ends the wait; else the operator may mend it.
    :param version: which release's arguments these are.
    """

    def __init__(
        self,
        kubernetes_conn_id: str,
        namespace: str,
        name: str,
        api_version: str,
        fail_on_failed: bool = True,
        version: int = EVENT_VERSION,
    ) -> None:
        super().__init__()
        self.kubernetes_conn_id, self.namespace, self.name = kubernetes_conn_id, namespace, name
        self.api_version, self.fail_on_failed, self.version = api_version, fail_on_failed, version

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class path and the arguments."""
        return "airflow_provider_feast.triggers.feature_store.FeatureStoreTrigger", {
            "kubernetes_conn_id": self.kubernetes_conn_id,
            "namespace": self.namespace,
            "name": self.name,
            "api_version": self.api_version,
            "fail_on_failed": self.fail_on_failed,
            "version": self.version,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Watch the FeatureStore; the event says in which phase the wait ended."""
        changed = asyncio.Event()
        streams = Clusters.streams(self.kubernetes_conn_id, WatchOptions().outage_seconds)
        kind = custom(GROUP, self.api_version, PLURAL)
        field = f"metadata.name={self.name}"
        try:
            async with streams.subscribed(
                kind, self.namespace, self.name, changed, field_selector=field
            ) as stream:
                state = await self._settled(stream, changed)
            if not state.ready:
                raise state.error()
            told = {"feature_store": self.name, "phase": state.phase}
            yield TriggerEvent({"version": EVENT_VERSION, "job": "", **told})
        except MissingObjectError:  # what is listed is missing: the kind itself
            yield error_event(no_operator(self.namespace), "")
        except FeastError as error:
            yield error_event(error, "")

    async def _settled(self, stream: ObjectStream, changed: asyncio.Event) -> FeatureStoreState:
        told = ""
        while True:
            changed.clear()
            if stream.error is not None:
                raise stream.error
            for resource in stream.present(self.name):
                state = read_state(resource)
                if state.ready or (state.failed and self.fail_on_failed):
                    return state
                if state.words != told:
                    told = state.words
                    self.log.info("Waiting: %s.", told)
            await changed.wait()
