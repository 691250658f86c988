"""One way to a cluster for workers and triggers alike: an Airflow Kubernetes connection, resolved once."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import aiohttp
from kubernetes_asyncio.client import ApiClient, Configuration
from requests.utils import should_bypass_proxies

T = TypeVar("T")

READ_BYTES = 2**21
"""How much of an answer is buffered, as in the asynchronous client's own session: more than etcd lets an object be."""


class UnresolvedError(OSError):
    """Address or credentials of a cluster could not be had; it may be so for a moment only (Airflow's API is away)."""


@contextmanager
def resolving() -> Iterator[None]:
    """Whatever goes wrong while address or credentials are resolved counts as no answer of the cluster."""
    try:
        yield
    except Exception as error:
        raise UnresolvedError(f"{type(error).__name__}: {error}") from error


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
        "proxy_headers",
        "tls_server_name",
    ):
        if hasattr(sync, name):
            setattr(configuration, name, getattr(sync, name))
    if sync.proxy and not should_bypass_proxies(sync.host, no_proxy=sync.no_proxy or ""):
        configuration.proxy = sync.proxy

    def token() -> str | None:
        found: str | None = sync.get_api_key_with_prefix("BearerToken", "authorization")
        return found

    async def renew(target: Configuration) -> None:
        with resolving():
            if found := await asyncio.to_thread(token):
                target.api_key["BearerToken"] = found

    if found := token():
        configuration.api_key["BearerToken"] = found
        configuration.refresh_api_key_hook = renew  # in-cluster and exec tokens live for minutes
    return configuration


def async_client(configuration: Configuration) -> ApiClient:
    """The asynchronous client, which goes through a proxy only where its configuration names one.

    Its own session would look into the environment once more, where it knows no networks (``NO_PROXY=10.0.0.0/8``).
    """
    client = ApiClient(configuration=configuration)
    theirs = client.rest_client.pool_manager
    connector = theirs.connector
    theirs.detach()
    client.rest_client.pool_manager = aiohttp.ClientSession(connector=connector, read_bufsize=READ_BYTES)
    return client


def in_thread(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in an event loop of its own thread and wait for it.

    The main thread only waits, so a signal handler (a kill, a timeout) can interrupt it at any moment, which it must
    not do to an event loop; a loop that runs already (a notebook) does not matter either. Whatever interrupts the wait
    cancels the coroutine first.
    """
    loop, outcome = asyncio.new_event_loop(), Future[T]()
    context = contextvars.copy_context()
    thread = threading.Thread(
        target=context.run, args=(_run, loop, coroutine, outcome), name="feast-wait", daemon=True
    )
    try:
        thread.start()
        return outcome.result()
    except BaseException:
        with suppress(RuntimeError):  # the loop has just ended by itself
            loop.call_soon_threadsafe(_cancel_all, loop)
        raise
    finally:
        if thread.ident is not None:
            thread.join()


def _run(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T], outcome: Future[T]) -> None:
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            outcome.set_result(runner.run(coroutine))
    except BaseException as error:  # noqa: BLE001 (raised where the outcome is awaited)
        outcome.set_exception(error)


def _cancel_all(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()
