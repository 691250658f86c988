"""The final Job: pod_options through KubernetesJobOperator, job_overrides, the cluster's hook, the digest."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import kubernetes_validate
import pytest
from job_plans import IMAGE, STORE, make_context, make_plan
from kubernetes.client import models as k8s

from airflow_provider_feast.jobs import builder
from airflow_provider_feast.jobs.builder import build_final_job
from airflow_provider_feast.jobs.manifest import build_job
from airflow_provider_feast.model import naming
from airflow_provider_feast.model.command import FeastCommand
from airflow_provider_feast.model.errors import FeastConfigurationError, FeastDagError

HOOK_PATH = "airflow.providers.cncf.kubernetes.operators.pod.pod_mutation_hook"


def final(try_number: int = 1, **extra: Any) -> dict[str, Any]:
    hook = SimpleNamespace(is_in_cluster=False, get_namespace=lambda: None)
    return build_final_job(make_plan(try_number=try_number, **extra), hook, make_context(try_number))


def pod_spec(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = job["spec"]["template"]["spec"]
    return found


def container(job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = pod_spec(job)["containers"][0]
    return found


def test_without_options_kubernetes_job_operator_changes_nothing_but_the_pods_labels() -> None:
    job, wanted = final(definitions_config_map="d"), build_job(make_plan(definitions_config_map="d"))
    job["metadata"]["annotations"].pop(naming.A_MANIFEST_DIGEST)
    labels = job["spec"]["template"]["metadata"].pop("labels")
    assert wanted["spec"]["template"]["metadata"].pop("labels").items() <= labels.items()
    assert without_empties(job) == without_empties(wanted)


def without_empties(value: Any) -> Any:
    """A Job without the empty lists and maps that the API would drop, too, and without ``hostNetwork: false``."""
    if isinstance(value, list):
        return [without_empties(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: without_empties(item)
        for key, item in value.items()
        if item not in ([], {}) and (key, item) != ("hostNetwork", False)
    }


def test_the_final_job_is_valid_to_the_letter() -> None:
    kubernetes_validate.validate(final(definitions_config_map="d"), "1.36", strict=True)


@pytest.mark.parametrize(
    ("options", "field", "value"),
    [
        ({"node_selector": {"pool": "big"}}, "nodeSelector", {"pool": "big"}),
        ({"tolerations": [k8s.V1Toleration(operator="Exists")]}, "tolerations", [{"operator": "Exists"}]),
        ({"tolerations": [{"operator": "Exists"}]}, "tolerations", [{"operator": "Exists"}]),
        ({"priority_class_name": "batch"}, "priorityClassName", "batch"),
        ({"service_account_name": "other"}, "serviceAccountName", "other"),
        ({"schedulername": "volcano"}, "schedulerName", "volcano"),
        ({"host_aliases": [k8s.V1HostAlias(ip="10.0.0.1", hostnames=["a"])]}, "hostAliases", None),
        ({"affinity": {"nodeAffinity": {}}}, "affinity", {"nodeAffinity": {}}),
        ({"termination_grace_period": 90}, "terminationGracePeriodSeconds", 90),
        ({"runtime_class_name": "gvisor"}, "runtimeClassName", "gvisor"),
    ],
)
def test_pod_options_reach_the_pod(options: dict[str, Any], field: str, value: Any) -> None:
    found = pod_spec(final(pod_options=options))[field]
    assert found == (value if value is not None else [{"ip": "10.0.0.1", "hostnames": ["a"]}])


def test_volumes_of_pod_options_join_ours() -> None:
    claim = k8s.V1PersistentVolumeClaimVolumeSource(claim_name="data")
    job = final(
        pod_options={
            "volumes": [k8s.V1Volume(name="data", persistent_volume_claim=claim)],
            "volume_mounts": [k8s.V1VolumeMount(name="data", mount_path="/data")],
        }
    )
    assert {"tmp", "feast-runner", "feast-config", "data"} == {v["name"] for v in pod_spec(job)["volumes"]}
    assert {"name": "data", "mountPath": "/data"} in container(job)["volumeMounts"]
    assert {"name": "tmp", "mountPath": "/tmp"} in container(job)["volumeMounts"]


def test_a_connection_can_give_volumes_mounts_and_ports_as_json() -> None:
    job = final(
        pod_options={
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "c"}}],
            "volume_mounts": [{"name": "data", "mountPath": "/data", "readOnly": True}],
            "ports": [{"containerPort": 9090}],
        }
    )
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "c"}} in pod_spec(job)["volumes"]
    assert {"name": "data", "mountPath": "/data", "readOnly": True} in container(job)["volumeMounts"]
    assert container(job)["ports"] == [{"containerPort": 9090}]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"volumes": ["data"]}, "volumes must be a list of mappings or V1Volume"),
        ({"volumes": [{"persistentVolumeClaim": {}}]}, "pod_options: volumes"),
        ({"volume_mounts": {"name": "data"}}, "volume_mounts must be a list"),
        ({"tolerations": "x"}, "Expected dict or"),
        ({"affinity": "x"}, "Expected dict or"),
        ({"execution_timeout": 5}, "execution_timeout must be timedelta"),
        ({"backoff_limit": "many"}, "backoff_limit='many' is not a whole number"),
        ({"secrets": "x"}, "pod_options (secrets)"),
        ({"annotations": "x"}, "pod_options (annotations)"),
        ({"env_vars": "x"}, "pod_options (env_vars)"),
    ],
)
def test_an_option_of_the_wrong_kind_is_named(options: dict[str, Any], says: str) -> None:
    with pytest.raises(FeastDagError, match=r"^pod_options") as caught:
        final(pod_options=options)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"security_context": "x"}, "spec.template.spec.securityContext is str; it must be a mapping"),
        ({"container_security_context": ["x"]}, "containers[0].securityContext is list"),
        ({"init_containers": ["x"]}, "initContainers[0] is str"),
        ({"env_from": ["x"]}, "containers[0].envFrom[1] is str"),
    ],
)
def test_what_an_option_makes_of_the_pod_is_named_by_its_field(options: dict[str, Any], field: str) -> None:
    with pytest.raises(FeastDagError) as caught:
        final(pod_options=options)
    assert field in caught.value.what
    assert "pod_options" in caught.value.where


def test_a_part_of_an_override_without_its_name_is_named_by_its_field() -> None:
    mount = {"mountPath": "/data"}
    part = {"containers": [{"name": "feast", "volumeMounts": [mount]}]}
    with pytest.raises(FeastDagError, match=r"volumeMounts\[3\]\.name is missing; it must be text"):
        final(job_overrides={"spec": {"template": {"spec": part}}})


def test_a_tuple_is_as_good_as_a_list_for_what_is_replaced_as_a_whole() -> None:
    part = {"name": "feast", "securityContext": {"capabilities": {"drop": ("ALL",)}}}
    job = final(job_overrides={"spec": {"template": {"spec": {"containers": [part]}}}})
    assert list(container(job)["securityContext"]["capabilities"]["drop"]) == ["ALL"]


def test_a_pod_without_containers_is_refused() -> None:
    with pytest.raises(FeastDagError, match="no container named 'feast'"):
        final(job_overrides={"spec": {"template": {"spec": {"containers": None}}}})


def test_what_the_clusters_own_hook_says_is_not_laid_at_the_authors_door(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuses(pod: k8s.V1Pod) -> None:
        raise ValueError("pods need a cost centre")

    monkeypatch.setattr(HOOK_PATH, refuses)
    with pytest.raises(ValueError, match=r"^pods need a cost centre$"):
        final()


def test_a_templated_number_of_pod_options_is_a_number() -> None:
    assert final(pod_options={"backoff_limit": "3"})["spec"]["backoffLimit"] == 3


def test_env_and_resources_of_pod_options_reach_the_container() -> None:
    resources = k8s.V1ResourceRequirements(limits={"nvidia.com/gpu": "1"})
    job = final(
        pod_options={
            "env_vars": {"A": "1"},
            "env_from": [k8s.V1EnvFromSource(secret_ref=k8s.V1SecretEnvSource(name="s"))],
            "container_resources": resources,
        }
    )
    assert {"name": "A", "value": "1"} in container(job)["env"]
    assert {"name": "PYTHONUNBUFFERED", "value": "1"} in container(job)["env"]
    assert {"secretRef": {"name": "s"}} in container(job)["envFrom"]
    assert container(job)["resources"]["limits"]["nvidia.com/gpu"] == "1"


@pytest.mark.parametrize("value", [0, 3])
def test_the_jobs_own_options_win_over_the_connection_even_when_zero(value: int) -> None:
    options = {"backoff_limit": value, "ttl_seconds_after_finished": value}
    spec = final(backoff_limit=7, pod_options=options)["spec"]
    assert (spec["backoffLimit"], spec["ttlSecondsAfterFinished"]) == (value, value)


def test_a_deadline_is_the_jobs_alone_so_that_job_and_pod_do_not_race() -> None:
    job = final(pod_options={"active_deadline_seconds": 77})
    assert job["spec"]["activeDeadlineSeconds"] == 77
    assert "activeDeadlineSeconds" not in pod_spec(job)


@pytest.mark.parametrize("option", sorted(builder._REFUSED_OPTIONS))
def test_options_that_would_take_the_job_out_of_our_hands_are_refused_with_the_alternative(
    option: str,
) -> None:
    with pytest.raises(FeastDagError, match=f"pod_options sets '{option}', which is refused") as caught:
        final(pod_options={option: "x"})
    assert caught.value.remedy


def test_an_unknown_option_is_refused_by_name() -> None:
    with pytest.raises(FeastDagError, match="no_such_option"):
        final(pod_options={"no_such_option": 1})


def test_what_the_operator_forces_on_a_job_is_undone() -> None:
    job = final(pod_options={"backoff_limit": 1})
    assert job["metadata"]["name"] == make_plan().name
    assert "name" not in job["spec"]["template"]["metadata"]
    assert "namespace" not in job["spec"]["template"]["metadata"]
    assert (job["spec"]["suspend"], job["spec"]["parallelism"], job["spec"]["completions"]) == (True, 1, 1)
    assert pod_spec(job)["restartPolicy"] == "Never"
    assert container(job)["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert pod_spec(job)["automountServiceAccountToken"] is False
    assert container(job)["image"] == IMAGE


def projected(*sources: dict[str, Any]) -> dict[str, Any]:
    volume = {"name": "identity", "projected": {"sources": list(sources)}}
    return {"spec": {"template": {"spec": {"volumes": [volume]}}}}


@pytest.mark.parametrize(
    "token", [{"path": "t"}, {"path": "t", "audience": "https://kubernetes.default.svc"}]
)
def test_a_projected_token_for_the_kubernetes_api_is_one_as_well(token: dict[str, Any]) -> None:
    asked = projected({"configMap": {"name": "c"}}, {"serviceAccountToken": token})
    with pytest.raises(FeastDagError, match=r"volumes\[identity\]\.projected must not hold") as caught:
        final(job_overrides=asked)
    assert "kubernetes_api_access" in caught.value.remedy
    assert final(job_overrides=asked, kubernetes_api_access=True)


def test_a_projected_token_for_somebody_else_is_none_for_the_api() -> None:
    token = {"path": "t", "audience": "vault"}
    assert final(job_overrides=projected({"serviceAccountToken": token}))


@pytest.mark.parametrize(
    "asked",
    [
        {"pod_options": {"automount_service_account_token": True}},
        {"job_overrides": {"spec": {"template": {"spec": {"automountServiceAccountToken": True}}}}},
        {"job_overrides": {"spec": {"template": {"spec": {"automountServiceAccountToken": None}}}}},
    ],
)
@pytest.mark.parametrize("profile", ["restricted", "privileged"])
def test_a_token_is_mounted_only_where_the_connection_says_so(asked: dict[str, Any], profile: str) -> None:
    with pytest.raises(FeastDagError, match="automountServiceAccountToken") as caught:
        final(security_profile=profile, **asked)
    assert "kubernetes_api_access" in caught.value.remedy
    job = final(security_profile=profile, kubernetes_api_access=True, **asked)
    assert pod_spec(job).get("automountServiceAccountToken") is not False
    assert pod_spec(final(kubernetes_api_access=True))["automountServiceAccountToken"] is True


def test_what_can_be_written_under_a_read_only_root_has_a_limit() -> None:
    volumes = {"spec": {"template": {"spec": {"volumes": [{"name": "cache", "emptyDir": {}}]}}}}
    with pytest.raises(FeastDagError, match=r"volumes\[cache\].emptyDir.sizeLimit must be set"):
        final(job_overrides=volumes)
    volumes["spec"]["template"]["spec"]["volumes"][0]["emptyDir"] = {"sizeLimit": "1Gi"}
    assert {"name": "cache", "emptyDir": {"sizeLimit": "1Gi"}} in pod_spec(final(job_overrides=volumes))[
        "volumes"
    ]


def test_a_termination_policy_that_was_asked_for_stays() -> None:
    assert (
        container(final(pod_options={"termination_message_policy": "File"}))["terminationMessagePolicy"]
        == "File"
    )


# --- job_overrides -------------------------------------------------------------------------------


def test_overrides_are_merged_last_over_pod_options() -> None:
    job = final(
        pod_options={"node_selector": {"pool": "big", "disk": "ssd"}},
        job_overrides={"spec": {"template": {"spec": {"nodeSelector": {"pool": "small", "disk": None}}}}},
    )
    assert pod_spec(job)["nodeSelector"] == {"pool": "small"}


@pytest.mark.parametrize(
    ("value", "found"), [(0, 0), (5, 5), (None, "absent")], ids=["zero wins", "a number", "null deletes"]
)
def test_overrides_of_the_jobs_limits(value: int | None, found: Any) -> None:
    spec = final(backoff_limit=2, job_overrides={"spec": {"backoffLimit": value}})["spec"]
    assert spec.get("backoffLimit", "absent") == found


def test_false_wins_over_true() -> None:
    overrides = {"spec": {"template": {"spec": {"enableServiceLinks": True, "shareProcessNamespace": False}}}}
    spec = pod_spec(final(job_overrides=overrides))
    assert (spec["enableServiceLinks"], spec["shareProcessNamespace"]) == (True, False)


def test_a_sidecar_of_ones_own_must_be_as_locked_down_as_ours() -> None:
    sidecar = {"name": "proxy", "image": "proxy:1"}
    with pytest.raises(FeastDagError, match=r"containers\[proxy\]"):
        final(job_overrides={"spec": {"template": {"spec": {"containers": [sidecar]}}}})


def test_refused_overrides_of_a_connection_are_refused_with_its_name() -> None:
    with pytest.raises(FeastConfigurationError, match=r"metadata\.name") as caught:
        final(job_overrides={"metadata": {"name": "x"}})
    assert "feast_production" in caught.value.where


# --- security ------------------------------------------------------------------------------------

ROOT = {
    "spec": {"template": {"spec": {"containers": [{"name": "feast", "securityContext": {"runAsUser": 0}}]}}}
}
WRITABLE = {
    "spec": {
        "template": {
            "spec": {"containers": [{"name": "feast", "securityContext": {"readOnlyRootFilesystem": False}}]}
        }
    }
}
HOST = {"spec": {"template": {"spec": {"hostNetwork": True}}}}


@pytest.mark.parametrize(
    ("overrides", "profile"), [(ROOT, "baseline"), (WRITABLE, "writable-root"), (HOST, "privileged")]
)
def test_loosening_needs_the_profile_that_names_it(overrides: dict[str, Any], profile: str) -> None:
    with pytest.raises(FeastDagError, match="looser than its security profile 'restricted'") as caught:
        final(job_overrides=overrides)
    assert f"'{profile}'" in caught.value.remedy
    job = final(job_overrides=overrides, security_profile=profile)
    assert job["metadata"]["annotations"][naming.A_SECURITY] == profile


@pytest.mark.parametrize(
    "options",
    [
        {"hostnetwork": True},
        {"security_context": {"runAsUser": 0}},
        {"container_security_context": {"privileged": True}},
    ],
)
def test_pod_options_cannot_loosen_either(options: dict[str, Any]) -> None:
    with pytest.raises(FeastDagError, match="looser than its security profile"):
        final(pod_options=options)


# --- the cluster's pod_mutation_hook -------------------------------------------------------------


def test_a_clusters_hook_sees_the_real_pod_and_its_change_arrives(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[k8s.V1Pod] = []

    def mutate(pod: k8s.V1Pod) -> None:
        seen.append(pod)
        pod.metadata.labels["cost-centre"] = "4711"
        pod.metadata.annotations["vault.hashicorp.com/agent-inject"] = "false"
        pod.spec.tolerations = [k8s.V1Toleration(key="batch", operator="Exists")]
        pod.spec.containers[0].env.append(k8s.V1EnvVar(name="HOOKED", value="yes"))

    monkeypatch.setattr(HOOK_PATH, mutate)
    job = final()
    assert seen[0].spec.containers[0].image == IMAGE
    assert seen[0].spec.containers[0].command[-1] == "driver_stats"
    template = job["spec"]["template"]
    assert template["metadata"]["labels"]["cost-centre"] == "4711"
    assert template["metadata"]["annotations"]["vault.hashicorp.com/agent-inject"] == "false"
    assert template["spec"]["tolerations"] == [{"key": "batch", "operator": "Exists"}]
    assert {"name": "HOOKED", "value": "yes"} in container(job)["env"]


def test_a_hook_cannot_take_away_the_labels_by_which_jobs_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def mutate(pod: k8s.V1Pod) -> None:
        pod.metadata.labels = {"only": "this"}

    monkeypatch.setattr(HOOK_PATH, mutate)
    labels = final()["spec"]["template"]["metadata"]["labels"]
    assert labels["only"] == "this"
    assert set(labels) >= naming.OUR_LABELS


def test_a_hook_that_loosens_the_pod_is_named_as_a_suspect(monkeypatch: pytest.MonkeyPatch) -> None:
    def mutate(pod: k8s.V1Pod) -> None:
        pod.spec.host_network = True

    monkeypatch.setattr(HOOK_PATH, mutate)
    with pytest.raises(FeastDagError, match="pod_mutation_hook"):
        final()


# --- retries -------------------------------------------------------------------------------------


def test_the_tries_label_is_dropped_so_that_cleanup_pods_leaves_our_pods_alone() -> None:
    labels = final()["spec"]["template"]["metadata"]["labels"]
    assert not {"try_number", "airflow_version"} & set(labels)
    assert labels["dag_id"] == "features"


def digest_of(job: dict[str, Any]) -> str:
    found: str = job["metadata"]["annotations"][naming.A_MANIFEST_DIGEST]
    return found


def test_every_try_builds_a_job_of_the_same_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    first = digest_of(final(1))
    monkeypatch.setattr("airflow.providers.cncf.kubernetes.operators.pod.airflow_version", "99.0")
    assert digest_of(final(2)) == first


@pytest.mark.parametrize(
    "extra",
    [
        {"image": "other:1"},
        {"memory_limit": "4Gi"},
        {"command": FeastCommand.apply()},
        {"config_map": "other"},
        {"env": {"A": "1"}},
        {"pod_options": {"node_selector": {"a": "b"}}},
        {"job_overrides": {"spec": {"backoffLimit": 1}}},
        {"security_profile": "arbitrary-uid"},
    ],
)
def test_a_job_that_would_do_something_else_has_another_digest(extra: dict[str, Any]) -> None:
    assert digest_of(final(**extra)) != digest_of(final())


def test_a_changed_inline_configuration_is_another_job() -> None:
    inline = {"config_map": "", "configuration": STORE}
    assert digest_of(final(digest="1" * 40, **inline)) != digest_of(final(digest="2" * 40, **inline))


def test_a_volume_of_definitions_may_not_loosen_the_pod() -> None:
    with pytest.raises(FeastDagError, match=r"volumes\[feast-definitions\].hostPath") as caught:
        final(definitions_volume={"hostPath": {"path": "/etc"}})
    assert "definitions_volume" in caught.value.where
