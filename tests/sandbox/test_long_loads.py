"""Long ranges through the operator, with the real Feast: what is done counts, whatever became of its Job and its pods."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from airflow_helpers import wait_for
from feast_stores import Row, Zygote
from operator_helpers import context, deferral, execute, first_event, log_lines
from plan_world import ANOTHER, VIEW, PlanWorld, days

from airflow_provider_feast.jobs import task
from airflow_provider_feast.model.errors import DeadlineExceededError
from airflow_provider_feast.operators.feast import (
    FeastMaterializeOperator,
)
from airflow_provider_feast.sandbox import Sandbox

DAY = 86_400 * 10**6
ROWS = [Row(thing, day * DAY + thing, 100 * day + thing) for day in range(6) for thing in range(1 + day)]
START, END = days(0, 6)
ROWS_OF_CHUNKS = {"0": (1, 2), "1": (3, 4), "2": (5, 6)}
"""Rows of a chunk's two windows."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlanWorld]:
    zygote = Zygote()
    with Sandbox(time_scale=0.05) as sandbox:
        made = PlanWorld(sandbox, zygote, tmp_path_factory.mktemp("plan"), ROWS)
        with made.connected():
            yield made
        made.close()
    zygote.stop()


@pytest.fixture(autouse=True)
def fresh(world: PlanWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task.TaskRun, "defer_after", 1.0)
    world.reset()


def load(name: str, **options: Any) -> FeastMaterializeOperator:
    given = {"start": START, "end": END, "chunk": "2d", "log_interval": 0.2, "retries": 3, **options}
    return FeastMaterializeOperator(task_id=name, **given)


def test_a_deferred_load_tells_the_progress_of_the_plan_and_what_all_pods_wrote(world: PlanWorld) -> None:
    with log_lines() as lines:
        result = execute(load("whole", deferrable=True))
    told = [line for line in lines if "chunks done" in line]
    assert [line.split("; ")[:2] for line in told] == [
        ["[######--------------] 1 of 3 chunks done", "6 rows"],
        ["[#############-------] 2 of 3 chunks done", "20 rows"],
        ["[####################] 3 of 3 chunks done", "42 rows"],
    ]
    assert all("elapsed, about" in line for line in told[:2])
    loads = [line for line in lines if "of 12 loads done" in line]
    assert [line.partition("] ")[2].partition(" of ")[0] for line in loads] == [str(n) for n in range(1, 13)]
    assert "6 of 12 loads done, chunk 2 of 3; numbers [2026-03-03, 2026-03-04): 3 rows in 0." in loads[5]
    assert result["chunks"] == {"total": 3, "done": 3, "unknown": ""}
    assert {view: (totals["rows"], totals["windows"]) for view, totals in result["views"].items()} == {
        VIEW: (21, 6),
        ANOTHER: (21, 6),
    }
    assert world.online() == world.expected(START, END)


def until_a_chunk_is_done(world: PlanWorld, name: str, **options: Any) -> None:
    """Start a load, and leave it when its first chunk is done: nobody waits for it."""
    deferral(load(name, deferrable=True, **options))
    wait_for(lambda: world.jobs(name)[-1]["status"].get("completedIndexes"), "the first chunk")


def again(name: str, **options: Any) -> tuple[dict[str, Any], list[str]]:
    """The task's next try; its result and its log."""
    operator = load(name, deferrable=False, **options)
    with log_lines() as lines:
        return execute(operator, context(operator, try_number=2)), lines


def assert_rows_of_all_chunks(world: PlanWorld, jobs: list[dict[str, Any]], result: dict[str, Any]) -> None:
    """Each chunk counts by the pod that completed it, if that could be read.

    A pod that ends well while its Job is being stopped is gone before anybody can read what it wrote. One that is
    stopped in its second window has put rows online next to which those of the first window are old: the next try
    leaves these out.
    """
    chunks = result["chunks"]
    assert (chunks["total"], chunks["done"]) == (3, 3)
    known = {chunk: rows for chunk, rows in ROWS_OF_CHUNKS.items() if chunk not in chunks["unknown"]}
    stopped = {str(one.chunk) for one in world.tries(jobs) if one.phase != "Succeeded"} & set(known)
    assert len(stopped) <= 1, "one pod at a time, and one stop"
    whole = sum(map(sum, known.values()))
    possible = {whole} | {whole - known[chunk][0] for chunk in stopped}
    assert set(result["views"]) == {VIEW, ANOTHER}
    assert {totals["rows"] for totals in result["views"].values()} <= possible


