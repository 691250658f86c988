"""What the demo needs in a cluster: a namespace, a volume with data, definitions, configuration; and its own Jobs."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from kubernetes.client import ApiException, BatchV1Api, CoreV1Api, StorageV1Api

from airflow_provider_feast.sandbox import demo_repo

CONN_ID = "feast_quickstart"
SCRIPT = "/feast/script/demo_repo.py"
_REMOVE = "import shutil, sys; shutil.rmtree(sys.argv[1], ignore_errors=True)"
_LABELS = {"app.kubernetes.io/part-of": "feast-demo"}
_WAIT_SECONDS = 120


class DemoError(Exception):
    """The demo cannot go on; the message says why and what to do."""


class World(NamedTuple):
    """Where the demo runs.

    :param api: a ``kubernetes.client.ApiClient``.
    :param image: an image with Python and Feast.
    :param kubeconfig: path of a kubeconfig.
    :param real: whether it is a real cluster, not the sandbox.
    :param data: directory of the data in the pods; one of its own where the volume may be a node's.
    """

    api: Any
    namespace: str
    image: str
    kubeconfig: Path
    real: bool
    data: str = demo_repo.DEFAULT_DATA

    @property
    def connection(self) -> str:
        """The `feast` connection of the quickstart, as Airflow reads it from the environment."""
        data = {"name": "data", "persistentVolumeClaim": {"claimName": "feast-demo-data"}}
        mount = {"name": "data", "mountPath": demo_repo.DEFAULT_DATA}
        spec = {"volumes": [data], "containers": [{"name": "feast", "volumeMounts": [mount]}]}
        extra = {
            "namespace": self.namespace,
            "image": self.image,
            "config_map": "feast-demo-config",
            "definitions_config_map": "feast-demo-definitions",
            "job_overrides": {"spec": {"template": {"spec": spec}}},
        }
        return json.dumps({"conn_type": "feast", "extra": extra})


def prepare(world: World, end: datetime, say: Callable[[str], None]) -> None:
    """Make the namespace, the volume with parquet files, the definitions and the configuration.

    :param end: midnight UTC up to which there is data.
    :raises DemoError: when the cluster refuses.
    """
    core = CoreV1Api(world.api)
    restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
    body = {"metadata": {"name": world.namespace, "labels": {**_LABELS, **restricted}}}
    with _absent_or_there():
        core.create_namespace(body)
    if not _is_ours(core, world.namespace):
        raise DemoError(
            f"the namespace {world.namespace} exists and is not the demo's, and the demo removes its namespace at the "
            "end: name another one with FEAST_DEMO_NAMESPACE"
        )
    _wait(
        lambda: core.list_namespaced_service_account(world.namespace).items, "the namespace's service account"
    )
    files = {
        "feast-demo-definitions": {"definitions.py": demo_repo.definitions_text(world.data)},
        "feast-demo-config": {"feature_store.yaml": demo_repo.feature_store_yaml("feast_demo", world.data)},
        "feast-demo-script": {"demo_repo.py": Path(demo_repo.__file__).read_text(encoding="utf-8")},
    }
    for name, data in files.items():
        config_map = {"metadata": {"name": name, "labels": _LABELS}, "data": data}
        try:
            core.create_namespaced_config_map(world.namespace, config_map)
        except ApiException as error:
            if error.status != 409:
                raise
            core.replace_namespaced_config_map(name, world.namespace, config_map)
    _claim_volume(world, core)
    say("Writing five days of parquet data with a Job")
    log = run_script(world, "seed", ["seed", world.data, "--end", end.isoformat()])
    say(log.strip().splitlines()[-1] if log.strip() else "done")


def check(world: World, start: datetime, end: datetime) -> str:
    """Read every feature back from the online store, beside what the parquet says it must be.

    :returns: a table.
    :raises DemoError: when a value differs.
    """
    window = ["--start", start.isoformat(), "--end", end.isoformat()]
    repo = ["--repo", "/feast/definitions", "--config", "/feast/config/feature_store.yaml"]
    return run_script(world, "check", ["check", world.data, *window, *repo])


def run_script(world: World, name: str, arguments: list[str]) -> str:
    """Run the demo's script as a Job and return its log.

    :raises DemoError: when it fails, with its log.
    """
    return run_job(world, name, ["python3", SCRIPT, *arguments])


def run_job(world: World, name: str, command: list[str]) -> str:
    """Run a command as a Job beside the demo's data and return its log.

    :raises DemoError: when it fails, with its log.
    """
    batch, core = BatchV1Api(world.api), CoreV1Api(world.api)
    job = batch.create_namespaced_job(world.namespace, _job(world, name, command)).metadata.name

    def ended() -> bool:
        status = batch.read_namespaced_job(job, world.namespace).status
        return any(c.type in ("Complete", "Failed") and c.status == "True" for c in status.conditions or ())

    _wait(ended, f"Job {job} (see: kubectl -n {world.namespace} describe job {job})")
    pods = core.list_namespaced_pod(
        world.namespace, label_selector=f"batch.kubernetes.io/job-name={job}"
    ).items
    read = core.read_namespaced_pod_log
    answers = [read(pod.metadata.name, world.namespace, _preload_content=False) for pod in pods]
    logs = [answer.data.decode() for answer in answers]
    if not batch.read_namespaced_job(job, world.namespace).status.succeeded:
        raise DemoError(f"Job {job} failed:\n" + "\n".join(logs))
    return "\n".join(logs)


def jobs(world: World) -> list[tuple[str, str, float]]:
    """The Jobs that the provider ran: component, name, seconds; oldest first."""
    selector = "app.kubernetes.io/managed-by=airflow-provider-feast"
    found = BatchV1Api(world.api).list_namespaced_job(world.namespace, label_selector=selector).items
    rows = []
    for job in sorted(found, key=lambda item: item.metadata.creation_timestamp):
        end = job.status.completion_time or job.status.start_time
        seconds = (end - job.status.start_time).total_seconds()
        rows.append((job.metadata.labels["app.kubernetes.io/component"], job.metadata.name, seconds))
    return rows


def remove(world: World) -> None:
    """Delete what the demo made, and wait until it is gone.

    :raises DemoError: when the namespace does not go.
    """
    core = CoreV1Api(world.api)
    if not _is_ours(core, world.namespace):
        return
    with _absent_or_there():
        claim = core.read_namespaced_persistent_volume_claim("feast-demo-data", world.namespace)
        if claim.spec.volume_name == world.namespace:  # a node's directory, which nobody would empty
            run_job(world, "clean", ["python3", "-c", _REMOVE, world.data])
            core.delete_persistent_volume(world.namespace)
    with _absent_or_there():
        core.delete_namespace(world.namespace)
    _wait(lambda: not _there(core.read_namespace, world.namespace), f"namespace {world.namespace} to be gone")


def _there(read: Callable[[str], Any], name: str) -> Any:
    """An object, or ``None`` when it does not exist."""
    try:
        return read(name)
    except ApiException as error:
        if error.status == 404:
            return None
        raise


def _is_ours(core: CoreV1Api, namespace: str) -> bool:
    found = _there(core.read_namespace, namespace)
    return found is not None and _LABELS.items() <= (found.metadata.labels or {}).items()


def _job(world: World, name: str, command: list[str]) -> dict[str, Any]:
    locked = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    mounts = {"data": demo_repo.DEFAULT_DATA, "tmp": "/tmp"}  # noqa: S108 (the pod's own)
    config_maps = {
        "script": "feast-demo-script",
        "config": "feast-demo-config",
        "definitions": "feast-demo-definitions",
    }
    volumes = [
        {"name": "data", "persistentVolumeClaim": {"claimName": "feast-demo-data"}},
        {"name": "tmp", "emptyDir": {}},
        *({"name": volume, "configMap": {"name": config_map}} for volume, config_map in config_maps.items()),
    ]
    mounts |= {volume: f"/feast/{volume}" for volume in config_maps}
    return {
        "metadata": {"generateName": f"feast-demo-{name}-", "labels": _LABELS},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": _WAIT_SECONDS,
            "template": {
                "metadata": {"labels": _LABELS},
                "spec": {
                    "restartPolicy": "Never",
                    "automountServiceAccountToken": False,
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 1001,
                        "fsGroup": 1001,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [
                        {
                            "name": "script",
                            "image": world.image,
                            "command": command,
                            "workingDir": "/tmp",  # noqa: S108
                            "securityContext": locked,
                            "volumeMounts": [{"name": k, "mountPath": v} for k, v in mounts.items()],
                        }
                    ],
                    "volumes": volumes,
                },
            },
        },
    }


def _claim_volume(world: World, core: CoreV1Api) -> None:
    claim: dict[str, Any] = {
        "metadata": {"name": "feast-demo-data", "labels": _LABELS},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    if world.real and not _has_default_class(world):
        node = core.list_node().items[0].metadata.name
        claim["spec"] |= {"storageClassName": "", "volumeName": world.namespace}
        with _absent_or_there():
            core.create_persistent_volume(_node_volume(world.namespace, node))
    with _absent_or_there():
        core.create_namespaced_persistent_volume_claim(world.namespace, claim)


def _has_default_class(world: World) -> bool:
    mark = "storageclass.kubernetes.io/is-default-class"
    classes = StorageV1Api(world.api).list_storage_class().items
    return any((item.metadata.annotations or {}).get(mark) == "true" for item in classes)


def _node_volume(name: str, node: str) -> dict[str, Any]:
    """A volume on one node's /tmp, for clusters that provision none: anybody may write there."""
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}
    return {
        "metadata": {"name": name, "labels": _LABELS},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": "/tmp"},  # noqa: S108 (world-writable on every node)
            "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
        },
    }


class _absent_or_there(suppress):  # noqa: N801 (reads as a statement)
    """Go on where an object exists already, or is gone already."""

    def __init__(self) -> None:
        super().__init__(ApiException)

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        return isinstance(error, ApiException) and error.status in (404, 409)


def _wait(done: Callable[[], Any], what: str) -> None:
    start = time.monotonic()
    while not done():
        if time.monotonic() - start > _WAIT_SECONDS:
            raise DemoError(f"waited {_WAIT_SECONDS} s for {what}")
        time.sleep(0.2)
