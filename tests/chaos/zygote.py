"""Forks Airflow's scheduler and triggerer from one process that has imported everything: a restart takes no time.

A JSON request a line on stdin, the new process's id as JSON a line back. Each part runs what its command
(`airflow scheduler`, `airflow triggerer`) runs, in a session of its own; tasks run as always: the scheduler's
LocalExecutor has workers, these are supervisors, and each forks Airflow's task runner.
"""

from __future__ import annotations

import argparse
import os
import signal
import traceback
from collections.abc import Callable
from typing import Any

from forking import serve

FROM_CHILDREN = "airflow.cli.commands"


def run_scheduler() -> None:
    """What `airflow scheduler` does."""
    from airflow.cli.commands.scheduler_command import _run_scheduler_job

    _run_scheduler_job(argparse.Namespace(num_runs=-1, only_idle=False, skip_serve_logs=True))


def run_triggerer() -> None:
    """What `airflow triggerer` does."""
    from airflow.cli.commands.triggerer_command import triggerer_run
    from airflow.sdk._shared.secrets_masker import SecretsMasker

    SecretsMasker.enable_log_masking()
    triggerer_run(skip_serve_logs=True, capacity=1000, triggerer_heartrate=1.0)


PARTS: dict[str, Callable[[], None]] = {"scheduler": run_scheduler, "triggerer": run_triggerer}


def preload() -> None:
    """Import what any part will import."""
    import importlib

    for module in (
        "airflow.cli.commands.scheduler_command",
        "airflow.cli.commands.triggerer_command",
        "airflow.executors.local_executor",
        "airflow.sdk.execution_time.task_runner",
        "airflow.api_fastapi.execution_api.app",
        "airflow.providers.cncf.kubernetes.operators.job",
        "airflow_provider_feast.operators.feast",
        "airflow_provider_feast.triggers.feast",
        "airflow_provider_feast.jobs.task",
        "kubernetes_asyncio.client",
        "chaos.mutations",
    ):
        importlib.import_module(module)


def fork(request: dict[str, Any]) -> int:
    """Start a part; its process id."""
    pid = os.fork()
    if pid:
        return pid
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for target, source in ((0, nothing), (1, log), (2, log)):
            os.dup2(source, target)
        from airflow import settings

        from chaos.mutations import apply

        settings.dispose_orm(do_log=False)
        settings.configure_orm()
        apply(request.get("mutation", ""))
        PARTS[request["part"]]()
    except BaseException:  # noqa: BLE001 (a forked child must not go on as its parent)
        traceback.print_exc()
    finally:
        os._exit(1)


if __name__ == "__main__":
    serve(preload, fork)
