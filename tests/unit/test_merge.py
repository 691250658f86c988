"""job_overrides: how a partial Job is merged, and what it may not touch."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_feast.model.errors import FeastDagError
from airflow_provider_feast.model.merge import check_overrides, merge
from airflow_provider_feast.model.naming import A_LOCK, L_KEY, OUR_LABELS


@pytest.mark.parametrize(
    ("base", "override", "merged"),
    [
        pytest.param({"a": {"b": 1}}, {"a": {"c": 2}}, {"a": {"b": 1, "c": 2}}, id="maps merge deeply"),
        pytest.param({"a": 1}, {"a": 0}, {"a": 0}, id="zero wins"),
        pytest.param({"a": True}, {"a": False}, {"a": False}, id="false wins"),
        pytest.param({"a": "x"}, {"a": ""}, {"a": ""}, id="empty text wins"),
        pytest.param({"a": 1, "b": 2}, {"a": None}, {"b": 2}, id="null deletes"),
        pytest.param({"b": 2}, {"a": None}, {"b": 2}, id="null of nothing is nothing"),
        pytest.param({}, {"a": {"b": None, "c": 1}}, {"a": {"c": 1}}, id="null inside a new map"),
        pytest.param({"a": {"b": 1}}, {"a": {"b": None}}, {"a": {}}, id="null inside a map"),
        pytest.param({"a": [1, 2]}, {"a": [3]}, {"a": [3]}, id="other lists replace"),
        pytest.param({"a": [1]}, {"a": []}, {"a": []}, id="an empty list empties"),
        pytest.param({"a": {"b": 1}}, {"a": "text"}, {"a": "text"}, id="a scalar replaces a map"),
        pytest.param({"a": "text"}, {"a": {"b": 1}}, {"a": {"b": 1}}, id="a map replaces a scalar"),
        pytest.param(
            {"tolerations": [{"key": "a"}]},
            {"tolerations": [{"key": "b"}]},
            {"tolerations": [{"key": "b"}]},
            id="tolerations replace",
        ),
        pytest.param(
            {"containers": [{"name": "feast", "image": "i", "env": [{"name": "A", "value": "1"}]}]},
            {
                "containers": [
                    {"name": "feast", "env": [{"name": "A", "value": "2"}, {"name": "B", "value": ""}]}
                ]
            },
            {
                "containers": [
                    {
                        "name": "feast",
                        "image": "i",
                        "env": [{"name": "A", "value": "2"}, {"name": "B", "value": ""}],
                    }
                ]
            },
            id="containers and env by name",
        ),
        pytest.param(
            {"env": [{"name": "A", "value": "1"}]},
            {"env": [{"name": "A", "value": None, "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
            {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
            id="null deletes inside an item",
        ),
        pytest.param(
            {"volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}]},
            {"volumeMounts": [{"name": "big", "mountPath": "/tmp"}, {"name": "x", "mountPath": "/x"}]},
            {"volumeMounts": [{"name": "big", "mountPath": "/tmp"}, {"name": "x", "mountPath": "/x"}]},
            id="mounts by path",
        ),
        pytest.param(
            {"initContainers": [{"name": "definitions", "image": "i"}]},
            {"initContainers": [{"name": "wait", "image": "w"}]},
            {"initContainers": [{"name": "definitions", "image": "i"}, {"name": "wait", "image": "w"}]},
            id="new items come last",
        ),
    ],
)
def test_merging(base: Any, override: Any, merged: Any) -> None:
    before = copy.deepcopy((base, override))
    assert merge(base, override) == merged
    assert (base, override) == before, "neither side may be changed"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["", "text"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=12,
)
maps = st.dictionaries(st.sampled_from("abcd"), json_values, max_size=4)


@given(maps, maps)
def test_merging_twice_is_merging_once(base: dict[str, Any], override: dict[str, Any]) -> None:
    once = merge(base, override)
    assert merge(once, override) == once


@given(maps)
def test_an_empty_override_changes_nothing_that_is_set(base: dict[str, Any]) -> None:
    assert merge(base, {}) == {key: value for key, value in base.items() if value is not None}


@pytest.mark.parametrize("item", ["feast", {"image": "i"}, None, 3])
def test_a_list_item_that_names_nothing_is_refused(item: Any) -> None:
    with pytest.raises(FeastDagError, match="list item without 'name'"):
        merge({"containers": [{"name": "feast"}]}, {"containers": [item]})


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        ({"metadata": {"name": "x"}}, "metadata.name"),
        ({"metadata": {"generateName": "x"}}, "metadata.generateName"),
        ({"metadata": {"namespace": "x"}}, "metadata.namespace"),
        ({"spec": {"selector": {}}}, "spec.selector"),
        ({"spec": {"manualSelector": True}}, "spec.manualSelector"),
        ({"spec": {"completions": 3}}, "spec.completions"),
        ({"spec": {"completionMode": "Indexed"}}, "spec.completionMode"),
        ({"spec": {"parallelism": 0}}, "spec.parallelism"),
        ({"spec": {"suspend": None}}, "spec.suspend"),
        ({"status": {}}, "status"),
        ({"kind": "CronJob"}, "kind"),
        ({"metadata": {"labels": {L_KEY: "x"}}}, L_KEY),
        ({"metadata": {"labels": {L_KEY: None}}}, L_KEY),
        ({"spec": {"template": {"metadata": {"labels": {L_KEY: "x"}}}}}, L_KEY),
        ({"metadata": {"labels": None}}, "metadata.labels"),
        ({"metadata": None}, "metadata"),
        ({"metadata": {"labels": ["a"]}}, "metadata.labels"),
        ({"spec": None}, "spec"),
        ({"spec": 5}, "spec"),
        ({"spec": {"template": None}}, "spec.template"),
        ({"spec": {"template": {"metadata": None}}}, "spec.template.metadata"),
        ({"spec": {"template": {"spec": []}}}, "spec.template.spec"),
        ({"metadata": {"annotations": None}}, "metadata.annotations"),
        ({"metadata": {"annotations": "x"}}, "metadata.annotations"),
        ({"metadata": {"annotations": {A_LOCK: None}}}, A_LOCK),
        ({"metadata": {"annotations": {A_LOCK: "other/lease"}}}, A_LOCK),
        (["spec"], "not a mapping"),
        ("spec: {}", "not a mapping"),
    ],
)
def test_what_the_provider_decides_itself_is_refused_by_name(overrides: Any, names: str) -> None:
    with pytest.raises(FeastDagError, match=r"^job_overrides ") as caught:
        check_overrides(overrides, OUR_LABELS)
    assert names in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"metadata": {"labels": {"team": "a"}, "annotations": {"a": "b"}}},
        {"spec": {"backoffLimit": 0, "ttlSecondsAfterFinished": None}},
        {"spec": {"template": {"spec": {"hostNetwork": False, "tolerations": [{"operator": "Exists"}]}}}},
    ],
)
def test_everything_else_passes(overrides: dict[str, Any]) -> None:
    check_overrides(overrides, OUR_LABELS)
