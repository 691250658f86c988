"""Whether a registry says that a range of event time is loaded, and what is missing. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from airflow_provider_feast.model.errors import UnknownFeatureViewError
from airflow_provider_feast.model.registry import Records
from airflow_provider_feast.model.windows import Window
from airflow_provider_feast.runner.intervals import Span, missing, span_text

MOST_GAPS = 3
"""Gaps of a view that are told one by one."""

Lacking = Mapping[str, list[Span] | None]
"""What each view lacks that lacks something; ``None``: the view is not in the registry."""


def lacking(records: Records, views: Iterable[str], range_: Window) -> Lacking:
    """What is not loaded yet.

    :param records: what the registry says.
    :param views: their names.
    :param range_: what should be loaded.
    :raises UnknownFeatureViewError: for a view that will never be loaded.
    """
    wanted = list(views)
    if never := [name for name in wanted if name in records and not records[name].loadable]:
        raise UnknownFeatureViewError(
            f"{', '.join(never)}: the registry has it, but it is never loaded (it is disabled, on-demand, or not served "
            "online)",
            remedy="wait for feature views that are online; `feast feature-views list` shows them",
        )
    found = {name: missing(records[name].intervals, *range_) if name in records else None for name in wanted}
    return {name: gaps for name, gaps in found.items() if gaps is None or gaps}


def loadable(records: Records) -> list[str]:
    """The views that are loaded when nobody names one."""
    return sorted(name for name, record in records.items() if record.loadable)


def told(lacks: Lacking, range_: Window) -> str:
    """What is missing, as one line for the log."""
    return f"Not yet loaded of {span_text(range_)}: " + "; ".join(
        f"{name} (not in the registry yet)" if gaps is None else f"{name} {_gaps(gaps)}"
        for name, gaps in sorted(lacks.items())
    )


def _gaps(gaps: list[Span]) -> str:
    more = f" and {len(gaps) - MOST_GAPS} more" if len(gaps) > MOST_GAPS else ""
    return ", ".join(map(span_text, gaps[:MOST_GAPS])) + more
