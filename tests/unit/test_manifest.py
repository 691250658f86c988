"""The Job's manifest: golden files for every variant, valid and locked down as a cluster checks them.

After a wanted change: ``make golden``, then read the difference.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from job_plans import IMAGE, LOAD, STORE, make_plan

from airflow_provider_feast.jobs import manifest
from airflow_provider_feast.jobs.chunks import ChunkedLoad
from airflow_provider_feast.jobs.definitions import COPY_EXITS
from airflow_provider_feast.jobs.invocation import left_undone
from airflow_provider_feast.jobs.manifest import JobPlan, build_job, escape
from airflow_provider_feast.model import naming
from airflow_provider_feast.model.command import FeastCommand
from airflow_provider_feast.model.errors import FeastDagError
from airflow_provider_feast.model.plan import IncrementalPlan, choose_plan
from airflow_provider_feast.model.result import ViewTotals
from airflow_provider_feast.model.security import PROFILES, loosened
from airflow_provider_feast.model.settings import FeastSettings
from airflow_provider_feast.model.totals import Totals
from airflow_provider_feast.model.windows import Window
from airflow_provider_feast.runner import basics
from airflow_provider_feast.sandbox.admission.podsecurity import violations
from airflow_provider_feast.sandbox.controllers.failure_policy import judge

GOLDEN = Path(__file__).parents[1] / "golden"
APPLY = FeastCommand.apply()
HTTPS, SSH = "https://git.example.com/team/features.git", "git@git.example.com:team/features.git"
REPAIR = FeastCommand.repair(
    "2026-01-01T00:00:00+00:00", "2026-02-01T00:00:00+00:00", feature_views=["driver_stats"], step=86400
)
INLINE = {"config_map": "", "configuration": STORE}

VARIANTS: dict[str, JobPlan] = {
    "apply": make_plan(APPLY, definitions_config_map="feast-definitions"),
    "apply-definitions-in-image": make_plan(APPLY, definitions_path="/opt/app/feature_repo"),
    "apply-all-in-image": make_plan(APPLY, config_map="", definitions_path="/opt/app/feature_repo"),
    "materialize-inline": make_plan(digest="0" * 40, **INLINE),
    "materialize-allow-empty-slow-start": make_plan(allow_empty=True, fast_start=False),
    "materialize-incremental": make_plan(
        FeastCommand.materialize_incremental("2026-01-01T00:00:00")
    )._replace(older_windows="guard", gaps="report"),
    "repair": make_plan(REPAIR, allow_empty=True)._replace(older_windows="guard"),
    "inspect": make_plan(FeastCommand.inspect(["driver_stats"]))._replace(lock=None),
    "materialize-chunks": make_plan()._replace(
        load=ChunkedLoad(
            choose_plan(
                Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)), views=["numbers"]
            ),
            (0, 1, 2, 5, 8),
            Totals(frozenset({3, 4, 6, 7}), {"numbers": ViewTotals(400, 12.5, 28)}),
        ),
        older_windows="guard",
    ),
    "materialize-day": make_plan()._replace(
        load=ChunkedLoad(
            choose_plan(Window(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))), (0,)
        ),
        older_windows="guard",
    ),
    "materialize-new": make_plan(FeastCommand.materialize_incremental("2026-01-01T00:00:00"))._replace(
        load=ChunkedLoad(IncrementalPlan(datetime(2026, 1, 1, tzinfo=UTC)), (0,)), older_windows="guard"
    ),
    "cli": make_plan(command_mode="cli"),
    "cli-apply": make_plan(APPLY, command_mode="cli", definitions_config_map="feast-definitions"),
    "teardown": make_plan(FeastCommand.teardown()),
    "proxy-and-ca-bundle": make_plan(
        http_proxy="http://proxy.example:3128",
        https_proxy="http://proxy.example:3128",
        no_proxy=".svc,.cluster.local",
        ca_bundle_config_map="company-ca",
        ca_bundle_key="root.pem",
    ),
    "image-digest-and-pull-secrets": make_plan(
        image=f"registry.example/feast@sha256:{'ab' * 32}",
        image_pull_policy="Always",
        image_pull_secrets="registry-one, registry-two",
    ),
    "arbitrary-uid": make_plan(security_profile="arbitrary-uid"),
    "writable-root": make_plan(security_profile="writable-root"),
    "baseline": make_plan(security_profile="baseline"),
    "privileged": make_plan(security_profile="privileged"),
    "istio": make_plan(istio_injection=True),
    "environment": make_plan(
        env={"AWS_REGION": "eu-west-1", "PRICE": "$5 $(HOME)"},
        env_from="configmap/feast-env, secret/feast-credentials",
        service_account="feast-jobs",
    ),
    "references": make_plan(
        env={"PASSWORD": {"secret": "feast-credentials", "key": "password"}, "REGION": "eu-west-1"}
        | {"ZONE": {"config_map": "places", "key": "zone", "optional": True}},
    ),
    "secret-configuration": make_plan(APPLY, config_map="", config_secret="feast", definitions_path="/repo"),
    "secret-configuration-patched": make_plan(
        config_map="",
        config_secret="feast",
        config_secret_key="production.yaml",
        configuration_patch={"online_store": {"path": "/data/other.db"}},
    ),
    "image-configuration-patched": make_plan(
        config_map="", definitions_path="/repo", configuration_patch={"registry": None}
    ),
    "git": make_plan(APPLY, definitions_git_url=HTTPS),
    "git-token": make_plan(
        APPLY,
        definitions_git_url=HTTPS,
        definitions_git_ref="v1.2",
        definitions_git_secret="git-token",
        definitions_git_image="registry.example/git:1",
        definitions_subdirectory="features/production",
        https_proxy="http://proxy.example:3128",
        ca_bundle_config_map="company-ca",
    ),
    "git-ssh": make_plan(APPLY, definitions_git_url=SSH, definitions_git_secret="git-key"),
    "git-ssh-arbitrary-uid": make_plan(
        APPLY,
        definitions_git_url="ssh://git@git.example.com:2222/team/features.git",
        definitions_git_secret="git-key",
        security_profile="arbitrary-uid",
    ),
    "cli-git-token": make_plan(
        APPLY, command_mode="cli", definitions_git_url=HTTPS, definitions_git_secret="git-token"
    ),
    "claim": make_plan(APPLY, definitions_claim="features", definitions_subdirectory="production"),
    "volume-in-place": make_plan(
        APPLY,
        definitions_volume={"csi": {"driver": "files.example.com", "readOnly": True}},
        definitions_copy=False,
    ),
    "image-copied": make_plan(APPLY, definitions_path="/opt/app/feature_repo", definitions_copy=True),
    "limits": make_plan(
        deadline_seconds=600,
        backoff_limit=2,
        ttl_seconds=60,
        ttl_on_failure_seconds=30,
        cpu_request="1",
        cpu_limit="4",
        memory_request="1Gi",
        memory_limit="8Gi",
        tmp_size="20Gi",
        run_as_user=2000,
    ),
}


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Builds without this release's version, so that a release does not change the golden files."""
    monkeypatch.setattr(manifest, "__version__", "0.0.0")
    return build_job


