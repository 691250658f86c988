"""Faults on demand: rules for requests, and things that happen to pods."""

import asyncio
import re
from dataclasses import dataclass, field

from airflow_provider_feast.sandbox import status
from airflow_provider_feast.sandbox.shapes import Obj

_REASONS = {
    409: (
        "Conflict",
        "Operation cannot be fulfilled on {}: the object has been modified; please apply your changes to the latest "
        "version and try again",
    ),
    429: ("TooManyRequests", "the server has received too many requests and has asked us to try again later"),
    500: ("InternalError", "Internal error occurred: a fault rule of the sandbox"),
    502: ("InternalError", "bad gateway: a fault rule of the sandbox"),
    503: ("ServiceUnavailable", "the server is currently unable to handle the request"),
    504: ("Timeout", "the server was unable to return a response in the time allotted"),
}
KINDS = ("error", "after", "reset", "slow")


@dataclass
class Rule:
    """Disturbs requests whose method and path match.

    Attributes:
        kind: `error` answers `code` at once; `after` does what was asked and then answers `code`; `reset`
            closes the connection; `slow` waits and goes on.
        times: how many requests it disturbs; -1 for all.
        seconds: how long it waits first.
        retry_after: the seconds after which a 429 asks for the next try.
    """

    path: str
    method: str = "*"
    kind: str = "error"
    code: int = 0
    times: int = 1
    seconds: float = 0.0
    skip: int = 0
    retry_after: int = 1
    hits: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"a fault is one of {', '.join(KINDS)}, not {self.kind!r}")
        if self.kind in {"error", "after"} and not self.code:
            self.code = 500
        self._path = re.compile(self.path)

    def matches(self, method: str, path: str) -> bool:
        return self.method in {"*", method} and self._path.search(path) is not None

    async def delay(self) -> None:
        if self.seconds:
            await asyncio.sleep(self.seconds)

    def error(self) -> status.ApiError:
        reason, message = _REASONS.get(self.code, ("InternalError", "a fault rule of the sandbox"))
        # what is only being made has no earlier version: others' use of its quota collided
        message = message.format("resourcequotas" if self.method == "POST" else "the object")
        details = {"retryAfterSeconds": self.retry_after} if self.code == 429 else {}
        return status.ApiError(self.code, reason, message, details)

    def to_dict(self) -> Obj:
        keys = ("path", "method", "kind", "code", "times", "seconds", "skip", "retry_after", "hits")
        return {key: getattr(self, key) for key in keys}


class Faults:
    """The rules in force."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []

    def add(self, rule: Rule) -> None:
        self.rules.append(rule)

    def clear(self) -> None:
        self.rules.clear()

    def match(self, method: str, path: str) -> Rule | None:
        """The first rule for a request; it counts the hit."""
        for rule in self.rules:
            if not rule.matches(method, path):
                continue
            if rule.skip:
                rule.skip -= 1
                continue
            if rule.times >= 0 and rule.hits >= rule.times:
                continue
            rule.hits += 1
            return rule
        return None
