"""What Jobs do on any Kubernetes."""

import json
import time

import pytest
from cluster_helpers import PATIENCE, Jobs, true_conditions
from kubernetes import watch
from kubernetes.client import ApiException

pytestmark = pytest.mark.cluster


def test_a_job_that_succeeds_becomes_complete(jobs: Jobs) -> None:
    """In two steps, since Kubernetes 1.31; until then its condition gives no reason."""
    job = jobs.run("print('hello')")
    told = {c["type"]: c.get("reason", "") for c in job["status"]["conditions"]}
    both = {"SuccessCriteriaMet": "CompletionsReached", "Complete": "CompletionsReached"}
    assert told == (both if jobs.cluster.two_steps else {"Complete": ""})
    assert job["status"]["succeeded"] == 1
    assert job["status"]["uncountedTerminatedPods"] == {}
    assert "completionTime" in job["status"]
    assert jobs.log() == "hello\n"
    assert jobs.events("Completed")[0].message == "Job completed"
    assert jobs.events("SuccessfulCreate")[0].message == f"Created pod: {jobs.pods()[0].metadata.name}"


def test_a_job_whose_pod_fails_exceeds_its_back_off_limit(jobs: Jobs) -> None:
    job = jobs.run("raise SystemExit(3)")
    failed = true_conditions(job)["Failed"]
    assert (failed["reason"], failed["message"]) == (
        "BackoffLimitExceeded",
        "Job has reached the specified backoff limit",
    )
    assert ("FailureTarget" in true_conditions(job)) is jobs.cluster.two_steps
    assert job["status"]["failed"] == 1
    assert jobs.terminated().exit_code == 3
    assert jobs.terminated().reason == "Error"


def test_a_failed_pod_is_replaced_until_the_back_off_limit(jobs: Jobs) -> None:
    job = jobs.run("raise SystemExit(1)", backoffLimit=1)
    assert job["status"]["failed"] == 2
    assert len(jobs.pods()) == 2


def test_a_deadline_ends_a_job_and_removes_its_pods(jobs: Jobs) -> None:
    job = jobs.run("import time; time.sleep(300)", activeDeadlineSeconds=2)
    failed = true_conditions(job)["Failed"]
    assert failed["reason"] == "DeadlineExceeded"
    assert failed["message"] == "Job was active longer than specified deadline"
    jobs.until_no_pod()


def test_a_suspended_job_has_no_pod_and_no_start_until_it_is_resumed(jobs: Jobs) -> None:
    jobs.create(suspend=True)
    suspended = jobs.until(lambda job: "Suspended" in true_conditions(job))
    assert "startTime" not in suspended["status"]
    assert jobs.pods() == []
    jobs.cluster.batch.patch_namespaced_job("job", jobs.namespace, {"spec": {"suspend": False}})
    job = jobs.finished()
    assert "Complete" in true_conditions(job)
    assert "Suspended" not in true_conditions(job)
    assert jobs.events("Resumed")


def test_suspending_a_running_job_deletes_its_pod(jobs: Jobs) -> None:
    jobs.create("import time; time.sleep(300)")
    jobs.pod_until(lambda pod: pod["status"]["phase"] == "Running")
    jobs.cluster.batch.patch_namespaced_job("job", jobs.namespace, {"spec": {"suspend": True}})
    job = jobs.until(lambda job: "Suspended" in true_conditions(job) and not job["status"].get("active"))
    assert not set(true_conditions(job)) & {"Failed", "FailureTarget"}


def test_a_finished_job_is_removed_after_its_time_to_live(jobs: Jobs) -> None:
    jobs.create(ttlSecondsAfterFinished=0)
    stream = watch.Watch().stream(jobs.cluster.batch.list_namespaced_job, jobs.namespace, timeout_seconds=60)
    assert any(
        event["type"] == "DELETED"
        for event in stream
        if (event["type"] != "DELETED") or stream.close() is None
    )


