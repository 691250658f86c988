"""Parts of the runner that need no Feast: the guard, the progress line, the order of views, the checkpoint's budget."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_feast.jobs.remedies import remedy
from airflow_provider_feast.model.result import CommandResult
from airflow_provider_feast.runner.basics import Failure
from airflow_provider_feast.runner.commands import import_feast
from airflow_provider_feast.runner.guarding import newer_rows
from airflow_provider_feast.runner.intervals import merged
from airflow_provider_feast.runner.output import Mask
from airflow_provider_feast.runner.planning import Load, around, in_order
from airflow_provider_feast.runner.progress import Progress
from airflow_provider_feast.runner.report import Report

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CONFIG = SimpleNamespace(online_store=SimpleNamespace(type="somewhere"))
VIEW = SimpleNamespace(features=[SimpleNamespace(name="old"), SimpleNamespace(name="new")])


class Key(str):
    """An entity's key."""

    __slots__ = ()

    def SerializeToString(self) -> bytes:  # noqa: N802  (protobuf's name)
        return self.encode()


def row(key: str, hours: float, *, naive: bool = False) -> tuple[Key, dict[str, int], datetime, None]:
    time = NOON + timedelta(hours=hours)
    return Key(key), {"old": 1}, time.replace(tzinfo=None) if naive else time, None


class Store:
    """An online store: which feature of which entity has which time."""

    def __init__(self, times: dict[tuple[str, str], float]) -> None:
        self._times = times
        self.asked: list[int] = []

    def online_read(
        self, config: Any, table: Any, entity_keys: list[Key], requested_features: list[str]
    ) -> list[tuple[datetime | None, dict[str, int] | None]]:
        self.asked.append(len(entity_keys))
        answer: list[tuple[datetime | None, dict[str, int] | None]] = []
        for key in entity_keys:
            hours = [self._times[key, name] for name in requested_features if (key, name) in self._times]
            answer.append((NOON + timedelta(hours=max(hours)), {"any": 1}) if hours else (None, None))
        return answer


def kept(store: Any, *rows: Any) -> list[str]:
    return [f"{key} {values['old']}" for key, values, *_ in newer_rows(store, CONFIG, VIEW, rows)]


def test_rows_older_than_what_is_online_are_left_out_and_equal_ones_are_not() -> None:
    store = Store({("a", "old"): 1, ("b", "old"): 1, ("c", "old"): 1})
    rows = [row("a", 0), row("b", 1), row("c", 2), row("d", -50)]
    assert newer_rows(store, CONFIG, VIEW, rows) == rows[1:]


def test_times_without_a_zone_are_utc() -> None:
    store = Store({("a", "old"): 1})
    assert newer_rows(store, CONFIG, VIEW, [row("a", 0, naive=True)]) == []
    assert len(newer_rows(store, CONFIG, VIEW, [row("a", 1, naive=True)])) == 1


def test_of_two_rows_of_one_entity_the_newer_one_stays_whatever_their_order() -> None:
    store = Store({})
    for rows in ([row("a", 0), row("a", 1)], [row("a", 1), row("a", 0)]):
        assert newer_rows(store, CONFIG, VIEW, rows) == [row("a", 1)]


def test_a_feature_that_is_younger_than_the_others_hides_no_time() -> None:
    store = Store({("a", "new"): 1})
    assert newer_rows(store, CONFIG, VIEW, [row("a", 0)]) == []


def test_many_entities_are_asked_for_in_parts() -> None:
    store = Store({(str(number), "old"): 0 for number in range(1200)})
    assert len(newer_rows(store, CONFIG, VIEW, [row(str(number), 1) for number in range(1200)])) == 1200
    assert store.asked == [500, 500, 200]


class Timeless:
    """A store that gives values without their times."""

    def online_read(self, entity_keys: list[Key], **_: Any) -> list[tuple[None, dict[str, int]]]:
        return [(None, {"old": 1}) for _ in entity_keys]


class Writeonly:
    """A store that cannot be read."""

    def online_read(self, **_: Any) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("store", [Timeless(), Writeonly()])
def test_a_store_that_tells_no_times_is_said_to_be_unguardable(store: Any) -> None:
    with pytest.raises(Failure, match="older_windows='refuse', 'skip' or 'overwrite'") as caught:
        newer_rows(store, CONFIG, VIEW, [row("a", 0)])
    assert caught.value.code == 66


def test_redis_compares_by_itself_unless_it_is_told_not_to() -> None:
    class RedisOnlineStore(Store):
        pass

    store = RedisOnlineStore({("a", "old"): 1})
    plain = SimpleNamespace(online_store=SimpleNamespace(type="redis", skip_dedup=False))
    careless = SimpleNamespace(online_store=SimpleNamespace(type="redis", skip_dedup=True))
    assert len(newer_rows(store, plain, VIEW, [row("a", 0)])) == 1
    assert newer_rows(store, careless, VIEW, [row("a", 0)]) == []


def test_progress_is_a_line_after_each_load_and_every_few_seconds_of_a_long_one() -> None:
    now, said = [0.0], []
    progress = Progress(3, "chunk 2 of 3", said.append, lambda: now[0], before=4, after=5, starts=6.0)
    for step, batches in enumerate((5, 40, 5)):
        progress.start("numbers", f"[day {step})")
        for _ in range(batches):
            now[0] += 0.2
            progress.wrote(10_000)
        if step < 2:
            progress.loaded(f"{batches * 10_000:,} rows in {batches / 5:.1f} s")
        progress.finish()
    place = "loads done, chunk 2 of 3; numbers"
    assert said == [
        f"[########------------] 5 of 12 {place} [day 0): 50,000 rows in 1.0 s; 0:01 elapsed, about 0:13 left",
        f"[########------------] 5 of 12 {place} [day 1): 250,000 rows so far; 0:06 elapsed, about 0:48 left",
        f"[##########----------] 6 of 12 {place} [day 1): 400,000 rows in 8.0 s; 0:09 elapsed, about 0:33 left",
    ], "a load that failed or was left out is told of elsewhere"
    now[0] = 3725
    assert Progress(1, "", said.append, lambda: now[0]).line("1 row").endswith("1 row; 0:00 elapsed")


