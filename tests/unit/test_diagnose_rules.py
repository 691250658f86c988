"""The rules of a verdict, one by one, on objects made for each."""

from __future__ import annotations

import json
from typing import Any

import pytest
from job_objects import (
    FAILED,
    IMAGE,
    RUNNING,
    T1,
    T2,
    T3,
    container,
    creation,
    ended,
    event,
    failure,
    index_pod,
    job,
    pod,
    startup,
    told,
    waits,
)

from airflow_provider_feast.jobs.diagnose import diagnose
from airflow_provider_feast.model.naming import A_CHUNK_COUNT, A_CHUNKS
from airflow_provider_feast.model.outcome import JobState, Outcome

DEADLINE = ("Failed", "True", "DeadlineExceeded")


def result(verdict: str, **fields: Any) -> str:
    return json.dumps({"v": 1, "verdict": verdict} | fields)


VIEWS = {"driver_stats": {"rows": 1200, "seconds": 3.5, "windows": 1}}


# --- conditions ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Failed", "Complete"])
def test_a_condition_that_is_false_says_nothing(kind: str) -> None:
    outcome = diagnose(job((kind, "False", "")), [pod("load-aaaaa", "Running", container(RUNNING))], [])
    assert outcome.state == JobState.RUNNING


def test_a_job_about_to_fail_is_not_final_but_its_problem_is_known() -> None:
    about = job(("FailureTarget", "True", "BackoffLimitExceeded"))
    outcome = diagnose(about, [pod("load-aaaaa", "Failed", container(ended(137, reason="OOMKilled")))], [])
    assert outcome.state == JobState.RUNNING
    assert not outcome.final
    assert outcome.problem is not None
    assert (outcome.problem.kind, outcome.problem.can_mend) == ("out_of_memory", False)


def test_a_job_about_to_succeed_is_not_final() -> None:
    about = job(("SuccessCriteriaMet", "True", "CompletionsReached"))
    outcome = diagnose(about, [pod("load-aaaaa", "Succeeded", container(ended(0)))], [])
    assert (outcome.state, outcome.problem) == (JobState.RUNNING, None)


def test_a_suspended_job_is_suspended_before_its_condition_says_so() -> None:
    assert diagnose(job(spec={"suspend": True}), [], []).state == JobState.SUSPENDED


def test_a_resumed_job_is_no_longer_suspended_although_its_condition_lags() -> None:
    assert diagnose(job(("Suspended", "True", "JobSuspended")), [], []).state == JobState.STARTING


# --- deleted -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["Complete", "SuccessCriteriaMet"])
def test_a_job_that_vanished_after_its_success_succeeded(kind: str) -> None:
    assert diagnose(job((kind, "True", "")), [], [], deleted=True).state == JobState.SUCCEEDED


@pytest.mark.parametrize("kind", ["Failed", "FailureTarget"])
def test_a_job_that_vanished_after_its_failure_failed_for_its_own_reason(kind: str) -> None:
    gone = job((kind, "True", "BackoffLimitExceeded"))
    outcome = diagnose(
        gone, [pod("load-aaaaa", "Failed", container(ended(137, reason="OOMKilled")))], [], deleted=True
    )
    assert outcome.problem is not None
    assert (outcome.state, outcome.problem.kind) == (JobState.FAILED, "out_of_memory")


def test_a_job_that_vanished_while_it_ran_was_deleted_and_may_be_run_again() -> None:
    outcome = diagnose(job(), [pod("load-aaaaa", "Running", container(RUNNING))], [], deleted=True)
    assert outcome.problem is not None
    assert (outcome.state, outcome.problem.kind) == (JobState.FAILED, "job_deleted")
    assert outcome.problem.retryable


def test_a_deleted_job_tells_what_its_last_pod_had_done() -> None:
    well = diagnose(job(), [pod("load-aaaaa", "Succeeded", container(ended(0)))], [], deleted=True)
    assert well.problem is not None
    assert "had ended well" in well.problem.cause


