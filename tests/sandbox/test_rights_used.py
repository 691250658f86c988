"""Airflow's Role has the verbs that the provider uses: not one too few, not one too many."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_feast.model import rights
from airflow_provider_feast.sandbox import Sandbox

ROOT = Path(__file__).resolve().parents[2]
SUITE = ("tests/cluster/test_provider_jobs.py", "tests/cluster/test_preflight_on_a_cluster.py")
OF_THE_ACCOUNT = ":airflow"
ANYBODY = "selfsubject"
"""Reviews of one's own rights, which every account may ask for."""
LESS = ("rights", "deep", "golden", "pulled", "namespace_by", "another_namespace")
"""Tests that take rights away on purpose, or ask nothing of their own."""


@pytest.fixture(scope="module")
def requests() -> Iterator[list[dict[str, Any]]]:
    """What the provider's cluster tests asked of a cluster of their own, as the account with the Role."""
    with Sandbox(time_scale=0.05) as sandbox:
        variables = {
            **os.environ,
            "KUBECONFIG": str(sandbox.kubeconfig),
            "FEAST_TEST_IMAGE": "feast-sandbox:local",
            "PYTEST_ADDOPTS": "",
        }
        for name in [name for name in variables if name.startswith("PYTEST_XDIST")]:
            del variables[name]
        without = " and ".join(f"not {word}" for word in LESS)
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *SUITE, "-k", without],
            cwd=ROOT,
            env=variables,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-4000:]
        sandbox.cut_watches()  # a watch is in the audit log when it has ended
        records = [json.loads(line) for line in sandbox.audit_log.read_text().splitlines()]
        yield [
            record
            for record in records
            if record["user"].startswith("system:serviceaccount:feast-test-")
            and record["user"].endswith(OF_THE_ACCOUNT)
            and record["resource"]  # /version is none, and anybody's
            and record["verb"] != "stored"  # what a request led to
            and not record["resource"].startswith(ANYBODY)
        ]


def verbs(records: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(record["resource"], record["verb"]) for record in records}


def of_the_role() -> set[tuple[str, str]]:
    """The Role's verbs, as the audit log names them."""
    found = set()
    for right in rights.rights_of():
        name, _, sub = right.resource.partition("/")
        resource = f"{name}.{right.group}" if right.group else name
        found.add((f"{resource}/{sub}" if sub else resource, right.verb))
    return found


def test_the_role_has_not_one_verb_too_few(requests: list[dict[str, Any]]) -> None:
    assert [record for record in requests if record["code"] in (401, 403)] == []
    assert verbs(requests) - of_the_role() == set()


def test_the_role_has_not_one_verb_too_many(requests: list[dict[str, Any]]) -> None:
    assert of_the_role() - verbs(requests) == set()
