"""Which values the runner is told to mask: names and places, from the finished Job."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from job_plans import make_context, make_plan

from airflow_provider_feast.jobs.builder import build_final_job
from airflow_provider_feast.jobs.manifest import CONTAINER, build_job
from airflow_provider_feast.jobs.masking import tell_secrets
from airflow_provider_feast.model.command import FeastCommand

REF = {"secretKeyRef": {"name": "other", "key": "k"}}


def told(job: dict[str, Any]) -> list[tuple[str, str]]:
    command = job["spec"]["template"]["spec"]["containers"][0]["command"]
    command = command[: command.index("--")]
    kinds = {"--secret-variable": "variable", "--secret-directory": "directory"}
    return [(kinds[option], value) for option, value in pairwise(command) if option in kinds]


def final(**extra: Any) -> dict[str, Any]:
    hook = SimpleNamespace(is_in_cluster=False)
    return build_final_job(make_plan(**extra), hook, make_context())


def test_names_of_variables_and_directories_of_whole_secrets() -> None:
    job = build_job(
        make_plan(
            env={"B": {"secret": "s", "key": "k"}, "A": {"secret": "s", "key": "l"}, "C": "plain"},
            env_from="secret/one, configmap/two, secret/three, secret/one",
        )
    )
    assert told(job) == [
        ("variable", "A"),
        ("variable", "B"),
        ("directory", "/feast/secrets/0"),
        ("directory", "/feast/secrets/1"),
    ]
    volumes = {v["name"]: v.get("secret") for v in job["spec"]["template"]["spec"]["volumes"]}
    assert volumes["feast-secret-1"] == {"secretName": "three", "optional": True}


def test_secrets_of_pod_options_and_overrides_count_as_well() -> None:
    mounted = {"name": "certs", "secret": {"secretName": "certs"}}
    mixed = {
        "name": "mixed",
        "projected": {"sources": [{"configMap": {"name": "a"}}, {"secret": {"name": "b"}}]},
    }
    vault = {"name": "vault", "csi": {"driver": "secrets-store.csi.k8s.io", "readOnly": True}}
    other = {"name": "bucket", "csi": {"driver": "gcsfuse.csi.storage.gke.io"}}
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in ("certs", "mixed", "vault", "bucket")]
    container = {
        "name": CONTAINER,
        "env": [{"name": "OURS", "valueFrom": REF}],
        "envFrom": [{"secretRef": {"name": "overridden"}}],
        "volumeMounts": mounts,
    }
    spec = {"volumes": [mounted, mixed, vault, other], "containers": [container]}
    job = final(job_overrides={"spec": {"template": {"spec": spec}}})
    assert told(job) == [
        ("variable", "OURS"),
        ("directory", "/certs"),
        ("directory", "/mixed"),
        ("directory", "/vault"),
        ("directory", "/feast/secrets/0"),
    ]


def test_telling_twice_changes_nothing() -> None:
    plan = make_plan(
        FeastCommand.read(["entities", "describe", "--secret-variable"]),
        env={"A": {"secret": "s", "key": "k"}},
        env_from="secret/one",
    )
    job = build_job(plan)
    again = tell_secrets(job, CONTAINER)
    assert again == job
    assert again is not job
    assert job["spec"]["template"]["spec"]["containers"][0]["command"][-3:] == [
        *("entities", "describe", "--secret-variable")
    ]


def test_a_configuration_in_a_secret_is_read_by_the_runner_itself() -> None:
    job = build_job(make_plan(config_map="", config_secret="feast"))
    assert told(job) == []
    assert "--secret-config" in job["spec"]["template"]["spec"]["containers"][0]["command"]


def test_plain_feast_is_told_nothing() -> None:
    plan = make_plan(command_mode="cli", env_from="secret/one")
    spec = build_job(plan)["spec"]["template"]["spec"]
    assert not [volume for volume in spec["volumes"] if volume["name"].startswith("feast-secret")]
    assert spec["containers"][0]["command"][0] == "feast"