# --- retries inside the Job ----------------------------------------------------------------------


def test_while_a_new_pod_runs_an_older_pods_failure_is_no_problem() -> None:
    pods = [
        pod("load-aaaaa", "Failed", container(ended(1, "ValueError: x"))),
        pod("load-bbbbb", "Running", container(RUNNING), created=T2),
    ]
    assert diagnose(job(active=1, failed=1), pods, []) == Outcome(JobState.RUNNING, None, None, "load-bbbbb")


def test_while_a_new_pod_is_awaited_the_last_failure_is_told_and_can_mend() -> None:
    outcome = diagnose(job(failed=1), [pod("load-aaaaa", "Failed", container(ended(1, "ValueError: x")))], [])
    assert outcome.state == JobState.RUNNING
    assert outcome.problem is not None
    assert outcome.problem.can_mend


def test_a_new_pod_that_starts_is_not_blamed_for_events_of_the_older_one() -> None:
    pods = [
        pod("load-aaaaa", "Failed", container(ended(1))),
        pod("load-bbbbb", "Pending", container(waits("ContainerCreating")), created=T2),
    ]
    stale = event(
        "load-aaaaa", "FailedMount", 'MountVolume.SetUp failed for volume "c" : configmap "x" not found'
    )
    assert diagnose(job(active=1), pods, [stale]) == Outcome(JobState.STARTING, None, None, "load-bbbbb")


def test_pods_of_an_older_job_of_the_same_name_do_not_count() -> None:
    other = pod("load-aaaaa", "Failed", container(ended(1)), metadata={"ownerReferences": [{"uid": "older"}]})
    outcome = diagnose(job(FAILED), [other], [])
    assert outcome.pod == ""
    assert outcome.problem is not None
    assert outcome.problem.kind == "job_failed"


def test_a_container_restarted_in_place_runs_and_tells_how_it_ended_before() -> None:
    crashing = container(waits("CrashLoopBackOff"), lastState=ended(1, "ValueError: x"), restartCount=3)
    outcome = diagnose(job(active=1), [pod("load-aaaaa", "Running", crashing)], [])
    assert outcome.state == JobState.RUNNING
    assert outcome.problem is not None
    assert outcome.problem.can_mend
    assert "ValueError: x" in outcome.problem.cause


def test_a_pod_that_has_ended_well_before_its_job_is_complete_is_no_problem() -> None:
    outcome = diagnose(job(), [pod("load-aaaaa", "Succeeded", container(ended(0)))], [])
    assert (outcome.state, outcome.problem) == (JobState.RUNNING, None)


# --- start-up ------------------------------------------------------------------------------------


def test_a_pod_on_its_way_has_no_problem() -> None:
    assert startup(pod("load-aaaaa", "Pending", container(waits("ContainerCreating")))) is None


@pytest.mark.parametrize(
    ("reason", "message", "kind", "can_mend", "words"),
    [
        ("InvalidImageName", "couldn't parse image name", "image_unavailable", False, "is not valid"),
        ("ErrImagePull", f'failed to resolve "{IMAGE}": not found', "image_unavailable", True, "not found"),
        ("ErrImageNeverPull", "Container image is not present", "image_unavailable", True, "not present"),
        (
            "CreateContainerConfigError",
            "couldn't find key k in ConfigMap ns/cfg",
            "missing_object",
            False,
            "cfg",
        ),
        (
            "CreateContainerConfigError",
            "couldn't find key k in Secret ns/sec",
            "missing_object",
            False,
            "Secret sec",
        ),
        (
            "CreateContainerConfigError",
            "container has runAsNonRoot and image has non-numeric user (feast), cannot verify user is non-root",
            "start_error",
            False,
            "non-numeric user",
        ),
        ("CreateContainerError", "context deadline exceeded", "pod_setup_failed", True, "context deadline"),
        (
            "RunContainerError",
            'exec: "feast": executable file not found',
            "start_error",
            False,
            "no program feast",
        ),
    ],
)
def test_a_waiting_container_tells_why(
    reason: str, message: str, kind: str, can_mend: bool, words: str
) -> None:
    problem = startup(pod("load-aaaaa", "Pending", container(waits(reason, message))))
    assert problem is not None
    assert (problem.kind, problem.can_mend) == (kind, can_mend)
    assert words in problem.cause


