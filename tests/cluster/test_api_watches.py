"""Lists and watches on any Kubernetes: versions, bookmarks, pages."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from cluster_helpers import Cluster
from kubernetes.client import ApiException

pytestmark = pytest.mark.cluster

WITHOUT_WATCH_LISTS = {(1, 29), (1, 30), (1, 31), (1, 33)}
"""Where the feature gate `WatchList` is off unless somebody switches it on."""


def config_map(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}, "data": {"key": "value"}}


def lines(cluster: Cluster, namespace: str, **options: Any) -> Iterator[dict[str, Any]]:
    """The events of a watch of ConfigMaps, as they came over the wire."""
    response = cluster.core.list_namespaced_config_map(
        namespace, watch=True, _preload_content=False, **options
    )
    try:
        for line in response:
            yield json.loads(line)
    finally:
        response.close()


def refusal(error: ApiException) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(error.body)
    assert (found["kind"], found["code"]) == ("Status", error.status)
    return found


def version(obj: Any) -> int:
    return int(obj.metadata.resource_version)


def test_a_bookmark_tells_an_idle_watch_how_far_it_is(cluster: Cluster, namespace: str) -> None:
    start = cluster.core.list_namespaced_config_map(namespace, label_selector="no=such")
    unseen = cluster.core.create_namespaced_config_map(namespace, config_map("unseen"))
    watched = lines(
        cluster,
        namespace,
        label_selector="no=such",
        allow_watch_bookmarks=True,
        resource_version=start.metadata.resource_version,
        timeout_seconds=5,
    )
    events = list(watched)
    assert {event["type"] for event in events} == {"BOOKMARK"}
    told = events[-1]["object"]
    assert (told["kind"], told["apiVersion"]) == ("ConfigMap", "v1")
    assert set(told["metadata"]) <= {"resourceVersion", "creationTimestamp"}
    assert int(told["metadata"]["resourceVersion"]) >= version(unseen)


def test_a_bookmark_is_a_version_to_go_on_from(cluster: Cluster, namespace: str) -> None:
    cluster.core.create_namespaced_config_map(namespace, config_map("before", sel="in"))
    options = {"label_selector": "sel=in", "allow_watch_bookmarks": True, "timeout_seconds": 5}
    first = list(lines(cluster, namespace, **options))
    assert [event["type"] for event in first][:1] == ["ADDED"]
    assert first[-1]["type"] == "BOOKMARK"
    after = first[-1]["object"]["metadata"]["resourceVersion"]
    cluster.core.create_namespaced_config_map(namespace, config_map("after", sel="in"))
    event = next(lines(cluster, namespace, resource_version=after, **options))
    assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "after")


def test_a_watch_without_bookmarks_gets_none(cluster: Cluster, namespace: str) -> None:
    options = {"label_selector": "no=such", "timeout_seconds": 4}
    assert list(lines(cluster, namespace, **options)) == []


@pytest.mark.parametrize("asked", [None, "0"])
def test_a_watch_without_a_version_begins_with_what_is_there(
    cluster: Cluster, namespace: str, asked: str | None
) -> None:
    cluster.core.create_namespaced_config_map(namespace, config_map("there", sel="in"))
    options: dict[str, Any] = {"label_selector": "sel=in", "timeout_seconds": 5}
    if asked is not None:
        options["resource_version"] = asked
    event = next(lines(cluster, namespace, **options))
    assert (event["type"], event["object"]["metadata"]["name"]) == ("ADDED", "there")
    assert (event["object"]["kind"], event["object"]["apiVersion"]) == ("ConfigMap", "v1")


def test_initial_events_end_with_a_bookmark_that_says_so(cluster: Cluster, namespace: str) -> None:
    cluster.core.create_namespaced_config_map(namespace, config_map("there", sel="in"))
    options = {
        "label_selector": "sel=in",
        "timeout_seconds": 5,
        "allow_watch_bookmarks": True,
        "send_initial_events": True,
        "resource_version_match": "NotOlderThan",
    }
    found = lines(cluster, namespace, **options)
    if cluster.version in WITHOUT_WATCH_LISTS:
        with pytest.raises(ApiException) as refused:
            next(found)
        words = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled"
        assert words in refusal(refused.value)["message"]
        return
    assert next(found)["type"] == "ADDED"
    end = next(found)
    assert end["type"] == "BOOKMARK"
    assert end["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


def test_a_list_of_any_version_has_what_was_written(cluster: Cluster, namespace: str) -> None:
    made = cluster.core.create_namespaced_config_map(namespace, config_map("a", sel="in"))
    for options in (
        {},
        {"resource_version": made.metadata.resource_version, "resource_version_match": "NotOlderThan"},
        {"resource_version": made.metadata.resource_version, "resource_version_match": "Exact"},
    ):
        found = cluster.core.list_namespaced_config_map(namespace, label_selector="sel=in", **options)
        assert [item.metadata.name for item in found.items] == ["a"]
        assert version(found) >= version(made)


def test_a_list_can_be_of_the_past(cluster: Cluster, namespace: str) -> None:
    made = cluster.core.create_namespaced_config_map(namespace, config_map("a", sel="in"))
    cluster.core.create_namespaced_config_map(namespace, config_map("b", sel="in"))
    cluster.core.patch_namespaced_config_map("a", namespace, {"data": {"key": "new"}})
    past = cluster.core.list_namespaced_config_map(
        namespace,
        label_selector="sel=in",
        resource_version=made.metadata.resource_version,
        resource_version_match="Exact",
    )
    assert [(item.metadata.name, item.data["key"]) for item in past.items] == [("a", "value")]
    assert version(past) == version(made)


def test_pages_are_of_one_moment(cluster: Cluster, namespace: str) -> None:
    for number in range(4):
        cluster.core.create_namespaced_config_map(namespace, config_map(f"m{number}", p="y"))
    lister = cluster.core.list_namespaced_config_map
    first = lister(namespace, label_selector="p", limit=2)
    cluster.core.delete_namespaced_config_map("m3", namespace)
    cluster.core.create_namespaced_config_map(namespace, config_map("m2b", p="y"))
    rest = lister(namespace, label_selector="p", limit=10, _continue=first.metadata._continue)
    assert [item.metadata.name for item in rest.items] == ["m2", "m3"]
    assert version(rest) == version(first)


def test_a_version_of_the_future_is_too_large(cluster: Cluster, namespace: str) -> None:
    with pytest.raises(ApiException) as refused:
        cluster.core.list_namespaced_config_map(
            namespace, resource_version=str(2**40), resource_version_match="NotOlderThan"
        )
    status = refusal(refused.value)
    assert (status["code"], status["reason"]) == (504, "Timeout")
    assert status["message"].startswith(f"Timeout: Too large resource version: {2**40}, current: ")
    assert status["details"]["causes"] == [
        {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"resource_version_match": "Exact"},
            "resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden unless resourceVersion is provided",
        ),
        (
            {"resource_version": "0", "resource_version_match": "Exact"},
            'resourceVersionMatch: Forbidden: resourceVersionMatch "exact" is forbidden for resourceVersion "0"',
        ),
        (
            {"resource_version": "5", "resource_version_match": "Newest"},
            'resourceVersionMatch: Unsupported value: "Newest": supported values: ',
        ),
        (
            {"send_initial_events": True},
            "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list",
        ),
    ],
)
def test_options_that_contradict_each_other_are_refused(
    cluster: Cluster, namespace: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ApiException) as refused:
        cluster.core.list_namespaced_config_map(namespace, **options)
    status = refusal(refused.value)
    assert (status["code"], status["reason"]) == (422, "Invalid")
    assert status["message"].startswith('ListOptions.meta.k8s.io "" is invalid: ')
    assert message in status["message"]
