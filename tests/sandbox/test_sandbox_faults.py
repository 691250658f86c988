"""Faults on demand, and the ends of a sandbox."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from kubernetes import client, config, watch
from kubernetes.client import ApiException
from kubernetes_asyncio import client as async_client
from kubernetes_asyncio import config as async_config
from kubernetes_asyncio import watch as async_watch

from airflow_provider_feast.sandbox import Sandbox, SandboxError
from airflow_provider_feast.sandbox.pods import isolation

FOREVER = "import time; print('up', flush=True); time.sleep(600)"
MAPPED_CODE = """
import json, os, sys
here = {name: open(path).read() for name, path in (("config", sys.argv[1]), ("option", sys.argv[2].split("=")[1]))}
open("/tmp/scratch", "w").write("x")
print(json.dumps({**here, "cwd": os.getcwd(), "uid": os.getuid(), "pid": os.getpid(), "var": os.environ["WHERE"]}))
open("/dev/termination-log", "w").write("said")
try:
    open("/opt/written", "w"); raise SystemExit("the root is writable")
except OSError:
    pass
"""


def job(name: str, code: str = "pass", **pod: Any) -> dict[str, Any]:
    container = {"name": "main", "image": "feast-sandbox:local", "command": ["python3", "-c", code]}
    container |= pod.pop("container", {})
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container], **pod}
    return {"metadata": {"name": name}, "spec": {"backoffLimit": 0, "template": {"spec": spec}}}


class Client:
    """The two APIs, without the client's own retries."""

    def __init__(self, sandbox: Sandbox) -> None:
        api = config.new_client_from_config(str(sandbox.kubeconfig))
        api.configuration.retries = urllib3.Retry(0)
        self.core = client.CoreV1Api(client.ApiClient(api.configuration))
        self.batch = client.BatchV1Api(self.core.api_client)

    def pod(self, name: str, phase: str) -> Any:
        stream = watch.Watch().stream(
            self.core.list_namespaced_pod, "default", label_selector=f"job-name={name}", timeout_seconds=20
        )
        for event in stream:
            if event["object"].status.phase == phase:
                stream.close()
                return event["object"]
        raise AssertionError(f"no pod of {name} became {phase}")


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(time_scale=0.02) as found:
        yield found


@pytest.fixture
def clients(sandbox: Sandbox) -> Iterator[Client]:
    found = Client(sandbox)
    yield found
    sandbox.clear_faults()
    found.core.api_client.close()


@pytest.mark.parametrize(
    ("code", "reason"), [(429, "TooManyRequests"), (500, "InternalError"), (503, "ServiceUnavailable")]
)
def test_requests_fail_as_often_as_a_rule_says(
    sandbox: Sandbox, clients: Client, code: int, reason: str
) -> None:
    sandbox.fault("/namespaces/default/secrets", method="GET", code=code, times=2)
    for _ in range(2):
        with pytest.raises(ApiException) as failed:
            clients.core.list_namespaced_secret("default")
        assert failed.value.status == code
        assert json.loads(failed.value.body)["reason"] == reason
    assert clients.core.list_namespaced_secret("default").items == []


def test_a_429_says_after_how_long_to_try_again(sandbox: Sandbox, clients: Client) -> None:
    sandbox.fault("/namespaces/default/secrets", method="GET", code=429, retry_after=7)
    with pytest.raises(ApiException) as failed:
        clients.core.list_namespaced_secret("default")
    assert failed.value.headers["Retry-After"] == "7"
    assert json.loads(failed.value.body)["details"]["retryAfterSeconds"] == 7


def test_a_hushed_watch_stays_open_and_says_nothing_more(sandbox: Sandbox, clients: Client) -> None:
    selector = {"label_selector": "hush=true", "timeout_seconds": 60, "_preload_content": False}
    answer = clients.core.list_namespaced_config_map("default", watch=True, **selector)
    body = {"metadata": {"name": "before", "labels": {"hush": "true"}}}
    clients.core.create_namespaced_config_map("default", body)
    lines = answer.stream(decode_content=False)
    assert b'"before"' in next(lines)
    assert sandbox.hush_watches("configmaps") >= 1
    body["metadata"]["name"] = "after"
    clients.core.create_namespaced_config_map("default", body)
    sandbox.cut_watches("configmaps")
    assert b"".join(lines) == b"", "it ended without having told of the second one"