@pytest.mark.parametrize(
    ("why", "advice"),
    [
        ("pull access denied, repository does not exist or may require authorization", "image_pull_secrets"),
        ("unexpected status: 401 Unauthorized", "image_pull_secrets"),
        ("toomanyrequests: You have reached your pull rate limit", "mirror"),
        ("dial tcp 10.0.0.1:443: i/o timeout", "firewall"),
        ("no match for platform in manifest", "processors"),
        (f"{IMAGE}: not found", "name and tag"),
    ],
)
def test_a_failed_pull_is_told_apart_by_what_to_do(why: str, advice: str) -> None:
    message = f'rpc error: code = Unknown desc = failed to pull and unpack image "{IMAGE}": {why}'
    problem = startup(pod("load-aaaaa", "Pending", container(waits("ErrImagePull", message))))
    assert problem is not None
    assert advice in problem.remedy
    assert "rpc error" not in problem.cause


def test_a_pull_in_back_off_is_explained_by_its_event() -> None:
    backing_off = container(waits("ImagePullBackOff", f'Back-off pulling image "{IMAGE}"'))
    pulled = event("load-aaaaa", "Failed", f'Failed to pull image "{IMAGE}": unauthorized')
    problem = startup(pod("load-aaaaa", "Pending", backing_off), pulled)
    assert problem is not None
    assert "unauthorized" in problem.cause


MOUNT = 'MountVolume.SetUp failed for volume "c" : configmap "cfg" not found'


def test_a_failed_mount_is_history_once_the_pod_went_on() -> None:
    creating = pod("load-aaaaa", "Pending", container(waits("ContainerCreating")))
    failed, pulling = event("load-aaaaa", "FailedMount", MOUNT, T1), event("load-aaaaa", "Pulling", "", T1)
    assert startup(creating, failed) is not None
    assert startup(creating, failed, pulling) is None


def test_a_failed_mount_is_history_once_the_pods_condition_says_so() -> None:
    ready = [{"type": "PodReadyToStartContainers", "status": "True"}]
    creating = pod("load-aaaaa", "Pending", container(waits("ContainerCreating")), conditions=ready)
    assert startup(creating, event("load-aaaaa", "FailedMount", MOUNT)) is None


def test_events_of_a_running_pod_are_no_problem() -> None:
    running = pod("load-aaaaa", "Running", container(RUNNING))
    outcome = diagnose(job(active=1), [running], [event("load-aaaaa", "FailedMount", MOUNT, T3)])
    assert (outcome.state, outcome.problem) == (JobState.RUNNING, None)


@pytest.mark.parametrize(
    ("volume", "message", "words"),
    [
        (
            {"secret": {"secretName": "sec"}},
            "references non-existent secret key: k",
            "Secret sec has no key k",
        ),
        (
            {"projected": {"sources": [{"configMap": {"name": "cfg", "items": [{"key": "k"}]}}]}},
            "configmap references non-existent config key: k",
            "ConfigMap cfg has no key k",
        ),
    ],
)
def test_a_missing_key_is_named_with_its_object(volume: dict[str, Any], message: str, words: str) -> None:
    spec = {"volumes": [{"name": "c"} | volume]}
    creating = pod("load-aaaaa", "Pending", container(waits("ContainerCreating")), spec=spec)
    failed = event("load-aaaaa", "FailedMount", f'MountVolume.SetUp failed for volume "c" : {message}')
    problem = startup(creating, failed)
    assert problem is not None
    assert not problem.can_mend
    assert words in problem.cause


