"""What the runner left in a pod's termination message, and how far a command had come by then."""

from __future__ import annotations

from airflow_provider_feast.jobs.feast_texts import shorten
from airflow_provider_feast.jobs.pod_view import PodView, text
from airflow_provider_feast.model.result import CommandResult


def result_of(pod: PodView) -> CommandResult | None:
    """What the runner left in the main container's termination message."""
    main = pod.main
    return CommandResult.parse(text(main.ended.get("message"))) if main else None


def progress(result: CommandResult | None) -> str:
    """What a command had done before it was stopped, as a sentence that begins with a blank, or ""."""
    if result is None or not (result.views or result.views_omitted):
        return ""
    done = [
        f"{name} ({totals.rows} rows)" if totals.rows is not None else name
        for name, totals in sorted(result.views.items())
    ]
    omitted = [f"{result.views_omitted} more"] if result.views_omitted else []
    return f" Written before that: {shorten(', '.join(done + omitted), 200)}."