def test_a_deadline_may_be_set_and_moved_while_a_job_runs(jobs: Jobs) -> None:
    jobs.create("import time; time.sleep(300)", activeDeadlineSeconds=600)
    jobs.pod_until(lambda pod: pod["status"]["phase"] == "Running")
    body = {"spec": {"activeDeadlineSeconds": 1}}
    jobs.cluster.batch.patch_namespaced_job("job", jobs.namespace, body)
    assert true_conditions(jobs.finished())["Failed"]["reason"] == "DeadlineExceeded"


def test_the_deadline_of_a_suspended_job_starts_when_it_is_resumed(jobs: Jobs) -> None:
    jobs.create("import time; time.sleep(3)", suspend=True, activeDeadlineSeconds=60)
    jobs.until(lambda job: "Suspended" in true_conditions(job))
    resumed = {"spec": {"suspend": False, "activeDeadlineSeconds": 90}}
    job = jobs.cluster.batch.patch_namespaced_job("job", jobs.namespace, resumed)
    assert (job.spec.suspend, job.spec.active_deadline_seconds) == (False, 90)
    assert "Complete" in true_conditions(jobs.finished())


def test_a_time_to_live_may_be_set_when_a_job_is_over(jobs: Jobs) -> None:
    start = jobs.run()["metadata"]["resourceVersion"]
    body = {"spec": {"ttlSecondsAfterFinished": 0}}
    jobs.cluster.batch.patch_namespaced_job("job", jobs.namespace, body)
    events = watch.Watch().stream(
        jobs.cluster.batch.list_namespaced_job,
        jobs.namespace,
        resource_version=start,
        timeout_seconds=PATIENCE,
    )
    assert next(event for event in events if event["type"] == "DELETED")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"completionMode": "Indexed"}, "spec.completionMode"),
        ({"completions": 5}, "spec.completions"),
        ({"backoffLimitPerIndex": 1}, "spec.backoffLimitPerIndex"),
        ({"selector": {"matchLabels": {"a": "b"}}}, "spec.selector"),
    ],
)
def test_what_a_job_is_cannot_change(jobs: Jobs, change: dict[str, object], field: str) -> None:
    jobs.create(suspend=True)
    with pytest.raises(ApiException) as refused:
        jobs.cluster.batch.patch_namespaced_job("job", jobs.namespace, {"spec": change})
    status = json.loads(refused.value.body)
    assert (status["code"], status["reason"]) == (422, "Invalid")
    assert f"{field}: " in status["message"]


DEAF = """
import signal, time
signal.signal(signal.SIGTERM, lambda *_: None)
print("deaf", flush=True)
while True: time.sleep(60)
"""


def test_a_foreground_deletion_is_seen_until_the_pods_are_gone(jobs: Jobs) -> None:
    made = jobs.create(DEAF, pod={"terminationGracePeriodSeconds": 3})
    pod = jobs.pod_until(lambda pod: pod["status"]["phase"] == "Running")["metadata"]["name"]
    log = jobs.cluster.core.read_namespaced_pod_log(pod, jobs.namespace, follow=True, _preload_content=False)
    assert next(iter(log.stream())) == b"deaf\n"
    uid = {"preconditions": {"uid": made.metadata.uid}, "propagationPolicy": "Foreground"}
    jobs.cluster.batch.delete_namespaced_job("job", jobs.namespace, body=uid)
    leaving = jobs.cluster.batch.read_namespaced_job("job", jobs.namespace)
    assert leaving.metadata.finalizers == ["foregroundDeletion"]
    assert leaving.metadata.deletion_timestamp is not None
    assert [pod.metadata.name for pod in jobs.pods()]
    events = watch.Watch().stream(
        jobs.cluster.batch.list_namespaced_job,
        jobs.namespace,
        resource_version=leaving.metadata.resource_version,
        timeout_seconds=PATIENCE,
    )
    assert next(event for event in events if event["type"] == "DELETED")
    assert jobs.pods() == []


