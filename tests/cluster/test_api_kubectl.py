"""kubectl, unmodified, on any Kubernetes."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_helpers import Cluster, Jobs

KUBECTL = shutil.which("kubectl")
pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(KUBECTL is None, reason="kubectl is not installed"),
]


class Kubectl:
    """Runs kubectl in a namespace."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._env = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
        self.namespace = namespace

    def run(self, *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [str(KUBECTL), "-n", self.namespace, *args]
        return subprocess.run(
            command, env=self._env, input=stdin, capture_output=True, text=True, timeout=60, check=False
        )

    def __call__(self, *args: str, stdin: str = "") -> str:
        done = self.run(*args, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def kubectl(cluster: Cluster, namespace: str) -> Kubectl:
    return Kubectl(cluster, namespace)


def file_of(path: Path, obj: dict[str, Any]) -> str:
    target = path / "manifest.yaml"
    target.write_text(yaml.safe_dump(obj))
    return str(target)


def test_a_job_is_created_waited_for_read_and_deleted(kubectl: Kubectl, jobs: Jobs, tmp_path: Path) -> None:
    manifest = {"apiVersion": "batch/v1", "kind": "Job", **jobs.manifest("print('from the pod')")}
    assert kubectl("create", "-f", file_of(tmp_path, manifest)) == "job.batch/job created\n"
    assert kubectl("wait", "--for=condition=complete", "job/job", "--timeout=60s").endswith("condition met\n")
    assert kubectl("logs", "-f", "job/job") == "from the pod\n"
    assert "Complete" in kubectl("get", "jobs")
    assert "Completed" in kubectl("get", "pods")
    assert "SuccessfulCreate" in kubectl("describe", "job", "job")
    assert "Container started" in kubectl("describe", "pods")
    assert "job.batch" in kubectl("delete", "job", "job", "--cascade=foreground")
    assert kubectl("get", "pods", "-o", "name") == ""


def test_apply_creates_changes_and_leaves_alone(kubectl: Kubectl, tmp_path: Path) -> None:
    obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "1", "old": "x"}}
    assert kubectl("apply", "-f", file_of(tmp_path, obj)) == "configmap/a created\n"
    assert kubectl("apply", "-f", file_of(tmp_path, obj)) == "configmap/a unchanged\n"
    obj["data"] = {"k": "2"}
    assert kubectl("apply", "-f", file_of(tmp_path, obj)) == "configmap/a configured\n"
    assert json.loads(kubectl("get", "configmap", "a", "-o", "json"))["data"] == {"k": "2"}


def test_a_typing_error_is_refused(kubectl: Kubectl, jobs: Jobs, tmp_path: Path) -> None:
    manifest = {"apiVersion": "batch/v1", "kind": "Job", **jobs.manifest("pass", backofLimit=1)}
    refused = kubectl.run("create", "-f", file_of(tmp_path, manifest))
    assert refused.returncode == 1
    assert 'strict decoding error: unknown field "spec.backofLimit"' in refused.stderr


def test_get_follows_changes(kubectl: Kubectl, jobs: Jobs) -> None:
    jobs.run()
    seen = kubectl("get", "jobs", "-w", "--request-timeout=2s").splitlines()
    assert seen[0].split()[:2] == ["NAME", "STATUS"]
    assert seen[1].split()[:2] == ["job", "Complete"]


def test_can_i_answers(kubectl: Kubectl) -> None:
    assert kubectl("auth", "can-i", "create", "jobs") == "yes\n"
    refused = kubectl.run("auth", "can-i", "create", "jobs", "--as", "system:serviceaccount:x:y")
    assert refused.stdout == "no\n"
    assert kubectl("auth", "can-i", "update", "leases.coordination.k8s.io") == "yes\n"
    somebody = ("--as", "somebody", "--as-group", "system:authenticated")
    assert kubectl("auth", "can-i", "get", "/version", *somebody) == "yes\n"
    assert kubectl.run("auth", "can-i", "get", "/metrics", *somebody).stdout == "no\n"
    assert kubectl.run("auth", "can-i", "post", "/version", *somebody).stdout == "no\n"


def test_can_i_knows_what_a_role_says_of_one_lease(kubectl: Kubectl) -> None:
    kubectl("create", "serviceaccount", "holder")
    names = ("--verb=get,update", "--resource=leases", "--resource-name=mine")
    kubectl("create", "role", "holder", *names)
    account = f"{kubectl.namespace}:holder"
    kubectl("create", "rolebinding", "holder", "--role=holder", f"--serviceaccount={account}")
    as_holder = ("--as", f"system:serviceaccount:{account}")
    assert kubectl("auth", "can-i", "update", "leases/mine", *as_holder) == "yes\n"
    assert kubectl.run("auth", "can-i", "update", "leases/other", *as_holder).stdout == "no\n"
    assert kubectl.run("auth", "can-i", "create", "leases", *as_holder).stdout == "no\n"


def test_small_objects_can_be_made_on_the_command_line(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "c", "--from-literal=a=b")
    kubectl("create", "secret", "generic", "s", "--from-literal=a=b")
    kubectl("create", "role", "r", "--verb=get", "--resource=pods")
    kubectl("create", "serviceaccount", "sa")
    assert kubectl("create", "token", "sa").strip()
    assert kubectl("get", "secret", "s", "-o", "jsonpath={.data.a}") == "Yg=="


@pytest.mark.isolation
def test_a_command_is_run_in_a_running_container(kubectl: Kubectl, jobs: Jobs) -> None:
    jobs.create("import time; time.sleep(60)")
    jobs.pod_until(lambda pod: pod["status"]["phase"] == "Running")
    assert (
        kubectl("exec", "-i", "job/job", "--", "sh", "-c", "cat; echo done", stdin="given ") == "given done\n"
    )
    failed = kubectl.run("exec", "job/job", "--", "sh", "-c", "exit 3")
    assert failed.returncode == 3
    assert "command terminated with exit code 3" in failed.stderr
