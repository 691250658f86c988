"""Adopt, replace or create: what becomes of the Jobs that a task already has."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_feast.jobs.submit import condition, decide
from airflow_provider_feast.model.naming import A_MANIFEST_DIGEST, A_PLAN, L_EPOCH

SAME, OTHER = "same", "other"


def job(
    name: str = "a",
    *,
    epoch: int = 1,
    digest: str = SAME,
    plan: str = "",
    created: int = 1,
    deleting: bool = False,
    **status: str,
) -> dict[str, Any]:
    metadata = {
        "name": name,
        "labels": {L_EPOCH: str(epoch)},
        "annotations": {A_MANIFEST_DIGEST: digest, **({A_PLAN: plan} if plan else {})},
        "creationTimestamp": f"2026-01-01T00:00:{created:02d}Z",
    }
    if deleting:
        metadata["deletionTimestamp"] = "2026-01-01T00:01:00Z"
    conditions = [{"type": kind, "status": value} for kind, value in status.items()]
    return {"metadata": metadata, "status": {"conditions": conditions}}


def names(jobs: list[dict[str, Any]]) -> list[str]:
    return [item["metadata"]["name"] for item in jobs]


@pytest.mark.parametrize(
    ("jobs", "adopted", "deleted"),
    [
        pytest.param([], None, [], id="none"),
        pytest.param([job()], "a", [], id="live and the same: adopt"),
        pytest.param([job(digest=OTHER)], None, ["a"], id="live, but would do something else: replace"),
        pytest.param([job(Suspended="True")], "a", [], id="suspended by a crash: adopt"),
        pytest.param([job(Complete="True")], "a", [], id="succeeded: its outcome is ours"),
        pytest.param(
            [job(Complete="True", digest=OTHER)], "a", [], id="succeeded under an older manifest: ours too"
        ),
        pytest.param([job(Complete="False")], "a", [], id="a false condition is no condition"),
        pytest.param([job(Failed="True")], None, [], id="failed: stays as a record"),
        pytest.param([job(Failed="True", digest=OTHER)], None, [], id="failed differently: stays, too"),
        pytest.param([job(Failed="False")], "a", [], id="not failed"),
        pytest.param([job(FailureTarget="True")], "a", [], id="about to fail: waited for"),
        pytest.param([job(epoch=0)], None, ["a"], id="of another clearing, live: delete"),
        pytest.param(
            [job(epoch=0, Complete="True")], None, ["a"], id="of another clearing, succeeded: delete"
        ),
        pytest.param([job(epoch=0, Failed="True")], None, ["a"], id="of another clearing, failed: delete"),
        pytest.param([job(deleting=True)], None, ["a"], id="being deleted: wait until it is gone"),
        pytest.param([job("a", Failed="True"), job("b", created=2)], "b", [], id="the retry's Job"),
        pytest.param([job("b", created=2), job("a", Failed="True")], "b", [], id="in any order"),
        pytest.param(
            [job("a", epoch=0), job("b", created=2, Failed="True"), job("c", created=3)],
            "c",
            ["a"],
            id="all at once",
        ),
    ],
)
def test_the_fate_of_each_job(jobs: list[dict[str, Any]], adopted: str | None, deleted: list[str]) -> None:
    decision = decide(jobs, "1", lambda name: SAME)
    assert (decision.adopt and decision.adopt["metadata"]["name"]) == adopted
    assert names(decision.delete) == deleted


@pytest.mark.parametrize(("there", "refused"), [(job(epoch=2), True), (job(epoch=2, Failed="True"), False)])
def test_a_try_that_is_out_of_date_touches_no_job_of_its_successor(
    there: dict[str, Any], refused: bool
) -> None:
    older = job("b", epoch=0, created=0)
    decision = decide([there, older], "1", lambda name: SAME)
    assert decision.newer == (there if refused else None)
    assert decision.adopt is None
    assert names(decision.delete) == ([] if refused else ["b"])


def test_a_job_without_labels_or_annotations_is_none_of_ours() -> None:
    bare = {"metadata": {"name": "a"}}
    assert names(decide([bare], "1", lambda name: SAME).delete) == ["a"]


def test_the_manifest_is_built_only_where_it_decides() -> None:
    built: list[str] = []

    def digest_of(name: str) -> str:
        built.append(name)
        return SAME

    decide([job("a", Failed="True"), job("b", epoch=0), job("c")], "1", digest_of)
    assert built == ["c"]


@pytest.mark.parametrize(
    ("status", "met"), [("True", True), ("False", False), ("Unknown", False), ("true", False), (None, False)]
)
def test_a_condition_is_met_when_its_status_is_the_text_true(status: str | None, met: bool) -> None:
    found = {"status": {"conditions": [{"type": "Complete", "status": status}]}}
    assert condition(found, "Complete") is met
    assert not condition(found, "Failed")
    assert not condition({}, "Complete")
    assert not condition({"status": {"conditions": None}}, "Complete")


@pytest.mark.parametrize(("done", "wanted", "adopted"), [("p", "p", "a"), ("p", "q", None), ("", "q", None)])
def test_a_job_that_succeeded_counts_only_for_the_plan_that_is_wanted(
    done: str, wanted: str, adopted: str | None
) -> None:
    """A worker dies after the load, and the author changes its end: the range that is wanted now was never loaded."""
    decision = decide([job(Complete="True", plan=done)], "1", lambda name: SAME, wanted)
    assert (decision.adopt and decision.adopt["metadata"]["name"], decision.delete) == (adopted, [])