def test_parallel_completions_are_all_reached(jobs: Jobs) -> None:
    job = jobs.run(parallelism=2, completions=3)
    assert job["status"]["succeeded"] == 3


def test_an_indexed_job_runs_its_indexes_in_order_and_tells_each(jobs: Jobs) -> None:
    code = "import os; open('/dev/termination-log','w').write(os.environ['JOB_COMPLETION_INDEX'])"
    job = jobs.run(code, completionMode="Indexed", completions=3, parallelism=1)
    assert job["status"]["completedIndexes"] == "0-2"
    pods = sorted(
        jobs.pods(), key=lambda pod: pod.metadata.labels["batch.kubernetes.io/job-completion-index"]
    )
    assert [pod.status.container_statuses[0].state.terminated.message for pod in pods] == ["0", "1", "2"]
    assert [pod.metadata.name.rsplit("-", 1)[0] for pod in pods] == ["job-0", "job-1", "job-2"]
    assert [pod.spec.hostname for pod in pods] == ["job-0", "job-1", "job-2"]


FAIL_INDEX_1 = "import os; raise SystemExit(os.environ['JOB_COMPLETION_INDEX'] == '1')"


def test_a_failed_index_does_not_stop_the_others(jobs: Jobs) -> None:
    indexed = {"completionMode": "Indexed", "completions": 3, "parallelism": 1, "backoffLimitPerIndex": 0}
    job = jobs.run(FAIL_INDEX_1, **indexed, backoffLimit=None)
    assert true_conditions(job)["Failed"]["reason"] == "FailedIndexes"
    assert job["status"]["completedIndexes"] == "0,2"
    assert job["status"]["failedIndexes"] == "1"
    assert job["spec"]["backoffLimit"] == 2147483647


def test_too_many_failed_indexes_stop_the_job(jobs: Jobs) -> None:
    indexed = {"completionMode": "Indexed", "completions": 4, "parallelism": 1, "backoffLimitPerIndex": 0}
    job = jobs.run(FAIL_INDEX_1, **indexed, backoffLimit=None, maxFailedIndexes=0)
    assert true_conditions(job)["Failed"]["reason"] == "MaxFailedIndexesExceeded"
    assert job["status"]["completedIndexes"] == "0"


def test_a_failed_index_is_tried_again_before_the_next_one(jobs: Jobs) -> None:
    indexed = {"completionMode": "Indexed", "completions": 3, "parallelism": 1, "backoffLimitPerIndex": 1}
    jobs.run(FAIL_INDEX_1, **indexed, backoffLimit=None)
    created = sorted(jobs.pods(), key=lambda pod: pod.metadata.creation_timestamp)
    label = "batch.kubernetes.io/job-completion-index"
    order = [pod.metadata.annotations[label] for pod in created]
    assert order.count("1") == 2
    assert order.index("2") == 3


def test_a_failure_policy_can_give_up_one_index(jobs: Jobs) -> None:
    on = {"containerName": "main", "operator": "In", "values": [1]}
    rules = [{"action": "FailIndex", "onExitCodes": on}]
    indexed = {"completionMode": "Indexed", "completions": 2, "parallelism": 1, "backoffLimitPerIndex": 5}
    job = jobs.run(FAIL_INDEX_1, **indexed, backoffLimit=None, podFailurePolicy={"rules": rules})
    assert true_conditions(job)["Failed"]["reason"] == "FailedIndexes"
    assert (job["status"]["failedIndexes"], job["status"]["completedIndexes"]) == ("1", "0")
    assert job["status"]["failed"] == 1


