"""Run one Feast command in this process, as ``feast`` would."""

from __future__ import annotations

import argparse
import gc
import importlib.metadata
import json
import os
import re
import sys
import time
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Callable

from airflow_provider_feast.runner.basics import CONFIGURATION, MATERIALIZE, Failure, Interrupted
from airflow_provider_feast.runner.configuration import check_variables, read_configuration
from airflow_provider_feast.runner.deletions import guard_deletions, tell_changes
from airflow_provider_feast.runner.output import Output
from airflow_provider_feast.runner.patching import parse_yaml, patched, write_private
from airflow_provider_feast.runner.reasons import classify, described
from airflow_provider_feast.runner.report import Report
from airflow_provider_feast.runner.secrecy import secret_files, secret_variables, secrets_in, secrets_of
from airflow_provider_feast.runner.stopping import Stopper
from airflow_provider_feast.runner.watching import Watcher, nothing

_CLI_REFUSALS = (
    "Can't find feature repo configuration",
    "Project object name should match",
    "No project found in the repository",
    "Multiple projects found",
    "Project name should only have",
)


def fast_start() -> None:
    """Spend no time on typeguard's instrumentation, two thirds of ``import feast``; it changes no result."""
    try:
        import typeguard
    except ImportError:
        return

    def typechecked(target: Any = None, **_options: Any) -> Any:
        return typechecked if target is None else target

    typeguard.typechecked = typechecked


def prepare_repo(path: str, subcommand: str, checkout: str = "") -> None:
    """Make a missing repository directory; refuse ``apply`` without definitions: it would delete all views."""
    needs = subcommand in ("apply", "plan")
    if not os.path.isdir(path):
        if needs or checkout:
            reason = f"the repository has no directory {os.path.relpath(path, checkout)}" if checkout else ""
            reason = reason or f"the repository directory {path} does not exist"
            raise Failure(CONFIGURATION, "definitions_invalid", reason)
        try:
            os.makedirs(path)
        except OSError as error:
            reason = f"the repository directory {path} does not exist and cannot be made ({error.strerror})"
            raise Failure(CONFIGURATION, "configuration_invalid", reason) from error
    if needs:
        files = (name for _, _, names in os.walk(path, followlinks=True) for name in names)
        if not any(name.endswith(".py") and name != "__init__.py" for name in files):
            reason = (
                f"no Python file with definitions in {path}; {subcommand} would delete every feature view"
            )
            raise Failure(CONFIGURATION, "definitions_invalid", reason)


def commit_of(checkout: str) -> str:
    """The commit that a working tree was made from."""
    try:
        with open(os.path.join(checkout, ".git", "HEAD"), encoding="utf-8") as file:
            head = file.read().strip()
    except OSError as error:
        reason = f"there is no Git working tree in {checkout} ({error.strerror})"
        raise Failure(CONFIGURATION, "definitions_invalid", reason) from error
    return head if re.fullmatch(r"[0-9a-f]{40}([0-9a-f]{24})?", head) else ""


def prepare_configuration(options: argparse.Namespace, output: Output) -> None:
    """Learn what must be masked, merge patches, and see that Feast will understand the configuration."""
    output.mask.add(secret_variables(options.secret_variable))
    output.mask.add(secret_files(options.secret_directory))
    path = options.config or os.path.join(options.repo, "feature_store.yaml")
    if not options.config and not options.patch and not os.path.isfile(path):
        return
    text = read_configuration(path)
    output.mask.add(secrets_of(text))
    if options.secret_config:
        output.mask.add(secrets_in(parse_yaml(text, path)))
    if options.patch:
        with open(options.patch, encoding="utf-8") as file:
            text = patched(text, json.load(file), path)
        output.mask.add(secrets_of(text))
        write_private(options.merged, text)
        options.config = options.merged
    check_variables(text, path)
    parse_yaml(os.path.expandvars(text), path)


def import_feast(slow_start: bool) -> None:
    """Import Feast. Raises Failure when the image has no usable one.

    Modules are not garbage: the collector rests while they are loaded, and leaves them out ever after.
    """
    sys.dont_write_bytecode = True
    if not slow_start:
        fast_start()
    gc.disable()
    try:
        import feast  # noqa: F401

        gc.freeze()
    except Exception as error:
        traceback.print_exc()
        reason = f"Feast cannot be imported in this image: {described(error)}"
        raise Failure(CONFIGURATION, "start_error", reason) from error
    finally:
        gc.enable()


def feast_version() -> str:
    try:
        return importlib.metadata.version("feast")
    except importlib.metadata.PackageNotFoundError:
        return ""


