"""What the containers of a pod see and leave on any Kubernetes."""

import json

import pytest
from cluster_helpers import SECURITY, Jobs, true_conditions
from kubernetes.client import ApiException

pytestmark = pytest.mark.cluster


def test_a_container_leaves_a_termination_message(jobs: Jobs) -> None:
    jobs.run("open('/dev/termination-log','w').write('{\"done\": 3}'); raise SystemExit(4)")
    assert jobs.terminated().message == '{"done": 3}'


def test_a_termination_message_is_cut_at_4096_bytes(jobs: Jobs) -> None:
    jobs.run("open('/dev/termination-log','w').write('x' * 5000)")
    assert len(jobs.terminated().message) == 4096


def test_the_path_of_the_termination_message_is_honoured(jobs: Jobs) -> None:
    jobs.run("open('/dev/shm-note','w').write('here')", container={"terminationMessagePath": "/dev/shm-note"})
    assert jobs.terminated().message == "here"


def test_a_failed_container_without_message_falls_back_to_its_log(jobs: Jobs) -> None:
    code = "print('what went wrong'); raise SystemExit(1)"
    jobs.run(code, container={"terminationMessagePolicy": "FallbackToLogsOnError"})
    assert jobs.terminated().message == "what went wrong\n"


def test_the_environment_is_what_the_pod_declares(jobs: Jobs) -> None:
    core = jobs.cluster.core
    core.create_namespaced_config_map(
        jobs.namespace, {"metadata": {"name": "c"}, "data": {"A": "1", "B": "2"}}
    )
    core.create_namespaced_secret(jobs.namespace, {"metadata": {"name": "s"}, "stringData": {"pw": "pss"}})
    env = [
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
        {"name": "PW", "valueFrom": {"secretKeyRef": {"name": "s", "key": "pw"}}},
        {"name": "KEY", "valueFrom": {"configMapKeyRef": {"name": "c", "key": "B"}}},
        {"name": "BOTH", "value": "$(PW)-$(KEY)-$(absent)-$$(PW)"},
    ]
    source = [
        {"prefix": "P_", "configMapRef": {"name": "c"}},
        {"configMapRef": {"name": "absent", "optional": True}},
    ]
    code = "import os, json; print(json.dumps(dict(os.environ)))"
    jobs.run(code, container={"env": env, "envFrom": source})
    found = json.loads(jobs.log())
    assert found["NAME"] == jobs.pods()[0].metadata.name
    assert found["NAMESPACE"] == jobs.namespace
    assert found["BOTH"] == "pss-2-$(absent)-$(PW)"
    assert (found["P_A"], found["P_B"]) == ("1", "2")
    assert "KUBERNETES_SERVICE_HOST" in found
    assert "PYTEST_CURRENT_TEST" not in found


def test_variables_are_expanded_in_the_command(jobs: Jobs) -> None:
    command = ["python3", "-c", "import sys; print(sys.argv[1:])", "$(WHO)", "$$(WHO)"]
    jobs.run(container={"command": command, "env": [{"name": "WHO", "value": "me"}]})
    assert jobs.log() == "['me', '$(WHO)']\n"


VOLUMES = """
import os, sys
print(os.readlink(sys.argv[1] + '/..data').startswith('..'), os.path.islink(sys.argv[1] + '/file.yaml'))
print(open(sys.argv[1] + '/file.yaml').read(), sorted(n for n in os.listdir(sys.argv[1]) if n[0] != '.'))
print(os.path.islink(sys.argv[2]), open(sys.argv[2]).read())
open(sys.argv[3] + '/new', 'w').write('w'); print(os.listdir(sys.argv[3]))
"""


def test_volumes_appear_at_their_mount_paths(jobs: Jobs) -> None:
    data = {"k": "content", "other": "x"}
    jobs.cluster.core.create_namespaced_config_map(jobs.namespace, {"metadata": {"name": "c"}, "data": data})
    volumes = [
        {"name": "c", "configMap": {"name": "c", "items": [{"key": "k", "path": "file.yaml"}]}},
        {"name": "e", "emptyDir": {"sizeLimit": "10Mi"}},
    ]
    mounts = [
        {"name": "c", "mountPath": "/feast/config"},
        {"name": "c", "mountPath": "/feast/one.yaml", "subPath": "file.yaml"},
        {"name": "e", "mountPath": "/scratch"},
    ]
    command = ["python3", "-c", VOLUMES, "/feast/config", "/feast/one.yaml", "/scratch"]
    jobs.run(pod={"volumes": volumes}, container={"command": command, "volumeMounts": mounts})
    assert jobs.log().splitlines() == [
        "True True",
        "content ['file.yaml']",
        "False content",
        "['new']",
    ]