def as_yaml(job: dict[str, Any]) -> str:
    plain = json.loads(json.dumps(job))  # without YAML's references between equal parts
    return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=110)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_manifest_is_the_golden_one(name: str, build: Any) -> None:
    text, path = as_yaml(build(VARIANTS[name])), GOLDEN / f"{name}.yaml"
    if os.environ.get("REWRITE_GOLDEN") == "1":
        assert not os.environ.get("CI"), "golden files are rewritten by a person, never in CI"
        path.write_text(text, encoding="utf-8")
    assert path.exists(), f"{path.name} is missing: run `make golden`"
    assert text == path.read_text(encoding="utf-8"), (
        "if the change is wanted: `make golden`, and read the diff"
    )


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == set(VARIANTS)


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("version", ["1.33", "1.36"])
def test_the_manifest_is_valid_to_the_letter(name: str, version: str) -> None:
    kubernetes_validate.validate(build_job(VARIANTS[name]), version, strict=True)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_pod_meets_the_standard_of_its_profile(name: str) -> None:
    plan = VARIANTS[name]
    spec = build_job(plan)["spec"]["template"]["spec"]
    profile = PROFILES[plan.settings.security_profile]
    labels = {"pod-security.kubernetes.io/enforce": profile.standard}
    assert violations({"metadata": {"name": "features", "labels": labels}}, spec, "enforce") == ""
    assert loosened(spec, profile) == []
    assert spec["automountServiceAccountToken"] is False


