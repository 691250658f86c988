"""What the hook tells Airflow to mask in logs: passwords that a connection or an operator holds in plain text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_provider_feast.hooks import feast
from airflow_provider_feast.model.errors import FeastConfigurationError


@pytest.fixture
def masked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    found: list[Any] = []
    monkeypatch.setattr(feast, "mask_secret", found.append)
    extra = {
        "env": {"DATABASE_URL": "postgresql://feast:hunter2@db/feast", "REGION": "eu-west-1"},
        "https_proxy": "http://jobs:trustno1@proxy.example.com:3128",
        "http_proxy": "http://proxy.example.com:3128",
    }
    monkeypatch.setenv("AIRFLOW_CONN_FEAST_X", json.dumps({"conn_type": "feast", "extra": extra}))
    return found


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 100_000, '{"env": ' * 50_000])
def test_an_extra_that_is_no_object_is_told_as_such(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = feast.FeastHook("feast_x")
    with pytest.raises(
        FeastConfigurationError, match=r"the field Extra is not (JSON|a JSON object)"
    ) as caught:
        hook._extra(text)
    assert "feast_x" in caught.value.where


def test_passwords_of_proxies_and_variables_are_masked(masked: list[Any]) -> None:
    override = {"STORE": "redis://:correct-horse@cache", "OTHER": {"secret": "s", "key": "k"}}
    assert feast.FeastHook("feast_x", env=override).settings.env["REGION"] == "eu-west-1"
    texts = [text for text in masked if isinstance(text, str)]
    assert {"hunter2", "trustno1", "correct-horse"} <= set(texts)
    assert "postgresql://feast:hunter2@db/feast" in texts
    assert not any("eu-west-1" in text or "3128" in text for text in texts)
