"""A process that forks others on request, so that they need not import again what it has imported.

A JSON request a line on standard input, the new process's id as JSON a line back.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any


def reap(*_: Any) -> None:
    """Take note of ended children."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def serve(preload: Callable[[], None], fork: Callable[[dict[str, Any]], int]) -> None:
    """Fork until standard input closes.

    :param preload: imports what the processes need.
    :param fork: starts one as a request says; gives its id.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    preload()
    signal.signal(signal.SIGCHLD, reap)
    answers.write(json.dumps({"ready": True}) + "\n")
    answers.flush()
    for line in sys.stdin:
        answers.write(json.dumps({"pid": fork(json.loads(line))}) + "\n")
        answers.flush()