@pytest.mark.parametrize(
    ("message", "kind", "advice"),
    [
        (
            "0/3 nodes are available: 3 node(s) had untolerated taint {gpu: true}.",
            "unschedulable",
            "toleration",
        ),
        ("0/3 nodes are available: 3 Insufficient cpu.", "unschedulable", "cpu_request"),
        ('0/3 nodes are available: persistentvolumeclaim "data" not found.', "missing_object", "Create it"),
        (
            "0/3 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
            "unschedulable",
            "volume",
        ),
    ],
)
def test_a_pod_that_no_node_takes_says_what_to_change(message: str, kind: str, advice: str) -> None:
    refused = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]
    problem = startup(pod("load-aaaaa", "Pending", conditions=refused))
    assert problem is not None
    assert (problem.kind, problem.can_mend) == (kind, True)
    assert advice in problem.cause + problem.remedy


def test_a_scheduling_event_is_history_once_the_pod_is_scheduled() -> None:
    placed = [{"type": "PodScheduled", "status": "True"}]
    creating = pod("load-aaaaa", "Pending", container(waits("ContainerCreating")), conditions=placed)
    assert startup(creating, event("load-aaaaa", "FailedScheduling", "0/1 nodes are available")) is None


@pytest.mark.parametrize(
    ("message", "kind", "can_mend", "words"),
    [
        ('admission webhook "v.example" denied the request: no', "admission_refused", False, "v.example"),
        (
            'Internal error: failed calling webhook "v.example"',
            "admission_unanswered",
            True,
            "does not answer",
        ),
        (
            'pods "x" is forbidden: failed quota: q: must specify limits.memory for: feast',
            "admission_refused",
            False,
            "limits.memory",
        ),
        (
            'pods "x" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi',
            "admission_refused",
            False,
            "maximum memory",
        ),
        ('pods "x" is forbidden: no PriorityClass with name high was found', "missing_object", False, "high"),
    ],
)
def test_a_refused_pod_tells_who_refused_it(message: str, kind: str, can_mend: bool, words: str) -> None:
    problem = creation(message)
    assert (problem.kind, problem.can_mend) == (kind, can_mend)
    assert words in problem.cause


def test_a_refusal_is_history_once_a_pod_was_created() -> None:
    refused = event("load", "FailedCreate", "Error creating: exceeded quota: q, x", T1, "Job")
    created = event("load", "SuccessfulCreate", "Created pod", T2, "Job")
    assert diagnose(job(), [], [refused, created]).problem is None
    assert diagnose(job(active=1), [], [refused]).problem is None


def test_a_refusal_of_the_next_pod_keeps_a_retry_from_starting() -> None:
    refused = event("load", "FailedCreate", "Error creating: exceeded quota: q, x", T3, "Job")
    outcome = diagnose(job(failed=1), [pod("load-aaaaa", "Failed", container(ended(1)))], [refused])
    assert outcome.state == JobState.STARTING
    assert outcome.problem is not None
    assert outcome.problem.kind == "quota_exceeded"


def test_events_of_an_older_job_of_the_same_name_do_not_count() -> None:
    refused = event("load", "FailedCreate", "Error creating: exceeded quota: q, x", T1, "Job")
    refused["involvedObject"]["uid"] = "older"
    assert diagnose(job(), [], [refused]).problem is None


# --- the end of a container ----------------------------------------------------------------------


def materialize(status: dict[str, Any], **more: Any) -> dict[str, Any]:
    labels = {"labels": {"app.kubernetes.io/component": "materialize"}}
    return pod("load-aaaaa", "Failed", status, metadata=labels, **more)


def test_out_of_memory_names_the_limit_and_what_had_been_written() -> None:
    message = result("running", views=VIEWS)
    problem = failure(materialize(container(ended(137, message, "OOMKilled"))))
    assert problem.kind == "out_of_memory"
    assert "2Gi" in problem.cause
    assert "driver_stats (1200 rows)" in problem.cause
    assert "memory_limit" in problem.remedy
    assert "online_write_batch_size" in problem.remedy


