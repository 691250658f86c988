"""Streams beside an API server that answers oddly, ends watches at once, or cannot be reached for want of credentials."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_feast.jobs import async_api
from airflow_provider_feast.jobs.async_api import AsyncApi
from airflow_provider_feast.jobs.stream import EVERY, JOBS, ObjectStream, Streams
from airflow_provider_feast.model.errors import ApiUnavailableError

EMPTY = b'{"items": [], "metadata": {"resourceVersion": "1"}}'
PAGE = b"<html>Please log in</html>"


def job(name: str) -> dict[str, Any]:
    fields = [{"manager": "kubectl"}]
    return {"metadata": {"name": name, "uid": name, "resourceVersion": "2", "managedFields": fields}}


def event(change: str, item: Any) -> bytes:
    return json.dumps({"type": change, "object": item}).encode() + b"\n"


def a_list(*items: dict[str, Any]) -> bytes:
    return json.dumps({"items": items, "metadata": {"resourceVersion": "1"}}).encode()


class Answer:
    """What a request with ``_preload_content=False`` gives; a watch stays open after its lines unless it ends at once."""

    reason = ""

    def __init__(self, body: bytes, *, ends: bool = False, status: int = 200) -> None:
        self.status = status
        self.headers: dict[str, str] = {}
        self._body, self._ends = body, ends
        self.content = SimpleNamespace(iter_any=self._chunks)

    async def read(self) -> bytes:
        return self._body

    async def _chunks(self) -> AsyncIterator[bytes]:
        yield self._body
        if not self._ends:
            await asyncio.Event().wait()

    def release(self) -> None:
        """Nothing is held."""

    close = release


class Api:
    """In place of AsyncApi: lists and watches answer one thing after the other, the last one again and again."""

    outage_seconds = 60.0

    def __init__(self, lists: list[Answer], watches: list[Answer]) -> None:
        self._lists, self._watches = lists, watches
        self.asked: list[str] = []

    async def send(self, *_: Any, watch: bool = False, **__: Any) -> Answer:
        await asyncio.sleep(0)
        self.asked.append("watch" if watch else "list")
        answers = self._watches if watch else self._lists
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def close(self) -> None:
        """Nothing is open."""


async def until(look: Callable[[], bool], wake: asyncio.Event) -> None:
    """Wait until there is what to see."""
    async with asyncio.timeout(30):
        while not look():
            wake.clear()
            await wake.wait()


def names(stream: ObjectStream) -> set[str]:
    return {item["metadata"]["name"] for item in stream.present()}


def seen(api: Any, look: Callable[[ObjectStream], bool]) -> ObjectStream:
    """A stream once it shows something."""

    async def act() -> ObjectStream:
        streams, wake = Streams(api, linger=0), asyncio.Event()
        try:
            async with streams.subscribed(JOBS, "ns", EVERY, wake) as stream:
                await until(lambda: look(stream), wake)
                return stream
        finally:
            await streams.close()

    return asyncio.run(act())


GONE = event("ERROR", {"code": 410, "metadata": {}})


@pytest.mark.parametrize("line", [b"", GONE])
def test_watches_that_end_at_once_are_followed_by_pauses(
    monkeypatch: pytest.MonkeyPatch, line: bytes
) -> None:
    api, pauses, enough = Api([Answer(EMPTY)], [Answer(line, ends=True)]), [], asyncio.Event()

    async def rest(self: Any, *_: Any) -> None:
        pauses.append(len(api.asked))
        if len(pauses) == 10:
            enough.set()
        await asyncio.sleep(0)

    async def act() -> None:
        streams = Streams(api, linger=0)  # type: ignore[arg-type]
        async with streams.subscribed(JOBS, "ns", EVERY, asyncio.Event()):
            async with asyncio.timeout(30):
                await enough.wait()
        await streams.close()

    monkeypatch.setattr(async_api.Patience, "rest", rest)
    asyncio.run(act())
    assert pauses[0] <= 4, "only the first watch is followed by another at once"
    assert all(after - before <= 2 for before, after in itertools.pairwise(pauses)), "then each one waits"


def test_pauses_grow_until_all_is_well_again(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    async def act() -> None:
        patience = async_api.Patience(60)
        for _ in range(8):
            await patience.rest()
        patience.settled()
        await patience.rest()

    monkeypatch.setattr(async_api.asyncio, "sleep", sleep)
    asyncio.run(act())
    assert slept[0] < 1 < slept[3] < slept[7] <= 2 * async_api.LONGEST_PAUSE
    assert slept[8] < 1


@pytest.mark.parametrize("odd", [PAGE, b"[]", b'{"error": "login"}'])
def test_a_page_of_a_proxy_in_place_of_a_list_is_no_answer(odd: bytes) -> None:
    api = Api([Answer(odd), Answer(a_list(job("load")))], [Answer(b"")])
    stream = seen(api, lambda stream: stream.listed)
    assert names(stream) == {"load"}
    assert api.asked[:2] == ["list", "list"]


@pytest.mark.parametrize("odd", [PAGE + b"\n", b"[]\n", b'{"type": "ADDED"}\n'])
def test_a_page_of_a_proxy_in_place_of_a_watch_is_no_answer(odd: bytes) -> None:
    api = Api([Answer(EMPTY)], [Answer(odd), Answer(event("ADDED", job("load")))])
    assert names(seen(api, lambda stream: "load" in names(stream))) == {"load"}


def test_a_page_of_a_proxy_that_stays_is_an_error_that_shows_it() -> None:
    async def ask() -> Any:
        api = AsyncApi(connect, outage_seconds=0)
        api.send = Api([Answer(PAGE)], []).send  # type: ignore[method-assign]
        return await api.read_job("ns", "load")

    async def connect() -> Any:
        raise AssertionError("nothing is sent")

    with pytest.raises(ApiUnavailableError, match=r"did not answer: .*Please log in"):
        asyncio.run(ask())


def test_the_record_of_who_set_which_field_is_not_kept() -> None:
    watch = Answer(event("MODIFIED", job("seen")) + event("ADDED", job("new")) + event("DELETED", job("old")))
    api = Api([Answer(a_list(job("listed"), job("old")))], [watch])
    stream = seen(api, lambda stream: "new" in names(stream) and "old" not in names(stream))
    assert names(stream) == {"listed", "seen", "new"}
    assert all("managedFields" not in item["metadata"] for item in stream.present())


def test_who_subscribes_at_the_moment_when_a_stream_is_closed_gets_one_that_lives() -> None:
    api = Api([Answer(EMPTY)], [Answer(b"")])

    async def act() -> tuple[bool, bool]:
        streams, wake = Streams(api, linger=60), asyncio.Event()  # type: ignore[arg-type]
        async with streams.subscribed(JOBS, "ns", "first", wake) as old:
            await until(lambda: old.listed, wake)
        key = next(iter(streams._open))
        streams._drop(key, old)
        async with streams.subscribed(JOBS, "ns", "second", wake) as new:
            await until(lambda: new.listed, wake)
        await streams.close()
        return new is old, new.error is None

    assert asyncio.run(act()) == (False, True)


class Away:
    """A way to a cluster that fails a number of times."""

    def __init__(self, times: int) -> None:
        self.times, self.asked = times, 0

    async def __call__(self) -> Any:
        self.asked += 1
        if self.asked <= self.times:
            raise RuntimeError("Airflow's API server does not answer")
        return SimpleNamespace()


def test_credentials_that_cannot_be_had_for_a_moment_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_api, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(async_api, "async_client", lambda configuration: SimpleNamespace())
    monkeypatch.setitem(async_api._GROUPS, "batch", lambda client: Batch())
    connect = Away(2)

    class Batch:
        async def read_namespaced_job(self, *_: Any, **__: Any) -> Answer:
            return Answer(json.dumps(job("load")).encode())

    found = asyncio.run(AsyncApi(connect, outage_seconds=60).read_job("ns", "load"))
    assert found is not None
    assert (found["metadata"]["name"], connect.asked) == ("load", 3)


@pytest.mark.parametrize(
    ("message", "asked"),
    [
        ('Operation cannot be fulfilled on resourcequotas \\"q\\": the object has been modified', 2),
        ('leases.coordination.k8s.io \\"lock\\" already exists', 1),
    ],
)
def test_a_conflict_over_a_quota_is_no_lease_that_exists(
    monkeypatch: pytest.MonkeyPatch, message: str, asked: int
) -> None:
    monkeypatch.setattr(async_api, "FIRST_PAUSE", 0.01)
    refused = Answer(f'{{"message": "{message}"}}'.encode(), status=409)
    server = Api([refused, Answer(json.dumps(job("lock")).encode())], [])

    async def create() -> Any:
        api = AsyncApi(Away(0), outage_seconds=60)
        api.send = server.send  # type: ignore[method-assign]
        return await api.create_lease("ns", {"metadata": {"name": "lock"}})

    made = asyncio.run(create())
    assert (made is not None, len(server.asked)) == (asked == 2, asked)


def test_credentials_that_cannot_be_had_at_all_are_an_error_that_says_so() -> None:
    async def ask() -> Any:
        return await AsyncApi(Away(1000), outage_seconds=0).read_job("ns", "load")

    with pytest.raises(
        ApiUnavailableError, match="credentials could not be had from Airflow: RuntimeError: Airflow's API"
    ):
        asyncio.run(ask())


def test_a_stream_that_gets_no_credentials_fails_after_the_outage_tolerance() -> None:
    async def act() -> Exception | None:
        streams, wake = Streams(AsyncApi(Away(1000), outage_seconds=0), linger=0), asyncio.Event()
        async with streams.subscribed(JOBS, "ns", EVERY, wake) as stream:
            await until(lambda: stream.error is not None, wake)
        await streams.close()
        return stream.error

    assert isinstance(asyncio.run(act()), ApiUnavailableError)


IMMUTABLE = b'{"message": "Job.batch \\"load\\" is invalid: metadata.uid: Invalid value: \\"1\\": field is immutable"}'


@pytest.mark.parametrize("refusal", [Answer(b"{}", status=404), Answer(IMMUTABLE, status=422)])
def test_a_job_that_is_gone_or_another_now_is_not_resumed(refusal: Answer) -> None:
    async def resume() -> Any:
        api = AsyncApi(Away(0), outage_seconds=0)
        api.send = Api([refusal, Answer(json.dumps(job("another")).encode())], []).send  # type: ignore[method-assign]
        return await api.resume_job("ns", "load", "1")

    assert asyncio.run(resume()) is None
