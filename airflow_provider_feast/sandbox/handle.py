"""`Sandbox`: start a sandbox in its own process from Python, use it, stop it."""

import json
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from airflow_provider_feast.sandbox.images import DEFAULT_IMAGE

_START_SECONDS = 30
_STOP_SECONDS = 15


class SandboxError(RuntimeError):
    """The sandbox could not be started, or refused a control request."""


class Sandbox:
    """A Kubernetes API on loopback; pods are local processes.

    Args:
        images: image names (or patterns) and specs: `PREFIX[,/in/image=/local/dir][,NAME=value][,user=N]`.
            Without any, `feast-sandbox:local` is the running Python environment.
        directory: where pods, claims and logs live; a temporary directory by default, removed at the end.
        port: 0 takes a free one.
        time_scale: factor of back-off delays (1.0: as a cluster; tests want less).
        isolation: real mount paths by kernel namespaces; `None` where the kernel lets us, unless
            FEAST_SANDBOX_ISOLATION is 0 or 1.
    """

    def __init__(
        self,
        images: Mapping[str, str] | None = None,
        *,
        directory: Path | str | None = None,
        port: int = 0,
        time_scale: float = 1.0,
        isolation: bool | None = None,
    ) -> None:
        self._images = dict(images) if images is not None else {DEFAULT_IMAGE: sys.prefix}
        self._given = Path(directory) if directory is not None else None
        self._port = port
        self._time_scale = time_scale
        self._isolation = isolation
        self._process: subprocess.Popen[bytes] | None = None
        self.directory = self._given or Path()
        self.url = ""
        self.token = ""
        self.isolated = False

    @property
    def kubeconfig(self) -> Path:
        """The path of a kubeconfig file."""
        return self.directory / "kubeconfig"

    @property
    def audit_log(self) -> Path:
        """The path of the audit log (JSON lines)."""
        return self.directory / "audit.jsonl"

    def start(self) -> "Sandbox":
        """Start the server; returns when it answers."""
        if self._given is None:
            self.directory = Path(tempfile.mkdtemp(prefix="feast-sandbox-"))
        command = [sys.executable, "-m", "airflow_provider_feast.sandbox", "up", "--with-parent"]
        command += ["--dir", str(self.directory), "--port", str(self._port)]
        command += ["--time-scale", str(self._time_scale), "--kubeconfig", str(self.kubeconfig)]
        if self._given is None:
            command.append("--temporary")
        if self._isolation is not None:
            command.append("--isolation" if self._isolation else "--no-isolation")
        for name, spec in self._images.items():
            command += ["--image", f"{name}={spec}"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        line = self._process.stdout.readline() if self._process.stdout else b""
        if not line:
            code = self._process.wait(_START_SECONDS)
            self._clean()
            raise SandboxError(f"the sandbox did not start (exit code {code}); its messages are on stderr")
        ready = json.loads(line)
        self.url, self.token, self.isolated = ready["url"], ready["token"], ready["isolated"]
        return self

    def stop(self) -> None:
        """Kill all pods, end the server, remove its temporary directory."""
        process, self._process = self._process, None
        if process is not None:
            if process.stdin:
                process.stdin.close()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process.stdout:
                process.stdout.close()
        self._clean()

    def _clean(self) -> None:
        if self._given is None and self.directory != Path():
            shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> "Sandbox":
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def control(self, action: str, **body: Any) -> dict[str, Any]:
        """A request to the control endpoint."""
        request = urllib.request.Request(  # noqa: S310 - our own loopback URL
            f"{self.url}/_sandbox/{action}",
            data=json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
            method="POST",
        )
        try:
            with urllib.request.urlopen(request, timeout=_START_SECONDS) as response:  # noqa: S310
                found: dict[str, Any] = json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                raise SandboxError(f"control {action}: {error.read().decode(errors='replace')}") from error
        return found

    def fault(
        self,
        path: str,
        *,
        kind: str = "error",
        method: str = "*",
        code: int = 0,
        times: int = 1,
        seconds: float = 0.0,
        skip: int = 0,
        retry_after: int = 1,
    ) -> None:
        """Disturb requests whose path matches a regular expression.

        Args:
            path: a regular expression that is searched in the path.
            kind: `error` (answer `code`), `after` (do it, then answer `code`), `reset` or `slow`.
            method: one HTTP method, or `*`.
            code: 429, 500, 502, 503 or 504.
            times: how many requests to disturb; -1 for all.
            seconds: wait so long first.
            skip: let so many matching requests pass first.
            retry_after: the seconds after which a 429 asks for the next try.
        """
        rule = {"path": path, "kind": kind, "method": method, "code": code}
        self.control("fault", **rule, times=times, seconds=seconds, skip=skip, retry_after=retry_after)

    def clear_faults(self) -> None:
        """Forget all fault rules."""
        self.control("clear")

    def cut_watches(self, resource: str | None = None) -> int:
        """End open watches (of one resource) without a word; returns how many."""
        return int(self.control("cut-watches", resource=resource)["cut"])

    def hush_watches(self, resource: str | None = None) -> int:
        """Open watches (of one resource) stay open and say nothing more, as when a network loses them; how many."""
        return int(self.control("hush-watches", resource=resource)["hushed"])

    def compact(self) -> None:
        """Forget the history: watches from an older resourceVersion get 410 Gone."""
        self.control("compact")

    def evict_pod(self, namespace: str, name: str, *, grace: int = 0) -> None:
        """Evict a pod as a node under memory pressure does."""
        self.control("pod", namespace=namespace, name=name, what="evict", grace=grace)

    def oom_kill(self, namespace: str, name: str, container: str = "") -> None:
        """Kill a pod's containers as the OOM killer does: exit code 137, reason OOMKilled."""
        self.control("pod", namespace=namespace, name=name, what="oom", container=container)

    def lose_pod(self, namespace: str, name: str) -> None:
        """A pod whose node is gone."""
        self.control("pod", namespace=namespace, name=name, what="lose")

    def add_image(self, name: str, spec: str) -> None:
        """Map one more image."""
        self.control("image", name=name, spec=spec)

    def break_image(self, name: str) -> None:
        """Pulls of this image fail until `add_image` maps it again."""
        self.control("break-image", name=name)

    def delay_pods(self, seconds: float) -> None:
        """New pods stay Pending for so long, as on a full or slow cluster."""
        self.control("hold-pods", seconds=seconds)
