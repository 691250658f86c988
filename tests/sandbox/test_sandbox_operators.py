"""Airflow's own Kubernetes operators run on the sandbox, unmodified: with the arguments of their example DAGs."""

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from airflow.providers.cncf.kubernetes.operators.job import (
    KubernetesDeleteJobOperator,
    KubernetesJobOperator,
    KubernetesPatchJobOperator,
)
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.secret import Secret
from airflow.providers.common.compat.sdk import AirflowException, TaskDeferred
from kubernetes import client, config
from kubernetes.client import models as k8s

from airflow_provider_feast.sandbox import Sandbox
from airflow_provider_feast.sandbox.pods import isolation

IMAGE = "feast-sandbox:local"
PERL = ["perl", "-Mbignum=bpi", "-wle", "print bpi(2000)"]
# What the image of the example brings: a program that is called `perl` and prints so many digits of pi. The perl of
# the machine that runs the tests may have no bignum, or one that cannot count so far.
PERL_PROGRAM = """#!/usr/bin/env python3
import re, sys
*options, program = sys.argv[1:]
assert options == ["-Mbignum=bpi", "-wle"], options
digits = int(re.fullmatch(r"print bpi\\((\\d+)\\)", program)[1])
unit = 10 ** (digits + 10)
def arctan(n):  # of 1/n
    total = term = unit // n
    step, sign = 3, -1
    while term:
        term //= n * n
        total += sign * (term // step)
        step, sign = step + 2, -sign
    return total
pi = str(4 * (4 * arctan(5) - arctan(239)))
print(f"{pi[0]}.{pi[1:digits]}")
"""
WRITE_XCOM = ["sh", "-c", "mkdir -p /airflow/xcom/;echo '[1,2,3,4]' > /airflow/xcom/return.json"]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox that knows the images of the example DAGs; Airflow's default connection leads to it."""
    images = dict.fromkeys(("ubuntu*", "alpine*", "quay.io/apache/bash"), "/usr,user=0")
    perl = perl_runtime(tmp_path_factory.mktemp("perl"))
    with Sandbox({**images, IMAGE: "/usr", "perl:*": f"{perl},user=0"}, time_scale=0.1) as found:
        extra = {"kube_config_path": str(found.kubeconfig), "namespace": "default"}
        connection = json.dumps({"conn_type": "kubernetes", "extra": extra})
        with mock.patch.dict("os.environ", {"AIRFLOW_CONN_KUBERNETES_DEFAULT": connection}):
            yield found


def perl_runtime(prefix: Path) -> Path:
    """A directory that an image can be mapped to, with the program of the example."""
    prefix.chmod(0o755)
    programs = prefix / "bin"
    programs.mkdir()
    (programs / "python3").symlink_to(sys.executable)
    (programs / "perl").write_text(PERL_PROGRAM)
    (programs / "perl").chmod(0o755)
    return prefix


@pytest.fixture
def api(sandbox: Sandbox) -> Iterator[client.ApiClient]:
    found = config.new_client_from_config(str(sandbox.kubeconfig))
    yield found
    found.close()


def context(operator: Any) -> dict[str, Any]:
    instance = mock.MagicMock(try_number=1, map_index=-1, dag_id="d", task_id=operator.task_id, run_id="r")
    dag = mock.MagicMock(dag_id="d")
    run = mock.MagicMock(run_id="r")
    return {
        "ti": instance,
        "task_instance": instance,
        "run_id": "r",
        "dag": dag,
        "task": operator,
        "dag_run": run,
    }


def execute(operator: Any) -> Any:
    """Run a task to its end; triggers of one that defers run here."""
    given = context(operator)
    method, arguments = operator.execute, {}
    while True:
        try:
            return method(context=given, **arguments)
        except TaskDeferred as deferred:
            event = asyncio.run(first_event(deferred.trigger))
            arguments = {**(deferred.kwargs or {}), "event": event}
            method = getattr(operator, deferred.method_name)


async def first_event(trigger: Any) -> Any:
    async for event in trigger.run():
        return event.payload
    raise AssertionError("the trigger ended without an event")


@pytest.mark.parametrize("code", ["true", "exit 3"])
def test_a_pod_operator_ends_as_its_pod_does(sandbox: Sandbox, code: str) -> None:
    name = f"pod-{len(code)}"
    options = {"task_id": name, "name": name, "namespace": "default", "startup_check_interval_seconds": 1}
    operator = KubernetesPodOperator(**options, image=IMAGE, cmds=["sh", "-c", code])
    if code == "true":
        execute(operator)
    else:
        with pytest.raises(AirflowException, match=name):
            execute(operator)


