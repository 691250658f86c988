"""Sums over chunks: each once, nothing guessed, and the same after JSON."""

from __future__ import annotations

import pytest

from airflow_provider_feast.model.result import CommandResult, ViewTotals
from airflow_provider_feast.model.totals import MOST_VIEWS, PlanProgress, Totals


def result(omitted: int = 0, **rows: int | None) -> CommandResult:
    views = {name: ViewTotals(count, 1.5, 1) for name, count in rows.items()}
    return CommandResult("succeeded", views=views, views_omitted=omitted)


def test_chunks_add_up_and_views_need_not_be_in_each() -> None:
    totals = Totals().plus(0, result(a=1, b=2)).plus(3, result(b=5))
    assert totals == Totals(
        frozenset({0, 3}), {"a": ViewTotals(1, 1.5, 1), "b": ViewTotals(7, 3.0, 2)}, views_omitted=0
    )
    assert totals.rows == 8


def test_an_unknown_number_of_rows_makes_the_sum_unknown() -> None:
    totals = Totals().plus(0, result(a=1)).plus(1, result(a=None)).plus(2, result(a=2))
    assert totals.views["a"] == ViewTotals(None, 4.5, 3)
    assert totals.rows is None


@pytest.mark.parametrize(
    "results",
    [
        (result(a=1, b=1), result(1, a=1), result(a=1, b=1)),
        (result(1, a=1), result(a=1, b=1), result(a=1, b=1)),
        (result(a=1, b=1), result(a=1, b=1), result(1, a=1)),
    ],
)
def test_a_view_that_some_pod_had_no_room_for_is_left_out_rather_than_summed_too_small(
    results: tuple[CommandResult, ...],
) -> None:
    totals = Totals()
    for chunk, one in enumerate(results):
        totals = totals.plus(chunk, one)
    assert (totals.views, totals.views_omitted) == ({"a": ViewTotals(3, 4.5, 3)}, 1)
    assert totals.rows is None, "of all views it is not known"


def test_what_an_incomplete_chunk_did_counts_no_chunk() -> None:
    totals = Totals().plus(0, result(a=1)).with_part(result(a=2))
    assert (totals.chunks, totals.views["a"].rows) == ({0}, 3)


def test_no_more_views_are_kept_than_an_annotation_holds() -> None:
    many = result(**{f"view_with_a_rather_long_name_{number:05}": number for number in range(MOST_VIEWS + 7)})
    totals = Totals().plus(0, many)
    assert (len(totals.views), totals.views_omitted) == (MOST_VIEWS, 7)
    assert len(totals.to_json()) < 100_000


def test_totals_are_the_same_after_json_and_what_is_none_tells_of_no_chunk() -> None:
    totals = Totals().plus(0, result(a=1)).plus(1, result(2, a=None))
    assert Totals.parse(totals.to_json()) == totals
    progress = PlanProgress(5, frozenset({0, 1, 4}), totals)
    assert PlanProgress.from_dict(progress.to_dict()) == progress
    assert progress.unknown == {4}
    for text in (None, "", "{", "[]", '{"chunks":"x","views":{},"views_omitted":0}', '{"chunks":"0"}'):
        assert Totals.parse(text) == Totals()
