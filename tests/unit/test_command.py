"""Commands: what becomes an argv, and what is refused with the parameter's name."""

from __future__ import annotations

import pytest

from airflow_provider_feast.model.command import (
    SERVERS,
    FeastCommand,
    check_feature_views,
    check_version,
)
from airflow_provider_feast.model.errors import FeastDagError

START, END = "2026-01-01T00:00:00", "2026-01-01T23:59:59.999999"


@pytest.mark.parametrize(
    ("command", "argv"),
    [
        (FeastCommand.apply(), ["apply"]),
        (FeastCommand.apply(skip_source_validation=True), ["apply", "--skip-source-validation"]),
        (
            FeastCommand.apply(skip_source_validation=True, skip_feature_view_validation=True),
            ["apply", "--skip-source-validation", "--skip-feature-view-validation"],
        ),
        (FeastCommand.plan(skip_feature_view_validation=True), ["plan", "--skip-feature-view-validation"]),
        (FeastCommand.materialize(START, END), ["materialize", START, END]),
        (
            FeastCommand.materialize(START, END, feature_views=["a", "b"]),
            ["materialize", START, END, "--views", "a", "--views", "b"],
        ),
        (
            FeastCommand.materialize(START, END, feature_views=("a",), version="v2"),
            ["materialize", START, END, "--views", "a", "--version", "v2"],
        ),
        (FeastCommand.materialize_incremental(END), ["materialize-incremental", END]),
        (
            FeastCommand.materialize_incremental(END, feature_views=iter(["a"]), version="latest"),
            ["materialize-incremental", END, "--views", "a", "--version", "latest"],
        ),
        (FeastCommand.teardown(), ["teardown"]),
        (FeastCommand.inspect(), ["inspect"]),
        (FeastCommand.inspect(["a", "b"]), ["inspect", "--view", "a", "--view", "b"]),
        (
            FeastCommand.repair(START, END, feature_views=["a"], step=86400.0, dry_run=True),
            ["repair", "--start", START, "--end", END, "--step", "86400", "--dry-run", "--view", "a"],
        ),
        (FeastCommand.read(["feature-views", "list"]), ["feature-views", "list"]),
        (FeastCommand.read(("registry-dump",)), ["registry-dump"]),
        (FeastCommand.read(FeastCommand.apply()), ["apply"]),
        (FeastCommand.read(["delete", "$(HOME)", "; rm -rf /", ""]), ["delete", "$(HOME)", "; rm -rf /", ""]),
    ],
)
def test_a_command_becomes_this_argv(command: FeastCommand, argv: list[str]) -> None:
    assert command.argv == argv


def test_a_command_of_the_runner_is_none_that_an_author_can_give() -> None:
    given = FeastCommand.inspect(["a"])
    assert (given.line, given.of_runner) == ("inspect --view a", True)
    assert (FeastCommand.read(given).line, FeastCommand.read(given).of_runner) == (
        "feast inspect --view a",
        False,
    )


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("materialize now", "command=['materialize', 'now']"),
        ([], "must be a list"),
        (None, "must be a list"),
        ({"apply": 1}, "must be a list"),
        (["materialize", 5], "command[1] is 5"),
        (["materialize", None], "command[1] is None"),
        (["apply", "a\x00b"], "command[1]"),
        (["feast", "apply"], "leave it out: command=['apply']"),
        (["-c", "repo", "apply"], "global options are set by the operator"),
        (["Apply"], "cannot be a Feast subcommand"),
        (["apply; rm"], "cannot be a Feast subcommand"),
        ([""], "cannot be a Feast subcommand"),
        (FeastCommand("apply", "--skip-source-validation"), "command.arguments is the text"),
    ],
)
def test_what_is_no_command_is_refused_with_the_cure(value: object, says: str) -> None:
    with pytest.raises(FeastDagError) as caught:
        FeastCommand.read(value)
    assert says in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize("server", sorted(SERVERS))
def test_a_server_is_refused_since_it_never_finishes(server: str) -> None:
    with pytest.raises(FeastDagError, match="server that never finishes"):
        FeastCommand.read([server])


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (None, []),
        (["b", "a"], ["b", "a"]),
        (("a",), ["a"]),
        (["a", "b", "a"], ["a", "b"]),
        ({"c", "a", "b"}, ["a", "b", "c"]),
        (frozenset({"größe"}), ["größe"]),
    ],
)
def test_feature_views_are_names_in_a_stable_order(value: object, names: list[str]) -> None:
    assert check_feature_views(value) == names


@pytest.mark.parametrize("value", ["driver_stats", [""], ["-v"], ["a b"], [1], [None], {"a": 1}, 7, ["a\n"]])
def test_what_is_no_list_of_views_is_refused(value: object) -> None:
    with pytest.raises(FeastDagError, match=r"^views "):
        check_feature_views(value, "views")


def test_an_empty_list_of_views_is_refused_because_it_would_load_all() -> None:
    with pytest.raises(FeastDagError, match="feature_views is empty, which would load every feature view"):
        check_feature_views([])


@pytest.mark.parametrize("version", ["v1", "V12", "version3", "latest", None, ""])
def test_versions_that_feast_knows_pass(version: str | None) -> None:
    check_version(version, ["a"])


@pytest.mark.parametrize("version", ["2", "v", 2, "--views", "v1 x"])
def test_other_versions_are_refused(version: object) -> None:
    with pytest.raises(FeastDagError, match=r"^version="):
        check_version(version, ["a"])


@pytest.mark.parametrize("views", [[], ["a", "b"]])
def test_a_version_needs_exactly_one_view(views: list[str]) -> None:
    with pytest.raises(FeastDagError, match="exactly one feature view"):
        FeastCommand.materialize(START, END, feature_views=views, version="v2")
