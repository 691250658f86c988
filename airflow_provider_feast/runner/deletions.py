"""``feast apply`` deletes what is missing from the definitions, online tables included: only when that is allowed."""

from __future__ import annotations

from typing import Any, Callable

from airflow_provider_feast.runner.basics import REFUSED, Failure, wrap
from airflow_provider_feast.runner.output import Output
from airflow_provider_feast.runner.report import Report

MOST_NAMES = 20


def named(things: Any) -> list[str]:
    """Objects of Feast as people read them, e.g. ``FeatureView driver_stats``."""
    return sorted({f"{type(thing).__name__} {thing.name}" for thing in things})


def guard_deletions(output: Output, allowed: Any) -> None:
    """Look at what ``apply`` is about to delete, before it changes anything; refuse what is not allowed.

    :param allowed: true for everything, or the objects that may go, as :func:`named` writes them.
    """
    from feast import repo_operations

    def extract(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        found = original(*args, **kwargs)
        names = named(found[1])
        kept = [] if allowed is True else [name for name in names if name not in allowed]
        if names:
            output.event("apply_deletes", objects=names, allowed=not kept)
        if kept:
            raise refused(kept)
        return found

    wrap(repo_operations, "extract_objects_for_apply_delete", extract)


def refused(names: list[str]) -> Failure:
    listed = ", ".join(names[:MOST_NAMES])
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return Failure(
        REFUSED,
        "deletions_refused",
        f"apply would delete {len(names)} of the registry's objects, which the definitions lack: {listed}{more}. "
        "Nothing was changed. Put them back into the definitions, or allow it with allow_deletions=True",
    )


def tell_changes(report: Report) -> None:
    """Have the result of ``plan`` say what ``apply`` would do; what it would delete is found as apply finds it."""
    from feast import FeatureStore, repo_operations

    operations: Any = repo_operations

    def plan(original: Callable[..., Any], store: Any, contents: Any, *args: Any, **kwargs: Any) -> Any:
        planned = original(store, contents, *args, **kwargs)
        steps: dict[str, list[Any]] = {"CREATE": [], "UPDATE": []}
        for change in planned[0].feast_object_diffs:
            steps.get(change.transition_type.name, []).append(change.new_feast_object)
        gone = operations.extract_objects_for_apply_delete(store.project, store.registry, contents)[1]
        report.changes(
            {"delete": named(gone), "create": named(steps["CREATE"]), "update": named(steps["UPDATE"])}
        )
        return planned

    wrap(FeatureStore, "plan", plan)
