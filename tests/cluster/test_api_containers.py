"""What containers of a pod get and leave, on any Kubernetes: directories, volumes, numbers, signals, companions."""

import json

import pytest
from cluster_helpers import SECURITY, Jobs, true_conditions
from kubernetes.client import ApiException

pytestmark = pytest.mark.cluster


def test_a_container_works_in_the_directory_that_it_names(jobs: Jobs) -> None:
    code = "import os; open('here', 'w').close(); print(os.listdir(os.getcwd()))"
    mounts = [{"name": "e", "mountPath": "/scratch/deep"}]
    pod = {"volumes": [{"name": "e", "emptyDir": {}}]}
    jobs.run(code, pod=pod, container={"workingDir": "/scratch/deep", "volumeMounts": mounts})
    assert jobs.log() == "['here']\n"


SECRETS = """
import os, sys
for name in sorted(n for n in os.listdir(sys.argv[1]) if n[0] != '.'):
    path = os.path.realpath(os.path.join(sys.argv[1], name))
    print(name, open(path).read(), oct(os.stat(path).st_mode & 0o777))
"""


def test_a_secret_is_mounted_with_the_mode_that_it_asks_for(jobs: Jobs) -> None:
    secret = {"metadata": {"name": "s"}, "stringData": {"a": "one", "b": "two"}}
    jobs.cluster.core.create_namespaced_secret(jobs.namespace, secret)
    items = [{"key": "a", "path": "a", "mode": 0o444}, {"key": "b", "path": "b"}]
    volume = {"name": "s", "secret": {"secretName": "s", "items": items, "defaultMode": 0o555}}
    mounts = [{"name": "s", "mountPath": "/secrets", "readOnly": True}]
    command = ["python3", "-c", SECRETS, "/secrets"]
    jobs.run(pod={"volumes": [volume]}, container={"command": command, "volumeMounts": mounts})
    assert jobs.log() == "a one 0o444\nb two 0o555\n"


PROJECTED = """
import sys
for name in ("labels", "limit", "config", "token"):
    print(name, len(open(sys.argv[1] + "/" + name).read()) if name == "token" else open(sys.argv[1] + "/" + name).read())
"""


def test_a_projected_volume_joins_its_sources(jobs: Jobs) -> None:
    core = jobs.cluster.core
    core.create_namespaced_config_map(jobs.namespace, {"metadata": {"name": "c"}, "data": {"k": "content"}})
    limit = {"containerName": "main", "resource": "limits.memory", "divisor": "1Mi"}
    downward = [
        {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels['job-name']"}},
        {"path": "limit", "resourceFieldRef": limit},
    ]
    sources = [
        {"downwardAPI": {"items": downward}},
        {"configMap": {"name": "c", "items": [{"key": "k", "path": "config"}]}},
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600}},
    ]
    mounts = [{"name": "p", "mountPath": "/projected"}]
    container = {"command": ["python3", "-c", PROJECTED, "/projected"], "volumeMounts": mounts}
    container["resources"] = {"limits": {"memory": "128Mi"}}
    jobs.run(pod={"volumes": [{"name": "p", "projected": {"sources": sources}}]}, container=container)
    lines = jobs.log().splitlines()
    assert lines[:3] == ["labels job", "limit 128", "config content"]
    assert int(lines[3].split()[1]) > 0


def test_limits_and_requests_can_be_read_from_the_environment(jobs: Jobs) -> None:
    names = {
        "MEMORY": ("limits.memory", "1Mi"),
        "CPU": ("requests.cpu", "1m"),
        "BYTES": ("requests.memory", "1"),
    }
    env = [
        {"name": name, "valueFrom": {"resourceFieldRef": {"resource": resource, "divisor": divisor}}}
        for name, (resource, divisor) in names.items()
    ]
    resources = {"limits": {"memory": "256Mi"}, "requests": {"cpu": "100m", "memory": "64Mi"}}
    code = "import os; print(os.environ['MEMORY'], os.environ['CPU'], os.environ['BYTES'])"
    jobs.run(code, container={"env": env, "resources": resources})
    assert jobs.log() == f"256 100 {64 * 2**20}\n"


def test_one_container_that_fails_makes_the_pod_fail_when_all_have_ended(jobs: Jobs) -> None:
    image = {"image": jobs.image, "securityContext": SECURITY}
    good = {"name": "good", "command": ["python3", "-c", "print('good')"], **image}
    bad = {"name": "bad", "command": ["python3", "-c", "raise SystemExit(4)"], **image}
    job = jobs.run(pod={"containers": [good, bad]})
    assert "Failed" in true_conditions(job)
    states = {s.name: s.state.terminated for s in jobs.pods()[0].status.container_statuses}
    assert (states["good"].exit_code, states["good"].reason) == (0, "Completed")
    assert (states["bad"].exit_code, states["bad"].reason) == (4, "Error")
    assert jobs.log(container="good") == "good\n"


def test_a_log_of_a_pod_with_two_containers_wants_one_named(jobs: Jobs) -> None:
    image = {"image": jobs.image, "securityContext": SECURITY, "command": ["python3", "-c", "pass"]}
    jobs.run(pod={"containers": [{"name": "a", **image}, {"name": "b", **image}]})
    with pytest.raises(ApiException) as refused:
        jobs.log()
    name = jobs.pods()[0].metadata.name
    assert json.loads(refused.value.body)["message"] == (
        f"a container name must be specified for pod {name}, choose one of: [a b]"
    )
    with pytest.raises(ApiException) as refused:
        jobs.log(container="c")
    assert json.loads(refused.value.body)["message"] == f"container c is not valid for pod {name}"