def test_an_answer_can_be_lost_after_the_object_was_stored(sandbox: Sandbox, clients: Client) -> None:
    sandbox.fault("/configmaps$", method="POST", kind="after", code=500)
    with pytest.raises(ApiException) as failed:
        clients.core.create_namespaced_config_map("default", {"metadata": {"name": "stored"}})
    assert failed.value.status == 500
    assert clients.core.read_namespaced_config_map("stored", "default").metadata.uid


def test_a_connection_can_be_reset(sandbox: Sandbox, clients: Client) -> None:
    sandbox.fault("/namespaces/default/secrets", kind="reset")
    with pytest.raises(urllib3.exceptions.HTTPError):
        clients.core.list_namespaced_secret("default")
    assert clients.core.list_namespaced_secret("default").items == []


def test_an_answer_can_be_slow(sandbox: Sandbox, clients: Client) -> None:
    sandbox.fault("/namespaces/default/secrets", kind="slow", seconds=0.4)
    started = time.monotonic()
    clients.core.list_namespaced_secret("default")
    assert time.monotonic() - started >= 0.4


async def test_a_cut_watch_ends_without_a_word(sandbox: Sandbox) -> None:
    api = await async_config.new_client_from_config(str(sandbox.kubeconfig))
    async with api:
        lister = async_client.CoreV1Api(api).list_namespaced_config_map
        seen: list[str] = []

        async def follow() -> None:
            async with api.rest_client.pool_manager.get(
                f"{api.configuration.host}/api/v1/namespaces/default/configmaps?watch=1",
                headers={"Authorization": f"Bearer {sandbox.token}"},
            ) as response:
                async for line in response.content:
                    seen.append(json.loads(line)["object"]["metadata"]["name"])
                    begun.set()

        begun = asyncio.Event()
        task = asyncio.create_task(follow())
        await asyncio.wait_for(begun.wait(), 10)
        assert await asyncio.to_thread(sandbox.cut_watches, "configmaps") >= 1
        await asyncio.wait_for(task, 10)
        assert "kube-root-ca.crt" in seen
        assert (await lister("default")).items


async def test_the_asynchronous_client_watches_jobs(sandbox: Sandbox) -> None:
    api = await async_config.new_client_from_config(str(sandbox.kubeconfig))
    async with api:
        batch = async_client.BatchV1Api(api)
        await batch.create_namespaced_job("default", job("asynchronous"))
        async with async_watch.Watch().stream(
            batch.list_namespaced_job,
            "default",
            field_selector="metadata.name=asynchronous",
            timeout_seconds=20,
        ) as stream:
            async for event in stream:
                if event["object"].status.succeeded:
                    break
            else:
                pytest.fail("the Job did not succeed")


def test_a_forgotten_history_is_gone(sandbox: Sandbox, clients: Client) -> None:
    version = clients.core.list_namespaced_config_map("default").metadata.resource_version
    clients.core.create_namespaced_config_map("default", {"metadata": {"generateName": "x-"}})
    sandbox.compact()
    with pytest.raises(ApiException) as failed:
        stream = watch.Watch().stream(
            clients.core.list_namespaced_config_map, "default", resource_version=version, timeout_seconds=5
        )
        list(stream)
    assert failed.value.status == 410


def test_a_pod_can_be_killed_for_memory(sandbox: Sandbox, clients: Client) -> None:
    clients.batch.create_namespaced_job("default", job("oom", FOREVER))
    pod = clients.pod("oom", "Running")
    sandbox.oom_kill("default", pod.metadata.name)
    ended = clients.pod("oom", "Failed").status.container_statuses[0].state.terminated
    assert (ended.exit_code, ended.reason) == (137, "OOMKilled")


