"""The pod's environment: plain text, references, conventions."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_feast.model.environment import (
    ConfigMapRef,
    SecretRef,
    conventional_config_map,
    plain_secret_variables,
    read_environment,
)
from airflow_provider_feast.model.errors import FeastDagError


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("x", "x"),
        (5, "5"),
        (True, "true"),
        (SecretRef("s", "k"), SecretRef("s", "k")),
        ({"secret": "s", "key": "k"}, SecretRef("s", "k")),
        ({"secret": "s", "key": "k", "optional": True}, SecretRef("s", "k", True)),
        ({"config_map": "m", "key": "k"}, ConfigMapRef("m", "k")),
        ({"valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}, SecretRef("s", "k")),
        (
            {"valueFrom": {"configMapKeyRef": {"name": "m", "key": "k", "optional": True}}},
            ConfigMapRef("m", "k", True),
        ),
    ],
)
def test_a_value_is_text_or_a_reference(value: Any, read: Any) -> None:
    assert read_environment({"A": value}) == {"A": read}


@pytest.mark.parametrize(
    "value",
    [
        None,
        ["x"],
        {},
        {"secret": "s"},
        {"secret": "s", "key": "a/b"},
        {"secret": "S", "key": "k"},
        {"secret": "s", "key": "k", "more": 1},
        {"secret": "s", "key": "k", "optional": "yes"},
        {"valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"valueFrom": {"secretKeyRef": "s"}},
        SecretRef("s", ""),
        "\x00",
        "\ud800",
        2**200,
    ],
)
def test_what_is_neither_is_refused_by_the_variables_name_without_its_value(value: Any) -> None:
    with pytest.raises(FeastDagError, match="env\\['PASSWORD'\\]") as caught:
        read_environment({"PASSWORD": value})
    assert caught.value.remedy
    str(caught.value).encode()


def test_plain_text_that_is_called_a_secret_is_noticed() -> None:
    env = read_environment(
        {
            "DB_PASSWORD": "hunter2!",
            "API_KEY": SecretRef("s", "k"),
            "TOKEN_FILE": "/var/run/token",
            "AWS_REGION": "eu-west-1",
            "USE_TOKEN": "no",
        }
    )
    assert list(plain_secret_variables(env)) == ["DB_PASSWORD"]


@pytest.mark.parametrize(
    ("store", "name"),
    [("production", "feast-env-production"), ("My Store", "feast-env-my-store"), ("ä", "feast-env")],
)
def test_the_config_map_by_convention_has_a_valid_name(store: str, name: str) -> None:
    assert conventional_config_map(store) == name
