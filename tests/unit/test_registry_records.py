"""What is read of a registry: a pod's log, a REST server's list, and what is missing by it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_provider_feast.jobs.coverage import lacking, loadable, told
from airflow_provider_feast.jobs.registry_job import read_answer
from airflow_provider_feast.model.errors import (
    FeastConfigurationError,
    FeastDagError,
    FeastTransientError,
    RegistryUnreachableError,
    UnknownFeatureViewError,
)
from airflow_provider_feast.model.registry import (
    ViewRecord,
    read_rest_address,
    record_of_event,
    record_of_rest,
)
from airflow_provider_feast.model.settings import read_settings
from airflow_provider_feast.model.windows import Window

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY, TICK = timedelta(days=1), timedelta(microseconds=1)


def at(day: float) -> datetime:
    return START + day * DAY


def record(name: str, *spans: tuple[float, float], loadable: bool = True) -> ViewRecord:
    return ViewRecord(name, tuple((at(first), at(last) - TICK) for first, last in spans), loadable)


def line(event: str, **fields: Any) -> str:
    return json.dumps({"feast_event": event, "time": "2026-01-01T00:00:00+00:00", **fields})


VIEW = {
    "kind": "feature_view",
    "name": "drivers",
    "online": True,
    "enabled": True,
    "intervals": [["2026-01-01T00:00:00+00:00", "2026-01-01T23:59:59.999999+00:00"]],
}
LOG = [
    "INFO: something that Feast says",
    line("command_started"),
    line("registry_object", kind="entity", name="driver"),
    line("registry_object", **VIEW),
    line("registry_object", kind="on_demand_feature_view", name="score", source_views=["drivers"]),
    line("registry_finished", project="demo", objects=3, errors=0),
]


def test_an_answer_is_the_views_of_the_registry() -> None:
    found = read_answer("\n".join(LOG), "Job j")
    assert found == {
        "drivers": record("drivers", (0, 1)),
        "score": ViewRecord("score", (), loadable=False),
    }


@pytest.mark.parametrize(
    ("log", "says"),
    [
        (LOG[:-1], "says nothing of its end"),
        ([], "says nothing of its end"),
        (LOG[3:], "2 objects, and says 3 objects"),
        ([*LOG[:3], LOG[3][40:], *LOG[4:]], "2 objects, and says 3 objects"),
        ([LOG[2], LOG[3][:-9], *LOG[4:]], "2 objects, and says 3 objects"),
        (
            [line("registry_object", kind="feature_view"), line("registry_finished", objects=1)],
            "cannot be read",
        ),
    ],
    ids=["no end", "nothing", "rotated away", "cut at its start", "cut at its end", "no name"],
)
def test_an_answer_of_which_a_part_is_missing_is_none(log: list[str], says: str) -> None:
    with pytest.raises(FeastTransientError, match=says):
        read_answer("\n".join(log), "Job j")


def test_a_registry_that_cannot_be_read_is_not_an_empty_one() -> None:
    log = [
        line("registry_error", kind="feature_view", message="DecodeError: cut"),
        line("registry_finished", objects=0),
    ]
    with pytest.raises(RegistryUnreachableError, match="feature_view: DecodeError: cut"):
        read_answer("\n".join(log), "Job j")


@pytest.mark.parametrize(
    ("changed", "expected"),
    [({}, True), ({"online": False}, False), ({"enabled": False}, False), ({"enabled": None}, True)],
)
def test_views_that_are_disabled_or_offline_are_never_loaded(changed: dict[str, Any], expected: bool) -> None:
    assert record_of_event({**VIEW, **changed}).loadable is expected
    without = {key: value for key, value in VIEW.items() if key != "online"}
    assert not record_of_event(without).loadable


def test_a_rest_server_leaves_out_what_is_false_and_writes_times_in_its_own_way() -> None:
    view = {
        "type": "featureView",
        "spec": {"name": "drivers", "online": True},
        "meta": {
            "materializationIntervals": [
                {"startTime": "2026-01-01T00:00:00Z", "endTime": "2026-01-01T23:59:59.999999Z"},
                {"startTime": "2026-01-02T00:00:00.5Z", "endTime": "2026-01-03T00:00:00.123456789Z"},
            ]
        },
    }
    found = record_of_rest(view)
    assert found.loadable
    assert found.intervals[0] == (at(0), at(1) - TICK)
    assert [moment.microsecond for moment in found.intervals[1]] == [500_000, 123_456]
    never = [
        {**view, "spec": {"name": "drivers"}},
        {**view, "spec": {"name": "drivers", "online": True, "disabled": True}},
        {**view, "type": "onDemandFeatureView"},
    ]
    assert [record_of_rest(other).loadable for other in never] == [False] * 3
    assert record_of_rest({"type": "featureView", "spec": {"name": "new", "online": True}}).intervals == ()


def test_what_each_view_lacks_is_told() -> None:
    records = {
        "full": record("full", (0, 4), (4, 6)),
        "holes": record("holes", (0, 1), (2, 3), (4, 5), (6, 7), (8, 9)),
        "none": record("none"),
    }
    range_ = Window(at(0), at(10))
    lacks = lacking(records, ["full", "holes", "none", "new"], range_)
    assert lacks == {
        "full": [(at(6), at(10))],
        "holes": [(at(day), at(day + 1)) for day in (1, 3, 5, 7, 9)],
        "none": [(at(0), at(10))],
        "new": None,
    }
    assert told(lacks, range_) == (
        "Not yet loaded of [2026-01-01, 2026-01-11): full [2026-01-07, 2026-01-11); holes [2026-01-02, 2026-01-03), "
        "[2026-01-04, 2026-01-05), [2026-01-06, 2026-01-07) and 2 more; new (not in the registry yet); "
        "none [2026-01-01, 2026-01-11)"
    )
    assert lacking(records, ["full"], Window(at(1), at(6))) == {}
    assert loadable(records) == ["full", "holes", "none"]


def test_a_view_that_is_never_loaded_is_not_waited_for() -> None:
    with pytest.raises(UnknownFeatureViewError, match="score: the registry has it, but it is never loaded"):
        lacking({"score": record("score", loadable=False)}, ["score"], Window(at(0), at(1)))
    assert loadable({"score": record("score", loadable=False)}) == []


@pytest.mark.parametrize(
    ("url", "base", "project"),
    [
        ("http://feast-registry:6572", "http://feast-registry:6572/api/v1", ""),
        ("http://feast-registry:6572/", "http://feast-registry:6572/api/v1", ""),
        ("https://r.example.com/api/v1/?project=shop", "https://r.example.com/api/v1", "shop"),
        ("https://r.example.com/feast?project=a%20b", "https://r.example.com/feast/api/v1", "a b"),
        ("http://[::1]:80?project=", "http://[::1]:80/api/v1", ""),
    ],
)
def test_the_address_of_a_rest_server_may_name_a_project(url: str, base: str, project: str) -> None:
    assert read_rest_address(url) == (base, project)


@pytest.mark.parametrize(
    "url",
    [
        "registry:6572",
        "ftp://registry",
        "http://",
        "http://u:hunter2@registry",
        "http://r:port",
        "http://r:0",
        "http://r /x",
    ],
)
def test_what_is_no_address_of_a_server_is_refused_with_the_connection(url: str) -> None:
    with pytest.raises(FeastDagError, match="is not the address of a server"):
        read_rest_address(url)
    with pytest.raises(FeastConfigurationError, match="registry_rest_url is not") as caught:
        read_settings("feast_default", {"registry_rest_url": url})
    assert "feast_default" in caught.value.where
    assert "hunter2" not in str(caught.value)
