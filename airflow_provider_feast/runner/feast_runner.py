"""The one file that runs beside Feast inside a container: signals, progress, masking, and the result.

``run`` executes the Feast command line in this process (same arguments, same exit code, same output);
``materialize`` loads the windows of a plan, ``repair`` those that the registry lacks; ``inspect`` prints the registry
as JSON lines; ``copy`` makes a real copy of mounted definitions, ``git-access`` brings a Secret into the forms that git
reads. Only the standard library and Feast (with its PyYAML) are imported, and Python 3.9 is enough. Exit codes: 0 done,
1 Feast failed, 2 Feast usage error, 64 wrong call of this file, 65 nothing materialized, 66 unusable configuration,
67 definitions cannot be copied or fetched, 68 refused (deletions, an older window), 130/143 interrupted.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import sys
import time
from typing import Callable, NoReturn

from airflow_provider_feast.runner.basics import (
    COPY,
    DEFAULT_MESSAGE_BYTES,
    DEFAULT_TERMINATION_LOG,
    SCHEMA,
    STOP_SECONDS,
    USAGE,
    Failure,
    Interrupted,
)
from airflow_provider_feast.runner.commands import Session, run_command
from airflow_provider_feast.runner.copying import copy
from airflow_provider_feast.runner.gaps import GAP_POLICIES
from airflow_provider_feast.runner.git_access import prepare_git_access
from airflow_provider_feast.runner.inspecting import inspect_registry
from airflow_provider_feast.runner.materializing import POLICIES, materialize
from airflow_provider_feast.runner.output import Mask, Output
from airflow_provider_feast.runner.repairing import REPAIR_POLICIES, repair
from airflow_provider_feast.runner.report import Report
from airflow_provider_feast.runner.stopping import Stopper

Work = Callable[[argparse.Namespace, Session], None]


def run(options: argparse.Namespace, work: Work) -> int:
    """Do something with Feast and leave its result; the exit code."""
    # apply changes the working directory
    for name in ("repo", "config", "patch", "merged", "checkout", "termination_log"):
        value = getattr(options, name)
        setattr(options, name, os.path.abspath(value) if value else "")
    output = Output()
    output.install()
    report = Report(options.termination_log, options.message_bytes, output.mask)
    begin = time.monotonic()

    def end(verdict: str, code: int, kind: str = "", message: str = "") -> int:
        output.drain()
        report.end(verdict, code, kind, message)
        seconds = round(time.monotonic() - begin, 3)
        output.event("command_finished", verdict=verdict, kind=kind, exit_code=code, seconds=seconds)
        return code

    def why(code: int) -> str:
        return f"stopped by {signal.Signals(code - 128).name}"

    def give_up(code: int) -> None:  # the main thread may hold the lock of the output: only the report
        report.end("interrupted", code, "interrupted", why(code))

    stopper = Stopper(give_up, options.stop_seconds)
    stopper.install()
    try:
        try:
            work(options, Session(output, report, stopper))
        except Failure as failure:
            if failure.code not in (1, 2):
                print(f"feast_runner: {failure}", file=sys.stderr)
            return end("failed", failure.code, failure.kind, str(failure))
        return end("succeeded", 0)
    except Interrupted:
        return end("interrupted", stopper.exit_code, "interrupted", why(stopper.exit_code))


def prepare_definitions(options: argparse.Namespace, work: Callable[[argparse.Namespace], None]) -> int:
    """Do one part of bringing definitions; the exit code."""
    try:
        work(options)
    except (Failure, OSError) as error:
        print(f"feast_runner: {error}", file=sys.stderr, flush=True)
        log = options.termination_log
        Report(log if os.path.exists(log) else "", DEFAULT_MESSAGE_BYTES, Mask()).end(
            "failed", COPY, "definitions_invalid", str(error)
        )
        return COPY
    return 0


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"feast_runner: {message}\n")


def content_version() -> str:
    with open(__file__, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()[:12]


def common_options(command: argparse.ArgumentParser) -> None:
    """Options of all that uses Feast."""
    command.add_argument("--repo", required=True, help="the feature repository; made when it is missing")
    command.add_argument("--config", default="", help="feature_store.yaml")
    command.add_argument(
        "--message-bytes", type=int, default=DEFAULT_MESSAGE_BYTES, help="size of the result, in bytes"
    )
    command.add_argument(
        "--stop-seconds", type=float, default=STOP_SECONDS, help="time to stop cleanly after a signal"
    )
    command.add_argument("--slow-start", action="store_true", help="leave typeguard's checks on")
    command.add_argument("--patch", default="", help="JSON list of patches to merge over the configuration")
    command.add_argument("--merged", default="", help="where the patched configuration goes")
    command.add_argument("--secret-config", action="store_true", help="the configuration lies in a Secret")
    for name, what in (("variable", "variable that comes from a Secret"), ("directory", "mounted Secret")):
        command.add_argument(f"--secret-{name}", action="append", default=[], help=f"mask a {what}")
    command.add_argument("--checkout", default="", help="Git working tree whose commit goes into the result")


def parse(argv: list[str]) -> argparse.Namespace:
    """Read our own options; everything behind ``--`` is Feast's."""
    parser = Parser(
        prog="feast_runner.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--version", action="version", version=f"feast_runner schema {SCHEMA} content {content_version()}"
    )
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)
    running = commands.add_parser("run", help="run one Feast command: run … -- materialize …")
    running.add_argument(
        "--older-windows",
        default="overwrite",
        choices=("guard", "overwrite"),
        help="guard: leave out older rows",
    )
    running.add_argument("--read-only", action="store_true", help="the command saves nothing in the registry")
    running.add_argument("--allow-deletions", action="store_true", help="apply may delete objects")
    running.add_argument(
        "--allow-deletion", action="append", default=[], help='apply may delete this one: "FeatureView NAME"'
    )
    loading = commands.add_parser("materialize", help="load the windows of a plan")
    loading.add_argument("--plan", required=True, help="the plan as JSON")
    loading.add_argument(
        "--chunks", default="", help="those that this Job is for, e.g. 0,2,4-6; default: all"
    )
    loading.add_argument(
        "--index", default="", help="which of them; default: the pod's completion index, or all"
    )
    loading.add_argument("--older-windows", default="guard", choices=POLICIES)
    loading.add_argument(
        "--gaps", default="ignore", choices=GAP_POLICIES, help="what a plan up to an end would pass over"
    )
    repairing = commands.add_parser("repair", help="load what the registry's intervals lack in a range")
    repairing.add_argument("--start", required=True, help="ISO 8601 with a time zone, included")
    repairing.add_argument("--end", required=True, help="as --start, excluded")
    repairing.add_argument("--step", type=float, default=86400.0, help="seconds of a window; default: a day")
    repairing.add_argument("--dry-run", action="store_true", help="only print what is missing")
    repairing.add_argument("--older-windows", default="guard", choices=REPAIR_POLICIES)
    for command in (loading, repairing):
        command.add_argument(
            "--heal",
            default="none",
            choices=("none", "planned", "all"),
            help="free views left MATERIALIZING",
        )
    inspecting = commands.add_parser("inspect", help="print the registry as JSON lines")
    for command in (repairing, inspecting):
        command.add_argument("--view", action="append", default=[], help="only this feature view; repeatable")
    for command in (running, loading, repairing):
        command.add_argument("--allow-empty", action="store_true", help="0 feature views are a success")
    for command in (running, loading, repairing, inspecting):
        common_options(command)
    access = commands.add_parser("git-access", help="prepare a Secret for git and ssh")
    access.add_argument("url")
    copying = commands.add_parser("copy", help="copy a mounted directory, following its symbolic links")
    for command in (access, copying):
        command.add_argument("source")
        command.add_argument("target")
    for command in (running, loading, repairing, inspecting, access, copying):
        command.add_argument(
            "--termination-log", default=DEFAULT_TERMINATION_LOG, help="where the result goes"
        )
    split = argv.index("--") if "--" in argv else len(argv)
    options = parser.parse_args(argv[:split])
    options.feast = argv[split + 1 :]
    if options.command == "run" and not options.feast:
        parser.error("nothing to run: name the Feast command behind --")
    return options


def main(argv: list[str]) -> int:
    options = parse(argv)
    works: dict[str, Work] = {
        "run": run_command,
        "materialize": materialize,
        "repair": repair,
        "inspect": inspect_registry,
    }
    if options.command in works:
        return run(options, works[options.command])
    return prepare_definitions(options, copy if options.command == "copy" else prepare_git_access)


if __name__ == "__main__":
    here = os.path.dirname(os.path.realpath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry or ".") != here]
    sys.exit(main(sys.argv[1:]))
