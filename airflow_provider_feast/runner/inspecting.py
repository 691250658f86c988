"""Print the registry as JSON lines; unlike ``feast registry-dump`` one odd object does not hide the others."""

from __future__ import annotations

import argparse
import time
from datetime import datetime, timedelta
from inspect import signature
from typing import Any

from airflow_provider_feast.runner.commands import Session, open_store, run_through_python
from airflow_provider_feast.runner.guarding import aware
from airflow_provider_feast.runner.intervals import merged
from airflow_provider_feast.runner.planning import sources_of
from airflow_provider_feast.runner.reasons import chain, described

KINDS = {
    "entity": "list_entities",
    "data_source": "list_data_sources",
    "feature_view": "list_feature_views",
    "stream_feature_view": "list_stream_feature_views",
    "on_demand_feature_view": "list_on_demand_feature_views",
    "feature_service": "list_feature_services",
}

READ_PAUSES = (0.1, 0.3, 1.0, 3.0)
"""Seconds between readings of a registry that is being written."""

HIDDEN = ("__dummy",)
"""What Feast itself puts into every registry."""


def listed_objects(store: Any, listing: str) -> list[Any]:
    """Objects of one kind. Their Python functions are left alone: they may need definitions that are not here."""
    call = getattr(store.registry, listing)
    options = {"skip_udf": True} if "skip_udf" in signature(call).parameters else {}
    return list(call(store.project, **options))


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
    objects, errors = whole_registry(options, session)
    for kind, message in errors:
        session.output.event("registry_error", kind=kind, message=message)
    wanted = set(options.view)
    told = [thing for thing in objects if not wanted or thing["name"] in wanted]
    for thing in told:
        session.output.event("registry_object", **thing)
    session.output.event("registry_finished", objects=len(told), errors=len(errors))


def whole_registry(
    options: argparse.Namespace, session: Session
) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """What the registry holds, and which kinds of objects could not be read.

    A registry file is not replaced but written over, so who reads it meanwhile finds half of it: then it is read again.
    """
    for pause in (*READ_PAUSES, None):
        try:
            objects, errors = read_registry(open_store(options, session), bool(options.view))
        except Exception as error:
            if pause is None or not half_written(error):
                raise
        else:
            if pause is None or not any("DecodeError" in message for _, message in errors):
                return objects, errors
        time.sleep(pause)
    raise AssertionError("the last try returns or raises")


def half_written(error: BaseException) -> bool:
    return any(type(step).__name__ == "DecodeError" for step in chain(error))


def read_registry(store: Any, views_only: bool) -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    objects, errors = [], []
    for kind, listing in KINDS.items():
        if views_only and not kind.endswith("feature_view"):
            continue
        try:
            found = listed_objects(store, listing)
            things = [summary(kind, thing) for thing in found if thing.name not in HIDDEN]
        except Exception as error:  # noqa: BLE001  (told as an event; the other kinds are still of use)
            errors.append((kind, described(error)))
            continue
        ordered = sorted(things, key=lambda thing: str(thing["name"]))
        objects += [{"project": store.project, **thing} for thing in ordered]
    return objects, errors