def test_init_containers_run_first_and_share_volumes(jobs: Jobs) -> None:
    mounts = [{"name": "e", "mountPath": "/shared"}]
    code = "import sys; open(sys.argv[1] + '/note', 'w').write('from init'); print('init ran')"
    init = {
        "name": "prepare",
        "image": jobs.image,
        "command": ["python3", "-c", code, "/shared"],
        "volumeMounts": mounts,
        "securityContext": SECURITY,
    }
    command = ["python3", "-c", "import sys; print(open(sys.argv[1] + '/note').read())", "/shared"]
    pod = {"volumes": [{"name": "e", "emptyDir": {}}], "initContainers": [init]}
    jobs.run(pod=pod, container={"command": command, "volumeMounts": mounts})
    assert jobs.log(container="main") == "from init\n"
    assert jobs.log(container="prepare") == "init ran\n"


def test_a_failed_init_container_fails_the_pod(jobs: Jobs) -> None:
    init = {"name": "git", "image": jobs.image, "securityContext": SECURITY}
    init |= {"command": ["python3", "-c", "raise SystemExit(128)"]}
    job = jobs.run(pod={"initContainers": [init]})
    assert "Failed" in true_conditions(job)
    status = jobs.pods()[0].status
    assert status.init_container_statuses[0].state.terminated.exit_code == 128
    assert status.container_statuses[0].state.waiting.reason == "PodInitializing"


def test_a_command_that_does_not_exist_is_a_start_error(jobs: Jobs) -> None:
    jobs.run(container={"command": ["/no/such/binary"]})
    ended = jobs.terminated()
    assert (ended.exit_code, ended.reason) == (128, "StartError")
    assert ended.message.endswith('exec: "/no/such/binary": stat /no/such/binary: no such file or directory')


def test_an_unknown_image_waits_and_is_told_by_events(jobs: Jobs) -> None:
    image = "registry.invalid/feature-server:9.9.9"
    jobs.create(container={"image": image})

    def backing_off(pod: dict[str, object]) -> bool:
        statuses = pod["status"].get("containerStatuses", [])  # type: ignore[attr-defined]
        waiting = statuses and statuses[0]["state"].get("waiting", {})
        return bool(waiting) and waiting["reason"] in {"ErrImagePull", "ImagePullBackOff"}

    assert jobs.pod_until(backing_off)["status"]["phase"] == "Pending"
    messages = {event.message for event in jobs.events("Failed")}
    assert "Error: ErrImagePull" in messages
    assert jobs.events("BackOff")[0].message == f'Back-off pulling image "{image}"'


def test_an_image_that_is_never_pulled_and_absent_says_so(jobs: Jobs) -> None:
    jobs.create(container={"image": "absent.invalid/x:1", "imagePullPolicy": "Never"})
    assert jobs.events("ErrImageNeverPull")[0].message == (
        'Container image "absent.invalid/x:1" is not present with pull policy of Never'
    )


def test_a_missing_config_map_is_told_by_failed_mount_and_waited_for(jobs: Jobs) -> None:
    pod = {"volumes": [{"name": "c", "configMap": {"name": "late"}}]}
    mounts = [{"name": "c", "mountPath": "/feast/config"}]
    jobs.create(pod=pod, container={"volumeMounts": mounts})
    assert jobs.events("FailedMount")[0].message == (
        'MountVolume.SetUp failed for volume "c" : configmap "late" not found'
    )
    jobs.cluster.core.create_namespaced_config_map(jobs.namespace, {"metadata": {"name": "late"}, "data": {}})
    assert "Complete" in true_conditions(jobs.finished())


