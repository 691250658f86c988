"""A feature store on the sandbox whose loads are watched: every pod that ever was, every interval, every online value."""

from __future__ import annotations

import json
import shutil
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from unittest import mock

from airflow_helpers import feast_connection, wait_for
from feast_stores import DAY_0, DEFINITIONS, PROJECT, VIEW, Row, Zygote, expected, online_values, write_rows
from kubernetes import client, config, watch

from airflow_provider_feast.model.indexes import parse_indexes
from airflow_provider_feast.sandbox import Sandbox

IMAGE = "feast-sandbox:local"
DATA = "/feast/data"
DAY = timedelta(days=1)
INDEX = "batch.kubernetes.io/job-completion-index"
TASK, CHUNKS = "airflow-provider-feast/task", "airflow-provider-feast/chunks"
ANOTHER = "another"
MORE = f"""
{ANOTHER} = FeatureView(
    name="{ANOTHER}", entities=[thing], ttl=timedelta(days=3650), online=True,
    schema=[Field(name="value", dtype=Int64)],
    source=FileSource(name="another_source", path="data.parquet", timestamp_field="at"),
)
"""
VIEWS = (ANOTHER, VIEW)


class Try(NamedTuple):
    """One pod of a chunk.

    :param ended: when it ended, or "".
    """

    chunk: int
    name: str
    phase: str
    started: str
    ended: str