def test_a_failure_policy_can_leave_failures_uncounted(jobs: Jobs) -> None:
    """An ignored failure is made good by another pod, and neither the limit nor the status knows of it."""
    on = {"containerName": "main", "operator": "In", "values": [7]}
    rules = [{"action": "Ignore", "onExitCodes": on}]
    jobs.create("raise SystemExit(7)", backoffLimit=0, podFailurePolicy={"rules": rules})
    first = jobs.pod_until(lambda pod: pod["status"]["phase"] == "Failed")["metadata"]["name"]
    jobs.pod_until(lambda pod: pod["metadata"]["name"] != first)
    status = jobs.until(lambda job: True)["status"]
    assert "failed" not in status
    assert not set(true_conditions({"status": status})) & {"FailureTarget", "Failed"}


def test_pods_are_replaced_later_each_time(jobs: Jobs) -> None:
    jobs.create("raise SystemExit(1)", backoffLimit=2)
    lister = jobs.cluster.core.list_namespaced_pod
    made, failed = {}, {}
    stream = watch.Watch().stream(lister, jobs.namespace, timeout_seconds=PATIENCE)
    for event in stream:
        name, now = event["object"].metadata.name, time.monotonic()
        made.setdefault(name, now)
        if event["object"].status.phase == "Failed":
            failed.setdefault(name, now)
        if len(failed) == 3:
            stream.close()
            break
    first, second, third = sorted(made, key=lambda name: made[name])
    assert made[third] - failed[second] > made[second] - failed[first]


def test_a_failure_policy_can_fail_the_job_at_once(jobs: Jobs) -> None:
    rules = [{"action": "FailJob", "onExitCodes": {"containerName": "main", "operator": "In", "values": [2]}}]
    job = jobs.run("raise SystemExit(2)", backoffLimit=6, podFailurePolicy={"rules": rules})
    failed = true_conditions(job)["Failed"]
    assert failed["reason"] == "PodFailurePolicy"
    pod = jobs.pods()[0].metadata.name
    assert failed["message"] == (
        f"Container main for pod {jobs.namespace}/{pod} failed with exit code 2 matching FailJob rule at index 0"
    )


def test_an_evicted_pod_is_replaced_without_counting(jobs: Jobs) -> None:
    rules = [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]
    code = "import time; time.sleep(20)"
    jobs.create(code, backoffLimit=0, podFailurePolicy={"rules": rules})
    first = jobs.pod_until(lambda pod: pod["status"]["phase"] == "Running")["metadata"]["name"]
    body = {"metadata": {"name": first}, "deleteOptions": {"gracePeriodSeconds": 0}}
    jobs.cluster.core.create_namespaced_pod_eviction(first, jobs.namespace, body)
    second = jobs.pod_until(lambda pod: pod["metadata"]["name"] != first)
    assert second["metadata"]["name"].startswith("job-")
    job = jobs.until(lambda job: True)
    assert "failed" not in job["status"]