def test_a_pod_can_be_evicted(sandbox: Sandbox, clients: Client) -> None:
    body = job("evicted", FOREVER)
    body["spec"]["podFailurePolicy"] = {
        "rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]
    }
    clients.batch.create_namespaced_job("default", body)
    first = clients.pod("evicted", "Running").metadata.name
    sandbox.evict_pod("default", first, grace=1)
    stream = watch.Watch().stream(
        clients.core.list_namespaced_pod, "default", label_selector="job-name=evicted", timeout_seconds=20
    )
    assert next(e for e in stream if e["object"].metadata.name != first)
    clients.batch.delete_namespaced_job("evicted", "default", propagation_policy="Background")


def test_a_lost_pod_is_replaced(sandbox: Sandbox, clients: Client) -> None:
    body = job("lost", FOREVER)
    body["spec"]["backoffLimit"] = 3
    clients.batch.create_namespaced_job("default", body)
    first = clients.pod("lost", "Running").metadata.name
    sandbox.lose_pod("default", first)
    stream = watch.Watch().stream(
        clients.core.list_namespaced_pod, "default", label_selector="job-name=lost", timeout_seconds=20
    )
    assert next(e for e in stream if e["object"].metadata.name != first)
    clients.batch.delete_namespaced_job("lost", "default", propagation_policy="Background")


def test_a_finished_job_causes_no_more_writes() -> None:
    with Sandbox(isolation=False) as sandbox:
        clients = Client(sandbox)
        clients.batch.create_namespaced_job("default", job("done"))
        clients.pod("done", "Succeeded")
        stream = watch.Watch().stream(clients.batch.list_namespaced_job, "default", timeout_seconds=20)
        assert next(event for event in stream if event["object"].status.completion_time)
        versions = [
            int(clients.core.create_namespaced_config_map("default", body).metadata.resource_version)
            for body in ({"metadata": {"generateName": "x-"}} for _ in range(10))
        ]
        assert versions[-1] - versions[0] == 9 or versions[-1] - versions[1] == 8


def test_pods_can_be_delayed(sandbox: Sandbox, clients: Client) -> None:
    sandbox.delay_pods(0.5)
    started = time.monotonic()
    clients.batch.create_namespaced_job("default", job("delayed"))
    clients.pod("delayed", "Succeeded")
    assert time.monotonic() - started >= 0.5


def test_an_image_can_fail_to_be_pulled_for_a_while(sandbox: Sandbox, clients: Client) -> None:
    sandbox.break_image("feast-sandbox:local")
    clients.batch.create_namespaced_job("default", job("unlucky"))
    stream = watch.Watch().stream(clients.core.list_namespaced_event, "default", timeout_seconds=20)
    assert next(e for e in stream if e["object"].message == "Error: ErrImagePull")
    sandbox.add_image("feast-sandbox:local", sys.prefix)
    clients.pod("unlucky", "Succeeded")


def test_a_wrong_control_request_is_refused(sandbox: Sandbox) -> None:
    with pytest.raises(SandboxError, match="a fault is one of"):
        sandbox.fault("/x", kind="nonsense")


def test_mapped_paths_reach_a_program_in_every_way() -> None:
    code = MAPPED_CODE.split("try:", maxsplit=1)[0]
    found = run_with_volumes(code, isolated=False)
    assert found["config"] == found["option"]
    assert found["config"].endswith("/registry.db\n")
    assert "/data/" not in found["config"]
    assert found["var"].endswith("/x")
    assert found["var"] != "/data/x"


@pytest.mark.isolation
@pytest.mark.skipif(not isolation.wanted(), reason="containers are not isolated here")
def test_isolated_paths_are_real_and_the_root_is_read_only() -> None:
    found = run_with_volumes(MAPPED_CODE, isolated=True)
    assert found == {
        "config": "registry: /data/registry.db\n",
        "option": "registry: /data/registry.db\n",
        "cwd": "/tmp",
        "uid": 1001,
        "pid": 1,
        "var": "/data/x",
    }


