"""The sensor of loaded feature views, beside a registry that only answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowSensorTimeout, TaskDeferred

from airflow_provider_feast.model.errors import FeastDagError, UnknownFeatureViewError
from airflow_provider_feast.model.registry import ViewRecord
from airflow_provider_feast.sensors.materialized import FeatureViewMaterializedSensor
from airflow_provider_feast.triggers.feast import FeastJobTrigger
from airflow_provider_feast.triggers.pause import PauseTrigger

D1, D2, D3 = (datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3))
TICK = timedelta(microseconds=1)
LOADED = {
    "full": ViewRecord("full", ((D1, D3 - TICK),)),
    "half": ViewRecord("half", ((D1, D2 - TICK),)),
    "never": ViewRecord("never", loadable=False),
}


def make(**arguments: Any) -> Any:
    return FeatureViewMaterializedSensor(**{"task_id": "wait", "start": D1, "end": D3, **arguments})


def asking(monkeypatch: pytest.MonkeyPatch, records: dict[str, ViewRecord], **arguments: Any) -> Any:
    made = make(**arguments)
    monkeypatch.setattr(made, "_ask", lambda context: records)
    return made


def context(ago: float = 0.0) -> Any:
    return {"ti": SimpleNamespace(start_date=datetime.now(UTC) - timedelta(seconds=ago))}


@pytest.mark.parametrize(
    ("records", "views", "covered"),
    [
        (LOADED, ["full"], True),
        (LOADED, ["full", "half"], False),
        (LOADED, ["full", "new"], False),
        (LOADED, None, False),
        ({"full": LOADED["full"], "never": LOADED["never"]}, None, True),
        ({"never": LOADED["never"]}, None, False),
        ({}, None, False),
        ({}, ["full"], False),
    ],
)
def test_all_of_the_range_must_be_loaded_of_each_view(
    monkeypatch: pytest.MonkeyPatch, records: dict[str, ViewRecord], views: list[str] | None, covered: bool
) -> None:
    assert asking(monkeypatch, records, feature_views=views).poke(context()) is covered


def test_a_view_that_is_never_loaded_fails_the_sensor(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownFeatureViewError, match="never: the registry has it"):
        asking(monkeypatch, LOADED, feature_views=["never"]).poke(context())


def test_a_deferred_sensor_looks_pauses_and_looks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    sensor = asking(monkeypatch, LOADED, feature_views=["half"], deferrable=True, poke_interval=30)
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute(context())
    assert deferred.value.method_name == "look"
    trigger = deferred.value.trigger
    assert isinstance(trigger, PauseTrigger)
    assert 25 < trigger.until - time.time() <= 30
    with pytest.raises(TaskDeferred):
        sensor.look(context(), event={"version": 1})
    monkeypatch.setattr(sensor, "_ask", lambda context: {"half": LOADED["full"]})
    assert sensor.look(context(), event={"version": 1}) is None


def test_a_deferred_sensor_waits_no_longer_than_its_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"feature_views": ["half"], "deferrable": True, "poke_interval": 300, "timeout": 60}
    sensor = asking(monkeypatch, LOADED, **options)
    with pytest.raises(TaskDeferred) as deferred:
        sensor.look(context(ago=50))
    assert deferred.value.trigger.until - time.time() <= 10, "the last look is at the end"
    with pytest.raises(AirflowSensorTimeout, match="not loaded within 60 s"):
        sensor.look(context(ago=61))


def test_waiting_for_the_job_that_asks_is_deferred_within_the_timeout() -> None:
    sensor = make(deferrable=True, timeout=60)
    question = sensor._question(question_context(ago=50))._operator
    trigger = FeastJobTrigger("kubernetes_default", "features", "job", "uid")
    with pytest.raises(TaskDeferred) as deferred:
        question.defer(trigger=trigger, method_name="resume", timeout=timedelta(hours=1))
    assert deferred.value.method_name == "answered"
    assert deferred.value.timeout <= timedelta(seconds=10)
    assert question.overrides() == {"deadline_seconds": 900, "command_mode": "runner"}


def test_the_job_that_asks_may_be_another_one() -> None:
    sensor = make(
        feature_views=["a"], overrides={"image": "feast:1", "deadline_seconds": 60, "command_mode": "cli"}
    )
    question = sensor._question(question_context())._operator
    assert question.overrides() == {"image": "feast:1", "deadline_seconds": 60, "command_mode": "runner"}
    command, window = question.feast_command({})
    assert (command.argv, command.only_reads, window) == (["inspect", "--view", "a"], True, None)


def question_context(ago: float = 0.0) -> Any:
    return {"ti": SimpleNamespace(start_date=datetime.now(UTC) - timedelta(seconds=ago))}


def test_what_was_answered_is_judged_like_a_look(monkeypatch: pytest.MonkeyPatch) -> None:
    sensor = make(feature_views=["half"], deferrable=True)
    given: list[Any] = []

    def resume(answer: dict[str, ViewRecord]) -> Callable[[Any], Any]:
        return lambda event: given.append(event) or answer

    monkeypatch.setattr(sensor, "_question", lambda context: SimpleNamespace(resume=resume(LOADED)))
    with pytest.raises(TaskDeferred):
        sensor.answered(context(), event={"job": "j"})
    done = {"half": LOADED["full"]}
    monkeypatch.setattr(sensor, "_question", lambda context: SimpleNamespace(resume=resume(done)))
    assert sensor.answered(context(), event={"job": "j"}) is None
    assert given == [{"job": "j"}] * 2


def test_a_killed_sensor_kills_the_run_that_asks() -> None:
    sensor, killed = make(), []
    sensor.on_kill()
    sensor._run = SimpleNamespace(kill=lambda: killed.append(True))
    sensor.on_kill()
    assert killed == [True]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"feature_views": []}, "feature_views is empty"),
        ({"feature_views": "full"}, "not a list of names"),
        ({"start": "2026-01-01"}, "has no time zone"),
        ({"end": D1}, "is the same as end="),
        ({"end": "soon"}, "end='soon' is not a point in time"),
        ({"overrides": {"imagee": "x"}}, "overrides has 'imagee'"),
        ({"overrides": {"memory_limit": "lots"}}, "memory_limit='lots'"),
    ],
)
def test_what_cannot_work_is_refused_when_the_dag_is_parsed(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(FeastDagError, match=says):
        make(**arguments)


def test_templates_are_left_for_later() -> None:
    sensor = make(start="{{ data_interval_start }}", end="{{ data_interval_end }}", feature_views="{{ x }}")
    assert set(sensor.template_fields) == {"feature_views", "start", "end", "feast_conn_id", "overrides"}


def test_a_pause_ends_in_time_and_survives_a_restart() -> None:
    path, arguments = PauseTrigger(time.time() + 0.05).serialize()
    assert path == "airflow_provider_feast.triggers.pause.PauseTrigger"

    async def events() -> list[Any]:
        return [event.payload async for event in PauseTrigger(**arguments).run()]

    begin = time.time()
    assert asyncio.run(events()) == [{"version": 1}]
    assert time.time() >= arguments["until"] > begin
    assert asyncio.run(asyncio.wait_for(events(), 5)) == [{"version": 1}], "one that is over fires at once"
