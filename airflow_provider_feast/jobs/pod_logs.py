"""Read the logs of a Job's pods, replacements included, into the log of its task."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from kubernetes_asyncio.client.exceptions import ApiException

from airflow_provider_feast.jobs.api import explain, status_message
from airflow_provider_feast.jobs.async_api import NO_ANSWER, AsyncApi, read_body
from airflow_provider_feast.jobs.logs import LogCursor, Say, readable

OVERLAP_SECONDS = 5
"""How far reads of one log overlap: ``sinceSeconds`` is coarse and clocks differ a little."""

UNSURE_SECONDS = 60.0
"""How old a line must be until it is surely in the task's log. A triggerer that stalls drops what a trigger said
last before its end; one that stalls for this long is replaced."""

UNSURE_BYTES = 256 * 1024
"""How much must have been said after a line until it is surely there. A triggerer's log goes through a socket, and what
it does not hold was read; Linux' hold 208 KiB. So what is said again stays within what Airflow's log reader sorts."""

RECORD_BYTES = 200
"""What a line takes at least beside its text."""

QUIET = timedelta(seconds=2)
"""What a worker says last before it defers, and Airflow after it, has a time before this is over."""

LAST_READS = 6
"""How often the end of a log is asked for before it is given up."""


Positions = dict[str, list[Any]]
"""How far each log (``pod/container``) was read: the arguments of a :class:`LogCursor`; "" is for logs not yet read."""

UNREAD = ""


def after_deferral(positions: Positions, now: datetime) -> Positions:
    """Where a trigger goes on: its lines are dated after all that the worker and Airflow say of the deferral.

    :param positions: where the worker stopped.
    """
    quiet = (now.astimezone(UTC) + QUIET).replace(tzinfo=None).isoformat(timespec="microseconds")
    every: Positions = {UNREAD: ["", 0, ""], **positions}
    return {name: [last, count, max(given, quiet)] for name, (last, count, given) in every.items()}


def unread(positions: Positions) -> list[Any]:
    """Where a log starts of which nothing was read: its lines are dated after those of the pods before it."""
    return ["", 0, max((given for position in positions.values() for given in position[2:]), default="")]


class _Mark(NamedTuple):
    """Where reading stood when so much had been said, at a time in seconds after some origin."""

    now: float
    said: int
    positions: Positions


class Trail:
    """Where reading stood: when the lines before were just sure, and since then.

    :param positions: where it stood at first.
    """

    def __init__(self, positions: Positions) -> None:
        self._marks = deque([_Mark(0.0, 0, _copy(positions))])

    def mark(self, now: float, said: int, positions: Positions) -> None:
        """Note where reading stands.

        :param now: seconds after some origin.
        :param said: bytes that were said so far.
        """
        last = self._marks[-1]
        if now - last.now >= UNSURE_SECONDS / 10 or said - last.said >= UNSURE_BYTES // 10:
            self._marks.append(_Mark(now, said, _copy(positions)))
        while len(self._marks) > 1 and _is_sure(self._marks[1], now, said):
            self._marks.popleft()

    @property
    def sure(self) -> Positions:
        """Up to where all lines are surely in the task's log."""
        return self._marks[0].positions


def _is_sure(mark: _Mark, now: float, said: int) -> bool:
    return mark.now <= now - UNSURE_SECONDS or mark.said <= said - UNSURE_BYTES


def _copy(positions: Positions) -> Positions:
    return {name: list(position) for name, position in positions.items()}


class _Readable(NamedTuple):
    """A container whose log a person wants.

    :param started: when it started, ISO 8601, or "".
    """

    name: str
    ended: bool
    started: str


