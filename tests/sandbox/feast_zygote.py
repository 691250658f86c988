"""Forks the assembled runner, or Feast's own command line, from one process that has imported Feast.

A JSON request a line on stdin (``argv``, ``plain``, ``cwd``, ``env``, ``log``), the exit code a line back. A child is a
process of its own, as in a container; only the import of Feast, two seconds, is shared.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import traceback
from typing import Any


def load_runner(path: str) -> Any:
    """The assembled file as a module."""
    spec = importlib.util.spec_from_file_location("feast_runner", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def preload(runner: Any) -> None:
    """Import what a materialization needs."""
    runner.import_feast(False)
    for name in (
        "feast.cli.cli",
        "feast.repo_operations",
        "feast.infra.passthrough_provider",
        "feast.infra.offline_stores.dask",
        "feast.infra.online_stores.sqlite",
        "feast.infra.compute_engines.local.compute",
        "feast.infra.registry.sql",
    ):
        importlib.import_module(name)


def child(runner: Any, request: dict[str, Any]) -> int:
    """Run one request in this process; the exit code."""
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    if not request["plain"]:
        return int(runner.main(request["argv"]))
    from feast.cli.cli import cli

    cli.main(args=request["argv"], prog_name="feast")
    return 0


def main() -> None:
    """Serve requests until stdin ends."""
    runner = load_runner(sys.argv[1])
    preload(runner)
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = 70
            try:
                code = child(runner, request)
            except SystemExit as error:
                code = int(error.code or 0) if not isinstance(error.code, str) else 1
            except BaseException:  # noqa: BLE001  (told in the log, and by the exit code)
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
