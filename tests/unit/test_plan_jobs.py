"""A plan's Jobs: one that is wanted otherwise is stopped, kept as a record, and what it has done is not done again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from job_objects import index_pod, told

from airflow_provider_feast.jobs import stopping
from airflow_provider_feast.jobs.chunks import ChunkedLoad, load_annotations
from airflow_provider_feast.jobs.plan_jobs import PlanJobs
from airflow_provider_feast.jobs.stopping import is_record, stop_and_wait
from airflow_provider_feast.jobs.submit import Wanted
from airflow_provider_feast.model.errors import FeastClusterError
from airflow_provider_feast.model.naming import A_MANIFEST_DIGEST, A_STOPPED, L_EPOCH, TaskKey
from airflow_provider_feast.model.outcome import JobState
from airflow_provider_feast.model.plan import choose_plan
from airflow_provider_feast.model.windows import Window

START = datetime(2026, 1, 1, tzinfo=UTC)
PLAN = choose_plan(Window(START, START + timedelta(days=4)), chunk=timedelta(days=1))
KEY = TaskKey("", "features", "load", "r")


class Cluster:
    """One Job; a deadline of a second fails it at the second look."""

    namespace = "features"

    def __init__(self, job: dict[str, Any] | None = None, *pods: dict[str, Any]) -> None:
        self.job, self.pods = job, list(pods)
        self.patches: list[Any] = []
        self.stubborn = False
        self._looks = 0

    def list_jobs(self, selector: str) -> list[dict[str, Any]]:
        return [self.job] if self.job else []

    def list_pods(self, uid: str) -> list[dict[str, Any]]:
        return self.pods

    def patch_job(self, name: str, patch: Any) -> None:
        self.patches.append(patch)

    def read_job(self, name: str) -> dict[str, Any] | None:
        self._looks += 1
        if self.job and self.patches and self._looks > 1 and not self.stubborn:
            self.job["status"] |= {"conditions": [{"type": "Failed", "status": "True"}]}
        return self.job


def a_job(digest: str = "same", **spec: Any) -> dict[str, Any]:
    """A Job of the plan that goes on; its first chunk is done."""
    annotations = load_annotations(ChunkedLoad(PLAN, (0, 1, 2, 3)))
    return {
        "metadata": {
            "name": "load",
            "uid": "job-uid",
            "labels": {L_EPOCH: "0"},
            "annotations": {**annotations, A_MANIFEST_DIGEST: digest},
        },
        "spec": {"completionMode": "Indexed", "suspend": False, **spec},
        "status": {"completedIndexes": "0"},
    }


def wanted(load: ChunkedLoad) -> Wanted:
    def build(name: str) -> dict[str, Any]:
        return {"metadata": {"annotations": {A_MANIFEST_DIGEST: "same"}}}

    return Wanted(KEY, "0", lambda count: "load", build)


def look(cluster: Cluster, plan: Any = PLAN) -> tuple[PlanJobs, ChunkedLoad, list[str]]:
    lines: list[str] = []
    jobs = PlanJobs(cluster, plan, KEY, "0", lines.append)  # type: ignore[arg-type]
    return jobs, jobs.left(wanted), lines


def test_the_first_job_is_for_everything_and_one_that_does_the_same_is_left_alone() -> None:
    jobs, load, lines = look(Cluster())
    assert (load.chunks, jobs.latest, lines) == ((0, 1, 2, 3), None, ["The window is loaded in 4 chunks."])
    cluster = Cluster(a_job())
    _, load, _ = look(cluster)
    assert (load.chunks, cluster.patches) == ((0, 1, 2, 3), [])


def test_one_chunk_needs_no_look_at_the_cluster() -> None:
    one = choose_plan(Window(START, START + timedelta(days=1)))
    jobs, load, lines = look(None, one)  # type: ignore[arg-type]
    assert (load, lines, jobs.latest) == (ChunkedLoad(one, (0,)), [], None)


def test_a_job_that_is_wanted_otherwise_is_stopped_and_what_it_has_done_is_left_out() -> None:
    cluster = Cluster(a_job("another"), index_pod(1, told(7), 1))
    _, load, lines = look(cluster)
    ((metadata, spec),) = (patch.values() for patch in cluster.patches)
    assert (metadata["uid"], spec) == ("job-uid", {"activeDeadlineSeconds": 1})
    assert "otherwise" in metadata["annotations"][A_STOPPED]
    assert load.chunks == (2, 3), "also the chunk whose pod succeeded while it was stopped"
    assert load.before.views["numbers"].rows == 7
    assert "the task wants it otherwise now" in lines[1]
    assert lines[2] == "The window is loaded in 4 chunks; 2 are done already."


def test_a_job_that_has_not_run_is_not_stopped_but_replaced() -> None:
    cluster = Cluster(a_job("another", suspend=True))
    _, load, _ = look(cluster)
    assert (cluster.patches, load.chunks) == ([], (0, 1, 2, 3))


def test_when_nothing_is_left_the_verdict_is_a_success_with_what_was_written() -> None:
    done = a_job()
    done["status"] = {"completedIndexes": "0-3", "conditions": [{"type": "Failed", "status": "True"}]}
    jobs, load, _ = look(Cluster(done, index_pod(2, told(7), 1)))
    assert load.chunks == ()
    assert jobs.outcome.state is JobState.SUCCEEDED
    assert jobs.outcome.progress is not None
    assert jobs.outcome.progress.unknown == {0, 1, 3}


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({}, True),
        ({"spec": {"completionMode": "NonIndexed"}}, False),
        ({"spec": {"completionMode": "Indexed", "suspend": True}}, False),
        ({"status": {"conditions": [{"type": "Complete", "status": "True"}]}}, False),
        ({"metadata": {"name": "load", "annotations": {}}}, False),
    ],
    ids=["chunks", "one pod", "suspended", "ended", "no plan"],
)
def test_only_a_running_job_with_chunks_is_worth_keeping(change: dict[str, Any], kept: bool) -> None:
    assert is_record(a_job() | change) is kept


def test_a_job_that_has_failed_before_its_pods_have_ended_is_waited_for() -> None:
    """Until Kubernetes 1.31 the condition comes at once, and a pod may write on for its grace period."""
    pod = index_pod(1, told(7), 1)
    pod["status"]["phase"] = "Running"
    cluster, waits = Cluster(a_job(), pod), 0

    def wait(seconds: float) -> None:
        nonlocal waits
        waits += 1
        if waits == 3:
            pod["status"]["phase"] = "Failed"

    stop_and_wait(cluster, a_job(), "why", wait)  # type: ignore[arg-type]
    assert waits == 3


def test_stopping_ends_with_the_job_or_when_another_one_has_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    cluster = Cluster(a_job())
    stop_and_wait(cluster, a_job(), "why", pauses.append)  # type: ignore[arg-type]
    assert len(pauses) == 1
    assert cluster.job is not None
    cluster.job["metadata"]["uid"] = "another"
    stop_and_wait(cluster, a_job(), "why", pauses.append)  # type: ignore[arg-type]
    stop_and_wait(Cluster(), a_job(), "why", pauses.append)  # type: ignore[arg-type]
    assert len(pauses) == 1
    stubborn = Cluster(a_job())
    stubborn.stubborn = True
    monkeypatch.setattr(stopping, "GONE_SECONDS", 5.0)
    with pytest.raises(FeastClusterError, match=r"was stopped 5 s ago and still runs"):
        stop_and_wait(stubborn, a_job(), "why", pauses.append)  # type: ignore[arg-type]
