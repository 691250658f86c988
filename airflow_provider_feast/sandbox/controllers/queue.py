"""A controller's work: keys, each handled once however often it was added, on the event loop."""

import asyncio
import logging
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from airflow_provider_feast.sandbox import actors

K = TypeVar("K", bound=Hashable)

log = logging.getLogger(__name__)


class WorkQueue(Generic[K]):
    """Calls `reconcile(key)` soon, or after a delay, writing as `actor`; never polls."""

    def __init__(self, reconcile: Callable[[K], None], actor: str) -> None:
        self._reconcile = reconcile
        self._actor = actor
        self._pending: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._closed = False

    def add(self, key: K) -> None:
        if key in self._pending or self._closed:
            return
        self._pending.add(key)
        asyncio.get_running_loop().call_soon(self._run, key)

    def add_after(self, key: K, seconds: float) -> None:
        """Handle the key in so many seconds; an earlier appointment stands."""
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        known = self._timers.get(key)
        when = loop.time() + max(seconds, 0.0)
        if known is not None:
            if known.when() <= when and not known.cancelled():
                return
            known.cancel()
        self._timers[key] = loop.call_at(when, self._due, key)

    def close(self) -> None:
        self._closed = True
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)

    def _run(self, key: K) -> None:
        self._pending.discard(key)
        if self._closed:
            return
        actors.act_as(self._actor)
        try:
            self._reconcile(key)
        except Exception:
            log.exception("reconciling %s failed", key)
