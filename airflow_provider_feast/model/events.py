"""Errors in the events that triggers send: written in the triggerer, raised in the worker."""

from __future__ import annotations

from airflow_provider_feast.model.errors import ERRORS, FeastError, FeastTransientError


def told_error(error: FeastError) -> dict[str, str]:
    """An error as an event holds it; :func:`raise_told` raises it again."""
    return {"kind": error.kind, "what": error.what, "where": error.where, "remedy": error.remedy}


def raise_told(event: object) -> None:
    """Raise the error that a trigger's event tells of, if it tells of one.

    :param event: what the triggerer sent.
    :raises FeastError: the error, or that the event is not one of ours.
    """
    if not isinstance(event, dict) or "job" not in event:
        raise FeastTransientError(
            f"the triggerer sent an event that names no Job: {event!r}", remedy="run the task again"
        )
    if told := event.get("error"):
        cls = ERRORS.get(told["kind"], FeastError)
        raise cls(told["what"], where=told.get("where", ""), remedy=told.get("remedy", ""))