@pytest.mark.parametrize("name", VARIANTS)
def test_every_mount_has_its_volume_and_every_volume_is_used(name: str) -> None:
    spec = build_job(VARIANTS[name])["spec"]["template"]["spec"]
    containers = [*spec.get("initContainers", []), *spec["containers"]]
    mounted = {mount["name"] for container in containers for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in spec["volumes"]}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_job_is_born_suspended_with_all_labels_and_every_backstop(name: str) -> None:
    job = build_job(VARIANTS[name])
    assert job["spec"]["suspend"] is True
    assert set(job["metadata"]["labels"]) == naming.OUR_LABELS
    assert job["spec"]["template"]["metadata"]["labels"] == job["metadata"]["labels"]
    assert job["spec"]["activeDeadlineSeconds"] and job["spec"]["ttlSecondsAfterFinished"]
    assert job["metadata"]["annotations"][naming.A_RUN] == VARIANTS[name].key.run_id


def test_building_is_pure() -> None:
    plan = make_plan(definitions_config_map="feast-definitions")
    before = repr(plan)
    first = build_job(plan)
    first["metadata"]["labels"]["mine"] = "x"
    first["spec"]["template"]["spec"]["containers"][0]["env"].clear()
    assert build_job(plan) == build_job(make_plan(definitions_config_map="feast-definitions"))
    assert repr(plan) == before


def main_container(plan: JobPlan) -> dict[str, Any]:
    found: dict[str, Any] = build_job(plan)["spec"]["template"]["spec"]["containers"][0]
    return found


def test_a_templated_value_never_becomes_a_variable_of_kubernetes() -> None:
    plan = make_plan(FeastCommand.read(["entities", "describe", "$(HOME) $$(X) $5"]), env={"A": "$(B)"})
    assert main_container(plan)["command"][-1] == "$$(HOME) $$$$(X) $$5"
    assert {"name": "A", "value": "$$(B)"} in main_container(plan)["env"]


@pytest.mark.parametrize(
    ("text", "escaped"),
    [("", ""), ("a", "a"), ("$", "$$"), ("$$", "$$$$"), ("$(A)", "$$(A)"), ("${A}", "$${A}")],
)
def test_escaping(text: str, escaped: str) -> None:
    assert escape(text) == escaped


def test_an_own_variable_wins_over_ours() -> None:
    env = {item["name"]: item["value"] for item in main_container(make_plan(env={"HOME": "/data"}))["env"]}
    assert env["HOME"] == "/data"


def test_only_a_materialization_may_be_empty() -> None:
    assert "--allow-empty" in main_container(make_plan(LOAD, allow_empty=True))["command"]
    assert "--allow-empty" not in main_container(make_plan(APPLY, allow_empty=True))["command"]


def test_older_windows_are_for_materializing_and_deletions_for_applying() -> None:
    options = {"older_windows": "guard", "allow_deletions": True}
    loading, applying = (
        main_container(make_plan(command)._replace(**options))["command"] for command in (LOAD, APPLY)
    )
    assert loading[loading.index("--older-windows") + 1] == "guard"
    assert "--allow-deletions" in applying
    assert "--allow-deletions" not in loading
    assert "--older-windows" not in applying
    some = make_plan(APPLY)._replace(allow_deletions=("FeatureView old", "Entity old"))
    assert {"--allow-deletion=FeatureView old", "--allow-deletion=Entity old"} < set(
        main_container(some)["command"]
    )
    assert not {"--older-windows", "--allow-deletions"} & set(main_container(make_plan(LOAD))["command"])


@pytest.mark.parametrize("argv", [["plan"], ["feature-views", "list"], ["registry-dump"]])
def test_a_command_that_takes_no_lock_is_told_to_save_nothing(argv: list[str]) -> None:
    read = main_container(make_plan(FeastCommand.read(argv)))["command"]
    assert read.index("--read-only") < read.index("--")
    for command in (APPLY, LOAD, FeastCommand.read(["feature-views", "disable", "a"])):
        assert "--read-only" not in main_container(make_plan(command))["command"]


def test_another_try_differs_only_in_its_annotation() -> None:
    first, second = build_job(make_plan(try_number=1)), build_job(make_plan(try_number=2))
    assert first["metadata"]["annotations"].pop(naming.A_TRY) == "1"
    assert second["metadata"]["annotations"].pop(naming.A_TRY) == "2"
    assert first == second