def test_batches_are_advised_only_to_a_materialization() -> None:
    assert (
        "online_write_batch_size"
        not in failure(pod("p", "Failed", container(ended(137, "", "OOMKilled")))).remedy
    )


def test_an_oom_kill_beats_what_the_runner_thought() -> None:
    message = result("failed", kind="command_failed", message="a worker died")
    assert failure(pod("p", "Failed", container(ended(1, message, "OOMKilled")))).kind == "out_of_memory"


def test_a_kill_without_a_reason_is_most_likely_memory_and_may_be_tried_again() -> None:
    problem = failure(pod("p", "Failed", container(ended(137))))
    assert (problem.kind, problem.retryable) == ("killed", True)
    assert "most likely" in problem.cause
    assert "2Gi" in problem.cause
    assert "memory_limit" in problem.remedy


def test_a_node_that_ran_out_of_memory_is_no_fault_of_a_container_without_a_limit() -> None:
    spec = {"containers": [{"name": "feast", "image": IMAGE}]}
    problem = failure(pod("p", "Failed", container(ended(137, "", "OOMKilled")), spec=spec))
    assert (problem.kind, problem.retryable) == ("disrupted", True)
    assert "without a memory limit" in problem.cause
    assert "memory_request" in problem.remedy


def test_the_memory_limit_of_a_whole_pod_counts_for_its_containers() -> None:
    limits = {"resources": {"limits": {"memory": "3Gi"}}, "containers": [{"name": "feast", "image": IMAGE}]}
    problem = failure(pod("p", "Failed", container(ended(137, "", "OOMKilled")), spec=limits))
    assert problem.kind == "out_of_memory"
    assert "3Gi" in problem.cause


def test_definitions_that_ask_a_server_which_is_away_may_be_imported_later() -> None:
    message = result(
        "failed", kind="definitions_invalid", message="d.py, line 3: OperationalError: connection refused"
    )
    problem = failure(pod("p", "Failed", container(ended(1, message))))
    assert (problem.kind, problem.retryable) == ("definitions_unreachable", True)
    assert "d.py, line 3" in problem.cause


def test_definitions_with_a_mistake_are_not_tried_again() -> None:
    message = result("failed", kind="definitions_invalid", message="d.py, line 3: NameError: name 'Entty'")
    problem = failure(pod("p", "Failed", container(ended(1, message))))
    assert (problem.kind, problem.retryable) == ("definitions_invalid", False)


def test_a_kill_of_a_pod_that_is_being_deleted_is_an_interruption() -> None:
    deleted = pod("p", "Failed", container(ended(137)), metadata={"deletionTimestamp": T2})
    assert failure(deleted).kind == "interrupted"


def test_the_runners_kind_wins_over_the_exit_code() -> None:
    message = result("failed", kind="unexpanded_variables", message="$REDIS_HOST is not set", exit_code=66)
    problem = failure(pod("p", "Failed", container(ended(66, message))))
    assert problem.kind == "unexpanded_variables"
    assert "$REDIS_HOST is not set" in problem.cause
    assert "env" in problem.remedy


def test_a_vague_result_of_the_runner_is_read_for_feasts_words() -> None:
    message = result("failed", kind="command_failed", message="redis.exceptions.ConnectionError: Error 111")
    assert failure(pod("p", "Failed", container(ended(1, message)))).kind == "store_unreachable"