class PodLogs:
    """What of the logs of some pods has been read.

    Each line is said with the time at which the container wrote it. So a line that is read twice, because a triggerer
    died before it could note how far it had come, is the same line twice, which Airflow's log reader shows once.

    :param api: the cluster.
    :param namespace: the pods' namespace.
    :param say: takes the lines.
    :param positions: how far each log (``pod/container``) was read, by somebody before; kept up to date.
    """

    def __init__(
        self,
        api: AsyncApi,
        namespace: str,
        say: Say,
        positions: Positions | None = None,
    ) -> None:
        self._positions = {} if positions is None else positions
        self.trail = Trail(self._positions)
        self._api, self._namespace, self._say = api, namespace, say
        self._said = 0
        self._cursors: dict[tuple[str, str], LogCursor] = {}
        self._read_at: dict[tuple[str, str], float] = {}
        self._read_to_end: set[tuple[str, str]] = set()

    async def read(self, pods: Iterable[dict[str, Any]], *, final: bool = False) -> bool:
        """Pass on what is new in each container's log, pod by pod in the order of their creation.

        :param pods: the pods, as the API gives them.
        :param final: whether nothing more will come.
        :returns: whether every log that has ended, or was to end now, was read to its end.
        :raises ForbiddenError: when reading logs is not allowed.
        """
        complete = True
        for pod in sorted(pods, key=lambda item: item["metadata"].get("creationTimestamp") or ""):
            for container in _readable_containers(pod):
                wanted = container.ended or final
                done = await self._read_one(pod["metadata"]["name"], container, wanted)
                complete = complete and (done or not wanted)
        return complete

    async def read_to_end(self, pods: Iterable[dict[str, Any]]) -> None:
        """Read every log to its end; asks again where the API server does not answer at once."""
        listed, pause = list(pods), 0.2
        for _ in range(LAST_READS):
            if await self.read(listed, final=True):
                return
            await asyncio.sleep(pause)
            pause *= 2
        self._say("The end of a pod's log could not be read: the Kubernetes API did not answer.")

    async def _read_one(self, pod: str, container: _Readable, ended: bool) -> bool:
        key = (pod, container.name)
        if key in self._read_to_end:
            return True
        now = asyncio.get_running_loop().time()
        try:
            text = await self._fetch(key, now)
        except ApiException as error:
            if error.status == 403:
                raise explain(403, status_message(error.body), "get", "pods/log", self._namespace) from error
            if error.status in (400, 404):  # no log: the container never ran, or its pod is gone
                if ended:
                    self._read_to_end.add(key)
                return True
            return False
        except NO_ANSWER:
            return False
        self._read_at[key] = now
        self._pass_on(key, container, text, ended)
        if ended:
            self._read_to_end.add(key)
        return True

    def _pass_on(self, key: tuple[str, str], container: _Readable, text: str, ended: bool) -> None:
        """Say what is new in a log."""
        name, now = "/".join(key), asyncio.get_running_loop().time()
        self.trail.mark(now, self._said, self._positions)
        if key not in self._cursors:
            self._cursors[key] = LogCursor(*self._positions.get(name) or unread(self._positions))
        cursor = self._cursors[key]
        if name not in self._positions:
            heading = f"--- log of pod {key[0]}, container {key[1]} ---"
            self._say(heading, cursor.heading(container.started))
        for line in readable(cursor.new(text, final=ended)):
            self._say(line.text, line.at)
            self._said += len(line.text.encode()) + RECORD_BYTES
            self._positions[name] = cursor.position
            self.trail.mark(now, self._said, self._positions)
        self._positions[name] = cursor.position

    @property
    def latest(self) -> datetime | None:
        """The latest time that was given to a line."""
        return max((cursor.given for cursor in self._cursors.values() if cursor.given), default=None)

    async def _fetch(self, key: tuple[str, str], now: float) -> str:
        since: dict[str, Any] = {}
        if key in self._read_at:
            since = {"since_seconds": int(now - self._read_at[key]) + OVERLAP_SECONDS}
        call = ("core", "read_namespaced_pod_log", key[0], self._namespace)
        answer = await self._api.send(*call, container=key[1], timestamps=True, **since)
        return (await read_body(answer)).decode(errors="replace")


def _readable_containers(pod: dict[str, Any]) -> Iterator[_Readable]:
    """The containers whose logs a person wants; an init container's only if it failed."""
    status = pod.get("status") or {}
    for field in ("initContainerStatuses", "containerStatuses"):
        for container in status.get(field) or ():
            state = container.get("state") or {}
            ended, running = state.get("terminated"), state.get("running")
            if field == "initContainerStatuses" and not (ended and ended.get("exitCode")):
                continue
            if ended is not None or running is not None:
                started = (ended or running or {}).get("startedAt") or ""
                yield _Readable(container["name"], ended is not None, started)
