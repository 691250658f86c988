"""The sandbox with a full audit log: what controllers and the kubelet write is in it, too, with the object's state.

A cluster's audit log has both, for its controllers are clients of the API server; the sandbox's are not.
Started by :class:`AuditedSandbox`: ``python -m chaos.api_server DIRECTORY TIME_SCALE IMAGE=SPEC…``.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from airflow_provider_feast.sandbox import clock, server
from airflow_provider_feast.sandbox.__main__ import images
from airflow_provider_feast.sandbox.audit import Audit, Entry
from airflow_provider_feast.sandbox.cluster import Cluster, Settings
from airflow_provider_feast.sandbox.handle import Sandbox, SandboxError
from airflow_provider_feast.sandbox.store import Change

RECORDED = ("jobs", "pods", "leases")
CONTROLLERS = "system:controllers"
_current: ContextVar[FullEntry | None] = ContextVar("request", default=None)


def python_path() -> str:
    """PYTHONPATH for processes of this suite: they import it."""
    tests = str(Path(__file__).parent.parent)
    return os.pathsep.join([tests, *filter(None, [os.environ.get("PYTHONPATH")])])


class FullEntry(Entry):
    """A request; while it is served, writes to the store are its own."""

    closed = False

    def close(self, code: int) -> None:
        self.closed = True
        super().close(code)


class FullAudit(Audit):
    """The sandbox's audit log, and a line for each write to the store."""

    def entry(self, method: str, path: str) -> Entry:
        found = FullEntry(self, clock.micro_stamp(), method.lower(), path)
        _current.set(found)
        return found

    def stored(self, change: Change) -> None:
        """Write a line for a change of a Job, a pod or a Lease."""
        plural = change.key[1]
        if plural not in RECORDED:
            return
        request = _current.get()
        by_request = request is not None and not request.closed
        line: dict[str, Any] = {
            "time": clock.micro_stamp(),
            "stored": change.type,
            "user": request.user if request and by_request else CONTROLLERS,
            "resource": plural,
            "namespace": change.namespace,
            "name": change.name,
            "object": _trimmed(change.obj),
        }
        self.write(line)


def _trimmed(obj: dict[str, Any]) -> dict[str, Any]:
    """What an audit policy would keep: metadata, whether a Job is suspended, status, a Lease's annotations."""
    spec, status = obj.get("spec") or {}, obj.get("status") or {}
    metadata = obj["metadata"]
    kept = ("uid", "labels", "annotations", "deletionTimestamp", "ownerReferences", "resourceVersion")
    return {
        "metadata": {key: metadata[key] for key in kept if key in metadata},
        "spec": {"suspend": spec["suspend"]} if "suspend" in spec else {},
        "status": {key: status[key] for key in ("conditions", "phase", "active") if key in status},
    }


def main(argv: list[str]) -> None:
    """Serve until standard input closes."""
    directory, scale, *specs = argv
    settings = Settings(Path(directory), images(specs), float(scale), isolated=False)

    def ready(cluster: Cluster, url: str) -> None:
        cluster.audit.close()
        cluster.audit = audit = FullAudit(cluster.audit.path)
        cluster.store.listen(audit.stored)
        server.announce(cluster, url)

    kubeconfig = Path(directory) / "kubeconfig"
    asyncio.run(server.serve(settings, 0, kubeconfig, on_ready=ready, parent=True))


class AuditedSandbox(Sandbox):
    """A sandbox with the full audit log.

    :param directory: where everything lies; it stays.
    :param image: what `IMAGE` is.
    """

    IMAGE = "chaos:local"

    def __init__(self, directory: Path, image: Path, time_scale: float = 0.02) -> None:
        super().__init__({self.IMAGE: str(image)}, directory=directory, time_scale=time_scale)

    def start(self) -> AuditedSandbox:
        """Start the server; returns when it answers."""
        self.directory.mkdir(parents=True, exist_ok=True)
        specs = [f"{name}={spec}" for name, spec in self._images.items()]
        command = [sys.executable, "-m", "chaos.api_server", str(self.directory), str(self._time_scale)]
        with (self.directory / "messages.log").open("wb") as messages:
            self._process = subprocess.Popen(
                [*command, *specs],
                env={**os.environ, "PYTHONPATH": python_path()},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=messages,
            )
        line = self._process.stdout.readline() if self._process.stdout else b""
        if not line:
            raise SandboxError("the sandbox did not start; its messages are in messages.log")
        ready = json.loads(line)
        self.url, self.token, self.isolated = ready["url"], ready["token"], ready["isolated"]
        return self


if __name__ == "__main__":
    main(sys.argv[1:])