@pytest.mark.parametrize("what", ["registry", "store"])
@pytest.mark.parametrize(
    ("said", "kind", "retryable"),
    [
        ("OperationalError: password authentication failed for user", "refused", False),
        (
            "ClientError: An error occurred (ExpiredToken): The security token has expired",
            "unreachable",
            True,
        ),
        ("OperationalError: connection failed: Connection refused", "unreachable", True),
    ],
)
def test_refused_credentials_are_told_from_a_server_that_is_away(
    what: str, said: str, kind: str, retryable: bool
) -> None:
    message = result("failed", kind=f"{what}_unreachable", message=said, exit_code=1)
    problem = failure(pod("p", "Failed", container(ended(1, message))))
    assert (problem.kind, problem.retryable) == (f"{what}_{kind}", retryable)
    assert said in problem.cause
    assert problem.cause.startswith(f"The {what} ")


def test_a_failed_command_tells_its_exit_code_and_its_last_words() -> None:
    message = result("failed", kind="command_failed", message="KeyError: 'x'", exit_code=1)
    assert failure(pod("p", "Failed", container(ended(1, message)))).cause == (
        "Feast failed with exit code 1: KeyError: 'x'."
    )


def test_a_kind_of_a_newer_runner_is_a_failed_command() -> None:
    message = result("failed", kind="from_the_future", message="ValueError: x")
    assert failure(pod("p", "Failed", container(ended(1, message)))).kind == "command_failed"


def test_an_interrupted_command_says_how_far_it_came() -> None:
    problem = failure(pod("p", "Failed", container(ended(143, result("interrupted", views=VIEWS)))))
    assert problem.kind == "interrupted"
    assert "driver_stats" in problem.cause
    assert problem.retryable


@pytest.mark.parametrize(
    ("code", "kind"),
    [(137, "killed"), (143, "interrupted"), (139, "command_failed"), (1, "command_failed")],
)
def test_a_command_that_died_while_it_ran_is_explained_by_its_exit_code(code: int, kind: str) -> None:
    problem = failure(pod("p", "Failed", container(ended(code, result("running", views=VIEWS)))))
    assert problem.kind == kind
    assert "driver_stats" in problem.cause


def test_the_result_comes_with_the_verdict() -> None:
    outcome = diagnose(
        job(("Complete", "True", "")), [pod("p", "Succeeded", container(ended(0, result("succeeded"))))], []
    )
    assert outcome.result is not None
    assert outcome.result.verdict == "succeeded"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (64, "usage_error"),
        (65, "nothing_materialized"),
        (66, "configuration_invalid"),
        (67, "definitions_invalid"),
    ],
)
def test_the_runners_own_exit_codes_speak_without_a_message(code: int, kind: str) -> None:
    ours = {"containers": [{"name": "feast", "command": ["python3", "/feast/runner/feast_runner.py", "run"]}]}
    assert failure(pod("p", "Failed", container(ended(code)), spec=ours)).kind == kind
    assert failure(pod("p", "Failed", container(ended(code)))).kind == "command_failed"


def test_a_segmentation_fault_is_called_so() -> None:
    assert "segmentation fault" in failure(pod("p", "Failed", container(ended(139)))).cause


def test_a_foreign_jobs_only_container_counts_whatever_its_name() -> None:
    assert "Container main" in failure(pod("p", "Failed", container(ended(3), "main"))).cause


def test_feasts_container_counts_before_a_sidecar_that_comes_first() -> None:
    problem = failure(pod("p", "Failed", container(ended(1), "istio-proxy"), container(ended(3))))
    assert "Container feast ended with exit code 3" in problem.cause


def test_a_sidecar_that_fails_alone_is_named() -> None:
    problem = failure(pod("p", "Failed", container(ended(1), "istio-proxy"), container(ended(0))))
    assert problem.kind == "job_failed"
    assert "istio-proxy" in problem.cause


# --- init containers -----------------------------------------------------------------------------


def init(state: dict[str, Any], name: str = "definitions") -> dict[str, Any]:
    spec = {"initContainers": [{"name": name, "image": IMAGE, "resources": {"limits": {"memory": "256Mi"}}}]}
    return pod(
        "p",
        "Failed",
        container(waits("PodInitializing")),
        spec=spec,
        initContainerStatuses=[{"name": name, "state": state}],
    )


