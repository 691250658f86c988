"""What the sandbox does not do it says: 501 or another clear Status, never a silent success."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_feast import sandbox as package
from airflow_provider_feast.sandbox import Sandbox

README = (Path(package.__file__).parent / "README.md").read_text()
COMMAND = {"exec": {"command": ["true"]}}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(isolation=False) as found:
        yield found


def ask(
    sandbox: Sandbox, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, dict[str, Any], Any]:
    data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    given = {"Authorization": f"Bearer {sandbox.token}", "Content-Type": "application/json", **headers}
    request = urllib.request.Request(sandbox.url + path, data=data, method=method, headers=given)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error), error.headers


def job(pod: dict[str, Any], container: dict[str, Any], **spec: Any) -> dict[str, Any]:
    main = {"name": "main", "image": "feast-sandbox:local", "command": ["true"], **container}
    template = {"restartPolicy": "Never", "containers": [main], **pod}
    return {"metadata": {"generateName": "job-"}, "spec": {"template": {"spec": template}, **spec}}


SIDECAR = {"name": "side", "image": "feast-sandbox:local", "command": ["true"], "restartPolicy": "Always"}
OF_JOBS: dict[str, dict[str, Any]] = {
    "successPolicy": job({}, {}, completionMode="Indexed", completions=1, successPolicy={"rules": [{}]}),
    "sidecars": job({"initContainers": [SIDECAR]}, {}),
    "ephemeralContainers": job({"ephemeralContainers": [{"name": "e"}]}, {}),
    "hostAliases": job({"hostAliases": [{"ip": "127.0.0.1"}]}, {}),
    "hostIPC": job({"hostIPC": True}, {}),
    "hostPID": job({"hostPID": True}, {}),
    "readinessGates": job({"readinessGates": [{"conditionType": "example.com/x"}]}, {}),
    "resourceClaims": job({"resourceClaims": [{"name": "c"}]}, {}),
    "spec.resources": job({"resources": {"limits": {"cpu": "1"}}}, {}),
    "shareProcessNamespace": job({"shareProcessNamespace": True}, {}),
    "spec.os": job({"os": {"name": "windows"}}, {}),
    "sysctls": job({"securityContext": {"sysctls": [{"name": "a", "value": "b"}]}}, {}),
    "lifecycle": job({}, {"lifecycle": {"preStop": COMMAND}}),
    "restartPolicyRules": job({}, {"restartPolicyRules": [{"action": "Restart"}]}),
    "stdin": job({}, {"stdin": True}),
    "tty": job({}, {"tty": True}),
    "volumeDevices": job({}, {"volumeDevices": [{"name": "v", "devicePath": "/dev/x"}]}),
    "privileged": job({}, {"securityContext": {"privileged": True}}),
    "gRPC": job({}, {"livenessProbe": {"grpc": {"port": 1}}}),
}
JOBS = "/apis/batch/v1/namespaces/default/jobs"


@pytest.mark.parametrize("what", OF_JOBS)
def test_a_job_that_needs_more_than_the_sandbox_does_is_refused_and_listed(
    sandbox: Sandbox, what: str
) -> None:
    code, status, _ = ask(sandbox, "POST", JOBS, OF_JOBS[what])
    assert (code, status["reason"]) == (501, "NotImplemented")
    assert status["message"].startswith("the sandbox does not implement ")
    assert what in status["message"]
    assert what in README.split("## What it refuses")[1]


CRD: dict[str, Any] = {
    "metadata": {"name": "things.example.com"},
    "spec": {
        "group": "example.com",
        "names": {"plural": "things", "singular": "thing", "kind": "Thing"},
        "scope": "Namespaced",
        "versions": [
            {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
        ],
    },
}
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def defined(**version: Any) -> dict[str, Any]:
    """The definition, with more said of its version."""
    return {**CRD, "spec": {**CRD["spec"], "versions": [{**CRD["spec"]["versions"][0], **version}]}}


PRINTED = [{"name": "x", "type": "string", "jsonPath": ".spec.items[*].name"}]
REFUSED = [
    (
        "POST",
        "/api/v1/namespaces/default/resourcequotas",
        {"metadata": {"name": "q"}, "spec": {"scopes": ["X"]}},
    ),
    ("POST", DEFINITIONS, {**CRD, "spec": {**CRD["spec"], "conversion": {"strategy": "Webhook"}}}),
    ("POST", DEFINITIONS, defined(selectableFields=[{"jsonPath": ".spec.x"}])),
    ("POST", DEFINITIONS, defined(additionalPrinterColumns=PRINTED)),
    (
        "POST",
        "/apis/rbac.authorization.k8s.io/v1/clusterroles",
        {"metadata": {"name": "r"}, "aggregationRule": {"clusterRoleSelectors": [{}]}},
    ),
    (
        "POST",
        "/api/v1/namespaces/default/secrets",
        {"metadata": {"name": "t"}, "type": "kubernetes.io/service-account-token"},
    ),
    ("GET", "/api/v1/services", None),
    ("GET", "/apis/apps/v1/deployments", None),
    ("GET", "/apis/batch/v1/cronjobs", None),
    ("POST", "/api/v1/namespaces/default/pods/x/attach", {}),
    ("POST", "/api/v1/namespaces/default/pods/x/portforward", {}),
    ("GET", "/api/v1/namespaces/default/pods/x/proxy", None),
]


@pytest.mark.parametrize(("method", "path", "body"), REFUSED)
def test_what_only_a_cluster_does_is_not_implemented(
    sandbox: Sandbox, method: str, path: str, body: Any
) -> None:
    code, status, _ = ask(sandbox, method, path, body)
    assert (code, status["reason"]) == (501, "NotImplemented")


def test_server_side_apply_is_not_implemented(sandbox: Sandbox) -> None:
    path = "/api/v1/namespaces/default/configmaps/c?fieldManager=me"
    headers = {"Content-Type": "application/apply-patch+yaml"}
    code, status, _ = ask(sandbox, "PATCH", path, b"{}", **headers)
    assert (code, status["reason"]) == (501, "NotImplemented")


@pytest.mark.parametrize("accept", ["application/yaml", "application/vnd.kubernetes.protobuf"])
def test_an_answer_in_another_format_is_refused(sandbox: Sandbox, accept: str) -> None:
    code, status, _ = ask(sandbox, "GET", JOBS, Accept=accept)
    assert (code, status["reason"]) == (406, "NotAcceptable")


def test_a_body_may_be_yaml(sandbox: Sandbox) -> None:
    body = b"metadata: {name: from-yaml}\ndata: {a: b}\n"
    headers = {"Content-Type": "application/yaml"}
    code, made, _ = ask(sandbox, "POST", "/api/v1/namespaces/default/configmaps", body, **headers)
    assert (code, made["data"]) == (201, {"a": "b"})


def test_rules_of_a_schema_that_are_not_evaluated_are_told_by_a_warning(sandbox: Sandbox) -> None:
    schema = {"type": "object", "x-kubernetes-validations": [{"rule": "true"}]}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "ruled", "singular": "ruled", "kind": "Ruled"}
    spec = {"group": "example.com", "names": names, "scope": "Namespaced", "versions": [version]}
    body = {"metadata": {"name": "ruled.example.com"}, "spec": spec}
    code, _, headers = ask(sandbox, "POST", DEFINITIONS, body)
    assert code == 201
    assert "the sandbox does not evaluate x-kubernetes-validations" in headers["Warning"]


def test_a_volume_that_the_sandbox_has_not_is_told_by_an_event(sandbox: Sandbox) -> None:
    volume = {"name": "n", "nfs": {"server": "x", "path": "/"}}
    mounts = {"volumeMounts": [{"name": "n", "mountPath": "/n"}]}
    _, made, _ = ask(sandbox, "POST", JOBS, job({"volumes": [volume]}, mounts))
    path = "/api/v1/namespaces/default/events?watch=1&timeoutSeconds=10"
    request = urllib.request.Request(sandbox.url + path, headers={"Authorization": f"Bearer {sandbox.token}"})
    with urllib.request.urlopen(request, timeout=20) as stream:
        for line in stream:
            event = json.loads(line)["object"]
            if (
                event["reason"] == "FailedMount"
                and made["metadata"]["name"] in event["involvedObject"]["name"]
            ):
                assert event["message"].endswith("the sandbox has no nfs volumes")
                return
    pytest.fail("no Event told it")
