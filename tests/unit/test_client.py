"""The asynchronous client goes by what the synchronous one resolved."""

import asyncio
import os
import signal
import threading

import kubernetes.client
import pytest

from airflow_provider_feast.jobs.client import async_client, async_configuration, in_thread


def _sync(**fields: object) -> kubernetes.client.Configuration:
    sync = kubernetes.client.Configuration(host="https://cluster:6443")
    for name, value in fields.items():
        setattr(sync, name, value)
    return sync


def _header(sync: kubernetes.client.Configuration) -> object:
    settings = asyncio.run(async_configuration(sync).auth_settings())
    return settings.get("BearerToken", {}).get("value")


def test_the_bearer_token_is_sent() -> None:
    assert _header(_sync(api_key={"BearerToken": "Bearer abc"})) == "Bearer abc"
    assert _header(_sync(api_key={"authorization": "Bearer abc"})) == "Bearer abc"


def test_a_token_that_was_renewed_is_sent_from_then_on() -> None:
    sync = _sync(api_key={"BearerToken": "Bearer one"})
    ours = async_configuration(sync)
    sync.refresh_api_key_hook = lambda config: config.api_key.update(BearerToken="Bearer two")
    assert asyncio.run(ours.auth_settings())["BearerToken"]["value"] == "Bearer two"


def test_without_a_token_none_is_sent() -> None:
    assert _header(_sync()) is None


def test_host_and_certificates_are_the_same() -> None:
    ours = async_configuration(
        _sync(ssl_ca_cert="/ca.pem", cert_file="/c.pem", key_file="/k.pem", verify_ssl=False)
    )
    assert (ours.host, ours.ssl_ca_cert, ours.cert_file, ours.key_file) == (
        "https://cluster:6443",
        "/ca.pem",
        "/c.pem",
        "/k.pem",
    )
    assert ours.verify_ssl is False


@pytest.mark.parametrize(
    ("no_proxy", "proxy"),
    [
        (None, "http://proxy:3128"),
        ("example.com", "http://proxy:3128"),
        ("localhost,10.0.0.0/8", None),
        ("10.96.0.1", None),
    ],
)
def test_a_proxy_is_used_where_the_synchronous_client_uses_it(
    no_proxy: str | None, proxy: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    if no_proxy:
        monkeypatch.setenv("NO_PROXY", no_proxy)
    sync = kubernetes.client.Configuration(host="https://10.96.0.1:443")
    assert async_configuration(sync).proxy == proxy


def test_the_client_asks_nobody_else_about_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own reading of NO_PROXY knows no networks, so a cluster's address would go through the proxy."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")  # nobody listens there
    monkeypatch.setenv("NO_PROXY", "127.0.0.0/8")
    monkeypatch.delenv("no_proxy", raising=False)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        await writer.drain()
        writer.close()

    async def ask() -> bytes:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        sync = kubernetes.client.Configuration(host=f"http://127.0.0.1:{port}")
        client = async_client(async_configuration(sync))
        async with server:
            try:
                found = await client.call_api("/version", "GET", _preload_content=False)
                body: bytes = await found.read()
                return body
            finally:
                await client.close()

    assert asyncio.run(ask()) == b"{}"


def test_a_coroutine_runs_also_where_a_loop_runs_already() -> None:
    async def seven() -> int:
        return 7

    async def caller() -> int:
        return in_thread(seven())

    assert asyncio.run(caller()) == 7


def test_an_interrupted_wait_cancels_what_it_waited_for() -> None:
    class Alarm(BaseException):
        """A signal handler's."""

    cancelled = threading.Event()

    async def forever() -> None:
        os.kill(os.getpid(), signal.SIGUSR1)
        try:
            await asyncio.sleep(3600)
        finally:
            cancelled.set()

    def ring(*_: object) -> None:
        raise Alarm

    before = signal.signal(signal.SIGUSR1, ring)
    try:
        with pytest.raises(Alarm):
            in_thread(forever())
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert cancelled.is_set()
