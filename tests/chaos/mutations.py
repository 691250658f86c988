"""Breaks one safeguard of the package in this process, to show that the suite sees it.

Only processes that the suite forks come here: the package itself has no switch for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def no_adoption() -> None:
    """Never take over a Job that is there: make another one."""
    from airflow_provider_feast.jobs import submit

    def nothing(*_: Any, **__: Any) -> submit.Decision:
        return submit.Decision(None, [])

    submit.decide = nothing  # type: ignore[assignment]


def no_uid() -> None:
    """Delete or change a Job of that name, whichever it is."""
    from kubernetes.client import BatchV1Api
    from kubernetes_asyncio.client import BatchV1Api as AsyncBatchV1Api

    for api in (BatchV1Api, AsyncBatchV1Api):
        _without_preconditions(api)
        _without_uid(api)


def _without_preconditions(api: Any) -> None:
    delete = api.delete_namespaced_job

    def careless(self: Any, *args: Any, **kwargs: Any) -> Any:
        body = kwargs.get("body")
        if isinstance(body, dict):
            kwargs["body"] = {key: value for key, value in body.items() if key != "preconditions"}
        return delete(self, *args, **kwargs)

    api.delete_namespaced_job = careless


def _without_uid(api: Any) -> None:
    patch = api.patch_namespaced_job

    def careless(self: Any, name: str, namespace: str, body: Any, **kwargs: Any) -> Any:
        metadata = {key: value for key, value in body.get("metadata", {}).items() if key != "uid"}
        return patch(self, name, namespace, {**body, "metadata": metadata}, **kwargs)

    api.patch_namespaced_job = careless


def no_lock() -> None:
    """Have the registry's lock at once, whoever holds it."""
    from airflow_provider_feast.jobs.lock import RegistryLock

    async def have(*_: Any, **__: Any) -> bool:
        return True

    RegistryLock.acquire = RegistryLock.release = have  # type: ignore[method-assign]


MUTATIONS: dict[str, Callable[[], None]] = {
    "no-adoption": no_adoption,
    "no-lock": no_lock,
    "no-uid": no_uid,
}


def apply(name: str) -> None:
    """With a name, break that safeguard in this process."""
    if name:
        MUTATIONS[name]()
