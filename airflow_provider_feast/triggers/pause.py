"""A trigger that does nothing for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

VERSION = 1


class PauseTrigger(BaseTrigger):
    """Waits until a point in time: between two looks of a sensor. Unlike Airflow's own it says nothing meanwhile.

    :param until: Unix time.
    """

    def __init__(self, until: float, version: int = VERSION) -> None:
        super().__init__()
        self.until, self.version = until, version

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """The class path and the arguments."""
        return "airflow_provider_feast.triggers.pause.PauseTrigger", {
            "until": self.until,
            "version": self.version,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Fire when the time has come, also where the clock was set meanwhile."""
        while (left := self.until - time.time()) > 0:
            await asyncio.sleep(min(left, 60.0))
        yield TriggerEvent({"version": VERSION})
