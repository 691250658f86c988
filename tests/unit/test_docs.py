"""The documents say what the code does."""

import re
from pathlib import Path

from airflow_provider_feast.model.errors import ERRORS
from airflow_provider_feast.model.fields import FIELD_NAMES

ROOT = Path(__file__).resolve().parents[2]


def test_every_kind_of_failure_is_documented_with_its_retryability() -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| `(\w+)`: .* \| (yes|no) \|$", (ROOT / "docs/result.md").read_text(), re.M
    )
    documented = {kind: (name, answer == "yes") for kind, name, answer in rows}
    assert documented == {kind: (cls.__name__, cls.retryable) for kind, cls in ERRORS.items()}


def test_every_field_of_the_connection_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    assert sorted(name for name in FIELD_NAMES if f"`{name}`" not in text) == []
