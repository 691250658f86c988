"""Read the logs of a Job's pods, replacements included, into the log of its task."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

import aiohttp
from kubernetes_asyncio.client.exceptions import ApiException

from airflow_provider_feast.jobs.answers import OddAnswerError
from airflow_provider_feast.jobs.api import explain, status_message
from airflow_provider_feast.jobs.async_api import NO_ANSWER, AsyncApi, read_body
from airflow_provider_feast.jobs.log_positions import RECORD_BYTES, Positions, Trail, unread
from airflow_provider_feast.jobs.logs import LogCursor, Say, before

OVERLAP_SECONDS = 5
"""How far reads of one log overlap: ``sinceSeconds`` is coarse and clocks differ a little."""

SKEW_SECONDS = 300
"""How far the first read of a log goes back before the last line that somebody else read: two clocks are compared."""

LAST_READS = 6
"""How often the end of a log is asked for before it is given up."""

LAST_WORDS_SECONDS = 10.0
"""How long the log of a container that is told to end is followed when its Job has ended."""

OPENING_SECONDS = 5.0
"""How long a Job's end waits until its logs are followed."""

PATIENCE = 3
"""How often a log that cannot be read holds back those of later pods, and how often one is followed."""


class _Readable(NamedTuple):
    """A container whose log a person wants."""

    name: str
    ended: bool


