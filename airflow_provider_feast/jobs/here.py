"""Wait for a Job, and read its logs, in this process instead of a triggerer: an event loop in a thread of its own."""

from __future__ import annotations

import asyncio

from airflow_provider_feast.jobs.async_api import AsyncApi
from airflow_provider_feast.jobs.client import in_thread
from airflow_provider_feast.jobs.log_positions import Positions
from airflow_provider_feast.jobs.logs import Say
from airflow_provider_feast.jobs.pod_logs import PodLogs
from airflow_provider_feast.jobs.stream import Streams
from airflow_provider_feast.jobs.watch import JobWatch, Target, WatchOptions
from airflow_provider_feast.model.errors import ApiUnavailableError
from airflow_provider_feast.model.lock import LockRequest
from airflow_provider_feast.model.outcome import Outcome

READ_SECONDS = 30.0
"""How long an API server that is away is waited for where only a log is to be read again."""


def watch_here(
    api: AsyncApi,
    target: Target,
    say: Say,
    options: WatchOptions,
    timeout: float | None = None,
    positions: Positions | None = None,
    lock: LockRequest | None = None,
) -> Outcome | None:
    """Let a Job run and wait for its end.

    :param api: the cluster; it is closed at the end.
    :param target: the Job.
    :param say: takes the lines of its log.
    :param timeout: seconds to wait at most.
    :param positions: filled with how far its pods' logs were read.
    :param lock: the lock that it must hold to run.
    :returns: the final verdict, or ``None`` when the time is up.
    """

    async def wait() -> Outcome | None:
        streams = Streams(api, linger=0)
        try:
            return await JobWatch(streams, target, say, options, positions, lock).outcome(timeout)
        finally:
            await streams.close()

    return in_thread(wait())


def read_logs_here(
    api: AsyncApi, namespace: str, uid: str, say: Say, positions: Positions, seconds: float = 2 * READ_SECONDS
) -> None:
    """Read the logs of a Job's pods to their end.

    :param api: the cluster; it is closed at the end.
    :param uid: the Job's.
    :param say: takes the lines.
    :param positions: how far they were read before.
    :param seconds: how long that may take in all.
    :raises FeastError: when Kubernetes refuses, or it takes too long.
    """

    async def read() -> None:
        try:
            async with asyncio.timeout(seconds):
                await PodLogs(api, namespace, say, positions).read_to_end(await api.list_pods(namespace, uid))
        except TimeoutError as error:
            raise ApiUnavailableError(f"it took more than {seconds:.0f} s") from error
        finally:
            await api.close()

    in_thread(read())
