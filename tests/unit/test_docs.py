"""The documents say what the code does."""

import re
from pathlib import Path

from airflow_provider_feast.jobs.manifest import USAGE_EXITS
from airflow_provider_feast.jobs.preflight import QUICK_OBJECTS
from airflow_provider_feast.model.errors import ERRORS
from airflow_provider_feast.model.fields import FIELD_NAMES
from airflow_provider_feast.model.rights import rules_of
from airflow_provider_feast.model.security import PROFILES

ROOT = Path(__file__).resolve().parents[2]


ROW = re.compile(r"^\| `(\w+)` \| `(\w+)` \| (.+?) \| (yes|no) \| ?(.*?) ?\|$", re.M)
GROUPS = {"unknown", "resources"}
"""Kinds of classes that are only there to be caught."""


def test_every_kind_of_failure_is_documented_with_its_class_and_its_retryability() -> None:
    rows = ROW.findall((ROOT / "docs/errors.md").read_text())
    documented = {kind: (name, answer == "yes") for kind, name, _, answer, _ in rows}
    assert len(rows) == len(documented)
    assert documented == {kind: (cls.__name__, cls.retryable) for kind, cls in ERRORS.items()}
    assert {kind for kind, *_, remedy in rows if not remedy} == GROUPS


def test_the_documented_exit_codes_are_those_of_the_jobs_policy() -> None:
    (row,) = (
        line
        for line in (ROOT / "docs/errors.md").read_text().splitlines()
        if "ended with exit code 2" in line
    )
    assert {int(code) for code in re.findall(r"\b(\d+) \(", row)} == set(USAGE_EXITS)


def test_every_field_of_the_connection_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    assert sorted(name for name in FIELD_NAMES if f"`{name}`" not in text) == []


def test_the_documented_role_is_the_role_and_says_what_each_rule_is_for() -> None:
    rows = re.findall(r"^\| `([\w/]+)`: ([a-z, ]+) \| (.+) \|$", (ROOT / "docs/install.md").read_text(), re.M)
    documented = {(resource, tuple(verbs.split(", ")), why) for resource, verbs, why in rows}
    assert documented == {
        (rule.resource, verbs, why)
        for rule in rules_of()
        for verbs, why in ((rule.verbs, rule.why), (rule.spare, rule.spare_why))
        if verbs
    }


def test_the_documented_profiles_are_the_profiles() -> None:
    rows = re.findall(
        r"^\| `([\w-]+)` \| (\w+) \| ([\w-]+) \| (.+) \|$", (ROOT / "docs/security.md").read_text(), re.M
    )
    assert {(name, standard, root == "read-only") for name, standard, root, _ in rows} == {
        (profile.name, profile.standard, profile.read_only_root) for profile in PROFILES.values()
    }
    assert {name for name, *_, user in rows if user.startswith("1001")} == {
        profile.name for profile in PROFILES.values() if profile.fixed_user
    }


def test_the_documented_cost_of_a_quick_preflight_is_its_bound() -> None:
    for name in ("README.md", "docs/preflight.md"):
        assert f"1 to {2 + QUICK_OBJECTS} requests" in (ROOT / name).read_text()


def test_the_dags_that_commands_in_the_documents_name_are_examples() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    text = "\n".join(page.read_text() for page in pages)
    named = set(re.findall(r"\$ airflow .*?(?:trigger|unpause|--dag-id) (feast_\w+)", text))
    examples = "\n".join(path.read_text() for path in (ROOT / "example_dags").glob("*.py"))
    assert named == {"feast_daily", "feast_manual", "feast_backfill_range", "feast_backfill_days"}
    assert sorted(name for name in named if f'"{name}",' not in examples) == []
