"""kubectl 1.32 or newer, unmodified, on any Kubernetes.

Without it these tests are skipped, and the summary says so; where FEAST_REQUIRE_KUBECTL is set they fail.
"""

import json
import os
import re
import shutil
import subprocess
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from cluster_helpers import PATIENCE, Cluster, Jobs

OLDEST = (1, 32)
pytestmark = pytest.mark.cluster


@pytest.fixture(scope="session")
def program() -> str:
    """The path of a kubectl that is new enough."""
    found = shutil.which("kubectl")
    version = client_version(found) if found else ()
    if found and version >= OLDEST:
        return found
    problem = f"kubectl 1.32 or newer is needed; on PATH is {'.'.join(map(str, version)) or 'none'}"
    if os.environ.get("FEAST_REQUIRE_KUBECTL"):
        pytest.fail(problem)
    pytest.skip(problem)


def client_version(program: str) -> tuple[int, ...]:
    command = [program, "version", "--client", "-o", "json"]
    found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["clientVersion"]
    return int(found["major"]), int(found["minor"].rstrip("+"))


class Kubectl:
    """Runs kubectl in a namespace."""

    def __init__(self, program: str, cluster: Cluster, namespace: str) -> None:
        self._program = program
        self._env = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
        self.namespace = namespace

    def run(self, *args: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [self._program, "-n", self.namespace, *args]
        return subprocess.run(
            command, env=self._env, input=stdin, capture_output=True, text=True, timeout=PATIENCE, check=False
        )

    def __call__(self, *args: str, stdin: str = "") -> str:
        done = self.run(*args, stdin=stdin)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextmanager
    def following(self, *args: str) -> Iterator[Iterator[str]]:
        """The lines of a command that goes on until it is ended."""
        command = [self._program, "-n", self.namespace, *args]
        with subprocess.Popen(command, env=self._env, stdout=subprocess.PIPE, text=True) as process:
            limit = threading.Timer(PATIENCE, process.kill)
            limit.start()
            try:
                assert process.stdout is not None
                yield iter(process.stdout)
            finally:
                limit.cancel()
                process.kill()


@pytest.fixture
def kubectl(program: str, cluster: Cluster, namespace: str) -> Kubectl:
    return Kubectl(program, cluster, namespace)


def file_of(path: Path, obj: dict[str, Any]) -> str:
    target = path / "manifest.yaml"
    target.write_text(yaml.safe_dump(obj))
    return str(target)


def test_a_job_is_created_waited_for_read_and_deleted(kubectl: Kubectl, jobs: Jobs, tmp_path: Path) -> None:
    manifest = {"apiVersion": "batch/v1", "kind": "Job", **jobs.manifest("print('from the pod')")}
    assert kubectl("create", "-f", file_of(tmp_path, manifest)) == "job.batch/job created\n"
    assert kubectl("wait", "--for=condition=complete", "job/job", "--timeout=60s").endswith("condition met\n")
    assert kubectl("logs", "-f", "job/job") == "from the pod\n"
    assert ("Complete" if jobs.cluster.two_steps else "1/1") in kubectl("get", "jobs")
    assert "Completed" in kubectl("get", "pods")
    assert "SuccessfulCreate" in kubectl("describe", "job", "job")
    assert re.search(r"Started .* (Container started|Started container main)\n", kubectl("describe", "pods"))
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


STATES = {True: (["STATUS"], "Running", "Complete"), False: ([], "0/1", "1/1")}
"""What the second column of a server's table of Jobs tells: their state, since Kubernetes 1.31."""


def columns(line: str) -> list[str]:
    """The cells of a line: two spaces or more part them."""
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_get_follows_a_job_from_its_beginning_to_its_end(kubectl: Kubectl, jobs: Jobs) -> None:
    state, first, last = STATES[jobs.cluster.two_steps]
    with kubectl.following("get", "jobs", "-w") as lines:
        jobs.create("import time; time.sleep(1)")
        assert columns(next(lines)) == ["NAME", *state, "COMPLETIONS", "DURATION", "AGE"]
        states = []
        for line in lines:
            states.append(line.split()[1])
            if states[-1] == last:
                break
    assert (states[0], states[-1]) == (first, last)


UNTIL_ASKED = """
import signal
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
print("first", flush=True)
signal.sigwait([signal.SIGTERM])
print("last", flush=True)
"""


def test_a_log_is_followed_while_it_is_written(kubectl: Kubectl, jobs: Jobs) -> None:
    jobs.create(UNTIL_ASKED)
    pod = jobs.pod_until(lambda pod: pod["status"]["phase"] == "Running")["metadata"]["name"]
    with kubectl.following("logs", "-f", pod) as lines:
        assert next(lines) == "first\n"
        jobs.cluster.core.delete_namespaced_pod(pod, jobs.namespace)
        assert list(lines) == ["last\n"]


def test_get_tells_more_when_it_may_be_wide(kubectl: Kubectl, jobs: Jobs) -> None:
    jobs.run()
    header, row = (columns(line) for line in kubectl("get", "pods", "-o", "wide").splitlines())
    assert header == [
        *("NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE", "NOMINATED NODE", "READINESS GATES")
    ]
    pod = jobs.pods()[0]
    assert row[:4] == [pod.metadata.name, "0/1", "Completed", "0"]
    assert row[5:] == [pod.status.pod_ip, pod.spec.node_name, "<none>", "<none>"]
    header, row = (columns(line) for line in kubectl("get", "jobs", "-o", "wide").splitlines())
    assert header[-3:] == ["CONTAINERS", "IMAGES", "SELECTOR"]
    state = ["Complete"] if jobs.cluster.two_steps else []
    assert (row[: 2 + len(state)], row[-3:-1]) == (["job", *state, "1/1"], ["main", jobs.image])


def test_get_tells_how_often_a_container_was_started_again(kubectl: Kubectl, jobs: Jobs) -> None:
    jobs.create("raise SystemExit(1)", backoffLimit=6, pod={"restartPolicy": "OnFailure"})
    jobs.pod_until(lambda pod: any(c.get("restartCount") for c in pod["status"].get("containerStatuses", [])))
    cells = columns(kubectl("get", "pods", "--no-headers"))
    assert cells[3].endswith(" ago)"), cells


def test_describe_tells_what_happened(kubectl: Kubectl, jobs: Jobs) -> None:
    jobs.run("raise SystemExit(3)")
    jobs.events("BackoffLimitExceeded")
    told = kubectl("describe", "job", "job")
    assert "Pods Statuses:" in told
    assert "0 Active (0 Ready) / 0 Succeeded / 1 Failed" in told
    assert "Job has reached the specified backoff limit" in told
    told = kubectl("describe", "pods")
    assert "Controlled By:  Job/job" in told
    assert "Exit Code:    3" in told


def test_deleting_waits_until_it_is_done(kubectl: Kubectl, jobs: Jobs) -> None:
    jobs.create("import time; time.sleep(300)")
    pod = jobs.pod_until(lambda pod: pod["status"]["phase"] == "Running")["metadata"]["name"]
    kubectl("delete", "job", "job", "--wait=false", "--cascade=foreground")
    kubectl("wait", "--for=delete", f"pod/{pod}", "--timeout=60s")
    kubectl("wait", "--for=delete", "job/job", "--timeout=60s")
    assert "NotFound" in kubectl.run("get", "job", "job").stderr


def test_a_custom_resource_is_shown_as_its_definition_says(kubectl: Kubectl, tmp_path: Path) -> None:
    group = f"t{uuid.uuid4().hex[:8]}.example.com"
    shown = [
        {"name": "Phase", "type": "string", "jsonPath": ".status.phase"},
        {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size", "priority": 1},
    ]
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "stores", "singular": "store", "kind": "Store"}
    spec = {"group": group, "names": names, "scope": "Namespaced"}
    spec["versions"] = [{**version, "additionalPrinterColumns": shown}]
    meta = {"name": f"stores.{group}"}
    kind = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    kubectl("create", "-f", file_of(tmp_path, {**kind, "metadata": meta, "spec": spec}))
    try:
        kubectl("wait", "--for=condition=established", f"crd/stores.{group}", "--timeout=60s")
        status = {"phase": "Ready", "conditions": [{"type": "Ready", "status": "True"}]}
        store = {"apiVersion": f"{group}/v1", "kind": "Store", "metadata": {"name": "s"}}
        kubectl("create", "-f", file_of(tmp_path, {**store, "spec": {"size": 3}, "status": status}))
        header, row = (columns(line) for line in kubectl("get", f"stores.{group}", "-o", "wide").splitlines())
        assert (header, row) == (["NAME", "PHASE", "READY", "SIZE"], ["s", "Ready", "True", "3"])
    finally:
        kubectl("delete", "crd", f"stores.{group}")


def test_can_i_answers(kubectl: Kubectl) -> None:
    assert kubectl("auth", "can-i", "create", "jobs") == "yes\n"
    refused = kubectl.run("auth", "can-i", "create", "jobs", "--as", "system:serviceaccount:x:y")
    assert refused.stdout == "no\n"
    assert kubectl("auth", "can-i", "update", "leases.coordination.k8s.io") == "yes\n"
    somebody = ("--as", "somebody", "--as-group", "system:authenticated")
    assert kubectl("auth", "can-i", "get", "/version", *somebody) == "yes\n"
    assert kubectl.run("auth", "can-i", "get", "/metrics", *somebody).stdout == "no\n"
    assert kubectl.run("auth", "can-i", "post", "/version", *somebody).stdout == "no\n"


def test_can_i_lists_what_an_account_may_do(kubectl: Kubectl) -> None:
    kubectl("create", "role", "reader", "--verb=get,list", "--resource=jobs.batch")
    account = f"{kubectl.namespace}:default"
    kubectl("create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={account}")
    listed = kubectl("auth", "can-i", "--list", "--as", f"system:serviceaccount:{account}").splitlines()
    rows = [[cell for cell in line.split("  ") if cell.strip()] for line in listed]
    cells = [[cell.strip() for cell in row] for row in rows]
    assert ["jobs.batch", "[]", "[]", "[get list]"] in cells
    assert ["[/version]", "[]", "[get]"] in cells


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
