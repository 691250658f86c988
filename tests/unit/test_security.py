"""Security profiles: what each gives a pod, and that nothing looser gets through unnamed."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from airflow_provider_feast.model.errors import FeastDagError
from airflow_provider_feast.model.fields import FIELDS
from airflow_provider_feast.model.security import (
    PROFILES,
    api_token,
    container_security_context,
    loosened,
    pod_security_context,
    profile_named,
)
from airflow_provider_feast.sandbox.admission.podsecurity import violations


def pod_spec(profile: str) -> dict[str, Any]:
    """A pod with an init container, as the profile makes it."""
    chosen = profile_named(profile)
    container = {"image": "feast:1", "securityContext": container_security_context(chosen)}
    return {
        "securityContext": pod_security_context(chosen, 1001),
        "initContainers": [{"name": "definitions", **copy.deepcopy(container)}],
        "containers": [{"name": "feast", **copy.deepcopy(container)}],
        "volumes": [
            {"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}},
            {"name": "config", "configMap": {"name": "c"}},
        ],
    }


def standard_violations(spec: dict[str, Any], level: str) -> str:
    """What the sandbox's admission, which speaks a real cluster's words, has against a pod."""
    labels = {"pod-security.kubernetes.io/enforce": level}
    return violations({"metadata": {"name": "ns", "labels": labels}}, spec, "enforce")


@pytest.mark.parametrize("name", PROFILES)
def test_a_profiles_own_pod_is_not_looser_than_the_profile(name: str) -> None:
    assert loosened(pod_spec(name), PROFILES[name]) == []


@pytest.mark.parametrize("name", PROFILES)
def test_a_profiles_own_pod_meets_the_pod_security_standard_it_names(name: str) -> None:
    assert standard_violations(pod_spec(name), PROFILES[name].standard) == ""


def test_restricted_fixes_a_user_and_a_read_only_root() -> None:
    spec = pod_spec("restricted")
    assert spec["securityContext"] == {
        "seccompProfile": {"type": "RuntimeDefault"},
        "runAsNonRoot": True,
        "runAsUser": 1001,
        "fsGroup": 1001,
    }
    assert spec["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def test_arbitrary_uid_leaves_the_user_to_the_cluster_and_stays_restricted() -> None:
    spec = pod_spec("arbitrary-uid")
    assert "runAsUser" not in spec["securityContext"]
    assert "fsGroup" not in spec["securityContext"]
    assert standard_violations(spec, "restricted") == ""


def test_privileged_asks_for_nothing() -> None:
    assert (
        pod_spec("privileged")["securityContext"],
        pod_spec("privileged")["containers"][0]["securityContext"],
    ) == (
        {},
        {},
    )


def test_an_unknown_profile_names_those_there_are() -> None:
    with pytest.raises(FeastDagError) as caught:
        profile_named("relaxed")
    assert all(name in caught.value.remedy for name in PROFILES)


def test_the_connection_form_offers_every_profile() -> None:
    field = next(field for field in FIELDS if field.name == "security_profile")
    assert set(field.choices) == set(PROFILES)


def pod(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda spec: spec.update(fields)


def context(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda spec: spec["securityContext"].update(fields)


def main(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda spec: spec["containers"][0]["securityContext"].update(fields)


def init(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda spec: spec["initContainers"][0]["securityContext"].update(fields)


BASELINE = {
    "host network": (pod(hostNetwork=True), "hostNetwork"),
    "host pid": (pod(hostPID=True), "hostPID"),
    "host ipc": (pod(hostIPC=True), "hostIPC"),
    "host path": (pod(volumes=[{"name": "host", "hostPath": {"path": "/"}}]), "volumes[host].hostPath"),
    "privileged": (main(privileged=True), "containers[feast].securityContext.privileged"),
    "privileged init": (init(privileged=True), "initContainers[definitions].securityContext.privileged"),
    "capabilities": (main(capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]}), "SYS_ADMIN"),
    "probe of a host": (
        lambda spec: spec["containers"][0].update(
            livenessProbe={"httpGet": {"port": 80, "host": "10.0.0.1"}}
        ),
        "containers[feast].livenessProbe.httpGet.host",
    ),
    "hook of a host": (
        lambda spec: spec["containers"][0].update(
            lifecycle={"preStop": {"tcpSocket": {"port": 80, "host": "10.0.0.1"}}}
        ),
        "containers[feast].lifecycle.preStop.tcpSocket.host",
    ),
    "host port": (
        lambda spec: spec["containers"][0].update(ports=[{"containerPort": 80, "hostPort": 80}]),
        "hostPort",
    ),
    "seccomp unconfined": (context(seccompProfile={"type": "Unconfined"}), "seccompProfile"),
    "container seccomp": (
        main(seccompProfile={"type": "Unconfined"}),
        "containers[feast].securityContext.seccomp",
    ),
    "apparmor": (main(appArmorProfile={"type": "Unconfined"}), "appArmorProfile"),
    "selinux user": (context(seLinuxOptions={"user": "root"}), "seLinuxOptions"),
    "selinux type": (init(seLinuxOptions={"type": "spc_t"}), "seLinuxOptions"),
    "proc mount": (main(procMount="Unmasked"), "procMount"),
    "sysctl": (context(sysctls=[{"name": "kernel.msgmax", "value": "1"}]), "kernel.msgmax"),
    "host process": (main(windowsOptions={"hostProcess": True}), "hostProcess"),
}
RESTRICTED = {
    "escalation": (main(allowPrivilegeEscalation=True), "allowPrivilegeEscalation"),
    "escalation unset": (
        lambda spec: spec["containers"][0]["securityContext"].pop("allowPrivilegeEscalation"),
        "allowPrivilegeEscalation",
    ),
    "capabilities kept": (main(capabilities={}), "capabilities.drop"),
    "capabilities added": (main(capabilities={"drop": ["ALL"], "add": ["CHOWN"]}), "capabilities.add"),
    "root allowed": (context(runAsNonRoot=False), "runAsNonRoot"),
    "root allowed in a container": (init(runAsNonRoot=False), "initContainers[definitions]"),
    "root": (context(runAsUser=0), "securityContext.runAsUser"),
    "root in a container": (main(runAsUser=0), "containers[feast].securityContext.runAsUser"),
    "no seccomp": (lambda spec: spec["securityContext"].pop("seccompProfile"), "seccompProfile"),
    "nfs volume": (pod(volumes=[{"name": "n", "nfs": {"server": "s", "path": "/"}}]), "volumes[n]"),
    "bare container": (
        lambda spec: spec["containers"].append({"name": "extra", "image": "i"}),
        "containers[extra]",
    ),
}


@pytest.mark.parametrize("case", BASELINE)
@pytest.mark.parametrize("name", ["restricted", "arbitrary-uid", "writable-root", "baseline"])
def test_what_baseline_forbids_is_found_under_every_profile_but_privileged(name: str, case: str) -> None:
    loosen, says = BASELINE[case]
    spec = pod_spec(name)
    loosen(spec)
    assert any(says in line for line in loosened(spec, PROFILES[name])), loosened(spec, PROFILES[name])


@pytest.mark.parametrize("case", RESTRICTED)
def test_what_only_restricted_forbids_passes_under_baseline(case: str) -> None:
    loosen, says = RESTRICTED[case]
    spec = pod_spec("restricted")
    loosen(spec)
    assert any(says in line for line in loosened(spec, PROFILES["restricted"]))
    assert loosened(spec, PROFILES["baseline"]) == []


@pytest.mark.parametrize("case", [*BASELINE, *RESTRICTED])
def test_the_privileged_profile_lets_everything_through(case: str) -> None:
    spec = pod_spec("restricted")
    (BASELINE | RESTRICTED)[case][0](spec)
    assert loosened(spec, PROFILES["privileged"]) == []


@pytest.mark.parametrize("name", ["restricted", "arbitrary-uid"])
@pytest.mark.parametrize("loosen", [main(readOnlyRootFilesystem=False), init(readOnlyRootFilesystem=None)])
def test_a_writable_root_needs_the_profile_that_says_so(
    name: str, loosen: Callable[[dict[str, Any]], None]
) -> None:
    spec = pod_spec(name)
    loosen(spec)
    assert any("readOnlyRootFilesystem" in line for line in loosened(spec, PROFILES[name]))
    assert loosened(spec, PROFILES["writable-root"]) == []


def test_an_empty_dir_without_a_limit_needs_a_writable_root() -> None:
    spec = pod_spec("restricted")
    for unlimited in ({"medium": "Memory"}, {"sizeLimit": "0"}, {"sizeLimit": 0}, {"sizeLimit": "0Mi"}):
        spec["volumes"][0]["emptyDir"] = unlimited
        assert loosened(spec, PROFILES["restricted"]) == ["volumes[tmp].emptyDir.sizeLimit must be set"]
        assert loosened(spec, PROFILES["writable-root"]) == []


@pytest.mark.parametrize(
    ("spec", "mounted"),
    [
        ({}, True),
        ({"automountServiceAccountToken": True}, True),
        ({"automountServiceAccountToken": None}, True),
        ({"automountServiceAccountToken": False}, False),
    ],
)
def test_a_pod_that_says_nothing_mounts_a_token(spec: dict[str, Any], mounted: bool) -> None:
    assert bool(api_token(spec)) is mounted


@pytest.mark.parametrize("case", [*BASELINE, *RESTRICTED])
def test_whatever_a_cluster_refuses_is_found_before_it_is_sent(case: str) -> None:
    spec = pod_spec("restricted")
    (BASELINE | RESTRICTED)[case][0](spec)
    for profile in ("restricted", "baseline"):
        if standard_violations(spec, PROFILES[profile].standard):
            assert loosened(spec, PROFILES[profile])


@pytest.mark.parametrize(
    "tighten",
    [
        main(runAsUser=4711),
        context(supplementalGroups=[5]),
        main(capabilities={"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}),
        context(seccompProfile={"type": "Localhost", "localhostProfile": "p.json"}),
        context(seLinuxOptions={"type": "container_t", "level": "s0"}),
        context(sysctls=[{"name": "net.ipv4.tcp_syncookies", "value": "1"}]),
        pod(volumes=[{"name": "data", "persistentVolumeClaim": {"claimName": "c"}}]),
        pod(hostNetwork=False, volumes=None),
    ],
)
def test_what_restricted_allows_passes(tighten: Callable[[dict[str, Any]], None]) -> None:
    spec = pod_spec("restricted")
    tighten(spec)
    assert loosened(spec, PROFILES["restricted"]) == []