def translated(action: Callable[[], Any], repo: str, output: Output) -> None:
    """Do something with Feast. Raises Failure with the exit code of its command line and our classification."""
    import click

    try:
        code = action()
        code = code if isinstance(code, int) else 0
    except (Failure, Interrupted):
        raise
    except click.ClickException as error:
        error.show()
        kind = "usage_error" if isinstance(error, click.UsageError) else "command_failed"
        raise Failure(error.exit_code, kind, error.format_message()) from error
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if code and not isinstance(error.code, int):
            print(error.code, file=sys.stderr)
    except Exception as error:
        print_traceback(error)
        raise Failure(1, *classify(error, repo)) from error
    if code:
        said = output.last_line()
        refused = any(text in said for text in _CLI_REFUSALS)
        raise Failure(code, "configuration_invalid" if refused else "command_failed", said)


def print_traceback(error: BaseException) -> None:
    """As Python prints it, without the frames of this file."""
    step = error.__traceback__
    while step and step.tb_frame.f_code.co_filename == __file__:
        step = step.tb_next
    traceback.print_exception(type(error), error, step)


def check_materialized(watcher: Watcher, output: Output, report: Report, allow_empty: bool) -> None:
    """Complain about a command that did nothing at all, which Feast calls a success."""
    output.drain()
    said = "\n".join(output.out.tail)
    if watcher.selected is None and "Materializing 0 feature views" in said and not allow_empty:
        raise nothing("Feast found none")
    views = report.body["views"]
    if views and all(total["rows"] == 0 for total in views.values()):
        print(f"WARNING: 0 rows in all {len(views)} feature views: the window holds no data", file=sys.stderr)


class Session:
    """What one run of the runner works with."""

    def __init__(self, output: Output, report: Report, stopper: Stopper) -> None:
        self.output, self.report, self.stopper = output, report, stopper
        self.began = time.monotonic()
        self.watcher = Watcher(output, report, stopper)


def begin(options: argparse.Namespace, session: Session, argv: list[str]) -> None:
    """Read the configuration, so that its secrets are masked from here on, and say what is going to be done."""
    output, body = session.output, session.report.body
    prepare_configuration(options, output)
    if output.mask.longest:
        output.capture()
    body["feast"] = feast_version()
    if options.checkout:
        body["commit"] = commit_of(options.checkout)
        print(f"Definitions: commit {body['commit']}")
    output.event("command_started", feast=body["feast"], argv=argv, commit=body["commit"])
    session.report.write()


def open_store(options: argparse.Namespace, session: Session) -> Any:
    """A new ``FeatureStore``, found as Feast's command line finds it."""
    from feast.repo_operations import create_feature_store

    repo = Path(options.repo)
    config = Path(options.config) if options.config else repo / "feature_store.yaml"
    context: Any = SimpleNamespace(obj={"CHDIR": repo, "FS_YAML_FILE": config})
    store = create_feature_store(context)
    session.watcher.prepare(store)
    return store


def run_command(options: argparse.Namespace, session: Session) -> None:
    """Run one command of Feast's own command line."""
    argv: list[str] = options.feast
    subcommand = next((word for word in argv if not word.startswith("-")), "")
    begin(options, session, argv)
    prepare_repo(options.repo, subcommand, options.checkout)
    import_feast(options.slow_start)
    watcher = session.watcher
    if subcommand != "version":
        watcher.install(options.allow_empty or subcommand not in MATERIALIZE)
        watcher.guarding = options.older_windows == "guard"
        watcher.saving_nothing = options.read_only
        if subcommand == "apply":
            guard_deletions(session.output, options.allow_deletions or options.allow_deletion)
        elif subcommand == "plan":
            tell_changes(session.report)

    def feast() -> Any:
        from feast.cli.cli import cli

        configuration = ["-f", options.config] if options.config else []
        arguments = ["-c", options.repo, *configuration, *argv]
        return cli.main(args=arguments, prog_name="feast", standalone_mode=False)

    translated(feast, options.repo, session.output)
    if subcommand in MATERIALIZE:
        check_materialized(watcher, session.output, session.report, options.allow_empty)


def run_through_python(options: argparse.Namespace, session: Session, work: Callable[[], None]) -> None:
    """Do ``work``, which uses Feast's Python API."""
    begin(options, session, [options.command])
    prepare_repo(options.repo, options.command, options.checkout)
    import_feast(options.slow_start)
    session.watcher.install(getattr(options, "allow_empty", True))
    session.watcher.reading = options.command == "inspect" or getattr(options, "dry_run", False)
    translated(work, options.repo, session.output)
