"""The connection's fields: read, checked, and overridden by an operator."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_feast.model.errors import FeastConfigurationError, FeastDagError
from airflow_provider_feast.model.fields import FIELD_NAMES, FIELDS
from airflow_provider_feast.model.settings import FeastSettings, read_settings
from airflow_provider_feast.model.sources import (
    ConfigMapConfiguration,
    ConfigMapDefinitions,
    ImageDefinitions,
    InlineConfiguration,
)

STORE = {"project": "p", "registry": "r", "provider": "local"}


def read(**extra: Any) -> FeastSettings:
    return read_settings("feast_production", extra)


def test_an_empty_connection_has_safe_defaults() -> None:
    settings = read()
    assert settings.feature_store == "production"
    assert (settings.security_profile, settings.run_as_user) == ("restricted", 1001)
    assert (settings.backoff_limit, settings.deadline_seconds) == (0, 6 * 3600)
    assert (settings.ttl_seconds, settings.ttl_on_failure_seconds) == (24 * 3600, 7 * 24 * 3600)
    assert settings.istio_injection is False
    assert settings.concurrency == "registry"


@pytest.mark.parametrize("empty", [None, ""])
def test_an_empty_field_of_the_form_means_the_default(empty: Any) -> None:
    assert read(**dict.fromkeys(FIELD_NAMES, empty)) == read()


@pytest.mark.parametrize(
    ("conn_id", "feature_store"),
    [("feast_default", "default"), ("feast_", "feast_"), ("production", "production")],
)
def test_the_feature_stores_name_comes_from_the_connection(conn_id: str, feature_store: str) -> None:
    assert read_settings(conn_id, {}).feature_store == feature_store


def test_every_field_of_the_form_is_a_setting_or_a_source() -> None:
    sources = {name for name in FIELD_NAMES if name.startswith(("config_", "definitions_"))}
    assert FIELD_NAMES - set(FeastSettings._fields) == sources | {"feature_store_resource"}
    assert set(FeastSettings._fields) - FIELD_NAMES == {"definitions"}


def test_every_field_has_a_label_a_sentence_and_a_schema_that_allows_nothing() -> None:
    for field in FIELDS:
        assert field.label and field.description.endswith((".", "}."))
        assert "null" in field.schema["type"]
        assert None in field.schema.get("enum", [None])


@pytest.mark.parametrize(
    ("extra", "name", "value"),
    [
        ({"config_map": "c"}, "configuration", ConfigMapConfiguration("c", "feature_store.yaml")),
        ({"config_map": "c", "config_map_key": "k"}, "configuration", ConfigMapConfiguration("c", "k")),
        ({"configuration": "project: p"}, "configuration", InlineConfiguration("project: p")),
        ({"configuration": STORE}, "configuration", InlineConfiguration(STORE)),
        ({"definitions_path": "/app/repo"}, "definitions", ImageDefinitions("/app/repo")),
        ({"definitions_config_map": "repo"}, "definitions", ConfigMapDefinitions("repo")),
        ({"image_pull_secrets": "a, b,"}, "image_pull_secrets", ("a", "b")),
        ({"image_pull_secrets": ["a", " b "]}, "image_pull_secrets", ("a", "b")),
        ({"env_from": "configmap/a, secret/b"}, "env_from", ("configmap/a", "secret/b")),
        ({"env": '{"A": "1", "B": 2, "C": true}'}, "env", {"A": "1", "B": "2", "C": "true"}),
        ({"env": {"A": ""}}, "env", {"A": ""}),
        ({"pod_options": '{"backoff_limit": 0}'}, "pod_options", {"backoff_limit": 0}),
        ({"job_overrides": {"spec": {}}}, "job_overrides", {"spec": {}}),
        ({"deadline_seconds": "60"}, "deadline_seconds", 60),
        ({"deadline_seconds": 60.0}, "deadline_seconds", 60),
        ({"deadline_seconds": "5.0"}, "deadline_seconds", 5),
        ({"backoff_limit": 0}, "backoff_limit", 0),
        ({"ttl_seconds": " 0 "}, "ttl_seconds", 0),
        ({"istio_injection": "true"}, "istio_injection", True),
        ({"fast_start": False}, "fast_start", False),
        ({"fast_start": "No"}, "fast_start", False),
        ({"cpu_limit": 2}, "cpu_limit", "2"),
        ({"cpu_limit": 0.5}, "cpu_limit", "0.5"),
        ({"lookback": "26h"}, "lookback", "26h"),
        ({"security_profile": "arbitrary-uid"}, "security_profile", "arbitrary-uid"),
        ({"command_mode": "cli"}, "command_mode", "cli"),
    ],
)
def test_a_field_is_read(extra: dict[str, Any], name: str, value: Any) -> None:
    assert getattr(read(**extra), name) == value


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        ({"imgae": "x"}, "did you mean 'image'?"),
        ({"zzz": "x"}, "known fields: "),
        ({"config_map": "c", "configuration": "project: p"}, "both config_map and configuration"),
        ({"definitions_path": "/a", "definitions_config_map": "b"}, "both definitions_path and"),
        ({"config_map": "C"}, "configuration.name='C'"),
        ({"definitions_path": "repo"}, "definitions='repo'"),
        ({"namespace": "My Namespace"}, "namespace='My Namespace'"),
        ({"service_account": "a/b"}, "service_account='a/b'"),
        ({"image": "feast: 1"}, "has blanks in it"),
        ({"image": " feast:1"}, "has blanks in it"),
        ({"image_pull_secrets": "Not A Name"}, "image_pull_secrets='Not A Name'"),
        ({"image_pull_secrets": 5}, "image_pull_secrets=5 is not a list"),
        ({"image_pull_policy": "always"}, "choose one of IfNotPresent, Always, Never"),
        ({"env_from": "a"}, "write configmap/NAME or secret/NAME"),
        ({"env_from": "configmap/"}, "env_from=''"),
        ({"env": "{"}, "env is not JSON"),
        ({"env": "[]"}, "env is not a JSON object"),
        ({"env": '{"A": null}'}, "env['A'] is NoneType"),
        ({"env": '{"A": {"b": 1}}'}, "env['A'] is a mapping, but not a reference"),
        ({"env": {"A=B": "1"}}, "env has the name 'A=B'"),
        ({"env": {"": "1"}}, "env has the name ''"),
        ({"env": {"A": "\x00"}}, "env['A']"),
        ({"deadline_seconds": "soon"}, "deadline_seconds='soon' is not a whole number"),
        ({"deadline_seconds": "5.5"}, "deadline_seconds='5.5' is not a whole number"),
        ({"deadline_seconds": True}, "deadline_seconds=True is not a whole number"),
        ({"deadline_seconds": 0}, "deadline_seconds=0 must be between 1 and 2147483647"),
        ({"deadline_seconds": 2**31}, "must be between 1 and 2147483647"),
        ({"backoff_limit": -1}, "backoff_limit=-1 must be between 0 and"),
        ({"run_as_user": 0}, "run_as_user=0 must be between 1 and"),
        ({"istio_injection": "maybe"}, "istio_injection='maybe' is neither true nor false"),
        ({"memory_limit": "2 GB"}, "memory_limit='2 GB' is not a Kubernetes quantity"),
        ({"memory_limit": "2gb"}, "memory_limit='2gb' is not a Kubernetes quantity"),
        ({"tmp_size": "big"}, "tmp_size='big' is not a Kubernetes quantity"),
        ({"memory_limit": "٢Gi"}, "memory_limit='٢Gi' is not a Kubernetes quantity"),
        ({"tmp_size": "0"}, "tmp_size='0' is no limit"),
        ({"memory_limit": "0Gi"}, "memory_limit='0Gi' is no limit"),
        ({"cpu_limit": "0.0"}, "cpu_limit='0.0' is no limit"),
        ({"cpu_limit": ["2"]}, "cpu_limit=['2'] is not text"),
        ({"security_profile": "none"}, "security_profile='none' is unknown"),
        ({"concurrency": "all"}, "choose one of registry, view, none"),
        ({"lookback": "1 month"}, "lookback='1 month' is not a duration"),
        ({"pod_options": "[1]"}, "pod_options is not a JSON object"),
        ({"ca_bundle_key": "a/b"}, "ca_bundle_key='a/b'"),
        ({"configuration": {"project": "p"}}, "configuration lacks registry, provider"),
    ],
)
def test_a_wrong_field_names_itself_the_cure_and_the_connection(extra: dict[str, Any], says: str) -> None:
    with pytest.raises(FeastConfigurationError) as caught:
        read(**extra)
    assert says in str(caught.value)
    assert caught.value.where == "connection 'feast_production'"
    assert "Admin → Connections → feast_production" in caught.value.remedy


@pytest.mark.parametrize("nothing", [None, ""])
def test_an_operator_that_gives_nothing_changes_nothing(nothing: Any) -> None:
    settings = read(image="feast:1", namespace="ns", config_map="c", definitions_path="/a", backoff_limit=2)
    names = ("image", "namespace", "configuration", "definitions", "backoff_limit", "env", "security_profile")
    assert settings.override(**dict.fromkeys(names, nothing)) == settings


def test_an_operators_zero_and_false_win_over_the_connection() -> None:
    settings = read(backoff_limit=3, fast_start=True).override(backoff_limit=0, fast_start=False)
    assert (settings.backoff_limit, settings.fast_start) == (0, False)


def test_an_operators_variables_are_merged_over_the_connections() -> None:
    settings = read(env={"A": "1", "B": "2"}).override(env={"B": "3", "C": 4})
    assert settings.env == {"A": "1", "B": "3", "C": "4"}


def test_an_operators_sources_replace_the_connections() -> None:
    settings = read(config_map="c", definitions_config_map="d").override(
        configuration=STORE, definitions="/app/repo"
    )
    assert settings.configuration == InlineConfiguration(STORE)
    assert settings.definitions == ImageDefinitions("/app/repo")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"memory_limit": "lots"}, "memory_limit='lots'"),
        ({"security_profile": "none"}, "security_profile='none'"),
        ({"command_mode": "shell"}, "command_mode='shell'"),
        ({"namespace": "A"}, "namespace='A'"),
        ({"configuration": 5}, "configuration is int"),
        ({"definitions": "repo"}, "definitions='repo'"),
        ({"env": ["A"]}, "env is not a JSON object"),
        ({"deadline_seconds": 0}, "deadline_seconds=0"),
    ],
)
def test_a_wrong_override_is_the_dags_fault(values: dict[str, Any], says: str) -> None:
    with pytest.raises(FeastDagError) as caught:
        read().override(**values)
    assert says in str(caught.value)


def test_an_operators_overrides_come_on_top_of_the_connections() -> None:
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "data"}}
    ours = {"spec": {"template": {"spec": {"volumes": [volume], "priorityClassName": "low"}}}}
    theirs = {"spec": {"template": {"spec": {"priorityClassName": None, "nodeName": "n1"}}}}
    settings = read_settings("feast_x", {"job_overrides": ours, "pod_options": {"node_selector": {"a": "b"}}})
    both = settings.override(job_overrides=theirs, pod_options={"tolerations": []})
    merged = {"volumes": [volume], "priorityClassName": None, "nodeName": "n1"}
    assert both.job_overrides == {"spec": {"template": {"spec": merged}}}
    assert both.pod_options == {"node_selector": {"a": "b"}, "tolerations": []}
