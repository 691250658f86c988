"""Bodies of plain Jobs with one container, as tests of waits and locks need them."""

from __future__ import annotations

from typing import Any


def job_body(name: str, command: list[str], labels: dict[str, str], *, suspend: bool) -> dict[str, Any]:
    """A Job, labelled as its pods are, whose container named feast runs a command once."""
    container = {"name": "feast", "image": "feast-sandbox:local", "command": command}
    template = {"metadata": {"labels": labels}, "spec": {"restartPolicy": "Never", "containers": [container]}}
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {"suspend": suspend, "backoffLimit": 0, "template": template},
    }
