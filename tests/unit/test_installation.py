"""What a platform team installs: valid for every supported Kubernetes, and no more than is needed."""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from job_plans import make_plan

from airflow_provider_feast.__main__ import add_commands
from airflow_provider_feast.cli.definition import get_feast_cli_commands
from airflow_provider_feast.cli.manifests_command import installation, manifests, rendered
from airflow_provider_feast.jobs.builder import manifest_digest
from airflow_provider_feast.jobs.manifest import build_job
from airflow_provider_feast.model import rights
from airflow_provider_feast.model.egress import ANYWHERE, read_egress
from airflow_provider_feast.model.errors import FeastDagError
from airflow_provider_feast.model.identity import read_identity
from airflow_provider_feast.model.manifests import read_account

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden" / "installation"
CASES = {
    "default": "",
    "production-on-aws": "--feature-store production --airflow-service-account airflow:airflow-worker "
    "--airflow-service-account airflow:airflow-triggerer --egress redis.data.svc:6379 10.1.2.0/24:5432 "
    "--egress db.example.com:443 --workload-identity aws=arn:aws:iam::123456789012:role/feast "
    "--quota pods=20 limits.memory=64Gi --container-max cpu=4 memory=8Gi --allow clean --allow feature-stores",
    "openshift": "--namespace features --dns openshift-dns:5353 --egress [2001:db8::1]:443",
    "gcp": "--workload-identity gcp=feast@my-project.iam.gserviceaccount.com",
    "azure": "--workload-identity azure=00000000-0000-0000-0000-000000000000 --pod-security baseline",
}


def parsed(text: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    (feast,) = get_feast_cli_commands()
    add_commands(parser, feast.subcommands)
    return parser.parse_args(["manifests", *text.split()])


def objects(text: str) -> list[dict[str, Any]]:
    return [found for found in yaml.safe_load_all(rendered(installation(parsed(text)))) if found]


def of_kind(text: str, kind: str) -> list[dict[str, Any]]:
    return [found for found in objects(text) if found["kind"] == kind]


@pytest.mark.parametrize("name", CASES)
def test_the_printed_manifests_are_the_golden_ones(name: str) -> None:
    path, text = GOLDEN / f"{name}.yaml", rendered(installation(parsed(CASES[name]))) + "\n"
    if os.environ.get("REWRITE_GOLDEN"):
        assert not os.environ.get("CI"), "golden files are rewritten by a person, never in CI"
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("version", ["1.29", "1.33", "1.36"])
@pytest.mark.parametrize("name", CASES)
def test_every_manifest_is_valid_for_every_supported_kubernetes(name: str, version: str) -> None:
    found = objects(CASES[name])
    assert found
    for manifest in found:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_what_is_printed_is_yaml_without_references() -> None:
    text = rendered(installation(parsed("--egress a.example.com:443 b.example.com:443")))
    assert not re.search(r"[&*]id\d", text)


def test_the_role_of_the_readme_is_the_role_of_the_code() -> None:
    (text,) = re.findall(r"```yaml\n(rules:\n.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert yaml.safe_load(text)["rules"] == rights.role_rules()
    (role,) = of_kind("", "Role")
    assert role["rules"] == rights.role_rules()


def test_more_rights_are_given_on_request_only() -> None:
    (role,) = of_kind("--allow clean --allow feature-stores", "Role")
    more = [rule for rule in role["rules"] if rule not in rights.role_rules()]
    assert more == [
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list", "delete"]},
        {"apiGroups": ["feast.dev"], "resources": ["featurestores"], "verbs": ["get", "list", "watch"]},
    ]


def test_no_right_reaches_secrets_or_everything() -> None:
    rules = rights.role_rules(("run", "lock", "clean", "feature-stores"))
    resources = {resource for rule in rules for resource in rule["resources"]}
    assert not {"secrets", "pods/exec", "*"} & resources
    assert all("*" not in rule["verbs"] and rule["apiGroups"] != ["*"] for rule in rules)
    assert {right.verb for right in rights.rights_of() if right.resource == "pods"} == {"list", "watch"}


def test_an_account_elsewhere_is_bound_and_not_made() -> None:
    text = "--airflow-service-account airflow:worker --airflow-service-account own"
    assert [account["metadata"]["name"] for account in of_kind(text, "ServiceAccount")] == ["feast", "own"]
    (binding,) = of_kind(text, "RoleBinding")
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "worker", "namespace": "airflow"},
        {"kind": "ServiceAccount", "name": "own", "namespace": "feast"},
    ]


