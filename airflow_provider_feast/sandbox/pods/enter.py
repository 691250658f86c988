"""From a command of a container to one of this machine that runs beside the container's process."""

import shutil
from pathlib import Path

from airflow_provider_feast.sandbox.pods.process import Command, ProcessSpec


def enter(pid: int, spec: ProcessSpec, command: list[str]) -> Command | None:
    """Into the namespaces of an isolated container; `None` when it ended just now or `nsenter` is missing."""
    nsenter, first = shutil.which("nsenter"), _first_process(pid)
    if nsenter is None or first is None:
        return None
    flags = ["-t", first, "-U", "--preserve-credentials", "-m", "-u", "-p", "-r", "-w", "--"]
    return Command((nsenter, *flags, *command), spec.env, None, tuple(command))


def _first_process(pid: int) -> str | None:
    """The container's PID 1, as this machine numbers it: the launcher's only child."""
    try:
        return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0]
    except (OSError, IndexError):
        return None