def test_definitions_that_cannot_be_copied_are_invalid() -> None:
    problem = failure(init(ended(67, "definitions_dir is not a directory")))
    assert problem.kind == "definitions_invalid"
    assert "definitions_dir" in problem.cause


def test_the_copys_own_result_is_told() -> None:
    message = result("failed", kind="definitions_invalid", message="no .py file in /feast/definitions")
    problem = failure(init(ended(67, message)))
    assert problem.kind == "definitions_invalid"
    assert "no .py file" in problem.cause


def test_an_init_container_may_run_out_of_memory() -> None:
    assert failure(init(ended(137, "", "OOMKilled"), "git")).kind == "out_of_memory"


# --- disruption ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("EvictionByEvictionAPI", "evicted"),
        ("PreemptionByScheduler", "preempted"),
        ("DeletionByTaintManager", "taint"),
        ("DeletionByPodGC", "lost with its node"),
        ("TerminationByKubelet", "ended by its node"),
    ],
)
def test_a_disrupted_pod_is_not_out_of_memory_although_it_was_killed(reason: str, words: str) -> None:
    target = [{"type": "DisruptionTarget", "status": "True", "reason": reason, "message": "m"}]
    problem = failure(pod("p", "Failed", container(ended(137)), conditions=target))
    assert problem.kind == "disrupted"
    assert words in problem.cause
    assert problem.retryable


@pytest.mark.parametrize("reason", ["Evicted", "NodeLost", "Shutdown", "OutOfcpu"])
def test_a_pod_that_its_node_ended_or_refused_was_disrupted(reason: str) -> None:
    assert failure(pod("p", "Failed", reason=reason, message="m")).kind == "disrupted"


def test_a_container_that_was_lost_with_its_node_was_disrupted() -> None:
    assert (
        failure(pod("p", "Failed", container(ended(137, "", "ContainerStatusUnknown")))).kind == "disrupted"
    )


def test_an_eviction_for_a_full_tmp_is_the_pods_own_fault() -> None:
    said = 'Usage of EmptyDir volume "tmp" exceeds the limit "1Gi". '
    problem = failure(pod("p", "Failed", container(ended(137)), reason="Evicted", message=said))
    assert (problem.kind, problem.retryable) == ("out_of_disk", False)
    assert "tmp" in problem.cause
    assert "1Gi" in problem.cause
    assert "tmp_size" in problem.remedy


# --- the Job's own reasons -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "reason", ["BackoffLimitExceeded", "PodFailurePolicy", "MaxFailedIndexesExceeded", "FailedIndexes"]
)
def test_a_jobs_reason_is_looked_through_to_its_pods(reason: str) -> None:
    failed = pod("load-aaaaa", "Failed", container(ended(137, "", "OOMKilled")))
    assert failure(failed, job_object=job(("Failed", "True", reason))).kind == "out_of_memory"


def test_the_pod_that_the_policy_names_is_blamed_before_later_ones() -> None:
    failed = job(("Failed", "True", "PodFailurePolicy"))
    failed["status"]["conditions"][0]["message"] = (
        "Container feast for pod ns/load-aaaaa failed with exit code 2"
    )
    first = pod("load-aaaaa", "Failed", container(ended(2, at=T1)))
    later = pod("load-bbbbb", "Failed", container(ended(137, at=T2)), created=T1)
    assert failure(first, later, job_object=failed).kind == "usage_error"


def test_a_pod_that_was_killed_with_its_job_is_blamed_last() -> None:
    culprit = pod("load-aaaaa", "Failed", container(ended(137, "", "OOMKilled", T1)))
    swept = pod("load-bbbbb", "Failed", container(ended(143, at=T2)), metadata={"deletionTimestamp": T2})
    assert failure(culprit, swept).kind == "out_of_memory"


def test_a_failed_job_without_pods_says_what_the_condition_said() -> None:
    problem = failure()
    assert problem.kind == "job_failed"
    assert "BackoffLimitExceeded" in problem.cause


