"""Who may write a registry at the same time."""

import pytest

from airflow_provider_feast.model.command import FeastCommand
from airflow_provider_feast.model.errors import FeastClusterError
from airflow_provider_feast.model.lock import (
    A_HOLDERS,
    ALL,
    Holder,
    default_lock_name,
    in_the_way,
    read_holders,
    write_holders,
    written_views,
)


def holder(uid: str, *views: str, since: str = "2026-01-01T00:00:00+00:00") -> Holder:
    return Holder(uid, f"job-{uid}", "features", views or (ALL,), since)


@pytest.mark.parametrize(
    ("argv", "concurrency", "expected"),
    [
        (["apply"], "registry", (ALL,)),
        (["apply"], "view", (ALL,)),
        (["teardown"], "view", (ALL,)),
        (["apply"], "none", ()),
        (["materialize", "a", "b", "--views", "v2", "--views", "v1"], "view", ("v1", "v2")),
        (["materialize", "a", "b", "-v", "v1", "--views=v2", "-vv3"], "view", ("v1", "v2", "v3")),
        (["materialize", "a", "b"], "view", (ALL,)),
        (["materialize", "a", "b", "--views", "v1"], "registry", (ALL,)),
        (["materialize-incremental", "b", "--views", "v1"], "view", ("v1",)),
        (["plan"], "registry", ()),
        (["version"], "registry", ()),
        (["feature-views", "list"], "registry", ()),
        (["feature-views", "describe", "list"], "registry", ()),
        (["feature-views", "set-state", "list", "available_online"], "view", (ALL,)),
        (["something-new"], "view", (ALL,)),
    ],
)
def test_what_a_command_writes_decides_what_it_locks(
    argv: list[str], concurrency: str, expected: tuple[str, ...]
) -> None:
    assert written_views(FeastCommand.read(argv), concurrency) == expected


@pytest.mark.parametrize(
    ("command", "concurrency", "expected"),
    [
        (FeastCommand.repair("a", "b", step=1), "registry", (ALL,)),
        (FeastCommand.repair("a", "b", step=1), "view", (ALL,)),
        (FeastCommand.repair("a", "b", step=1, feature_views=["v2", "v1"]), "view", ("v1", "v2")),
        (FeastCommand.repair("a", "b", step=1), "none", ()),
        (FeastCommand.repair("a", "b", step=1, dry_run=True), "registry", ()),
        (FeastCommand.inspect(), "registry", ()),
        (FeastCommand.inspect(["list"]), "view", ()),
        (FeastCommand.read(["inspect"]), "registry", (ALL,)),
    ],
)
def test_a_command_of_the_runner_locks_what_it_writes(
    command: FeastCommand, concurrency: str, expected: tuple[str, ...]
) -> None:
    assert written_views(command, concurrency) == expected


def test_two_views_may_be_written_at_once_and_one_view_may_not() -> None:
    holders = {"a": holder("a", "v1", "v2")}
    assert in_the_way(holder("b", "v3"), holders) == []
    assert in_the_way(holder("b", "v2", "v3"), holders) == [holders["a"]]


def test_whoever_writes_everything_waits_for_all_and_all_wait_for_it() -> None:
    holders = {"a": holder("a", "v1", since="2"), "b": holder("b", "v2", since="1")}
    assert [other.uid for other in in_the_way(holder("c"), holders)] == ["b", "a"]
    assert in_the_way(holder("d", "v9"), {"c": holder("c")}) == [holder("c")]


def test_a_holder_is_not_in_its_own_way() -> None:
    assert in_the_way(holder("a"), {"a": holder("a")}) == []


def test_the_annotation_says_what_was_written_into_it() -> None:
    holders = {"a": holder("a", "v1"), "b": holder("b")}
    lease = {"metadata": {"annotations": {A_HOLDERS: write_holders(holders)}}}
    assert read_holders(lease) == holders
    assert read_holders({"metadata": {}}) == {}


@pytest.mark.parametrize("text", ["no json", "[1]", '{"a": {}}', '{"a": 5}', '{"a": {"job": "j"}}'])
def test_an_annotation_that_cannot_be_read_is_an_error_and_no_free_lock(text: str) -> None:
    with pytest.raises(FeastClusterError, match="cannot be read"):
        read_holders({"metadata": {"name": "feast-x", "annotations": {A_HOLDERS: text}}})


def test_a_feature_store_gives_its_lease_a_valid_name() -> None:
    assert default_lock_name("production") == "feast-production"
    assert default_lock_name("Über_Store.1") == "feast-ber-store-1"
    assert len(default_lock_name("x" * 200)) <= 63
