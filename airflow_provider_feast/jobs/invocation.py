"""What a Job's main container executes: the runner with Feast's argv, or plain ``feast``. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from airflow_provider_feast.jobs.chunks import load_arguments, loading_arguments
from airflow_provider_feast.jobs.definitions import DefinitionsPart
from airflow_provider_feast.jobs.paths import CONFIG_FILE, MERGED_DIR, PATCH_DIR, RUNNER, TMP
from airflow_provider_feast.model.command import MATERIALIZE, FeastCommand
from airflow_provider_feast.model.errors import FeastDagError
from airflow_provider_feast.model.lock import only_reads
from airflow_provider_feast.model.settings import FeastSettings
from airflow_provider_feast.model.sources import PATCH_KEY, SecretConfiguration

if TYPE_CHECKING:
    from airflow_provider_feast.jobs.manifest import JobPlan


def feast_command(plan: JobPlan, part: DefinitionsPart, message_bytes: int) -> list[str]:
    """What the container executes: the runner with Feast's argv, or plain ``feast``.

    :raises FeastDagError: when only the runner knows the command, and plain Feast shall run it.
    """
    settings = plan.settings
    if plan.command.of_runner and settings.command_mode == "cli":
        raise FeastDagError(
            f"{plan.command.subcommand} is a command of the runner, which command_mode='cli' leaves out",
            remedy="set command_mode='runner' for it",
        )
    config = [CONFIG_FILE] if settings.configuration is not None else []
    if settings.command_mode == "cli":
        repo = part.repo if settings.definitions is not None else TMP
        return ["feast", "-c", repo, *(["-f", *config] if config else []), *plan.command.argv]
    options = ["--repo", part.repo, *(["--config", *config] if config else [])]
    if settings.configuration_patch:
        options += ["--patch", f"{PATCH_DIR}/{PATCH_KEY}", "--merged", f"{MERGED_DIR}/feature_store.yaml"]
    if isinstance(settings.configuration, SecretConfiguration):
        options.append("--secret-config")
    if part.checkout:
        options += ["--checkout", part.checkout]
    options += ["--termination-log", "/dev/termination-log", "--message-bytes", str(message_bytes)]
    if plan.allow_empty and plan.command.loads:
        options.append("--allow-empty")
    if not settings.fast_start:
        options.append("--slow-start")
    if plan.load is not None:
        arguments = load_arguments(plan.load, plan.older_windows, plan.gaps, plan.lock)
        return [settings.python, RUNNER, "materialize", *options, *arguments]
    if plan.command.of_runner:
        loading = loading_arguments(plan.older_windows, plan.lock) if plan.command.loads else []
        return [settings.python, RUNNER, plan.command.subcommand, *options, *loading, *plan.command.arguments]
    if plan.older_windows != "overwrite" and plan.command.subcommand in MATERIALIZE:
        options += ["--older-windows", plan.older_windows]
    if only_reads(plan.command):
        options.append("--read-only")
    if plan.allow_deletions and plan.command.subcommand == "apply":
        options += allowed_deletions(plan.allow_deletions)
    return [settings.python, RUNNER, "run", *options, "--", *plan.command.argv]


def allowed_deletions(allowed: bool | tuple[str, ...]) -> list[str]:
    """What ``apply`` may delete, as options of the runner."""
    return (
        ["--allow-deletions"] if allowed is True else [f"--allow-deletion={name}" for name in allowed or ()]
    )


def left_undone(
    command: FeastCommand,
    settings: FeastSettings,
    older_windows: str,
    allow_deletions: bool | tuple[str, ...],
    gaps: str,
) -> Iterable[str]:
    """What the runner would do for a command and ``command_mode="cli"`` does not, for the task's log."""
    if settings.command_mode != "cli":
        return
    if command.subcommand in MATERIALIZE and older_windows != "overwrite":
        yield "command_mode='cli' runs plain Feast: rows that are older than what is online are written as well"
    if command.subcommand == "materialize-incremental" and gaps != "ignore":
        yield "command_mode='cli' runs plain Feast: gaps before a view's last end are passed over, and not told"
    if command.subcommand == "apply" and allow_deletions is not True:
        yield "command_mode='cli' runs plain Feast: what the definitions lack is deleted"