# --- deadline ------------------------------------------------------------------------------------


def late(**spec: Any) -> dict[str, Any]:
    return job(DEADLINE, spec={"activeDeadlineSeconds": 90} | spec)


def test_a_deadline_says_how_far_the_command_came() -> None:
    stopped = pod(
        "p",
        "Failed",
        container(ended(143, result("interrupted", views=VIEWS))),
        metadata={"deletionTimestamp": T2},
    )
    problem = failure(stopped, job_object=late())
    assert problem.kind == "deadline_exceeded"
    assert "90 s" in problem.cause
    assert "driver_stats (1200 rows)" in problem.cause


def test_a_deadline_after_all_indexes_were_complete_is_a_success() -> None:
    """Nothing is left to be done; the pods that have done it are told of, not the one that was stopped."""
    all_done = late(completions=4, completionMode="Indexed")
    all_done["metadata"]["annotations"] = {A_CHUNKS: "0-3", A_CHUNK_COUNT: "4"}
    all_done["status"]["completedIndexes"] = "0,1-3"
    pods = [index_pod(number, told(10, chunk=number), number) for number in range(4)]
    again = index_pod(3, "", 9, code=143)
    outcome = diagnose(all_done, [*pods, again], [])
    assert (outcome.state, outcome.problem) == (JobState.SUCCEEDED, None)
    assert outcome.progress is not None
    assert outcome.progress.done == {0, 1, 2, 3}
    assert outcome.progress.totals.views["numbers"].rows == 40
    single = late(completions=1)
    single["status"]["succeeded"] = 1
    assert diagnose(single, pods[:1], []).state is JobState.SUCCEEDED


@pytest.mark.parametrize("status", [{}, {"completedIndexes": "0-2"}, {"succeeded": 3}])
def test_a_deadline_before_the_last_index_is_a_failure(status: dict[str, Any]) -> None:
    some = late(completions=4, completionMode="Indexed")
    some["status"] |= status
    assert failure(job_object=some).kind == "deadline_exceeded"


def test_a_deadline_amid_the_indexes_counts_them() -> None:
    some = late(completions=5, completionMode="Indexed")
    some["status"]["completedIndexes"] = "0,2-3"
    assert "3 of 5 completions" in failure(job_object=some).cause


def test_a_deadline_of_a_pod_that_never_started_names_the_hurdle() -> None:
    pull = event("load-aaaaa", "Failed", f'Failed to pull image "{IMAGE}": not found')
    outcome = diagnose(late(), [], [pull])
    assert outcome.problem is not None
    assert outcome.problem.kind == "deadline_exceeded"
    assert "before it had started" in outcome.problem.cause
    assert IMAGE in outcome.problem.cause


def test_a_deadline_of_a_pod_that_a_sidecar_kept_alive_names_the_sidecar() -> None:
    held = pod("p", "Running", container(ended(0)), container(RUNNING, "istio-proxy"))
    problem = failure(held, job_object=late())
    assert "istio-proxy kept pod p alive" in problem.cause
    assert "istio_injection" in problem.remedy


def test_a_deadline_while_waiting_for_the_next_try_tells_of_the_last_one() -> None:
    problem = failure(pod("p", "Failed", container(ended(137, "", "OOMKilled"))), job_object=late())
    assert problem.kind == "deadline_exceeded"
    assert "out of memory" in problem.cause


def test_environment_values_never_reach_a_message() -> None:
    secret = "hunter2"
    spec = {"containers": [{"name": "feast", "image": IMAGE, "env": [{"name": "P", "value": secret}]}]}
    tail = f"sqlalchemy.exc.OperationalError: cannot connect to postgresql://user:{secret}@db/feast"
    for state in (ended(1, tail), ended(137, "", "OOMKilled"), ended(2), ended(1, f"password={secret}")):
        problem = failure(pod("p", "Failed", container(state), spec=spec))
        assert secret not in problem.cause + problem.remedy
