"""What the hook does beside the cluster that it was given."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airflow_provider_feast.hooks import feast
from airflow_provider_feast.hooks.feast import FeastHook
from airflow_provider_feast.model.errors import ApiUnavailableError


class SlowApi:
    """A cluster that never answers, and never refuses either."""

    def __init__(self) -> None:
        self.closed = False

    async def list_pods(self, namespace: str, uid: str) -> list[Any]:
        await asyncio.Event().wait()
        return []

    async def close(self) -> None:
        self.closed = True


def test_logs_are_read_again_for_a_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    hook, api = FeastHook(), SlowApi()
    monkeypatch.setattr(feast, "READ_SECONDS", 0.05)
    monkeypatch.setattr(hook, "_async_api", lambda seconds: api)
    hook.__dict__["namespace"] = "features"
    with pytest.raises(ApiUnavailableError, match="took more than"):
        hook.read_logs({"metadata": {"uid": "uid-1"}}, lambda text, at="": None, {})
    assert api.closed
