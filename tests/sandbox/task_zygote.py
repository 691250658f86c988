"""Forks workers and triggerers of one task, which can be killed at any moment, from one process that has imported all.

A JSON request a line on stdin, the new process's id as JSON a line back. What a process came to lies in a file then: a
result, a deferral, a trigger's event, or an error. One that was killed leaves none.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from forking import serve
from operator_helpers import context, first_event

SOON = 1.0
"""Seconds until a worker defers."""


def preload() -> None:
    """Import what a task needs."""
    for name in (
        "airflow.providers.cncf.kubernetes.operators.job",
        "airflow_provider_feast.operators.feast",
        "airflow_provider_feast.triggers.feast",
        "airflow_provider_feast.jobs.task",
        "kubernetes_asyncio.client",
    ):
        importlib.import_module(name)


def answer_of(request: dict[str, Any]) -> dict[str, Any]:
    """Be a worker that executes or resumes the task, or a triggerer that waits for it."""
    from airflow.providers.common.compat.sdk import TaskDeferred

    from airflow_provider_feast.jobs import task
    from airflow_provider_feast.operators.feast import FeastMaterializeOperator

    task.TaskRun.defer_after = SOON  # type: ignore[method-assign, assignment]
    if request["what"] == "trigger":
        module, _, name = request["trigger"][0].rpartition(".")
        trigger = getattr(importlib.import_module(module), name)(**request["trigger"][1])
        return {"event": asyncio.run(first_event(trigger))}
    operator = FeastMaterializeOperator(**request["task"])
    given = context(operator, try_number=request["try"])
    try:
        if request["what"] == "resume":
            return {"result": operator.resume(given, event=request["event"])}
        return {"result": operator.execute(context=given)}
    except TaskDeferred as deferred:
        return {"trigger": deferred.trigger.serialize()}
    except Exception as error:  # noqa: BLE001  (the task failed: that is the answer)
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}


def fork(request: dict[str, Any]) -> int:
    """Start a process; its id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for number in (1, 2):
            os.dup2(log, number)
        os.environ.update(request["env"])
        answer = Path(request["answer"])
        unfinished = answer.with_suffix(".part")
        unfinished.write_text(json.dumps(answer_of(request)))
        unfinished.rename(answer)
        sys.stdout.flush()
    except BaseException:  # noqa: BLE001  (a forked child must not go on as its parent)
        traceback.print_exc()
    finally:
        os._exit(0)


if __name__ == "__main__":
    serve(preload, fork)
