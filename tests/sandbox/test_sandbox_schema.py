"""The sandbox's decoder and kubernetes-validate agree on what a manifest may hold."""

import json
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from typing import Any

import kubernetes_validate
import kubernetes_validate.utils
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_feast.sandbox import ages, jsonpath, patch, quantity, selectors
from airflow_provider_feast.sandbox.admission import schema
from airflow_provider_feast.sandbox.controllers import indexes

JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "j", "labels": {"a": "b"}},
    "spec": {
        "backoffLimit": 1,
        "suspend": True,
        "template": {
            "spec": {
                "restartPolicy": "Never",
                "containers": [
                    {
                        "name": "c",
                        "image": "i",
                        "command": ["true"],
                        "env": [{"name": "A", "value": "b"}],
                        "resources": {"limits": {"memory": "1Gi"}},
                    }
                ],
                "volumes": [{"name": "v", "configMap": {"name": "m", "items": [{"key": "k", "path": "p"}]}}],
            }
        },
    },
}


@pytest.fixture(autouse=True, scope="module")
def quick_schemas() -> Iterator[None]:
    """kubernetes-validate reads its schemas again for each call: once is enough here."""
    with pytest.MonkeyPatch.context() as patcher:
        patcher.setattr(
            kubernetes_validate.utils, "schema_contents", cache(kubernetes_validate.utils.schema_contents)
        )
        patcher.setattr(
            kubernetes_validate.utils, "all_versions", cache(kubernetes_validate.utils.all_versions)
        )
        yield


def paths(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in the manifest below `spec`."""
    found = [at] if at else []
    if isinstance(value, dict):
        for key, item in value.items():
            found += paths(item, (*at, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            found += paths(item, (*at, number))
    return found


PLACES = [place for place in paths(JOB) if place[0] == "spec" and len(place) > 1]


def replaced(place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    copy: dict[str, Any] = json.loads(json.dumps(JOB))
    node: Any = copy
    for part in place[:-1]:
        node = node[part]
    node[place[-1]] = value
    return copy


def they_agree(body: dict[str, Any]) -> None:
    name = schema.definition_of("batch", "v1", "Job")
    assert name is not None
    _, findings = schema.decode(name, body)
    ours = not findings.unknown and not findings.wrong_type
    try:
        kubernetes_validate.validate(body, "1.36", strict=True)
        theirs = True
    except kubernetes_validate.ValidationError:
        theirs = False
    assert ours == theirs, findings


@pytest.mark.parametrize("value", [7, "text", True, ["x"], {"unknown": 1}], ids=str)
@pytest.mark.parametrize("place", PLACES, ids=lambda place: ".".join(map(str, place)))
def test_a_wrong_value_anywhere_is_judged_alike(place: tuple[Any, ...], value: Any) -> None:
    if "limits" in place and place[-1] == "memory":
        value = "1Gi" if isinstance(value, str | int) else value
    free_maps = {"labels"}
    if not free_maps & set(place):
        they_agree(replaced(place, value))


def test_unknown_fields_are_named_with_their_path() -> None:
    body = replaced(("spec", "template", "spec", "containers", 0, "comand"), ["x"])
    name = schema.definition_of("batch", "v1", "Job")
    assert name is not None
    copy, findings = schema.decode(name, body)
    assert findings.unknown == ["spec.template.spec.containers[0].comand"]
    assert "comand" not in copy["spec"]["template"]["spec"]["containers"][0]


@given(st.sets(st.integers(min_value=0, max_value=200)))
def test_index_sets_survive_writing(found: set[int]) -> None:
    assert indexes.parse(indexes.write(found)) == found


@pytest.mark.parametrize(
    ("found", "text"), [({0, 1, 2}, "0-2"), ({0, 2, 3}, "0,2,3"), ({5}, "5"), (set(), "")]
)
def test_index_sets_are_written_as_kubernetes_does(found: set[int], text: str) -> None:
    assert indexes.write(found) == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60)
@given(st.dictionaries(st.text(max_size=4), JSON), st.dictionaries(st.text(max_size=4), JSON))
def test_a_merge_patch_applied_twice_changes_nothing_more(target: Any, change: Any) -> None:
    once = patch.merge(target, change)
    assert patch.merge(once, change) == once


@pytest.mark.parametrize(
    ("text", "number"), [("1", 1), ("500m", 0.5), ("2Ki", 2048), ("1e3", 1000), ("3M", 3_000_000)]
)
def test_quantities_are_numbers(text: str, number: float) -> None:
    assert float(quantity.parse(text)) == number


@pytest.mark.parametrize("text", ["12Gx", "", "1 Gi", "abc"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    assert not quantity.is_quantity(text)


def test_a_selector_of_objects_needs_all_labels() -> None:
    selector = {"matchLabels": {"a": "1", "b": "2"}}
    assert selectors.selector_matches(selector, {"a": "1", "b": "2", "c": "3"})
    assert not selectors.selector_matches(selector, {"a": "1"})


@pytest.mark.parametrize(
    ("length", "text"),
    [
        (timedelta(seconds=119), "119s"),
        (timedelta(minutes=2), "2m"),
        (timedelta(minutes=9, seconds=59), "9m59s"),
        (timedelta(minutes=179), "179m"),
        (timedelta(hours=3), "3h"),
        (timedelta(hours=7, minutes=30), "7h30m"),
        (timedelta(hours=47), "47h"),
        (timedelta(days=7, hours=23), "7d23h"),
        (timedelta(days=729), "729d"),
        (timedelta(days=731), "2y1d"),
    ],
)
def test_ages_are_written_as_kubectl_does(length: timedelta, text: str) -> None:
    assert ages.duration(length) == text


STORE = {"metadata": {"labels": {"a.b": "x"}}, "items": [{"n": "1", "v": "one"}, {"n": "2", "v": "two"}]}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (".metadata.labels.a\\.b", "x"),
        (".items[1].v", "two"),
        ('.items[?(@.n=="1")].v', "one"),
        (".items[5].v", None),
        (".absent.v", None),
        (".items.v", None),
    ],
)
def test_printer_columns_follow_their_path(path: str, value: Any) -> None:
    assert jsonpath.find(jsonpath.parse(path) or [], STORE) == value


@pytest.mark.parametrize("path", ["", "spec", ".items[*].v", "{.spec}"])
def test_a_path_that_is_not_known_is_not_guessed(path: str) -> None:
    assert jsonpath.parse(path) is None
