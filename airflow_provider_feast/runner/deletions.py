"""``feast apply`` deletes what is missing from the definitions, online tables included: only when that is allowed."""

from __future__ import annotations

from typing import Any, Callable

from airflow_provider_feast.runner.basics import REFUSED, Failure, wrap
from airflow_provider_feast.runner.output import Output

MOST_NAMES = 20


def guard_deletions(output: Output, allowed: bool) -> None:
    """Look at what Feast is about to delete, before it changes anything; refuse it unless it is allowed."""
    from feast import repo_operations

    def extract(original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        found = original(*args, **kwargs)
        names = sorted(f"{type(thing).__name__} {thing.name}" for thing in found[1])
        if names:
            output.event("apply_deletes", objects=names, allowed=allowed)
            if not allowed:
                raise refused(names)
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
