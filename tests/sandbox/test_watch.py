"""Waiting for a Job over HTTP: its log line by line, cut watches, an API that is away, troubles at the start."""

import asyncio
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kubernetes import client, config

from airflow_provider_feast.jobs.async_api import AsyncApi, read_body
from airflow_provider_feast.jobs.client import async_configuration
from airflow_provider_feast.jobs.stream import Streams
from airflow_provider_feast.jobs.watch import JobWatch, Target, WatchOptions
from airflow_provider_feast.model.errors import ApiUnavailableError, ForbiddenError
from airflow_provider_feast.model.outcome import JobState, Outcome
from airflow_provider_feast.sandbox import Sandbox

QUICK = WatchOptions(startup_seconds=20, log_seconds=0.1, outage_seconds=20)
TICKING = "import sys, time\nfor n in range(12):\n  print('tick', n, flush=True)\n  time.sleep(0.15)\n"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """A sandbox of the test's own: faults would disturb others."""
    with Sandbox(time_scale=0.05) as own:
        yield own


class Waiting:
    """One namespace, and waits in it."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox, self.namespace = sandbox, f"watch-{uuid.uuid4().hex[:8]}"
        self.api = config.new_client_from_config(str(sandbox.kubeconfig))
        client.CoreV1Api(self.api).create_namespace({"metadata": {"name": self.namespace}})
        self.lines: list[str] = []
        self.on_line: Callable[[str], None] = lambda line: None

    def job(
        self, code: str, *, image: str = "feast-sandbox:local", name: str = "job", **spec: Any
    ) -> dict[str, Any]:
        """Create a Job that runs Python code in a container named feast."""
        container = {"name": "feast", "image": image, "command": ["python3", "-c", code]}
        pod = {"restartPolicy": "Never", "containers": [container]} | spec.pop("pod", {})
        body = {"metadata": {"name": name}, "spec": {"backoffLimit": 0, "template": {"spec": pod}} | spec}
        made = client.BatchV1Api(self.api).create_namespaced_job(self.namespace, body)
        return dict(self.api.sanitize_for_serialization(made))

    def outcome(
        self, job: dict[str, Any], options: WatchOptions = QUICK, timeout: float | None = 60
    ) -> Outcome | None:
        """Wait as a worker or a trigger does."""

        def say(text: str, at: str = "") -> None:
            self.lines.append(text)
            self.on_line(text)

        async def connect() -> Any:
            return async_configuration(self.api.configuration)

        async def wait() -> Outcome | None:
            target = Target(self.namespace, job["metadata"]["name"], job["metadata"]["uid"])
            streams = Streams(AsyncApi(connect, options.outage_seconds), linger=0)
            try:
                return await JobWatch(streams, target, say, options).outcome(timeout)
            finally:
                await streams.close()

        return asyncio.run(wait())

    @property
    def ticks(self) -> list[str]:
        return [line for line in self.lines if line.startswith("tick")]


@pytest.fixture
def waiting(sandbox: Sandbox) -> Waiting:
    return Waiting(sandbox)


ALL_TICKS = [f"tick {n}" for n in range(12)]


def test_a_jobs_log_comes_line_by_line_while_it_runs_and_its_end_is_seen(waiting: Waiting) -> None:
    at_first_line: list[int] = []

    def look(line: str) -> None:
        if line.startswith("tick") and not at_first_line:
            job = client.BatchV1Api(waiting.api).read_namespaced_job("job", waiting.namespace)
            at_first_line.append(job.status.active or 0)

    waiting.on_line = look
    outcome = waiting.outcome(waiting.job(TICKING))
    assert outcome is not None
    assert outcome.state is JobState.SUCCEEDED
    assert waiting.ticks == ALL_TICKS
    assert at_first_line == [1], "the first line came while the Job was running"


def test_cut_watches_and_a_forgotten_history_lose_and_double_nothing(waiting: Waiting) -> None:
    def disturb(line: str) -> None:
        if line in ("tick 2", "tick 5"):
            waiting.sandbox.compact()
            waiting.sandbox.cut_watches()

    waiting.on_line = disturb
    outcome = waiting.outcome(waiting.job(TICKING))
    assert outcome is not None
    assert outcome.state is JobState.SUCCEEDED
    assert waiting.ticks == ALL_TICKS


@pytest.mark.parametrize(
    "fault", [{"skip": 1}, {"times": 4}], ids=["the first watch", "lists and what follows"]
)
def test_what_is_refused_for_its_age_is_listed_anew(waiting: Waiting, fault: dict[str, int]) -> None:
    """A server may say 410 as its answer, instead of in an event of the watch."""
    job = waiting.job(TICKING)
    waiting.sandbox.fault(f"/namespaces/{waiting.namespace}/jobs$", method="GET", code=410, **fault)
    outcome = waiting.outcome(job)
    assert outcome is not None
    assert outcome.state is JobState.SUCCEEDED
    assert waiting.ticks == [f"tick {n}" for n in range(12)]


def test_an_api_that_is_away_for_a_while_loses_nothing(waiting: Waiting) -> None:
    def disturb(line: str) -> None:
        if line == "tick 3":
            waiting.sandbox.fault(f"/namespaces/{waiting.namespace}/", code=503, times=6)
            waiting.sandbox.cut_watches()

    waiting.on_line = disturb
    outcome = waiting.outcome(waiting.job(TICKING))
    assert outcome is not None
    assert outcome.state is JobState.SUCCEEDED
    assert waiting.ticks == ALL_TICKS


def test_the_end_of_a_log_is_asked_for_again_where_the_api_server_fails(waiting: Waiting) -> None:
    job = waiting.job("print('the last line')")
    waiting.sandbox.fault(r"/pods/[^/]+/log", code=500, times=3)
    outcome = waiting.outcome(job, QUICK._replace(log_seconds=0))
    assert outcome is not None
    assert outcome.state is JobState.SUCCEEDED
    assert "the last line" in waiting.lines


def test_an_api_that_stays_away_is_an_error_that_can_be_tried_again(waiting: Waiting) -> None:
    job = waiting.job("import time; time.sleep(60)")
    waiting.sandbox.fault(f"/namespaces/{waiting.namespace}/", code=503, times=10_000)
    with pytest.raises(ApiUnavailableError) as raised:
        waiting.outcome(job, QUICK._replace(outage_seconds=1))
    assert raised.value.retryable


def test_a_missing_right_is_named_with_the_rule_that_gives_it(waiting: Waiting) -> None:
    job = waiting.job("import time; time.sleep(60)")
    waiting.sandbox.fault(f"/namespaces/{waiting.namespace}/pods", code=403, times=10_000)
    with pytest.raises(ForbiddenError, match=re.escape('resources: ["pods"], verbs: ["watch"]')):
        waiting.outcome(job)


def test_new_credentials_leave_alone_what_is_under_way_with_the_old_ones(waiting: Waiting) -> None:
    here = f"/namespaces/{waiting.namespace}"
    waiting.sandbox.fault(f"{here}/pods", kind="slow", seconds=1)
    waiting.sandbox.fault(f"{here}/configmaps", code=401)
    resolved = []

    async def connect() -> Any:
        resolved.append(async_configuration(waiting.api.configuration))
        return resolved[-1]

    async def ask() -> list[int]:
        api = AsyncApi(connect)
        methods = ("list_namespaced_pod", "list_namespaced_config_map")
        try:
            answers = await asyncio.gather(*(api.send("core", name, waiting.namespace) for name in methods))
            return [len(await read_body(answer)) for answer in answers]
        finally:
            await api.close()

    assert all(asyncio.run(ask()))
    assert len(resolved) == 2


def test_the_wait_ends_without_a_verdict_when_its_time_is_up(waiting: Waiting) -> None:
    assert waiting.outcome(waiting.job("import time; time.sleep(60)"), timeout=0.5) is None


def test_an_image_that_does_not_exist_is_told_at_once_and_fails_after_the_startup_timeout(
    waiting: Waiting,
) -> None:
    outcome = waiting.outcome(waiting.job("pass", image="no/such:image"), QUICK._replace(startup_seconds=3))
    assert outcome is not None
    assert outcome.state is JobState.FAILED
    assert outcome.problem is not None
    assert outcome.problem.kind == "image_unavailable"
    assert any("no/such:image" in line for line in waiting.lines)


def test_a_missing_service_account_fails_without_waiting_for_the_startup_timeout(waiting: Waiting) -> None:
    job = waiting.job("pass", pod={"serviceAccountName": "nobody"})
    outcome = waiting.outcome(job, QUICK._replace(startup_seconds=3600), timeout=30)
    assert outcome is not None, "the verdict did not wait for the start-up timeout"
    assert outcome.problem is not None
    assert outcome.problem.kind == "missing_object"
    assert "nobody" in outcome.problem.cause


def test_the_log_of_a_replaced_pod_is_there_as_well(waiting: Waiting) -> None:
    code = (
        "import pathlib, sys\nmark = pathlib.Path('/mark/seen')\n"
        "print('second try' if mark.exists() else 'first try', flush=True)\n"
        "sys.exit(0 if mark.exists() else (mark.touch(), 1)[1])\n"
    )
    claim = {
        "metadata": {"name": "mark"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }
    client.CoreV1Api(waiting.api).create_namespaced_persistent_volume_claim(waiting.namespace, claim)
    container = {
        "name": "feast",
        "image": "feast-sandbox:local",
        "command": ["python3", "-c", code],
        "volumeMounts": [{"name": "mark", "mountPath": "/mark"}],
    }
    volume = {"name": "mark", "persistentVolumeClaim": {"claimName": "mark"}}
    job = waiting.job(code, backoffLimit=2, pod={"containers": [container], "volumes": [volume]})
    outcome = waiting.outcome(job)
    assert outcome is not None
    assert outcome.state is JobState.SUCCEEDED
    assert [line for line in waiting.lines if line.endswith("try")] == ["first try", "second try"]


def test_a_job_that_somebody_deletes_while_we_wait_is_said_to_be_deleted(waiting: Waiting) -> None:
    def delete(line: str) -> None:
        if line == "tick 1":
            client.BatchV1Api(waiting.api).delete_namespaced_job(
                "job", waiting.namespace, propagation_policy="Background"
            )

    waiting.on_line = delete
    outcome = waiting.outcome(waiting.job(TICKING * 5))
    assert outcome is not None
    assert outcome.problem is not None
    assert outcome.problem.kind == "job_deleted"


def test_the_deadline_of_a_job_is_named(waiting: Waiting) -> None:
    outcome = waiting.outcome(
        waiting.job(
            "import time; time.sleep(60)", activeDeadlineSeconds=1, pod={"terminationGracePeriodSeconds": 1}
        )
    )
    assert outcome is not None
    assert outcome.problem is not None
    assert outcome.problem.kind == "deadline_exceeded"


def test_airflows_own_limit_deletes_the_job_and_says_so(waiting: Waiting) -> None:
    limit = QUICK._replace(deadline_at=time.time() + 1.0, limit_seconds=1.0)
    outcome = waiting.outcome(waiting.job("import time; time.sleep(600)"), limit, timeout=None)
    assert outcome is not None
    assert outcome.problem is not None
    assert (outcome.state, outcome.problem.kind) == (JobState.FAILED, "deadline_exceeded")
    assert "execution_timeout of 1 s" in outcome.problem.cause
    left = client.BatchV1Api(waiting.api).list_namespaced_job(waiting.namespace).items
    assert all(job.metadata.deletion_timestamp for job in left)


SAYS_BYE = (
    "import signal, sys, time\n"
    "def bye(*about):\n  print('tick bye', flush=True)\n  sys.exit(143)\n"
    "signal.signal(signal.SIGTERM, bye)\n"
    "print('tick 0', flush=True)\n"
    "time.sleep(600)\n"
)


@pytest.mark.parametrize("seconds", [0, 30.0], ids=["no live log", "a read every 30 s"])
def test_the_last_words_of_a_pod_that_goes_at_the_deadline_are_there(
    waiting: Waiting, seconds: float
) -> None:
    """The Job controller deletes the pod, and its log goes with it."""
    outcome = waiting.outcome(
        waiting.job(SAYS_BYE, activeDeadlineSeconds=3), QUICK._replace(log_seconds=seconds)
    )
    assert outcome is not None
    assert outcome.problem is not None
    assert outcome.problem.kind == "deadline_exceeded"
    assert waiting.ticks == ["tick 0", "tick bye"], waiting.lines


def test_the_last_words_at_airflows_own_limit_are_there(waiting: Waiting) -> None:
    started = time.time()
    options = QUICK._replace(log_seconds=0, deadline_at=started + 4.0, limit_seconds=4.0)
    outcome = waiting.outcome(waiting.job(SAYS_BYE), options, None)
    assert outcome is not None
    assert outcome.problem is not None
    assert "execution_timeout of 4 s" in outcome.problem.cause
    assert waiting.ticks == ["tick 0", "tick bye"]


def test_a_job_that_has_ended_when_airflows_own_limit_is_reached_has_its_own_verdict(
    waiting: Waiting,
) -> None:
    """Its log is still being read then; nothing is deleted."""
    job = waiting.job("print('tick done')")
    waiting.sandbox.fault(f"/namespaces/{waiting.namespace}/pods/.*/log", kind="slow", seconds=30.0, times=-1)
    options = QUICK._replace(log_seconds=0, deadline_at=time.time() + 4.0, limit_seconds=4.0)
    outcome = waiting.outcome(job, options, None)
    assert outcome is not None
    assert outcome.state is JobState.SUCCEEDED
    left = client.BatchV1Api(waiting.api).read_namespaced_job("job", waiting.namespace)
    assert left.metadata.deletion_timestamp is None


def test_the_log_of_a_pod_that_no_watch_has_told_of_is_there(waiting: Waiting) -> None:
    code = "for n in range(12):\n  print('tick', n, flush=True)\nraise SystemExit(1)"
    waiting.sandbox.delay_pods(0.5)
    job = waiting.job(code)
    waiting.sandbox.fault(f"/namespaces/{waiting.namespace}/pods$", method="GET", code=503, times=3, skip=1)
    outcome = waiting.outcome(job)
    assert outcome is not None
    assert outcome.state is JobState.FAILED
    assert waiting.ticks == ALL_TICKS


def test_an_api_that_is_away_does_not_count_as_time_to_start(waiting: Waiting) -> None:
    """What is known of the Job is old then: it may be running."""
    waiting.sandbox.delay_pods(1.0)
    job = waiting.job(f"import time\ntime.sleep(1)\n{TICKING}")

    def away() -> None:
        waiting.sandbox.fault(f"/namespaces/{waiting.namespace}/", code=503, times=-1)
        waiting.sandbox.cut_watches()
        back.start()

    away_from_now = threading.Timer(0.4, away)
    back = threading.Timer(5.0, waiting.sandbox.clear_faults)
    away_from_now.start()
    outcome = waiting.outcome(job, QUICK._replace(startup_seconds=3, outage_seconds=60))
    assert outcome is not None
    assert outcome.state is JobState.SUCCEEDED
    assert waiting.ticks == ALL_TICKS