def test_what_is_done_and_what_is_left_to_others_is_known_of_a_plan() -> None:
    chunks = [[Load(None, datetime(2026, 1, day, tzinfo=UTC), ())] for day in (1, 2, 3, 4, 5)]
    before, after = around(chunks, [2], "2,4")
    assert (before, after) == ([chunks[0], chunks[1], chunks[3]], [chunks[4]])
    assert around(chunks, [0, 1, 2, 3, 4], "") == ([], [])


def view(name: str, *sources: str) -> SimpleNamespace:
    return SimpleNamespace(name=name, source_views=[SimpleNamespace(name=source) for source in sources])


def test_views_come_by_name_but_after_their_sources_and_a_ring_does_no_harm() -> None:
    views = [view("b"), view("a", "d"), view("d", "c", "not_planned"), view("c")]
    assert [found.name for found in in_order(views)] == ["c", "d", "a", "b"]
    ring = [view("a", "b"), view("b", "a")]
    assert {found.name for found in in_order(ring)} == {"a", "b"}


def test_intervals_are_merged_and_reversed_ones_left_out() -> None:
    day, tick = timedelta(days=1), timedelta(microseconds=1)
    intervals = [(NOON + day, NOON + 2 * day), (NOON, NOON + day - tick), (NOON + 9 * day, NOON + 8 * day)]
    naive = (NOON.replace(tzinfo=None) + 3 * day, NOON.replace(tzinfo=None) + 4 * day)
    assert merged([*intervals, naive]) == [(NOON, NOON + 2 * day), (NOON + 3 * day, NOON + 4 * day)]


def test_the_checkpoint_stays_within_its_budget_however_many_windows_and_failures(tmp_path: Path) -> None:
    log = tmp_path / "log"
    report = Report(str(log), 2048, Mask())
    for number in range(1000):
        name = f"a_rather_long_name_of_a_feature_view_{number % 40}"
        report.add(name, number, 1.0)
        if number % 3 == 0:
            report.fail(name)
        report.steps(number + 1, 1000)
        assert len(log.read_bytes()) <= 2048
        result = CommandResult.parse(log.read_text())
        assert result is not None
        assert result.steps == (number + 1, 1000)
    assert len(result.failed) == 10
    assert json.loads(json.dumps(result.to_dict())) == result.to_dict(), "it crosses from triggerer to worker"
    assert len(result.views) + result.views_omitted == 40


def test_gaps_are_named_as_far_as_they_fit_and_the_others_are_counted(tmp_path: Path) -> None:
    log = tmp_path / "log"
    report = Report(str(log), 2048, Mask())
    day = timedelta(days=1)
    found = {f"view_{number}": [(NOON, NOON + day), (NOON + 2 * day, NOON + 3 * day)] for number in range(30)}
    report.gaps(found)
    result = CommandResult.parse(log.read_text())
    assert result is not None
    assert result.gaps["view_0"][1] == ("2026-03-03T12:00:00+00:00", "2026-03-04T12:00:00+00:00")
    assert sum(map(len, result.gaps.values())) + result.gaps_omitted == 60
    assert json.loads(json.dumps(result.to_dict())) == result.to_dict()
    for number in range(40):
        report.add(f"a_rather_long_name_of_a_feature_view_{number}", number, 1.0)
        report.fail(f"a_rather_long_name_of_a_feature_view_{number}")
        assert len(log.read_bytes()) <= 2048
    report.end("failed", 1, "command_failed", "what happened " * 100)
    full = CommandResult.parse(log.read_text())
    assert full is not None
    assert (full.gaps, full.gaps_omitted, full.verdict) == ({}, 60, "failed"), (
        "views are worth more than gaps"
    )
    report.gaps({})
    empty = CommandResult.parse(log.read_text())
    assert empty is not None
    assert (empty.gaps, empty.gaps_omitted) == ({}, 0)


def test_what_an_apply_would_do_is_told_as_far_as_it_fits_deletions_first(tmp_path: Path) -> None:
    log = tmp_path / "log"
    report = Report(str(log), 2048, Mask())
    names = [f"FeatureView näme_of_a_view_{number}" for number in range(40)]
    report.changes({"delete": names[:20], "create": names, "update": []})
    assert len(log.read_bytes()) <= 2048
    result = CommandResult.parse(log.read_text())
    assert result is not None
    assert result.changes is not None
    told = result.changes
    assert told["delete"] == names[:20]
    assert told["create"] == names[: len(told["create"])]
    assert len(told["create"]) + told["omitted"] == 40
    assert told["omitted"] > 0
    report.changes({"delete": [], "create": [], "update": ["Entity other"]})
    assert report.body["changes"]["delete"] == names[:20], "a repository may hold several projects"


def test_an_image_without_feast_is_no_fault_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "feast", None)
    monkeypatch.setattr(sys, "dont_write_bytecode", sys.dont_write_bytecode)
    with pytest.raises(
        Failure, match="Feast cannot be imported in this image: ModuleNotFoundError"
    ) as raised:
        import_feast(slow_start=True)
    assert raised.value.kind == "start_error"
    assert "the image has Python and Feast" in remedy(raised.value.kind)
