"""What a preflight says: findings, reports, and what it needs to know of a feature store. No cluster."""

from __future__ import annotations

import argparse
import json
from typing import Any

import pytest
import yaml
from job_plans import IMAGE, make_plan

from airflow_provider_feast.__main__ import add_commands
from airflow_provider_feast.cli.definition import get_feast_cli_commands
from airflow_provider_feast.cli.preflight_command import shown
from airflow_provider_feast.jobs.api import warning_text
from airflow_provider_feast.jobs.manifest import build_job
from airflow_provider_feast.model import podsecurity
from airflow_provider_feast.model.errors import (
    FeastConfigurationError,
    FeastDagError,
    ForbiddenError,
    MissingObjectError,
)
from airflow_provider_feast.model.feature_store import image_tag, read_state, versions_differ
from airflow_provider_feast.model.needs import Need, needs_of
from airflow_provider_feast.model.preflight import (
    Report,
    Status,
    failed,
    not_checked,
    passed,
    report_of,
    warned,
)
from airflow_provider_feast.model.rights import Right, granted, group_of, rights_of
from airflow_provider_feast.model.settings import read_settings
from airflow_provider_feast.operators.preflight import FeastPreflightOperator

MISSING = failed("configuration", MissingObjectError("no config", where="namespace 'a'", remedy="make it"))
FORBIDDEN = failed("rights", ForbiddenError("may not", where="namespace 'a'", remedy="give it"))
REPORT = report_of(
    [passed("API", "answers"), MISSING, warned("rights", "less", "more"), not_checked("image", "secret")]
)

# --- reports -------------------------------------------------------------------------------------


def test_a_report_without_failures_is_no_error() -> None:
    report = report_of([passed("API", "answers"), warned("rights", "less"), not_checked("image", "s")])
    assert (report.failed, report.error()) == (False, None)
    assert report.summary() == "1 pass, 1 warn, 1 not checked"
    assert report_of([]).summary() == "nothing to check"


def test_one_failure_is_the_error_it_would_be_in_the_task() -> None:
    error = REPORT.error()
    assert type(error) is MissingObjectError
    assert (error.what, error.where, error.remedy) == ("no config", "namespace 'a'", "make it")


def test_several_failures_are_told_at_once_as_the_most_basic_one() -> None:
    error = report_of([FORBIDDEN, MISSING]).error()
    assert type(error) is ForbiddenError
    assert error.what == "1. may not\n2. no config"
    assert error.where == "namespace 'a'"
    assert error.remedy == "1. give it\n2. make it"


def test_the_same_finding_is_told_once() -> None:
    assert report_of([MISSING, MISSING]) == Report((MISSING,))


@pytest.mark.parametrize("load", [json.loads, yaml.safe_load])
def test_scripts_read_the_report(load: Any) -> None:
    found = load(shown(REPORT, "json" if load is json.loads else "yaml"))
    assert found["ok"] is False
    assert [check["status"] for check in found["checks"]] == ["pass", "fail", "warn", "not checked"]
    assert found["checks"][1] == {
        "check": "configuration",
        "status": "fail",
        "what": "no config",
        "remedy": "make it",
        "kind": "missing_object",
        "where": "namespace 'a'",
    }


def test_people_read_a_table_and_what_to_do() -> None:
    lines = shown(REPORT, "table").splitlines()
    assert lines[0].split() == ["STATUS", "CHECK", "FOUND"]
    assert lines[2].split(maxsplit=2) == ["fail", "configuration", "no config"]
    assert "What to do:" in lines
    assert "  configuration: make it" in lines
    assert lines[-1] == "1 pass, 1 warn, 1 fail, 1 not checked."


def test_the_command_has_its_arguments() -> None:
    parser = argparse.ArgumentParser()
    (feast,) = get_feast_cli_commands()
    add_commands(parser, feast.subcommands)
    args = parser.parse_args(["preflight", "--conn-id", "c", "--deep", "configuration", "-o", "json"])
    assert (args.conn_id, args.deep, args.output) == ("c", "configuration", "json")
    assert parser.parse_args(["preflight"]).deep is None
    with pytest.raises(SystemExit):
        parser.parse_args(["preflight", "--deep", "apply"])


# --- what is needed ------------------------------------------------------------------------------


