"""``airflow feast jobs list`` and ``clean``."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from airflow.utils import cli as cli_utils
from airflow.utils.providers_configuration_loader import providers_configuration_loaded

from airflow_provider_feast.cli.airflow_tasks import AirflowTasks
from airflow_provider_feast.cli.connection import OUTAGE_SECONDS, hook_of, or_exit
from airflow_provider_feast.cli.tables import rendered
from airflow_provider_feast.hooks.feast import FeastHook
from airflow_provider_feast.jobs.async_api import AsyncApi
from airflow_provider_feast.jobs.client import async_configuration
from airflow_provider_feast.jobs.inventory import Inventory, take_inventory
from airflow_provider_feast.jobs.leftovers import Leftover, Limits, leftovers, remove
from airflow_provider_feast.jobs.stream import Streams
from airflow_provider_feast.jobs.submit import runner_config_map_name
from airflow_provider_feast.model.errors import FeastError

T = TypeVar("T")

_SPARE = timedelta(minutes=10)
"""Beyond the time that a Job may wait for its lock."""


@cli_utils.action_cli(check_db=False)
@cli_utils.suppress_logs_and_warning
@providers_configuration_loaded
def jobs_list(args: Any) -> None:
    """Show the Jobs and the locks."""
    hook = hook_of(args)
    inventory = or_exit(lambda: _with_cluster(hook, lambda streams: _inventory(hook, streams)))
    print(rendered(inventory, args.output, ended=args.all, now=datetime.now(UTC)))


@cli_utils.action_cli(check_db=False)
@providers_configuration_loaded
def jobs_clean(args: Any) -> None:
    """Delete what is left behind."""
    hook = hook_of(args)
    inventory = or_exit(lambda: _with_cluster(hook, lambda streams: _inventory(hook, streams)))
    tasks = AirflowTasks(hook.settings.deployment_id, sole=args.sole_airflow)
    wait = timedelta(seconds=hook.settings.lock_timeout_seconds) + _SPARE
    limits = Limits(datetime.now(UTC), args.older_than, wait)
    found = leftovers(inventory, limits, tasks.fact, runner_config_map_name())
    for note in (*inventory.notes, *tasks.notes({left.uid for left in found}), *_unreadable(inventory)):
        print(f"Note: {note}")
    if not found:
        print(f"Nothing is left behind in namespace {inventory.namespace}.")
        return
    for leftover in found:
        print(f"{leftover}: {leftover.why}.")
    if args.dry_run:
        print(f"Dry run: {len(found)} would be deleted.")
        return
    if not (args.yes or _confirmed(len(found))):
        sys.exit("Nothing was deleted.")
    failures = or_exit(lambda: _with_cluster(hook, lambda streams: _remove_all(streams, found)))
    sys.exit(1 if failures else 0)


def _with_cluster(hook: FeastHook, act: Callable[[Streams], Awaitable[T]]) -> T:
    configuration = async_configuration(hook.api_client.configuration)

    async def connect() -> Any:
        return configuration

    async def acted() -> T:
        streams = Streams(AsyncApi(connect, OUTAGE_SECONDS), linger=0)
        try:
            return await act(streams)
        finally:
            await streams.close()

    return asyncio.run(acted())


async def _inventory(hook: FeastHook, streams: Streams) -> Inventory:
    return await take_inventory(streams.api, hook.namespace, hook.settings.lock_namespace or hook.namespace)


def _unreadable(inventory: Inventory) -> list[str]:
    return [lock.trouble for lock in inventory.locks if lock.trouble]


def _confirmed(count: int) -> bool:
    try:
        return input(f"Delete {'this' if count == 1 else f'these {count}'}? [y/N] ").strip().lower() in (
            "y",
            "yes",
        )
    except EOFError:
        print("\nNobody can be asked here: give --yes.")
        return False


async def _remove_all(streams: Streams, found: list[Leftover]) -> int:
    """Delete one after the other; how many could not be deleted."""
    failures = 0
    for leftover in found:
        try:
            print(f"{leftover}: {await remove(streams, leftover)}.")
        except FeastError as error:
            failures += 1
            print(f"{leftover}: not deleted.\n{error}", file=sys.stderr)
    return failures
