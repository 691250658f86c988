"""Doubt in a refusal of what was allowed a moment ago: an API server that restarts refuses before it knows all Roles.

Its authorizer answers 403, and its authenticator 401, until it has read them; on a large cluster that takes minutes in
which it says that it is ready (kubernetes/kubernetes, issue 121635). A Job is not ended for that.
"""

from __future__ import annotations

import asyncio

REFUSED_SECONDS = 180.0
"""How long something must have been refused, after it was allowed, until it counts as refused."""


class Doubt:
    """What one reader was allowed, and since when it is refused."""

    def __init__(self) -> None:
        self._allowed: set[str] = set()
        self._refused: dict[str, float] = {}

    def allowed(self, what: str) -> None:
        """It was answered.

        :param what: the request, e.g. ``watch jobs in ns``.
        """
        self._allowed.add(what)
        self._refused.pop(what, None)

    def in_refusal(self, status: int | None, what: str) -> bool:
        """Whether an answer may be a restart's: 401 or 403 for what was allowed, and not for long yet."""
        if status not in (401, 403) or what not in self._allowed:
            return False
        now = asyncio.get_running_loop().time()
        return now - self._refused.setdefault(what, now) < REFUSED_SECONDS
