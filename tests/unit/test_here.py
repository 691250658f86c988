"""Reading logs again, in the worker, is bounded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from airflow_provider_feast.jobs.here import read_logs_here
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


def test_logs_are_read_again_for_a_bounded_time() -> None:
    api: Any = SlowApi()
    with pytest.raises(ApiUnavailableError, match="took more than"):
        read_logs_here(api, "features", "uid-1", lambda text, at="": None, {}, 0.1)
    assert api.closed
