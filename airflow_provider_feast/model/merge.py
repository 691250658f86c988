"""A partial Job in Kubernetes' own spelling, merged over another: ``job_overrides``."""

from __future__ import annotations

from typing import Any

from airflow_provider_feast.model.errors import FeastDagError
from airflow_provider_feast.model.naming import PREFIX
from airflow_provider_feast.model.shape import check_shape

MERGE_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
}
"""Lists that merge item by item, and the field that names an item. Every other list is replaced."""

_OURS = {
    ("apiVersion",): "it is a batch/v1 Job",
    ("kind",): "it is a batch/v1 Job",
    ("status",): "the cluster writes it",
    ("metadata", "name"): "it is how a retry finds its Job again",
    ("metadata", "generateName"): "it is how a retry finds its Job again",
    ("metadata", "namespace"): "set namespace= on the operator or the connection",
    ("spec", "selector"): "the cluster sets it",
    ("spec", "manualSelector"): "the cluster sets it",
    ("spec", "completions"): "one Job runs one command",
    ("spec", "completionMode"): "one Job runs one command",
    ("spec", "parallelism"): "two pods at once would write the online store twice",
    ("spec", "suspend"): "a Job is born suspended and resumed when all it needs exists",
}


_MAPS = (
    ("metadata",),
    ("metadata", "labels"),
    ("metadata", "annotations"),
    ("spec",),
    ("spec", "template"),
    ("spec", "template", "metadata"),
    ("spec", "template", "metadata", "labels"),
    ("spec", "template", "spec"),
)
"""Parts of a Job that are never deleted or replaced as a whole."""


def merge(base: Any, override: Any, _field: str = "", *, keep_null: bool = False) -> Any:
    """Merge ``override`` over ``base`` and return the result; neither is changed.

    Maps merge deeply; the lists of :data:`MERGE_KEYS` by their key; other lists and all scalars
    replace; ``None`` deletes; ``0`` and ``False`` win like any other value.

    :param keep_null: keep ``None`` instead of deleting: the result of two overrides is an override.
    """
    if isinstance(base, dict) and isinstance(override, dict):
        merged = {
            key: value
            for key, value in base.items()
            if override.get(key, key) is not None and (keep_null or value is not None)
        }
        for key, value in override.items():
            if value is not None:
                merged[key] = merge(base.get(key), value, key, keep_null=keep_null)
            elif keep_null:
                merged[key] = None
        return merged
    if isinstance(override, dict):
        return merge({}, override, keep_null=keep_null)
    if isinstance(override, list):
        key = MERGE_KEYS.get(_field)
        if key:
            return _merge_items(base if isinstance(base, list) else [], override, key, keep_null)
        return list(override)
    return override


def _merge_items(base: list[Any], override: list[Any], key: str, keep_null: bool) -> list[Any]:
    merged = list(base)
    for item in override:
        if not isinstance(item, dict) or key not in item:
            raise FeastDagError(
                f"job_overrides holds a list item without {key!r}: {item!r}",
                remedy=f"say which item is meant with {key!r}",
            )
        at = next(
            (i for i, old in enumerate(merged) if isinstance(old, dict) and old.get(key) == item[key]), None
        )
        if at is None:
            merged.append(merge({}, item, keep_null=keep_null))
        else:
            merged[at] = merge(merged[at], item, keep_null=keep_null)
    return merged


def check_overrides(overrides: Any, our_labels: frozenset[str] = frozenset()) -> None:
    """Refuse an override of what the provider itself must decide.

    :param overrides: the value of ``job_overrides``.
    :param our_labels: label keys that the provider sets.
    :raises FeastDagError: naming the field and why it is refused.
    """
    if not isinstance(overrides, dict):
        raise FeastDagError(
            f"job_overrides is {type(overrides).__name__}, not a mapping",
            remedy="give a partial Job, e.g. {'spec': {'template': {'spec': {'hostNetwork': False}}}}",
        )
    for path, why in _OURS.items():
        if _has(overrides, path):
            raise FeastDagError(
                f"job_overrides sets {'.'.join(path)}, which is refused: {why}", remedy="leave it out"
            )
    for path in _MAPS:
        if _has(overrides, path) and not isinstance(_get(overrides, path), dict):
            raise FeastDagError(
                f"job_overrides sets {'.'.join(path)} to {_get(overrides, path)!r}, which would take the Job's own "
                "parts away",
                remedy="give a mapping with what you want to change in it, or leave it out",
            )
    for path in (("metadata", "labels"), ("spec", "template", "metadata", "labels")):
        labels = _get(overrides, path)
        if taken := sorted(our_labels.intersection(labels or ())):
            raise FeastDagError(
                f"job_overrides sets the label {taken[0]!r} in {'.'.join(path)}, by which Jobs are found",
                remedy="use a label key of your own",
            )
    for key in _get(overrides, ("metadata", "annotations")) or ():
        if str(key).startswith(f"{PREFIX}/"):
            raise FeastDagError(
                f"job_overrides sets the annotation {key!r}, in which the provider notes what a Job is for",
                remedy="use an annotation key of your own",
            )
    check_shape(overrides, "job_overrides", whole=False)


def _get(value: Any, path: tuple[str, ...]) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _has(value: Any, path: tuple[str, ...]) -> bool:
    parent = _get(value, path[:-1]) if path[:-1] else value
    return isinstance(parent, dict) and path[-1] in parent
