"""Names, labels and digests: pure, short enough, and different for what is different."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_feast.model.naming import (
    JOB_NAME_LENGTH,
    L_EPOCH,
    L_KEY,
    OUR_LABELS,
    TaskKey,
    digest,
    epoch_of,
    is_newer,
    job_labels,
    job_name,
    label_value,
    slug,
)

KEY = TaskKey("", "features", "load", "scheduled__2026-01-01T00:00:00+00:00")
DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
texts = st.text(st.sampled_from("aZ09-_. é/:\n日"), max_size=300)
commands = st.sampled_from(["apply", "materialize-incremental", "feature_views"])


def test_a_jobs_name_says_the_command_the_dag_and_the_task() -> None:
    assert re.fullmatch(r"feast-materialize-features-load-[0-9a-f]{10}", job_name("materialize", KEY, "0", 0))


def test_a_name_stays_the_same_between_releases_so_that_a_retry_after_an_upgrade_finds_its_job() -> None:
    assert KEY.digest == "55d70181d15947be83125b7345f2b9bbbce1707b"
    assert job_name("apply", KEY, "0", 0) == "feast-apply-features-load-91cad26bc7"


@pytest.mark.parametrize(
    "other",
    [
        KEY._replace(deployment="b"),
        KEY._replace(dag_id="other"),
        KEY._replace(task_id="other"),
        KEY._replace(run_id="other"),
        KEY._replace(map_index=0),
        KEY._replace(dag_id="features-load", task_id=""),
    ],
)
def test_another_task_instance_has_another_name_and_key(other: TaskKey) -> None:
    assert other.digest != KEY.digest
    assert job_name("apply", other, "0", 0) != job_name("apply", KEY, "0", 0)


def test_every_epoch_and_count_has_a_name_of_its_own() -> None:
    names = {job_name("apply", KEY, str(epoch), count) for epoch in range(5) for count in range(5)}
    assert len(names) == 25


@given(commands, texts, texts, texts, st.integers(-1, 5))
def test_any_ids_give_a_job_name_that_an_indexed_job_may_have(
    command: str, dag: str, task: str, run: str, index: int
) -> None:
    name = job_name(command, TaskKey("", dag, task, run, index), "0", 0)
    assert DNS_LABEL.fullmatch(name)
    assert len(name) <= JOB_NAME_LENGTH
    assert name == job_name(command, TaskKey("", dag, task, run, index), "0", 0)


@given(texts)
def test_any_text_becomes_a_valid_label_value(text: str) -> None:
    value = label_value(text)
    assert LABEL_VALUE.fullmatch(value)
    assert len(value) <= 63


@given(st.lists(texts, min_size=2, max_size=2, unique=True))
def test_different_texts_become_different_label_values(pair: list[str]) -> None:
    assert label_value(pair[0]) != label_value(pair[1])


@given(commands, texts, texts, texts)
def test_labels_are_ours_and_valid(command: str, dag: str, task: str, store: str) -> None:
    labels = job_labels(command, TaskKey("", dag, task, "run"), "3", store)
    assert set(labels) == OUR_LABELS
    assert all(LABEL_VALUE.fullmatch(value) and len(value) <= 63 for value in labels.values())
    assert labels[L_EPOCH] == "3"
    assert len(labels[L_KEY]) == 40


def test_digests_do_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest([1, 2]) != digest([2, 1])


@pytest.mark.parametrize(
    ("text", "length", "found"),
    [("My DAG", 10, "my-dag"), ("a--b", 10, "a-b"), ("--", 5, ""), ("abc-def", 4, "abc"), ("é", 5, "")],
)
def test_slugs(text: str, length: int, found: str) -> None:
    assert slug(text, length) == found


def test_a_run_that_is_made_again_under_its_old_id_is_another_epoch() -> None:
    first, second = (
        datetime(2026, 1, 1, 12, 0, 0, 1, tzinfo=UTC),
        datetime(2026, 1, 1, 12, 0, 0, 2, tzinfo=UTC),
    )
    assert epoch_of(0, first) != epoch_of(0, second)
    assert epoch_of(0, first) != epoch_of(1, first)
    assert epoch_of(0, first) == epoch_of(0, first.astimezone(timezone(timedelta(hours=9))))
    assert epoch_of(2, None) == "2"
    assert label_value(epoch_of(12, first)) == epoch_of(12, first), "it is a label value as it is"


def test_an_epoch_is_newer_when_it_is_later_in_every_respect() -> None:
    monday, tuesday = datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 1, 6, tzinfo=UTC)
    assert is_newer(epoch_of(1, monday), epoch_of(0, monday)), "cleared again"
    assert is_newer(epoch_of(0, tuesday), epoch_of(0, monday)), "a run that started later"
    assert is_newer(epoch_of(10, None), epoch_of(9, None)), "numbers, not texts"
    assert not is_newer(epoch_of(0, monday), epoch_of(0, monday))
    assert not is_newer(epoch_of(3, monday), epoch_of(0, tuesday)), "a run that was deleted and made again"
    assert not is_newer(epoch_of(0, tuesday), epoch_of(1, monday)), "schedulers whose clocks differ"
    assert not is_newer("somebody else's", epoch_of(0, monday))
