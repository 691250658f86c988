"""The pod's environment: plain text, references, conventions."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_feast.model.environment import (
    ConfigMapRef,
    SecretRef,
    conventional_config_map,
    read_environment,
)
from airflow_provider_feast.model.errors import FeastDagError
from airflow_provider_feast.model.plain_secrets import in_environment, passwords_in


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
            "DATABASE_URL": "postgresql://feast:hunter2@db/feast",
            "STORE_URL": "redis://cache:6379?ssl=true",
            "REFERRING_URL": "postgresql://feast:${PASSWORD}@db/feast",
        }
    )
    assert list(in_environment(env)) == ["DB_PASSWORD", "DATABASE_URL"]


@pytest.mark.parametrize(
    ("text", "passwords"),
    [
        ("postgresql+psycopg://feast:hunter2@db:5432/feast", ["hunter2"]),
        ("redis://:hunter2@cache:6379", ["hunter2"]),
        ("cache:6379,password=hunter2,ssl=true", ["hunter2"]),
        ("Server=db;Pwd=hunter2;", ["hunter2"]),
        ("DefaultEndpointsProtocol=https;AccountKey=hunter2", ["hunter2"]),
        ("postgresql://feast:$PASSWORD@db/feast", []),
        ("cache:6379,password=${PASSWORD}", []),
        ("https://git.example.com:8443/a@b", []),
        ("a sort_key=1, a token: x", []),
    ],
)
def test_passwords_inside_of_addresses_are_found(text: str, passwords: list[str]) -> None:
    assert passwords_in(text) == passwords


@pytest.mark.parametrize(
    ("store", "name"),
    [("production", "feast-env-production"), ("My Store", "feast-env-my-store"), ("ä", "feast-env")],
)
def test_the_config_map_by_convention_has_a_valid_name(store: str, name: str) -> None:
    assert conventional_config_map(store) == name