def test_the_server_fills_in_what_a_job_leaves_out(jobs: Jobs) -> None:
    manifest = jobs.manifest("pass")
    del manifest["spec"]["backoffLimit"]
    raw = jobs.cluster.batch.create_namespaced_job(
        jobs.namespace, manifest, dry_run="All", _preload_content=False
    )
    job = json.loads(raw.data)
    spec = job["spec"]
    assert (spec["backoffLimit"], spec["completions"], spec["parallelism"]) == (6, 1, 1)
    assert (spec["completionMode"], spec["suspend"]) == ("NonIndexed", False)
    assert not spec.get("manualSelector")  # older servers leave it out
    assert spec["podReplacementPolicy"] == "TerminatingOrFailed"
    assert spec["selector"] == {"matchLabels": {"batch.kubernetes.io/controller-uid": job["metadata"]["uid"]}}
    container = spec["template"]["spec"]["containers"][0]
    assert container["terminationMessagePath"] == "/dev/termination-log"
    assert spec["template"]["spec"]["schedulerName"] == "default-scheduler"
    assert job["metadata"]["labels"] == spec["template"]["metadata"]["labels"]
    assert "resourceVersion" not in job["metadata"]


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (
            {"pod": {"restartPolicy": "Always"}},
            422,
            'spec.template.spec.restartPolicy: Required value: valid values: "OnFailure", "Never"',
        ),
        ({"backoffLimitPerIndex": 1}, 422, "spec.backoffLimitPerIndex: Invalid value: 1: requires indexed"),
        ({"backofLimit": 3}, 400, 'strict decoding error: unknown field "spec.backofLimit"'),
        (
            {"backoffLimit": "three"},
            400,
            "json: cannot unmarshal string into Go struct field JobSpec.spec.backoffLimit of type int32",
        ),
        (
            {"container": {"resources": {"limits": {"memory": "12Gx"}}}},
            400,
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
        (
            {"pod": {"nodeSelector": {"team": "a" * 80}}},
            422,
            f'spec.template.spec.nodeSelector: Invalid value: "{"a" * 80}": must be no more than 63 ',
        ),
        (
            {"container": {"name": "Not_a_name"}},
            422,
            'spec.template.spec.containers[0].name: Invalid value: "Not_a_name": a lowercase RFC 1123 label',
        ),
        (
            {"backoffLimit": -1},
            422,
            "spec.backoffLimit: Invalid value: -1: must be greater than or equal to 0",
        ),
    ],
)
def test_a_wrong_job_is_refused_in_the_servers_words(
    jobs: Jobs, change: dict[str, object], code: int, message: str
) -> None:
    with pytest.raises(ApiException) as refused:
        jobs.cluster.batch.create_namespaced_job(
            jobs.namespace, jobs.manifest("pass", **change), field_validation="Strict"
        )
    assert refused.value.status == code
    assert message in json.loads(refused.value.body)["message"]


@pytest.mark.parametrize("name", ["Bad_Name", "a" * 64])
def test_a_name_that_pods_cannot_carry_is_refused(jobs: Jobs, name: str) -> None:
    with pytest.raises(ApiException) as refused:
        jobs.create(name=name)
    status = json.loads(refused.value.body)
    assert (status["code"], status["reason"]) == (422, "Invalid")


def test_an_indexed_job_needs_room_in_its_name(jobs: Jobs) -> None:
    with pytest.raises(ApiException) as refused:
        jobs.create(name="a" * 63, completionMode="Indexed", completions=30)
    assert refused.value.status == 422


def test_the_template_of_a_job_cannot_change(jobs: Jobs) -> None:
    jobs.create("import time; time.sleep(60)")
    body = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "other"}]}}}}
    with pytest.raises(ApiException) as refused:
        jobs.cluster.batch.patch_namespaced_job("job", jobs.namespace, body)
    assert refused.value.status == 422
    assert "field is immutable" in json.loads(refused.value.body)["message"]


def test_a_job_that_violates_pod_security_warns_and_never_gets_a_pod(jobs: Jobs) -> None:
    manifest = jobs.manifest("pass", container={"securityContext": {}})
    _, _, headers = jobs.cluster.batch.create_namespaced_job_with_http_info(jobs.namespace, manifest)
    assert "would violate PodSecurity" in headers["Warning"]
    event = jobs.events("FailedCreate")[0]
    assert event.message.startswith('Error creating: pods "job-')
    assert (
        'is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false (container '
        '"main" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (container '
        '"main" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or container '
        '"main" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container "main" must set '
        'securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")'
    ) in event.message
    assert jobs.pods() == []


def test_a_missing_service_account_is_only_told_by_an_event(jobs: Jobs) -> None:
    jobs.create(pod={"serviceAccountName": "absent"})
    assert jobs.events("FailedCreate")[0].message == (
        f'Error creating: pods "job-" is forbidden: error looking up service account {jobs.namespace}/absent: '
        'serviceaccount "absent" not found'
    )
    assert jobs.until(lambda job: True).get("status", {}).get("conditions") is None