def test_a_missing_secret_key_is_a_configuration_error(jobs: Jobs) -> None:
    env = [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "absent", "key": "k"}}}]
    jobs.create(container={"env": env})
    assert jobs.events("Failed")[0].message == 'Error: secret "absent" not found'
    pod = jobs.pods()[0]
    with pytest.raises(ApiException) as refused:
        jobs.cluster.core.read_namespaced_pod_log(pod.metadata.name, jobs.namespace)
    assert json.loads(refused.value.body)["message"] == (
        f'container "main" in pod "{pod.metadata.name}" is waiting to start: CreateContainerConfigError'
    )


def test_a_pod_that_no_node_can_hold_waits(jobs: Jobs) -> None:
    jobs.create(pod={"nodeSelector": {"no-such": "node"}})
    assert "didn't match Pod's node affinity/selector" in jobs.events("FailedScheduling")[0].message
    pod = jobs.pod_until(lambda pod: bool(pod["status"].get("conditions")))
    assert pod["status"]["conditions"][0]["reason"] == "Unschedulable"


def test_logs_can_be_followed_cut_and_stamped(jobs: Jobs) -> None:
    jobs.create("import time\nfor n in range(3): print(n, flush=True); time.sleep(0.2)")
    pod = jobs.pod_until(lambda pod: pod["status"]["phase"] in {"Running", "Succeeded"})["metadata"]["name"]
    core = jobs.cluster.core
    stream = core.read_namespaced_pod_log(pod, jobs.namespace, follow=True, _preload_content=False)
    assert b"".join(stream.stream()) == b"0\n1\n2\n"
    assert jobs.log(tail_lines=1) == "2\n"
    stamped = jobs.log(timestamps=True).splitlines()
    assert [line.split(" ")[1] for line in stamped] == ["0", "1", "2"]
    assert all(line.split(" ")[0].endswith("Z") for line in stamped)


STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, lambda *_: os.write(1, b"asked\\n"))
os.write(1, b"ready\\n")
while True: time.sleep(300)
"""


def test_a_deleted_pod_is_asked_to_stop_and_then_killed(jobs: Jobs) -> None:
    jobs.create(STUBBORN, backoffLimit=6)
    pod = jobs.pod_until(lambda pod: pod["status"]["phase"] == "Running")["metadata"]["name"]
    core = jobs.cluster.core
    follow = core.read_namespaced_pod_log(pod, jobs.namespace, follow=True, _preload_content=False).stream()
    assert next(iter(follow)).startswith(b"ready")
    core.delete_namespaced_pod(pod, jobs.namespace, grace_period_seconds=1)
    assert b"asked" in b"".join(follow)
    assert jobs.events("Killing")[0].message == "Stopping container main"
    jobs.pod_until(lambda found: found["metadata"]["name"] != pod)


def test_a_container_that_needs_too_much_memory_is_killed_by_the_kernel(jobs: Jobs) -> None:
    code = "open('/dev/termination-log','w').write('far'); b = bytearray(400 * 2**20); import time; time.sleep(20)"
    jobs.run(code, container={"resources": {"limits": {"memory": "100Mi"}}})
    ended = jobs.terminated()
    assert (ended.exit_code, ended.reason, ended.message) == (137, "OOMKilled", "far")


def test_a_container_restarts_in_place_when_its_policy_says_so(jobs: Jobs) -> None:
    code = "import os, sys; p = sys.argv[1] + '/seen'; n = os.path.exists(p); open(p, 'w'); print(n); sys.exit(not n)"
    command = ["python3", "-c", code, "/e"]
    pod = {"restartPolicy": "OnFailure", "volumes": [{"name": "e", "emptyDir": {}}]}
    mounts = [{"name": "e", "mountPath": "/e"}]
    job = jobs.run(backoffLimit=3, pod=pod, container={"command": command, "volumeMounts": mounts})
    assert "Complete" in true_conditions(job)
    status = jobs.pods()[0].status.container_statuses[0]
    assert status.restart_count == 1
    assert status.last_state.terminated.exit_code == 1
    assert jobs.log(previous=True) == "False\n"
    assert jobs.log() == "True\n"


def test_a_container_that_would_run_as_root_is_refused(jobs: Jobs) -> None:
    jobs.create(container={"securityContext": {**SECURITY, "runAsUser": 0}})
    assert "runAsUser=0" in jobs.events("FailedCreate")[0].message