def test_a_job_operator_fails_as_its_job_does(sandbox: Sandbox) -> None:
    options = {"task_id": "bad-job", "name": "bad-job", "namespace": "default", "image": IMAGE}
    wait = {"wait_until_job_complete": True, "job_poll_interval": 0.2, "backoff_limit": 0}
    operator = KubernetesJobOperator(**options, **wait, cmds=["sh", "-c", "exit 3"])
    with pytest.raises(AirflowException, match="is failed with error 'BackoffLimitExceeded'"):
        execute(operator)


def printed(api: client.ApiClient, job: str) -> str:
    """What a Job's pod wrote, to its end."""
    core = client.CoreV1Api(api)
    (pod,) = core.list_namespaced_pod("default", label_selector=f"job-name={job}").items
    answer = core.read_namespaced_pod_log(pod.metadata.name, "default", follow=True, _preload_content=False)
    return b"".join(answer.stream()).decode()


def test_the_example_job_runs_and_is_patched_and_deleted(sandbox: Sandbox, api: client.ApiClient) -> None:
    job = KubernetesJobOperator(
        task_id="job-task", namespace="default", image="perl:5.34.0", cmds=PERL, name="test-pi"
    )
    execute(job)
    name = job.job.metadata.name
    pi = printed(api, name)
    assert (pi[:10], len(pi.strip())) == ("3.14159265", len("3.") + 1999)
    update = KubernetesPatchJobOperator(
        task_id="update-job-task", namespace="default", name=name, body={"spec": {"suspend": False}}
    )
    execute(update)
    delete = KubernetesDeleteJobOperator(
        task_id="delete_job_task",
        name=name,
        namespace="default",
        wait_for_completion=True,
        delete_on_status="Complete",
        poll_interval=1.0,
    )
    execute(delete)
    left = client.BatchV1Api(api).list_namespaced_job("default", field_selector=f"metadata.name={name}")
    assert left.items == []


def test_the_deferrable_example_job_runs(sandbox: Sandbox, api: client.ApiClient) -> None:
    job = KubernetesJobOperator(
        task_id="job-task-def",
        namespace="default",
        image="perl:5.34.0",
        cmds=PERL,
        name="test-pi-def",
        wait_until_job_complete=True,
        deferrable=True,
        job_poll_interval=0.2,
    )
    execute(job)
    done = client.BatchV1Api(api).read_namespaced_job_status(job.job.metadata.name, "default")
    assert done.status.succeeded == 1
    execute(KubernetesDeleteJobOperator(task_id="d", name=done.metadata.name, namespace="default"))


@pytest.fixture
def surroundings(api: client.ApiClient) -> Iterator[None]:
    """The Secrets, ConfigMaps and the claim that the example DAG expects."""
    core = client.CoreV1Api(api)
    for name in ("airflow-secrets", "airflow-secrets-2"):
        secret = {"metadata": {"name": name}, "stringData": {"sql_alchemy_conn": "test1"}}
        core.create_namespaced_secret("default", secret)
    for name in ("test-configmap-1", "test-configmap-2"):
        core.create_namespaced_config_map("default", {"metadata": {"name": name}, "data": {"a": "b"}})
    claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    core.create_namespaced_persistent_volume_claim(
        "default", {"metadata": {"name": "test-volume"}, "spec": claim}
    )
    classes = client.SchedulingV1Api(api)
    classes.create_priority_class({"metadata": {"name": "medium"}, "value": 1000})
    yield
    classes.delete_priority_class("medium")
    for name in ("airflow-secrets", "airflow-secrets-2"):
        core.delete_namespaced_secret(name, "default")
    for name in ("test-configmap-1", "test-configmap-2"):
        core.delete_namespaced_config_map(name, "default")
    core.delete_namespaced_persistent_volume_claim("test-volume", "default")


PREFERRED = k8s.V1NodeAffinity(
    preferred_during_scheduling_ignored_during_execution=[
        k8s.V1PreferredSchedulingTerm(
            weight=1,
            preference=k8s.V1NodeSelectorTerm(
                match_expressions=[
                    k8s.V1NodeSelectorRequirement(key="disktype", operator="In", values=["ssd"])
                ]
            ),
        )
    ]
)
# As the example DAG writes it: a weighted term, where the API wants a plain one.
WEIGHTED = k8s.V1PodAffinity(
    required_during_scheduling_ignored_during_execution=[
        k8s.V1WeightedPodAffinityTerm(
            weight=1,
            pod_affinity_term=k8s.V1PodAffinityTerm(
                label_selector=k8s.V1LabelSelector(
                    match_expressions=[
                        k8s.V1LabelSelectorRequirement(key="security", operator="In", values="S1")
                    ]
                ),
                topology_key="failure-domain.beta.kubernetes.io/zone",
            ),
        )
    ]
)