def test_the_policies_select_the_pods_of_our_jobs() -> None:
    labels = build_job(make_plan())["spec"]["template"]["metadata"]["labels"]
    store = labels["airflow-provider-feast/feature-store"]
    policies = of_kind(f"--feature-store {store} --egress redis.data.svc:6379", "NetworkPolicy")
    assert len(policies) == 3
    for policy in policies:
        assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()
    deny = policies[0]["spec"]
    assert (deny["policyTypes"], "egress" in deny, "ingress" in deny) == (["Ingress", "Egress"], False, False)
    other = of_kind("--feature-store other --egress redis.data.svc:6379", "NetworkPolicy")
    assert not other[2]["spec"]["podSelector"]["matchLabels"].items() <= labels.items()


def test_two_feature_stores_never_share_a_policy() -> None:
    names = {
        of_kind(f"--feature-store {store} --egress 10.0.0.1:1", "NetworkPolicy")[2]["metadata"]["name"]
        for store in ("a-b", "a_b", "A-b", "___", "store")
    }
    assert len(names) == 5
    assert "feast-egress-a-b" in names


def test_without_egress_only_names_can_be_looked_up() -> None:
    assert [p["metadata"]["name"] for p in of_kind("", "NetworkPolicy")] == [
        "feast-default-deny",
        "feast-dns",
    ]


@pytest.mark.parametrize(
    ("text", "peers", "port"),
    [
        ("10.1.2.0/24:5432", [{"ipBlock": {"cidr": "10.1.2.0/24"}}], 5432),
        ("10.1.2.3:5432", [{"ipBlock": {"cidr": "10.1.2.3/32"}}], 5432),
        ("[2001:db8::1]:443", [{"ipBlock": {"cidr": "2001:db8::1/128"}}], 443),
        ("[2001:db8::]/32:443", [{"ipBlock": {"cidr": "2001:db8::/32"}}], 443),
        (
            "redis.data.svc:6379",
            [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "data"}}}],
            6379,
        ),
        (
            "redis.data.svc.cluster.local:6379",
            [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "data"}}}],
            6379,
        ),
        ("db.example.com:443", list(ANYWHERE), 443),
    ],
)
def test_egress_is_as_narrow_as_a_policy_can_say(text: str, peers: list[Any], port: int) -> None:
    found = read_egress(text)
    assert (list(found.peers), found.port) == (peers, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "redis",
        "redis:",
        ":443",
        "redis:0",
        "redis:99999",
        "redis:http",
        "10.1.2.3/24:5432",
        "300.1.1.1:1",
        "10.0.0.0/40:1",
        "2001:db8::zz:443x",
        "https://redis:443",
        "Red is:443",
        "redis..data:1",
        "-a:1",
    ],
)
def test_egress_that_is_no_target_says_how_to_write_one(text: str) -> None:
    with pytest.raises(FeastDagError) as raised:
        read_egress(text)
    assert "egress=" in raised.value.what
    assert raised.value.remedy


@given(st.text(max_size=40))
def test_any_text_as_egress_is_a_target_or_a_clear_error(text: str) -> None:
    try:
        found = read_egress(text)
    except FeastDagError:
        return
    assert 0 < found.port < 65536
    assert found.peers


@pytest.mark.parametrize(
    "text",
    [
        "ibm",
        "aws=feast",
        "gcp=feast",
        "azure",
        "azure=feast",
        "aws=arn:aws:iam::1:role/x",
        "=",
    ],
)
def test_an_identity_that_no_cloud_has_says_how_to_write_one(text: str) -> None:
    with pytest.raises(FeastDagError) as raised:
        read_identity(text)
    assert raised.value.remedy


def test_a_cloud_without_a_name_adds_the_endpoints_and_no_annotation() -> None:
    for cloud in ("aws", "gcp"):
        found = read_identity(cloud)
        assert not found.annotations
        assert {target.port for target in found.egress} >= {80, 443}


@pytest.mark.parametrize("text", ["", ":", "a:", "A:b", "a:b:c!", "UPPER"])
def test_an_account_that_cannot_be_named_so_is_refused(text: str) -> None:
    with pytest.raises(FeastDagError):
        read_account(text)


@pytest.mark.parametrize(
    "argument",
    [
        "--namespace Feast",
        "--namespace a.b",
        "--airflow-service-account a.b:c",
        "--dns kube-system:dns",
        "--quota pods",
        "--egress nowhere",
    ],
)
def test_the_command_ends_with_what_is_wrong_and_how_to_write_it(argument: str) -> None:
    with pytest.raises(SystemExit) as left:
        manifests(parsed(argument))
    assert "What to do:" in str(left.value)


def test_a_label_for_azure_does_not_change_what_a_job_is_found_by() -> None:
    (note,) = read_identity("azure=00000000-0000-0000-0000-000000000000").notes
    overrides = note.partition("connection: ")[2]
    job = build_job(make_plan())
    changed = yaml.safe_load(overrides)["spec"]["template"]["metadata"]["labels"]
    assert not changed.keys() & job["metadata"]["labels"].keys()
    assert manifest_digest(job)
