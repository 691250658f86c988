"""What a registry says of its feature views, wherever it was read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

from airflow_provider_feast.model.errors import FeastDagError

API = "/api/v1"
"""The path below which Feast's registry REST server answers."""

Interval = tuple[datetime, datetime]
"""First and last moment of a load, both included."""


class ViewRecord(NamedTuple):
    """One feature view.

    :param name: its name.
    :param intervals: what was loaded of it.
    :param loadable: whether it is ever loaded: enabled, served online, and of a kind of which Feast keeps intervals.
    """

    name: str
    intervals: tuple[Interval, ...] = ()
    loadable: bool = True


Records = Mapping[str, ViewRecord]
"""Feature views by name."""


def record_of_event(event: Mapping[str, Any]) -> ViewRecord:
    """A view of a ``registry_object`` event of the runner's ``inspect``.

    :raises KeyError, TypeError, ValueError: when it is none.
    """
    intervals = tuple(
        (datetime.fromisoformat(start), datetime.fromisoformat(last))
        for start, last in event.get("intervals") or ()
    )
    loadable = "intervals" in event and event.get("online") is True and event.get("enabled") is not False
    return ViewRecord(str(event["name"]), intervals, loadable)


def record_of_rest(view: Mapping[str, Any]) -> ViewRecord:
    """A view as Feast's registry REST server lists it: protobuf's JSON, which leaves out what is false.

    :raises KeyError, TypeError, ValueError: when it is none.
    """
    spec, meta = view["spec"], view.get("meta") or {}
    intervals = tuple(
        (_instant(entry["startTime"]), _instant(entry["endTime"]))
        for entry in meta.get("materializationIntervals") or ()
    )
    kept = view.get("type") in ("featureView", "streamFeatureView")
    loadable = kept and bool(spec.get("online")) and not spec.get("disabled")
    return ViewRecord(str(spec["name"]), intervals, loadable)


def _instant(text: str) -> datetime:
    """A protobuf timestamp: ``Z`` at its end, and up to nine digits of a second."""
    whole, _, fraction = text.removesuffix("Z").partition(".")
    return datetime.fromisoformat(f"{whole}.{(fraction + '000000')[:6]}+00:00")


class RestAddress(NamedTuple):
    """Where a registry REST server answers.

    :param base: its address up to and with ``/api/v1``.
    :param project: the project that the address names, or "".
    """

    base: str
    project: str


def read_rest_address(url: str) -> RestAddress:
    """Read the connection's ``registry_rest_url``.

    :param url: e.g. ``http://feast-registry:6572``, with or without ``/api/v1`` and ``?project=NAME``.
    :raises FeastDagError: when it is none.
    """
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known or parts.username or parts.password or parts.fragment or any(map(str.isspace, url)):
        raise FeastDagError(
            "registry_rest_url is not the address of a server",
            remedy="write e.g. http://feast-registry.feast.svc:6572 or https://registry.example.com?project=shop, "
            "without credentials",
        )
    path = parts.path.rstrip("/").removesuffix(API)
    (project, *_) = parse_qs(parts.query).get("project", [""])
    return RestAddress(f"{parts.scheme}://{parts.netloc}{path}{API}", project)