def test_the_pods_messages_stay_within_what_kubernetes_keeps() -> None:
    command = main_container(make_plan(APPLY, definitions_config_map="d"))["command"]
    assert int(command[command.index("--message-bytes") + 1]) * 2 <= 12 * 1024


def test_a_configuration_in_the_image_needs_no_config_map() -> None:
    plan = VARIANTS["apply-all-in-image"]
    assert "--config" not in main_container(plan)["command"]
    assert main_container(plan)["image"] == IMAGE


def failed_pod(container: str, code: int, *, disrupted: bool = False) -> dict[str, Any]:
    status = {"name": container, "state": {"terminated": {"exitCode": code}}}
    conditions = [{"type": "DisruptionTarget", "status": "True"}] if disrupted else []
    kind = "containerStatuses" if container == "feast" else "initContainerStatuses"
    return {
        "metadata": {"name": "p", "namespace": "ns"},
        "status": {kind: [status], "conditions": conditions},
    }


@pytest.mark.parametrize(
    ("container", "code", "disrupted", "action"),
    [
        *(("feast", code, False, "FailJob") for code in (2, 64, 65, 66, 67)),
        ("definitions", 67, False, "FailJob"),
        *(("feast", code, False, "Count") for code in (1, 137, 139, 143)),
        ("definitions", 1, False, "Count"),
        *(("feast", code, True, "Ignore") for code in (1, 137, 143)),
    ],
)
def test_what_a_further_pod_cannot_mend_fails_the_job_at_once_and_a_disruption_does_not_count(
    container: str, code: int, disrupted: bool, action: str
) -> None:
    policy = build_job(VARIANTS["apply"])["spec"]["podFailurePolicy"]
    assert judge(policy, failed_pod(container, code, disrupted=disrupted)).action == action


def test_the_exit_codes_of_the_policy_are_the_runners() -> None:
    ours = {basics.USAGE, basics.NOTHING, basics.CONFIGURATION, basics.COPY, basics.REFUSED}
    assert set(manifest.USAGE_EXITS) == ours | {2}
    assert set(COPY_EXITS) == {basics.USAGE, basics.COPY}


@pytest.mark.parametrize(
    ("command", "older_windows", "allow_deletions", "gaps", "word"),
    [
        (["materialize", "2026-01-01T00:00:00", "2026-01-02T00:00:00"], "guard", False, "ignore", "older"),
        (["materialize-incremental", "2026-01-02T00:00:00"], "guard", False, "ignore", "older"),
        (["materialize-incremental", "2026-01-02T00:00:00"], "overwrite", False, "report", "gaps"),
        (["materialize-incremental", "2026-01-02T00:00:00"], "overwrite", False, "ignore", ""),
        (["apply"], "overwrite", False, "ignore", "deleted"),
        (["apply"], "overwrite", True, "ignore", ""),
        (["apply"], "overwrite", ("FeatureView old",), "ignore", "deleted"),
        (["plan"], "overwrite", False, "ignore", ""),
    ],
)
def test_what_plain_feast_does_not_do_is_said(
    command: list[str], older_windows: str, allow_deletions: Any, gaps: str, word: str
) -> None:
    said = {
        mode: list(
            left_undone(
                FeastCommand.read(command),
                FeastSettings("shop", command_mode=mode),
                older_windows,
                allow_deletions,
                gaps,
            )
        )
        for mode in ("cli", "runner")
    }
    assert said["runner"] == []
    assert [word in text for text in said["cli"]] == ([True] if word else [])


def test_a_long_command_fits_into_what_annotations_may_hold() -> None:
    command = FeastCommand.read(["apply", *["é" * 40_000] * 4])
    job = build_job(make_plan(command))
    noted = json.loads(job["metadata"]["annotations"][naming.A_COMMAND])
    assert noted == ["apply", "…"]
    assert sum(len(text.encode()) for text in job["metadata"]["annotations"].values()) < 256 * 1024
    assert job["spec"]["template"]["spec"]["containers"][0]["command"][-5:] == command.argv


def test_a_command_of_the_runner_needs_the_runner() -> None:
    plan = make_plan(REPAIR, command_mode="cli")
    with pytest.raises(FeastDagError, match="repair is a command of the runner"):
        build_job(plan)