def assert_each_chunk_succeeded_once(world: PlanWorld, jobs: list[dict[str, Any]]) -> None:
    tries = world.tries(jobs)
    done = [one.chunk for one in tries if one.phase == "Succeeded"]
    assert sorted(done) == [0, 1, 2], tries
    for one in tries:
        after = [other for other in tries if other.chunk == one.chunk and other.started > one.ended]
        assert one.phase != "Succeeded" or not after, tries


def test_a_job_that_is_wanted_otherwise_now_is_stopped_and_what_it_has_done_counts(world: PlanWorld) -> None:
    until_a_chunk_is_done(world, "changed")
    result, lines = again("changed", env={"REGION": "eu"})
    first, second = world.jobs("changed")
    assert first["status"]["conditions"][-1]["reason"] == "DeadlineExceeded"
    assert "otherwise" in first["metadata"]["annotations"]["airflow-provider-feast/stopped"]
    assert any("the task wants it otherwise now" in line for line in lines)
    done = int(result["chunks"]["total"]) - second["spec"]["completions"]
    assert done >= 1
    assert any(f"loaded in 3 chunks; {done} are done already." in line for line in lines)
    assert_each_chunk_succeeded_once(world, [first, second])
    assert_rows_of_all_chunks(world, [first, second], result)
    assert world.online() == world.expected(START, END)


def test_an_execution_timeout_leaves_what_is_done_to_the_next_try(world: PlanWorld) -> None:
    limit = timedelta(seconds=2)
    deferred = deferral(load("late", deferrable=True, execution_timeout=timedelta(seconds=600)))
    wait_for(lambda: world.jobs("late")[-1]["status"].get("completedIndexes"), "the first chunk")
    deferred.trigger.options |= {"deadline_at": 1.0, "limit_seconds": limit.total_seconds()}
    event = asyncio.run(first_event(deferred.trigger))
    operator = load("late", execution_timeout=timedelta(seconds=600))
    given = context(operator)
    with pytest.raises(DeadlineExceededError, match="execution_timeout of 2 s"):
        operator.resume(given, event=event)
    assert given["ti"].xcoms["result"]["chunks"]["total"] == 3
    result, _ = again("late", execution_timeout=timedelta(seconds=600))
    jobs = world.jobs("late")
    assert [job["spec"]["completions"] for job in jobs] in ([3, 2], [3, 1])
    assert_each_chunk_succeeded_once(world, jobs)
    assert_rows_of_all_chunks(world, jobs, result)


def test_pods_that_vanish_with_their_node_count_when_they_were_seen_and_are_named_when_not(
    world: PlanWorld,
) -> None:
    until_a_chunk_is_done(world, "vanished")
    first = next(
        pod.metadata.name
        for pod in world.core.list_namespaced_pod(world.namespace).items
        if pod.status.phase == "Succeeded" and "vanished" in pod.metadata.name
    )
    world.core.delete_namespaced_pod(first, world.namespace)
    operator = load("vanished", deferrable=False)

    def lose_the_second(line: str) -> None:
        if "2 of 3 chunks done" in line:
            pods = world.core.list_namespaced_pod(world.namespace).items
            for pod in pods:
                if pod.status.phase == "Succeeded" and "vanished" in pod.metadata.name:
                    world.core.delete_namespaced_pod(pod.metadata.name, world.namespace)

    with log_lines(lose_the_second) as lines:
        result = execute(operator, context(operator, try_number=2))
    assert result["chunks"] == {"total": 3, "done": 3, "unknown": "0"}
    assert {view: totals["rows"] for view, totals in result["views"].items()} == {VIEW: 18, ANOTHER: 18}
    assert any("Chunks 0 of the plan are done, but their pods were gone" in line for line in lines)
