"""Probes of containers on any Kubernetes."""

import random
from typing import Any

import pytest
from cluster_helpers import Jobs, true_conditions

pytestmark = pytest.mark.cluster

SLEEP = "import time; time.sleep(120)"


def probe(code: str, **more: Any) -> dict[str, Any]:
    times = {"periodSeconds": 1, "timeoutSeconds": 15, "failureThreshold": 1}
    return {"exec": {"command": ["python3", "-c", code]}, **times, **more}


def test_a_container_that_is_not_alive_is_killed(jobs: Jobs) -> None:
    failing = probe("print('not well'); raise SystemExit(1)")
    job = jobs.run(SLEEP, container={"livenessProbe": failing})
    assert "Failed" in true_conditions(job)
    assert jobs.terminated().exit_code in {137, 143}
    assert jobs.events("Unhealthy")[0].message.startswith("Liveness probe failed: not well")
    messages = [event.message for event in jobs.events("Killing")]
    assert any(message.startswith("Container main failed liveness probe") for message in messages)


def test_a_container_that_is_not_alive_is_started_again_when_its_policy_says_so(jobs: Jobs) -> None:
    failing = probe("raise SystemExit(1)")
    jobs.create(
        SLEEP, backoffLimit=6, pod={"restartPolicy": "OnFailure"}, container={"livenessProbe": failing}
    )
    pod = jobs.pod_until(
        lambda pod: any(status["restartCount"] for status in pod["status"].get("containerStatuses", []))
    )
    assert pod["metadata"]["name"] == jobs.pods()[0].metadata.name
    assert "will be restarted" in jobs.events("Killing")[0].message


def test_a_container_that_does_not_start_in_time_is_killed(jobs: Jobs) -> None:
    job = jobs.run(SLEEP, container={"startupProbe": probe("raise SystemExit(1)", failureThreshold=2)})
    assert "Failed" in true_conditions(job)
    assert jobs.events("Unhealthy")[0].message.startswith("Startup probe failed:")


def test_a_pod_that_is_not_ready_runs_all_the_same(jobs: Jobs) -> None:
    jobs.create(SLEEP, container={"readinessProbe": probe("raise SystemExit(1)")})
    assert jobs.events("Unhealthy")[0].message.startswith("Readiness probe failed:")
    pod = jobs.pod_until(lambda pod: pod["status"]["phase"] == "Running")
    assert "Ready" not in true_conditions(pod)
    status = pod["status"]["containerStatuses"][0]
    assert (status["ready"], status["started"]) == (False, True)
    assert jobs.until(lambda job: job["status"].get("active") == 1)["status"]["ready"] == 0


@pytest.mark.parametrize("how", ["exec", "httpGet", "tcpSocket"])
def test_a_pod_is_ready_when_its_probe_succeeds(jobs: Jobs, how: str) -> None:
    port = random.randint(20000, 30000)
    times = {"periodSeconds": 1, "timeoutSeconds": 15, "failureThreshold": 60}
    handlers: dict[str, dict[str, Any]] = {
        "exec": {"exec": {"command": ["python3", "-c", "pass"]}},
        "httpGet": {"httpGet": {"port": "web", "path": "/"}},
        "tcpSocket": {"tcpSocket": {"port": port}},
    }
    container = {
        "command": ["python3", "-m", "http.server", str(port), "--directory", "/e"],
        "ports": [{"name": "web", "containerPort": port}],
        "volumeMounts": [{"name": "e", "mountPath": "/e"}],
        "readinessProbe": {**handlers[how], **times},
    }
    jobs.create(pod={"volumes": [{"name": "e", "emptyDir": {}}]}, container=container)
    jobs.pod_until(lambda pod: "Ready" in true_conditions(pod))
    jobs.until(lambda job: job["status"].get("ready") == 1)