_Key = tuple[str, str]
"""A pod and one of its containers."""


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
        self.latest: datetime | None = None
        self._api, self._namespace, self._say = api, namespace, say
        self._said = 0
        self._cursors: dict[_Key, LogCursor] = {}
        self._read_at: dict[_Key, float] = {}
        self._read_to_end: set[_Key] = set()
        self._unread: Counter[_Key] = Counter()
        self._following: dict[_Key, asyncio.Task[None]] = {}
        self._followed: Counter[_Key] = Counter()
        self._opening: set[_Key] = set()
        self._headed: set[_Key] = set()

    async def read(self, pods: Iterable[dict[str, Any]], *, ended: bool = False, final: bool = False) -> bool:
        """Pass on what is new in each container's log, pod by pod in the order of their creation.

        :param pods: the pods, as the API gives them.
        :param ended: whether only logs that have ended are read, where that was not done.
        :param final: whether nothing more will come.
        :returns: whether every log that has ended, or was to end now, was read to its end.
        :raises ForbiddenError: when reading logs is not allowed.
        """
        complete = True
        for key, container in _in_order(pods):
            if ended and not container.ended:
                continue
            wanted = container.ended or final
            if await self._read_one(key, wanted):
                self._unread.pop(key, None)
                continue
            complete = complete and not wanted
            self._unread[key] += 1
            if self._unread[key] < PATIENCE:  # the lines of later pods are dated after its own
                break
        return complete

    def has_ended(self, pods: Iterable[dict[str, Any]]) -> bool:
        """Whether the log of a container that has ended was not read to its end: its pod may go at any time."""
        return any(container.ended and key not in self._read_to_end for key, container in _in_order(pods))

    async def read_to_end(self, pods: Iterable[dict[str, Any]]) -> None:
        """Read every log to its end; asks again where the API server does not answer at once."""
        listed, pause = list(pods), 0.2
        if self._following:
            await asyncio.wait(self._following.values(), timeout=LAST_WORDS_SECONDS)
        await self.stop_following()
        for _ in range(LAST_READS):
            if await self.read(listed, final=True):
                return
            await asyncio.sleep(pause)
            pause *= 2
        self._say("The end of a pod's log could not be read: the Kubernetes API did not answer.")

    def follow(self, pods: Iterable[dict[str, Any]]) -> None:
        """Read along with the containers that run, until they end: a log goes with its pod."""
        for key, container in _in_order(pods):
            if container.ended or key in self._following or key in self._read_to_end:
                continue
            self._followed[key] += 1
            if self._followed[key] <= PATIENCE:  # the pod may be gone, or on a node that is lost
                self._opening.add(key)
                self._following[key] = asyncio.create_task(self._follow(key))

    async def until_followed(self) -> None:
        """Wait until the API server has answered for what :meth:`follow` began, but not for long."""
        end = asyncio.get_running_loop().time() + OPENING_SECONDS
        while self._opening and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.02)

    async def stop_following(self) -> None:
        """End what :meth:`follow` began."""
        tasks = list(self._following.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _follow(self, key: _Key) -> None:
        """Read a log as it is written; where that fails, an ordinary read tells more."""
        try:
            answer = await self._send(
                key, follow=True, _request_timeout=aiohttp.ClientTimeout(sock_connect=10)
            )
            try:
                self._opening.discard(key)
                if answer.status != 200:
                    await read_body(answer)
                rest, goes_on = b"", False
                async for chunk in answer.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    text = b"".join(line + b"\n" for line in lines).decode(errors="replace")
                    self._pass_on(key, text, ended=False, goes_on=goes_on)
                    goes_on = True
                self._pass_on(key, rest.decode(errors="replace"), ended=True, goes_on=goes_on)
            finally:
                answer.close()
        except (ApiException, *NO_ANSWER):
            return
        finally:
            self._opening.discard(key)
            self._following.pop(key, None)

    async def _read_one(self, key: _Key, ended: bool) -> bool:
        """Read one log; whether it was, or need not be, read to its end as wanted."""
        if key in self._read_to_end or key in self._following:
            return True
        try:
            text = (await read_body(await self._send(key))).decode(errors="replace")
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
        self._pass_on(key, text, ended=ended)
        if ended:
            self._read_to_end.add(key)
        return True

    def _pass_on(self, key: _Key, text: str, *, ended: bool, goes_on: bool = False) -> None:
        """Say what is new in a log."""
        name, now = "/".join(key), asyncio.get_running_loop().time()
        self.trail.mark(now, self._said, self._positions)
        cursor = self._cursor(key)
        for line in cursor.new(text, final=ended, goes_on=goes_on):
            if key not in self._headed:
                self._say(f"--- log of pod {key[0]}, container {key[1]} ---", before(line.at))
                self._headed.add(key)
            self._say(line.text, line.at)
            self._said += len(line.text.encode()) + RECORD_BYTES
            self._positions[name] = cursor.position
            self.trail.mark(now, self._said, self._positions)
            self.latest = max(filter(None, (self.latest, cursor.given)), default=None)
        if key in self._headed:
            self._positions[name] = cursor.position

    def _cursor(self, key: _Key) -> LogCursor:
        """Where a log was read to."""
        if key not in self._cursors:
            name = "/".join(key)
            start = self._positions.get(name) or unread(self._positions)
            self.trail.begin(name, start)
            self._cursors[key] = LogCursor(*start)
            if start[0]:  # somebody else has begun with it
                self._headed.add(key)
        return self._cursors[key]

    async def _send(self, key: _Key, **options: Any) -> Any:
        """Ask for a log, from a little before where it was read to."""
        now, last = asyncio.get_running_loop().time(), self._cursor(key).last
        if key in self._read_at:
            options["since_seconds"] = int(now - self._read_at[key]) + OVERLAP_SECONDS
        elif last is not None:
            ago = (datetime.now(UTC) - last).total_seconds()
            options["since_seconds"] = max(0, int(ago)) + SKEW_SECONDS
        call = ("core", "read_namespaced_pod_log", key[0], self._namespace)
        answer = await self._api.send(*call, container=key[1], timestamps=True, **options)
        if answer.status == 200:
            if "html" in answer.headers.get("Content-Type", ""):
                answer.release()
                raise OddAnswerError("a page instead of a log")
            self._read_at[key] = now
        return answer


def _in_order(pods: Iterable[dict[str, Any]]) -> Iterator[tuple[_Key, _Readable]]:
    """The logs that a person wants, of earlier pods first: in the same order for every reader.

    A replacement may be created in the second in which the pod before it was; that one has ended by then.
    """

    def age(pod: dict[str, Any]) -> tuple[str, str, str]:
        statuses = (pod.get("status") or {}).get("containerStatuses") or ()
        ends = [
            ((status.get("state") or {}).get("terminated") or {}).get("finishedAt") for status in statuses
        ]
        ended = max(map(str, ends)) if ends and all(ends) else "never"
        return pod["metadata"].get("creationTimestamp") or "", ended, pod["metadata"]["name"]

    for pod in sorted(pods, key=age):
        for container in _readable_containers(pod):
            yield (pod["metadata"]["name"], container.name), container


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
                yield _Readable(container["name"], ended is not None)