def test_the_affinity_of_the_example_is_refused_as_by_a_cluster(sandbox: Sandbox) -> None:
    operator = KubernetesPodOperator(
        task_id="affine",
        namespace="default",
        image="ubuntu:16.04",
        cmds=["bash", "-cx"],
        name="airflow-test-pod",
        affinity=k8s.V1Affinity(node_affinity=PREFERRED, pod_affinity=WEIGHTED),
    )
    with pytest.raises(client.ApiException) as refused:
        execute(operator)
    assert refused.value.status == 422
    assert "[0].topologyKey: Required value: can not be empty" in json.loads(refused.value.body)["message"]


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.usefixtures("surroundings")
def test_the_example_pod_with_everything_runs(
    sandbox: Sandbox, api: client.ApiClient, deferrable: bool
) -> None:
    mount = k8s.V1VolumeMount(name="test-volume", mount_path="/root/mount_file", read_only=True)
    claim = k8s.V1PersistentVolumeClaimVolumeSource(claim_name="test-volume")
    sources = [
        k8s.V1EnvFromSource(config_map_ref=k8s.V1ConfigMapEnvSource(name=name))
        for name in ("test-configmap-1", "test-configmap-2")
    ]
    first = k8s.V1Container(
        name="init-container",
        image="ubuntu:16.04",
        env=[k8s.V1EnvVar(name="key1", value="value1"), k8s.V1EnvVar(name="key2", value="value2")],
        volume_mounts=[k8s.V1VolumeMount(mount_path="/etc/foo", name="test-volume", read_only=True)],
        command=["bash", "-cx"],
        args=["echo 10"],
    )
    operator = KubernetesPodOperator(
        namespace="default",
        image="ubuntu:16.04",
        cmds=["bash", "-cx"],
        arguments=["echo", "10"],
        labels={"foo": "bar"},
        secrets=[
            Secret("volume", "/etc/sql_conn", "airflow-secrets", "sql_alchemy_conn"),
            Secret("env", "SQL_CONN", "airflow-secrets", "sql_alchemy_conn"),
            Secret("env", None, "airflow-secrets-2"),
        ],
        ports=[k8s.V1ContainerPort(name="http", container_port=80)],
        volumes=[k8s.V1Volume(name="test-volume", persistent_volume_claim=claim)],
        volume_mounts=[mount],
        env_from=sources,
        name="airflow-test-pod",
        task_id=f"task-{deferrable}".lower(),
        on_finish_action="delete_pod",
        affinity=k8s.V1Affinity(node_affinity=PREFERRED),
        hostnetwork=False,
        priority_class_name="medium",
        tolerations=[k8s.V1Toleration(key="key", operator="Equal", value="value")],
        init_containers=[first],
        deferrable=deferrable,
        startup_check_interval_seconds=1,
        poll_interval=0.5,
    )
    execute(operator)
    assert operator.pod is not None
    left = client.CoreV1Api(api).list_namespaced_pod("default", label_selector="foo=bar")
    assert left.items == []


def test_the_example_pod_of_a_private_image_runs(sandbox: Sandbox) -> None:
    operator = KubernetesPodOperator(
        namespace="default",
        image="quay.io/apache/bash",
        image_pull_secrets=[k8s.V1LocalObjectReference("testquay")],
        cmds=["bash", "-cx"],
        arguments=["echo", "10", "echo pwd"],
        labels={"image": "private"},
        name="airflow-private-image-pod",
        on_finish_action="delete_pod",
        task_id="task-two",
        get_logs=True,
        startup_check_interval_seconds=1,
    )
    execute(operator)


@pytest.mark.isolation
@pytest.mark.skipif(not isolation.wanted(), reason="containers are not isolated here")
@pytest.mark.parametrize("deferrable", [False, True])
def test_the_example_pod_returns_a_value(sandbox: Sandbox, deferrable: bool) -> None:
    operator = KubernetesPodOperator(
        namespace="default",
        image="alpine:3.24.2",
        cmds=WRITE_XCOM,
        name="write-xcom",
        do_xcom_push=True,
        on_finish_action="delete_pod",
        task_id=f"write-xcom-{deferrable}".lower(),
        get_logs=True,
        deferrable=deferrable,
        startup_check_interval_seconds=1,
        poll_interval=0.5,
    )
    assert execute(operator) == [1, 2, 3, 4]