class PlanWorld:
    """A namespace, a volume with a parquet file, and a feature store with two views.

    :param rows: what the parquet file holds.
    """

    concurrency = "registry"

    def __init__(self, sandbox: Sandbox, zygote: Zygote, home: Path, rows: list[Row]) -> None:
        self.sandbox, self.namespace = sandbox, f"plan-{uuid.uuid4().hex[:8]}"
        self._zygote, self._home = zygote, home
        self.api = config.new_client_from_config(str(sandbox.kubeconfig))
        self.core, self.batch = client.CoreV1Api(self.api), client.BatchV1Api(self.api)
        self.core.create_namespace({"metadata": {"name": self.namespace}})
        accounts = self.core.list_namespaced_service_account
        wait_for(lambda: accounts(self.namespace).items, "the namespace's service account")
        claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        body = {"metadata": {"name": "data"}, "spec": claim}
        made = self.core.create_namespaced_persistent_volume_claim(self.namespace, body)
        self.data = sandbox.directory / "claims" / made.metadata.uid
        self.data.mkdir(parents=True)
        self.data.chmod(0o777)
        self._rows = rows
        self._pristine = self._apply()
        self.pods: dict[str, dict[str, Any]] = {}
        self._loads = 0
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()
        self.reset()

    def close(self) -> None:
        self._stop.set()
        self.core.delete_namespace(self.namespace)
        self._watcher.join(30)
        self.api.close()

    def configuration(self, data: str) -> dict[str, Any]:
        """feature_store.yaml, for the pods or for here."""
        return {
            "project": PROJECT,
            "provider": "local",
            "registry": f"{data}/registry.db",
            "online_store": {"type": "sqlite", "path": f"{data}/online.db"},
            "entity_key_serialization_version": 3,
        }

    @property
    def connections(self) -> dict[str, str]:
        """The environment in which Airflow finds its connections."""
        extra = {"kube_config_path": str(self.sandbox.kubeconfig)}
        volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
        mounts = [{"name": "data", "mountPath": DATA}]
        pod = {"volumes": [volume], "containers": [{"name": "feast", "volumeMounts": mounts}]}
        feast = feast_connection(
            namespace=self.namespace,
            image=IMAGE,
            configuration=json.dumps(self.configuration(DATA)),
            job_overrides={"spec": {"template": {"spec": pod}}},
            concurrency=self.concurrency,
        )
        kubernetes = json.dumps({"conn_type": "kubernetes", "extra": extra})
        return {"AIRFLOW_CONN_KUBERNETES_DEFAULT": kubernetes, "AIRFLOW_CONN_FEAST_DEFAULT": feast}

    @contextmanager
    def connected(self) -> Iterator[None]:
        with mock.patch.dict("os.environ", self.connections):
            yield

    # --- the feature store ----------------------------------------------------------------------

    def _apply(self) -> Path:
        """An applied registry, and an online store without values; they are made here: it costs no pod."""
        repo, fresh = self._home / "repo", self._home / "fresh"
        repo.mkdir()
        fresh.mkdir()
        write_rows(fresh / "data.parquet", self._rows)
        (repo / "definitions.py").write_text(
            (DEFINITIONS + MORE).replace('"data.parquet"', f'"{DATA}/data.parquet"')
        )
        (repo / "feature_store.yaml").write_text(json.dumps(self.configuration(str(fresh))))
        log = self._home / "apply.log"
        code = self._zygote.run(
            ["-c", str(repo), "apply", "--skip-source-validation"], self._home, log, plain=True
        )
        assert code == 0, log.read_text()
        return fresh

    def reset(self) -> None:
        """An online store without values, a registry without intervals, no pods."""
        self._loads = 0
        self.pods.clear()
        for file in self.data.iterdir():
            file.unlink()
        for file in self._pristine.iterdir():
            shutil.copy(file, self.data / file.name)
            (self.data / file.name).chmod(0o666)

    def online(self) -> dict[int, tuple[int, int, str]]:
        """What is online, read by SQL."""
        store: Any = SimpleNamespace(online={"type": "sqlite", "path": str(self.data / "online.db")})
        return online_values(store)

    def expected(self, start: datetime, end: datetime) -> dict[int, tuple[int, int, str]]:
        """The latest rows of a range, from the parquet file by pandas alone."""
        return expected(self.data / "data.parquet", [(start, end)], "s")

    def registry(self) -> dict[str, dict[str, Any]]:
        """What ``inspect`` says of each view: intervals, how many loads, the state."""
        config, log = self._home / "feature_store.yaml", self._home / "inspect.log"
        config.write_text(json.dumps(self.configuration(str(self.data))))
        log.unlink(missing_ok=True)
        argv = ["inspect", "--repo", str(self._home), "--config", str(config), "--termination-log", ""]
        assert self._zygote.run(argv, self._home, log, plain=False) == 0, log.read_text()
        events = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
        return {event["name"]: event for event in events if event.get("kind") == "feature_view"}

    def loads(self) -> int:
        """How many loads the registry file has noted; while it is written, as many as before."""
        from google.protobuf.message import DecodeError

        try:
            self._loads = sum(len(self.intervals(view)) for view in VIEWS)
        except (DecodeError, ValueError):  # half of it is there
            return self._loads
        return self._loads

    def intervals(self, view: str) -> list[tuple[datetime, datetime]]:
        """What the registry file says was loaded of a view, each load by itself."""
        from feast.protos.feast.core.Registry_pb2 import Registry

        registry = Registry.FromString((self.data / "registry.db").read_bytes())
        (found,) = (one for one in registry.feature_views if one.spec.name == view)
        loads = found.meta.materialization_intervals
        return [
            (load.start_time.ToDatetime(tzinfo=UTC), load.end_time.ToDatetime(tzinfo=UTC)) for load in loads
        ]

    # --- the pods -------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Keep the last state of every pod; one that is deleted meanwhile is not lost."""
        while not self._stop.is_set():
            stream = watch.Watch().stream(
                self.core.list_namespaced_pod, self.namespace, timeout_seconds=5, _request_timeout=(5, 10)
            )
            for event in stream:
                raw = event["raw_object"]
                if event["type"] != "DELETED" or raw["metadata"]["uid"] not in self.pods:
                    self.pods[raw["metadata"]["uid"]] = raw

    def jobs(self, task: str) -> list[dict[str, Any]]:
        """The Jobs of a task that there are, oldest first."""
        listed = self.batch.list_namespaced_job(self.namespace, label_selector=f"{TASK}={task}")
        found = self.api.sanitize_for_serialization(listed)["items"]
        return sorted(found, key=lambda job: (job["metadata"]["creationTimestamp"], job["metadata"]["name"]))

    def running_pods(self) -> list[str]:
        """The names of pods whose container runs."""
        pods = self.core.list_namespaced_pod(self.namespace).items
        return [pod.metadata.name for pod in pods if pod.status.phase == "Running"]

    def rows(self, task: str) -> dict[str, int]:
        """The rows of each view that the task's pods which succeeded say they wrote."""
        owners = {job["metadata"]["uid"] for job in self.jobs(task)}
        found = dict.fromkeys(VIEWS, 0)
        for pod in self.pods.values():
            if (
                pod["metadata"]["ownerReferences"][0]["uid"] in owners
                and pod["status"]["phase"] == "Succeeded"
            ):
                (status,) = pod["status"]["containerStatuses"]
                told = json.loads(status["state"]["terminated"]["message"])
                for view in VIEWS:
                    found[view] += told["views"][view]["rows"]
        return found

    def tries(self, jobs: list[dict[str, Any]]) -> list[Try]:
        """All pods that ever ran, in order; which chunk each was for is known from its Job."""
        chunks = {
            job["metadata"]["uid"]: sorted(parse_indexes(job["metadata"]["annotations"][CHUNKS]))
            for job in jobs
        }
        found = []
        for pod in self.pods.values():
            owner = pod["metadata"]["ownerReferences"][0]["uid"]
            if owner not in chunks:
                continue
            index = int(pod["metadata"]["annotations"][INDEX])
            (status,) = pod["status"].get("containerStatuses") or ({"state": {}},)
            ended = status["state"].get("terminated") or {}
            running = status["state"].get("running") or {}
            started = ended.get("startedAt") or running.get("startedAt") or ""
            if started:
                chunk = chunks[owner][index]
                name, phase = pod["metadata"]["name"], pod["status"]["phase"]
                found.append(Try(chunk, name, phase, started, ended.get("finishedAt") or ""))
        return sorted(found, key=lambda one: (one.started, one.ended))

    def audited(self, task: str) -> list[tuple[int, str, str]]:
        """When each chunk's pods "run" for the first time and are "done", in order, by the API server's audit log.

        :returns: chunk, pod, what.
        """
        told, chunks = dict[tuple[int, str, str], None](), dict[str, list[int]]()
        for line in map(json.loads, self.sandbox.audit_log.read_text().splitlines()):
            if line["verb"] != "stored" or line["namespace"] != self.namespace:
                continue
            metadata, status = line["object"]["metadata"], line["object"].get("status", {})
            if line["resource"] == "jobs.batch" and metadata["labels"].get(TASK) == task:
                chunks[metadata["uid"]] = sorted(parse_indexes(metadata["annotations"][CHUNKS]))
            owner = (metadata.get("ownerReferences") or [{"uid": ""}])[0]["uid"]
            if line["resource"] == "pods" and owner in chunks:
                chunk = chunks[owner][int(metadata["annotations"][INDEX])]
                states = [container["state"] for container in status.get("containerStatuses", [])]
                if any("running" in state or "terminated" in state for state in states):
                    told.setdefault((chunk, line["name"], "run"))
                if status.get("phase") == "Succeeded":
                    told.setdefault((chunk, line["name"], "done"))
        return list(told)


def days(first: float, last: float) -> tuple[datetime, datetime]:
    """A range of days of the data."""
    return DAY_0 + first * DAY, DAY_0 + last * DAY
