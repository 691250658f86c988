"""The audit log: one JSON line for each request."""

from dataclasses import dataclass
from pathlib import Path

from airflow_provider_feast.sandbox import clock, status
from airflow_provider_feast.sandbox.store import encode
from airflow_provider_feast.sandbox.web.route import Target


class Audit:
    """Appends to a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)

    def entry(self, method: str, path: str) -> "Entry":
        return Entry(self, clock.micro_stamp(), method.lower(), path)

    def write(self, line: dict[str, str | int]) -> None:
        if not self._file.closed:
            self._file.write(encode(line) + b"\n")

    def close(self) -> None:
        self._file.close()


@dataclass
class Entry:
    """One request: who, what, when, and the code of the answer. A watch is written when it ends."""

    log: Audit
    time: str
    verb: str
    path: str
    user: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""

    def about(self, target: Target) -> None:
        resource = status.qualified(target.resource.group, target.resource.plural)
        self.resource = f"{resource}/{target.subresource}" if target.subresource else resource
        self.verb, self.namespace, self.name = target.verb, target.namespace, target.name

    def close(self, code: int) -> None:
        keys = ("time", "verb", "path", "user", "resource", "namespace", "name")
        self.log.write({**{key: getattr(self, key) for key in keys}, "code": code})
