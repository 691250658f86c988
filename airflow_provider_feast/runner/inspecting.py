"""Print the registry as JSON lines; unlike ``feast registry-dump`` one odd object does not hide the others."""

from __future__ import annotations

import argparse
from datetime import datetime, timedelta
from inspect import signature
from typing import Any, Iterable

from airflow_provider_feast.runner.commands import Session, open_store, run_through_python
from airflow_provider_feast.runner.guarding import TICK, aware
from airflow_provider_feast.runner.planning import sources_of
from airflow_provider_feast.runner.reasons import described

KINDS = {
    "entity": "list_entities",
    "data_source": "list_data_sources",
    "feature_view": "list_feature_views",
    "stream_feature_view": "list_stream_feature_views",
    "on_demand_feature_view": "list_on_demand_feature_views",
    "feature_service": "list_feature_services",
}

HIDDEN = ("__dummy",)
"""What Feast itself puts into every registry."""


def listed_objects(store: Any, listing: str) -> list[Any]:
    """Objects of one kind. Their Python functions are left alone: they may need definitions that are not here."""
    call = getattr(store.registry, listing)
    options = {"skip_udf": True} if "skip_udf" in signature(call).parameters else {}
    return list(call(store.project, **options))


def merged(intervals: Iterable[tuple[datetime, datetime]]) -> list[list[datetime]]:
    """Intervals of which none touch: Feast appends each load, repetitions too. Gaps of up to 1 µs are none."""
    found: list[list[datetime]] = []
    for start, end in sorted((aware(start), aware(end)) for start, end in intervals):
        if start > end:
            continue  # materialize-incremental with an END before the last one stores it reversed
        if found and start - found[-1][1] <= TICK:
            found[-1][1] = max(found[-1][1], end)
        else:
            found.append([start, end])
    return found


def summary(kind: str, thing: Any) -> dict[str, Any]:
    """What a person or a program wants to know of an object, as JSON values; what it lacks is left out."""
    found: dict[str, Any] = {"kind": kind, "name": str(getattr(thing, "name", ""))}
    for name in ("description", "owner", "online", "offline", "enabled", "write_to_online_store", "join_key"):
        value = getattr(thing, name, None)
        if isinstance(value, (bool, str)) and value != "":
            found[name] = value
    found |= {"type": type(thing).__name__} if kind == "data_source" else {}
    for name in ("created_timestamp", "last_updated_timestamp"):
        if isinstance(getattr(thing, name, None), datetime):
            found[name] = aware(getattr(thing, name)).isoformat()
    if isinstance(getattr(thing, "ttl", None), timedelta):
        found["ttl_seconds"] = thing.ttl.total_seconds()
    if kind.endswith("feature_view"):
        found |= view_summary(thing)
    if kind == "feature_service":
        found["views"] = sorted(str(part.name) for part in thing.feature_view_projections)
    return found


def view_summary(view: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "entities": [str(name) for name in getattr(view, "entities", None) or []],
        "features": [str(feature.name) for feature in getattr(view, "features", None) or []],
        "source_views": sorted(sources_of(view)),
        "state": getattr(getattr(view, "state", None), "name", ""),
    }
    source = getattr(view, "batch_source", None)
    if source is not None:
        found["source"] = str(getattr(source, "name", ""))
    intervals = getattr(view, "materialization_intervals", None)
    if intervals is not None:
        found["intervals"] = [[moment.isoformat() for moment in pair] for pair in merged(intervals)]
        found["loads"] = len(intervals)
    return found


def inspect_registry(options: argparse.Namespace, session: Session) -> None:
    """One ``registry_object`` event for each object, then ``registry_finished`` with their number and the errors."""
    run_through_python(options, session, lambda: tell(options, session))


def tell(options: argparse.Namespace, session: Session) -> None:
    store = open_store(options, session)
    wanted, count, errors = set(options.view), 0, 0
    for kind, listing in KINDS.items():
        if wanted and not kind.endswith("feature_view"):
            continue
        try:
            found = listed_objects(store, listing)
            things = [summary(kind, thing) for thing in found if thing.name not in HIDDEN]
        except Exception as error:  # noqa: BLE001  (told as an event; the other kinds are still of use)
            errors += 1
            session.output.event("registry_error", kind=kind, message=described(error))
            continue
        for thing in sorted(things, key=lambda thing: str(thing["name"])):
            if not wanted or thing["name"] in wanted:
                count += 1
                session.output.event("registry_object", project=store.project, **thing)
    session.output.event("registry_finished", project=store.project, objects=count, errors=errors)
