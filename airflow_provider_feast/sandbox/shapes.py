"""Names for the shapes that Kubernetes objects have as JSON."""

from collections.abc import Mapping
from typing import Any

Obj = dict[str, Any]
ReadOnlyObj = Mapping[str, Any]


def clone(value: Any) -> Any:
    """Copy a JSON value deeply (several times quicker than `copy.deepcopy`)."""
    if isinstance(value, dict):
        return {key: clone(item) for key, item in value.items()}
    if isinstance(value, list):
        return [clone(item) for item in value]
    return value