def test_every_object_that_a_job_refers_to_is_a_need() -> None:
    extra = {
        "image": IMAGE,
        "config_map": "config",
        "config_map_key": "store.yaml",
        "definitions_config_map": "definitions",
        "service_account": "feast",
        "ca_bundle_config_map": "ca",
        "env_from": "configmap/variables,secret/passwords",
        "image_pull_secrets": "registry",
        "env": {
            "PLAIN": "text",
            "HOST": {"config_map": "hosts", "key": "redis"},
            "PASSWORD": {"secret": "redis", "key": "password"},
            "PERHAPS": {"secret": "perhaps", "key": "x", "optional": True},
        },
    }
    found = needs_of(read_settings("feast_a", extra))
    assert [(need.kind, need.name, need.key) for need in found] == [
        ("ConfigMap", "config", "store.yaml"),
        ("ConfigMap", "definitions", None),
        ("ServiceAccount", "feast", None),
        ("ConfigMap", "ca", "ca-bundle.crt"),
        ("ConfigMap", "hosts", "redis"),
        ("Secret", "redis", "password"),
        ("ConfigMap", "variables", None),
        ("Secret", "passwords", None),
        ("Secret", "registry", None),
    ]
    spec = build_job(make_plan(**extra))["spec"]["template"]["spec"]
    container = spec["containers"][0]
    sources = [next(iter(source.values())) for source in container["envFrom"]]
    values = [next(iter(entry["valueFrom"].values())) for entry in container["env"] if "valueFrom" in entry]
    referred = {
        *(volume["configMap"]["name"] for volume in spec["volumes"] if "configMap" in volume),
        *(source["name"] for source in (*sources, *values) if not source.get("optional")),
        *(secret["name"] for secret in spec["imagePullSecrets"]),
        spec["serviceAccountName"],
    }
    assert {need.name for need in found} == {name for name in referred if not name.startswith("feast-runner")}


@pytest.mark.parametrize(
    ("extra", "wanted"),
    [
        ({"config_secret": "s"}, ("configuration", "Secret", "s", "feature_store.yaml")),
        (
            {"config_map": "c", "definitions_git_url": "https://h/a", "definitions_git_secret": "git"},
            ("definitions", "Secret", "git", None),
        ),
        (
            {"config_map": "c", "definitions_claim": "repo"},
            ("definitions", "PersistentVolumeClaim", "repo", None),
        ),
    ],
)
def test_sources_that_airflow_does_not_read_are_needs_too(extra: dict[str, str], wanted: Any) -> None:
    found = needs_of(read_settings("feast_a", {"image": IMAGE, **extra}))
    assert wanted in [(need.check, need.kind, need.name, need.key) for need in found]


def test_a_connection_with_everything_in_the_image_needs_nothing() -> None:
    assert needs_of(read_settings("feast_a", {"image": IMAGE, "definitions_path": "/repo"})) == []
    assert Need("c", "ConfigMap", "n", "p").key is None


# --- rights --------------------------------------------------------------------------------------

JOBS = Right("batch", "jobs", "create", "", True)
LOG = Right("", "pods/log", "get", "", True)


