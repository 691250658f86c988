"""How far a plan is: what counts as done, what was written, and how a person is told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from job_objects import T0, index_pod, job, pod, told

from airflow_provider_feast.jobs.diagnose import diagnose
from airflow_provider_feast.jobs.plan_notes import PlanNotes
from airflow_provider_feast.jobs.plan_progress import plan_progress, progress_line
from airflow_provider_feast.jobs.pod_view import pods_of
from airflow_provider_feast.model.errors import ForbiddenError
from airflow_provider_feast.model.naming import A_CHUNK_COUNT, A_CHUNKS, A_TOTALS
from airflow_provider_feast.model.outcome import JobState
from airflow_provider_feast.model.result import ViewTotals
from airflow_provider_feast.model.totals import PlanProgress, Totals


def indexed(
    *conditions: tuple[str, str, str],
    chunks: str = "0-10",
    count: str = "11",
    totals: str = "",
    **status: Any,
) -> dict[str, Any]:
    made = job(*conditions, spec={"completionMode": "Indexed"}, startTime=T0, **status)
    made["metadata"]["annotations"] = {A_CHUNKS: chunks, A_CHUNK_COUNT: count}
    if totals:
        made["metadata"]["annotations"][A_TOTALS] = totals
    return made


def progress_of(made: dict[str, Any], *pods: dict[str, Any]) -> PlanProgress:
    found = plan_progress(made, pods_of(made, pods))
    assert found is not None
    return found


def test_the_verdict_has_the_sum_of_the_chunks_each_counted_once() -> None:
    complete = indexed(("Complete", "True", ""), completedIndexes="0-10")
    pods = [index_pod(index, told(index), 10 + index) for index in range(11)]
    pods += [index_pod(4, told(1000), 5, code=1), index_pod(4, told(1000), 59)]
    outcome = diagnose(complete, pods, [])
    assert outcome.state is JobState.SUCCEEDED
    assert outcome.progress is not None
    assert outcome.progress.totals.views == {"numbers": ViewTotals(55, 16.5, 11)}
    assert outcome.progress.unknown == frozenset()


def test_what_earlier_jobs_and_vanished_pods_wrote_is_known_from_the_note_and_the_rest_is_unknown() -> None:
    noted = Totals(frozenset({0, 1, 5}), {"numbers": ViewTotals(100, 9.0, 3)}).to_json()
    found = progress_of(
        indexed(chunks="2-9", count="10", totals=noted, completedIndexes="0-3"), index_pod(2, told(7), 3)
    )
    assert (found.chunks, found.done) == (10, {0, 1, 2, 3, 4, 5})
    assert found.totals.views["numbers"].rows == 107
    assert found.unknown == {2, 3}


@pytest.mark.parametrize(
    "made",
    [
        job(("Complete", "True", "")),
        indexed(chunks="") | {"spec": {"completions": 1}},
        indexed(chunks="one"),
        indexed(chunks="0-99999999999999"),
    ],
    ids=["no plan", "one chunk", "changed by somebody", "a bomb"],
)
def test_a_job_without_readable_chunks_has_no_progress(made: dict[str, Any]) -> None:
    assert plan_progress(made, ()) is None


def test_an_index_that_is_none_and_a_message_that_is_none_count_nothing() -> None:
    odd = index_pod(0, "Killed", 1)
    stray = index_pod(99, told(5), 2)
    found = progress_of(indexed(count="many", completedIndexes="all"), odd, stray, pod("load-x", "Succeeded"))
    assert (found.chunks, found.done, found.totals) == (11, {0}, Totals())


def test_a_line_tells_chunks_rows_and_the_time_that_the_plan_may_still_take() -> None:
    made = indexed(chunks="2-9", count="10", completedIndexes="0,1")
    pods = [index_pod(0, told(1200), 1), index_pod(1, told(34), 3)]
    views = pods_of(made, pods)
    line = progress_line(made, views, progress_of(made, *pods))
    assert line.text == (
        "[########------------] 4 of 10 chunks done; 1,234 rows in those that are known; "
        "3:00 elapsed, about 9:00 left"
    )
    assert line.at == "2026-01-01T00:03:00.999999Z"
    whole = indexed(chunks="0,1", count="2", completedIndexes="0,1")
    views = pods_of(whole, pods)
    text, _ = progress_line(whole, views, progress_of(whole, *pods))
    assert text == "[####################] 2 of 2 chunks done; 1,234 rows; 3:00 elapsed"
    text, at = progress_line(whole, (), progress_of(whole))
    assert (text, at) == ("[####################] 2 of 2 chunks done; 0 rows in those that are known", "")


class Api:
    """Takes patches."""

    def __init__(self, error: Exception | None = None) -> None:
        self.patches: list[Any] = []
        self._error = error

    async def patch_job(self, namespace: str, name: str, patch: Any, expected: Any) -> None:
        if self._error:
            raise self._error
        self.patches.append((namespace, name, patch, expected))


def take(api: Any, *states: tuple[dict[str, Any], list[dict[str, Any]]]) -> list[str]:
    lines: list[str] = []
    notes = PlanNotes(api, lambda text, at="": lines.append(text))

    async def run() -> None:
        for made, pods in states:
            await notes.take(made, pods)

    asyncio.run(run())
    return lines


def test_each_chunk_is_told_and_noted_once_on_this_very_job() -> None:
    api, pods = Api(), [index_pod(0, told(5), 1)]
    running = indexed(chunks="0,1", count="2")
    lines = take(api, (running, []), (running, pods), (running, pods), (job(), pods))
    assert [line[:38] for line in lines] == ["[##########----------] 1 of 2 chunks d"]
    ((namespace, name, patch, expected),) = api.patches
    assert (namespace, name, patch["metadata"]["uid"], expected) == ("ns", "load", "job-uid", (404, 409))
    noted = patch["metadata"]["annotations"][A_TOTALS]
    assert Totals.parse(noted) == Totals(frozenset({0}), {"numbers": ViewTotals(5, 1.5, 1)})
    again = Api()
    take(again, (indexed(chunks="0,1", count="2", totals=noted), pods))
    assert again.patches == [], "somebody else has noted it"


def test_a_note_that_is_refused_is_told_and_the_wait_goes_on() -> None:
    pods = [index_pod(0, told(5), 1)]
    refused = ForbiddenError("no", where="patch jobs", remedy="a Role")
    made = indexed(chunks="0,1", count="2")
    lines = take(Api(refused), (made, pods), (made, pods))
    assert lines[-1].startswith("What is done so far could not be noted on the Job: no")
    assert sum("could not be noted" in line for line in lines) == 1
