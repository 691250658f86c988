"""Print the registry as JSON lines; unlike ``feast registry-dump`` one odd object does not hide the others."""

from __future__ import annotations

import argparse
import time
from datetime import datetime, timedelta
from inspect import signature
from typing import Any, NamedTuple

from airflow_provider_feast.runner.basics import NOTHING, Failure
from airflow_provider_feast.runner.commands import Session, open_store, run_through_python
from airflow_provider_feast.runner.intervals import aware, merged
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

READ_PAUSES = (0.1, 0.1, 0.3, 1.0, 3.0)
"""Seconds between readings of a registry that is being written."""

HIDDEN = ("__dummy",)
"""What Feast itself puts into every registry."""


class Reading(NamedTuple):
    """Objects, the kinds that could not be read and why, and whether that is because the registry was being written."""

    objects: list[dict[str, Any]]
    errors: list[tuple[str, str]]
    broken: bool


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
    found = whole_registry(options, session)
    for kind, message in found.errors:
        session.output.event("registry_error", kind=kind, message=message)
    wanted = set(options.view)
    told = [thing for thing in found.objects if not wanted or thing["name"] in wanted]
    for thing in told:
        session.output.event("registry_object", **thing)
    session.output.event("registry_finished", objects=len(told), errors=len(found.errors))


def whole_registry(options: argparse.Namespace, session: Session) -> Reading:
    """What the registry holds, whole.

    Whoever writes a registry file without this runner writes over it. Who reads it meanwhile finds half of an object,
    which is an error, or fewer objects, which is none: so it is read until two readings find the same objects.
    """
    before: list[tuple[str, str]] | None = None
    for pause in READ_PAUSES:
        try:
            store = open_store(options, session)
            in_place = is_written_in_place(store.registry)
            found = read_registry(store, bool(options.view))
        except Exception as error:
            if isinstance(error, Failure) and error.code == NOTHING:  # there is no registry
                return Reading([], [], False)
            if not half_written(error):
                raise
        else:
            names = [(thing["kind"], thing["name"]) for thing in found.objects]
            if not found.broken and (names == before or not in_place):
                return found
            before = names
        time.sleep(pause)
    return read_registry(open_store(options, session), bool(options.view))


def is_written_in_place(registry: Any) -> bool:
    return hasattr(getattr(registry, "_registry_store", None), "_filepath")


def half_written(error: BaseException) -> bool:
    return any(type(step).__name__ == "DecodeError" for step in chain(error))


def read_registry(store: Any, views_only: bool) -> Reading:
    found = Reading([], [], False)
    for kind, listing in KINDS.items():
        if views_only and not kind.endswith("feature_view"):
            continue
        try:
            listed = listed_objects(store, listing)
            things = [summary(kind, thing) for thing in listed if thing.name not in HIDDEN]
        except Exception as error:  # noqa: BLE001  (told as an event; the other kinds are still of use)
            found.errors.append((kind, described(error)))
            found = found._replace(broken=found.broken or half_written(error))
            continue
        ordered = sorted(things, key=lambda thing: str(thing["name"]))
        found.objects.extend({"project": store.project, **thing} for thing in ordered)
    return found
