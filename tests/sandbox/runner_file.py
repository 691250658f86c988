"""The runner as a container gets it: one file."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from airflow_provider_feast.runner.assemble import assembled


@cache
def runner_file() -> str:
    """Where the assembled runner lies, for as long as this process lives."""
    directory = Path(tempfile.mkdtemp(prefix="feast-runner-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    (directory / "feast_runner.py").write_text(assembled(), encoding="utf-8")
    return str(directory / "feast_runner.py")