@pytest.mark.parametrize(
    ("rule", "right", "given"),
    [
        ({"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"]}, JOBS, True),
        ({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]}, JOBS, True),
        ({"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["get"]}, JOBS, False),
        ({"apiGroups": [""], "resources": ["jobs"], "verbs": ["create"]}, JOBS, False),
        (
            {"apiGroups": ["batch"], "resources": ["jobs"], "verbs": ["create"], "resourceNames": ["a"]},
            JOBS,
            False,
        ),
        ({"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]}, LOG, True),
        ({"apiGroups": [""], "resources": ["*/log"], "verbs": ["get"]}, LOG, True),
        ({"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}, LOG, False),
        ({}, JOBS, False),
    ],
)
def test_a_rule_gives_what_it_names(rule: dict[str, Any], right: Right, given: bool) -> None:
    assert granted([rule], right) is given
    assert granted([], right) is False


def test_every_right_says_what_it_is_for() -> None:
    found = rights_of(("run", "lock", "clean", "feature-stores"))
    assert all(right.why for right in found)
    assert len({(r.group, r.resource, r.verb) for r in found}) == len(found)
    assert group_of("leases") == "coordination.k8s.io"
    assert group_of("selfsubjectrulesreviews") == ""


# --- Pod Security --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "level", "refused"),
    [
        ("restricted", "restricted", False),
        ("arbitrary-uid", "restricted", False),
        ("writable-root", "restricted", False),
        ("baseline", "restricted", True),
        ("privileged", "restricted", True),
        ("baseline", "baseline", False),
        ("privileged", "baseline", False),
        ("privileged", "privileged", False),
        ("restricted", "of-tomorrow", False),
        ("baseline", "of-tomorrow", True),
    ],
)
def test_a_profile_fits_the_levels_it_was_made_for(profile: str, level: str, refused: bool) -> None:
    spec = build_job(make_plan(security_profile=profile))["spec"]["template"]["spec"]
    assert bool(podsecurity.violations(spec, level)) is refused


def test_the_level_is_the_label_of_the_namespace() -> None:
    labels = {"pod-security.kubernetes.io/enforce": "baseline"}
    assert podsecurity.enforced({"metadata": {"labels": labels}}) == "baseline"
    assert podsecurity.enforced({"metadata": {}}) == podsecurity.enforced({}) == ""


# --- FeatureStores and images --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("image", "tag"),
    [
        ("quay.io/feastdev/feature-server:0.67.0", "0.67.0"),
        ("localhost:5000/feast", ""),
        ("localhost:5000/feast:1", "1"),
        ("feast@sha256:abc", ""),
        ("feast:0.67.0@sha256:abc", "0.67.0"),
        ("", ""),
    ],
)
def test_the_tag_of_an_image(image: str, tag: str) -> None:
    assert image_tag(image) == tag


@pytest.mark.parametrize(
    ("image", "version", "differ"),
    [
        ("f:0.67.0", "0.67.0", False),
        ("f:v0.67.1", "0.67.0", False),
        ("f:0.67", "0.67.0", False),
        ("f:0.67.0-ubi9", "0.67.0", False),
        ("f:0.66.0", "0.67.0", True),
        ("f:1.67.0", "0.67.0", True),
        ("f:latest", "0.67.0", None),
        ("f", "0.67.0", None),
        ("f:0.67.0", "", None),
        ("f:0.67.0", "nightly", None),
    ],
)
def test_versions_differ_by_their_minor_release(image: str, version: str, differ: bool | None) -> None:
    assert versions_differ(image, version) is differ


def test_a_status_that_is_not_there_yet_is_neither_ready_nor_failed() -> None:
    state = read_state({"metadata": {"name": "store", "namespace": "a"}})
    assert (state.ready, state.failed) == (False, False)
    assert state.words == "the FeatureStore 'store' is not yet looked at by the Feast operator"
    odd = read_state(
        {"metadata": {"name": "s"}, "status": {"phase": "Pending", "conditions": [{"type": "Client"}]}}
    )
    assert odd.words == "the FeatureStore 's' is Pending: Client (no reason): no message"


@pytest.mark.parametrize(
    ("header", "text"),
    [
        (
            '299 - "would violate PodSecurity \\"restricted:latest\\": a"',
            'would violate PodSecurity "restricted:latest": a',
        ),
        ("something else", "something else"),
    ],
)
def test_a_warning_of_the_server_is_read(header: str, text: str) -> None:
    assert warning_text(header) == text


# --- the operator --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [{"deep": "apply"}, {"command": ["apply"]}, {"deferrable": True}, {"feature_store_resource": "No!"}],
)
def test_an_operator_that_cannot_work_says_so_at_parse(arguments: dict[str, Any]) -> None:
    with pytest.raises(FeastDagError):
        FeastPreflightOperator(task_id="preflight", **arguments)


def test_a_template_is_no_name_yet() -> None:
    operator = FeastPreflightOperator(task_id="preflight", feature_store_resource="{{ params.store }}")
    assert "feature_store_resource" in operator.template_fields
    assert operator.preflight is False
    assert operator.deferrable is False


def test_a_failure_of_every_status_is_told() -> None:
    assert [status.value for status in Status] == ["pass", "warn", "fail", "not checked"]
    assert isinstance(failed("c", FeastConfigurationError("x")).error, FeastConfigurationError)
