"""The asynchronous client goes by what the synchronous one resolved."""

import asyncio

import kubernetes.client

from airflow_provider_feast.jobs.client import async_client, async_configuration, run_async


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


def test_the_client_is_closed_at_the_end() -> None:
    async def use() -> bool:
        async with async_client(_sync()) as client:
            pass
        return bool(client.rest_client.pool_manager.closed)

    assert run_async(use())


def test_a_coroutine_runs_also_where_a_loop_runs_already() -> None:
    async def seven() -> int:
        return 7

    async def caller() -> int:
        return run_async(seven())

    assert asyncio.run(caller()) == 7