def run_with_volumes(code: str, *, isolated: bool) -> dict[str, Any]:
    """Run a pod with a ConfigMap, a claim and /tmp; return the JSON it prints."""
    with Sandbox(isolation=isolated) as sandbox:
        clients = Client(sandbox)
        data = {"feature_store.yaml": "registry: /data/registry.db\n"}
        clients.core.create_namespaced_config_map("default", {"metadata": {"name": "c"}, "data": data})
        claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
        clients.core.create_namespaced_persistent_volume_claim(
            "default", {"metadata": {"name": "d"}, "spec": claim}
        )
        mounts = [("c", "/feast/config"), ("d", "/data"), ("t", "/tmp")]
        file = "/feast/config/feature_store.yaml"
        container = {
            "command": ["python3", "-c", code, file, f"--file={file}"],
            "env": [{"name": "WHERE", "value": "/data/x"}],
            "workingDir": "/tmp",
            "securityContext": {"readOnlyRootFilesystem": True},
            "volumeMounts": [{"name": name, "mountPath": path} for name, path in mounts],
        }
        volumes = [
            {"name": "c", "configMap": {"name": "c"}},
            {"name": "d", "persistentVolumeClaim": {"claimName": "d"}},
            {"name": "t", "emptyDir": {}},
        ]
        clients.batch.create_namespaced_job("default", job("mapped", container=container, volumes=volumes))
        pod = clients.pod("mapped", "Succeeded")
        assert pod.status.container_statuses[0].state.terminated.message == "said"
        raw = clients.core.read_namespaced_pod_log(pod.metadata.name, "default", _preload_content=False)
        found: dict[str, Any] = json.loads(raw.data)
        assert sandbox.isolated is isolated
        return found


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z" if Path("/proc").is_dir() else True


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_nothing_is_left_behind(end: str) -> None:
    sandbox = Sandbox(isolation=False).start()
    clients = Client(sandbox)
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    clients.batch.create_namespaced_job("default", job("long", code))
    pod = clients.pod("long", "Running").metadata.name
    log = clients.core.read_namespaced_pod_log(pod, "default", follow=True, _preload_content=False)
    pid = int(next(iter(log.stream())))
    assert alive(pid)
    if end == "kill":
        assert sandbox._process is not None
        sandbox._process.send_signal(signal.SIGKILL)
        for _ in log.stream():
            pytest.fail("the log went on")
    sandbox.stop()
    deadline = time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        os.sched_yield()
    assert not alive(pid)
    assert not sandbox.directory.exists()


def test_a_killed_starter_takes_the_sandbox_with_it() -> None:
    code = "from airflow_provider_feast.sandbox import Sandbox; print(Sandbox().start().directory, flush=True); input()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        directory = Path(starter.stdout.readline().strip())
        assert directory.is_dir()
        starter.kill()
    deadline = time.monotonic() + 20
    while directory.exists() and time.monotonic() < deadline:
        os.sched_yield()
    assert not directory.exists()


def test_a_command_runs_with_a_kubeconfig() -> None:
    code = (
        "import os, pathlib; print('current-context' in pathlib.Path(os.environ['KUBECONFIG']).read_text())"
    )
    command = [
        sys.executable,
        "-m",
        "airflow_provider_feast.sandbox",
        "run",
        "--",
        sys.executable,
        "-c",
        code,
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "True\n"


def test_a_sandbox_that_maps_paths_says_so_at_its_start() -> None:
    command = [sys.executable, "-m", "airflow_provider_feast.sandbox"]
    said = "Pods have no namespaces of the kernel"
    ran = subprocess.run(
        [*command, "run", "--no-isolation", "--", "true"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert said in ran.stderr
    with subprocess.Popen([*command, "up", "--no-isolation"], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert any(said in line for line in server.stdout)
        server.terminate()


def test_a_wrong_image_option_says_what_to_write() -> None:
    command = [sys.executable, "-m", "airflow_provider_feast.sandbox", "up", "--image", "x=/no/such/dir"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "image runtime '/no/such/dir' is not a directory" in done.stderr


def test_it_is_ready_soon_and_a_small_job_is_done_soon(sandbox: Sandbox, clients: Client) -> None:
    clients.batch.create_namespaced_job("default", job("warm-up"))
    clients.pod("warm-up", "Succeeded")
    started = time.monotonic()
    clients.batch.create_namespaced_job("default", job("quick"))
    clients.pod("quick", "Succeeded")
    assert time.monotonic() - started < 3
