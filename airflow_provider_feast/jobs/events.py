"""Ask for the Events about some objects."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kubernetes_asyncio.client.exceptions import ApiException

from airflow_provider_feast.jobs.api import explain, status_message
from airflow_provider_feast.jobs.async_api import NO_ANSWER, AsyncApi, read_json


async def events_about_objects(
    api: AsyncApi, namespace: str, about: Iterable[tuple[str, str]]
) -> list[dict[str, Any]] | None:
    """The Events about some objects, or ``None`` where the server does not answer now.

    :param about: the kind and the name of each object.
    :raises ForbiddenError: when listing Events is not allowed.
    """
    found: list[dict[str, Any]] = []
    for kind, name in about:
        selector = f"involvedObject.kind={kind},involvedObject.name={name}"
        try:
            answer = await api.send("core", "list_namespaced_event", namespace, field_selector=selector)
            found += (await read_json(answer)).get("items") or []
        except ApiException as error:
            if error.status == 403:
                raise explain(403, status_message(error.body), "list", "events", namespace) from error
            return None
        except NO_ANSWER:
            return None
    return found
