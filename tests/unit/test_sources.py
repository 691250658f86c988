"""Where configuration and definitions come from, and which names and paths can work."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_provider_feast.model.errors import FeastConfigurationError, FeastDagError, FeastError
from airflow_provider_feast.model.sources import (
    ConfigMapConfiguration,
    ConfigMapDefinitions,
    ImageDefinitions,
    InlineConfiguration,
    check_feature_store,
    check_key,
    check_object_name,
    check_path,
    read_configuration,
    read_definitions,
)

STORE = {"project": "p", "registry": "data/registry.db", "provider": "local"}


@pytest.mark.parametrize(
    ("value", "source"),
    [
        (None, None),
        ("", None),
        (STORE, InlineConfiguration(STORE)),
        ("project: p", InlineConfiguration("project: p")),
        (InlineConfiguration(STORE), InlineConfiguration(STORE)),
        (ConfigMapConfiguration("feast"), ConfigMapConfiguration("feast", "feature_store.yaml")),
        (ConfigMapConfiguration("feast.a", "prod.yaml"), ConfigMapConfiguration("feast.a", "prod.yaml")),
    ],
)
def test_configurations(value: Any, source: Any) -> None:
    assert read_configuration(value) == source


@pytest.mark.parametrize(
    ("value", "source"),
    [
        (None, None),
        ("", None),
        ("//app/./repo/", ImageDefinitions("/app/repo")),
        (ImageDefinitions("/app//repo"), ImageDefinitions("/app/repo")),
        (ConfigMapDefinitions("repo"), ConfigMapDefinitions("repo")),
    ],
)
def test_definitions(value: Any, source: Any) -> None:
    assert read_definitions(value) == source


@pytest.mark.parametrize(
    ("read", "value", "names"),
    [
        (read_configuration, 5, "configuration is int"),
        (read_configuration, ["project"], "configuration is list"),
        (read_configuration, {"project": "p"}, "configuration lacks registry, provider"),
        (
            read_configuration,
            InlineConfiguration({"project": "p", "registry": ""}),
            "lacks registry, provider",
        ),
        (read_configuration, ConfigMapConfiguration("Feast"), "configuration.name='Feast'"),
        (read_configuration, ConfigMapConfiguration(""), "configuration.name=''"),
        (read_configuration, ConfigMapConfiguration("feast", "a/b"), "configuration.key='a/b'"),
        (read_definitions, {"a": 1}, "definitions is dict"),
        (read_definitions, "repo", "definitions='repo'"),
        (read_definitions, ImageDefinitions("/"), "definitions='/'"),
        (read_definitions, ConfigMapDefinitions("a..b"), "definitions.name='a..b'"),
    ],
)
def test_what_cannot_work_is_refused_with_the_parameters_name(read: Any, value: Any, names: str) -> None:
    with pytest.raises(FeastError) as caught:
        read(value)
    assert names in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize("name", ["a", "feast-1", "a.b.c", "0", "a" * 253])
def test_object_names_that_the_api_takes(name: str) -> None:
    assert check_object_name(name, "config_map") == name


@pytest.mark.parametrize(
    "name", ["", "A", "a_b", "-a", "a-", ".a", "a..b", "a.-b", "a-.b", "a" * 254, "a b", "a\n", None, 5]
)
def test_object_names_that_the_api_refuses(name: Any) -> None:
    with pytest.raises(FeastDagError, match=r"^config_map="):
        check_object_name(name, "config_map")


@pytest.mark.parametrize("key", ["feature_store.yaml", "a", "A-b_c.d", ".hidden"])
def test_keys_that_a_config_map_takes(key: str) -> None:
    assert check_key(key, "key") == key


@pytest.mark.parametrize("key", ["", ".", "..", "../x", "..data", "a/b", "a b", "a" * 254, None])
def test_keys_that_a_config_map_refuses(key: Any) -> None:
    with pytest.raises(FeastDagError, match=r"^key="):
        check_key(key, "key")


@pytest.mark.parametrize("path", ["repo", "", "/", "//", "/.", "/a/../..", "/a/..", "/a\x00b", None, 5])
def test_paths_outside_the_image_are_refused(path: Any) -> None:
    with pytest.raises(FeastDagError, match=r"^definitions="):
        check_path(path, "definitions")


@pytest.mark.parametrize("content", [None, [], "project", 3])
def test_a_configuration_that_is_no_mapping_is_refused(content: Any) -> None:
    with pytest.raises(FeastConfigurationError, match="is not a mapping"):
        check_feature_store(content, "it")
