"""What triggers decide: whether a kill deletes the Job, and which of others' Jobs counts."""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest

from airflow_provider_feast.model.errors import JobDeletedError
from airflow_provider_feast.triggers import feast as triggers
from airflow_provider_feast.triggers.feast import FeastJobTrigger, newest_job


class Api:
    """A cluster with one running Job."""

    def __init__(self) -> None:
        self.deleted: list[str] = []

    async def read_job(self, namespace: str, name: str) -> dict[str, Any]:
        return {"metadata": {"name": name, "namespace": namespace, "uid": "uid-1"}, "status": {"active": 1}}

    async def delete_job(self, namespace: str, name: str, uid: str) -> bool:
        self.deleted.append(uid)
        return True


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Api:
    found = Api()
    monkeypatch.setattr(FeastJobTrigger, "_streams", lambda self: SimpleNamespace(api=found))
    return found


def kill() -> None:
    """As the triggerer does when the task was cleared or set to another state."""
    trigger = FeastJobTrigger("kubernetes_default", "features", "load", "uid-1")
    trigger.task_instance = mock.MagicMock()
    asyncio.run(FeastJobTrigger.on_kill(trigger))


@pytest.mark.parametrize(("state", "deleted"), [("failed", ["uid-1"]), (None, ["uid-1"]), ("deferred", [])])
def test_a_kill_deletes_the_job_of_a_task_that_is_over(
    api: Api, monkeypatch: pytest.MonkeyPatch, state: str | None, deleted: list[str]
) -> None:
    monkeypatch.setattr(triggers, "task_state", lambda ti: state)
    kill()
    assert api.deleted == deleted


def test_a_kill_keeps_the_job_when_the_state_does_not_come_in_time(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer, asked = threading.Event(), threading.Event()

    def state(_: Any) -> str:
        asked.set()
        answer.wait(30)
        return "failed"

    async def act() -> None:
        trigger = FeastJobTrigger("kubernetes_default", "features", "load", "uid-1")
        trigger.task_instance = mock.MagicMock()
        await asyncio.wait_for(FeastJobTrigger.on_kill(trigger), 20)
        assert asked.is_set()
        answer.set()

    monkeypatch.setattr(triggers, "LOOKUP_SECONDS", 0.05)
    monkeypatch.setattr(triggers, "task_state", state)
    asyncio.run(act())
    assert api.deleted == []


def test_a_kill_keeps_the_job_when_the_state_cannot_be_asked_for(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Any) -> str:
        raise OSError("no channel")

    monkeypatch.setattr(triggers, "task_state", fail)
    kill()
    assert api.deleted == []


def job(uid: str, created: int) -> dict[str, Any]:
    at = f"2026-01-01T00:00:0{created}Z"
    return {"metadata": {"name": f"job-{uid}", "namespace": "ns", "uid": uid, "creationTimestamp": at}}


@pytest.mark.parametrize(
    ("jobs", "seen", "newest"),
    [
        ([], None, None),
        ([job("a", 1), job("b", 2)], None, job("b", 2)),
        ([job("a", 1), job("b", 2)], job("a", 1), job("b", 2)),
        ([job("b", 2)], job("a", 1), job("b", 2)),
    ],
)
def test_the_newest_job_counts(jobs: list[Any], seen: Any, newest: Any) -> None:
    assert newest_job(jobs, seen) == newest


@pytest.mark.parametrize("left", [[], [job("a", 1)]])
def test_a_job_that_counted_and_is_gone_is_not_waited_for(left: list[Any]) -> None:
    with pytest.raises(JobDeletedError, match="Job job-b was deleted before its end was seen"):
        newest_job(left, job("b", 2))
