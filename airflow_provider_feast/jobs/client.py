"""One way to a cluster for workers and triggers alike: an Airflow Kubernetes connection, resolved once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from kubernetes_asyncio.client import ApiClient, Configuration

T = TypeVar("T")


def async_configuration(sync: Any) -> Configuration:
    """The asynchronous client's configuration for what the synchronous one resolved.

    ``AsyncKubernetesHook`` knows no in-cluster fallback and ignores ``config_file``, so both clients go
    by the synchronous hook's resolution.

    :param sync: a ``kubernetes.client.Configuration`` with its credentials loaded.
    """
    configuration = Configuration(host=sync.host)
    for name in (
        "ssl_ca_cert",
        "cert_file",
        "key_file",
        "verify_ssl",
        "proxy",
        "proxy_headers",
        "tls_server_name",
    ):
        if hasattr(sync, name):
            setattr(configuration, name, getattr(sync, name))

    def token() -> str | None:
        found: str | None = sync.get_api_key_with_prefix("BearerToken", "authorization")
        return found

    async def renew(target: Configuration) -> None:
        if found := await asyncio.to_thread(token):
            target.api_key["BearerToken"] = found

    if found := token():
        configuration.api_key["BearerToken"] = found
        configuration.refresh_api_key_hook = renew  # in-cluster and exec tokens live for minutes
    return configuration


@asynccontextmanager
async def async_client(sync: Any) -> AsyncIterator[ApiClient]:
    """An asynchronous ``ApiClient`` beside a synchronous one's configuration."""
    client = ApiClient(configuration=async_configuration(sync))
    try:
        yield client
    finally:
        await client.close()


def run_async(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine from synchronous code, also where an event loop is running (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, coroutine).result()
