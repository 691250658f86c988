"""Which arguments of an operator are known when a DAG file is parsed."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any


def literal(value: Any) -> bool:
    """Whether a value is known at parse: no Jinja, no XComArg, nothing of those inside."""
    if isinstance(value, str):
        return not any(mark in value for mark in ("{{", "{%", "{#"))
    if isinstance(value, dict):
        return all(literal(item) for pair in value.items() for item in pair)
    if isinstance(value, (list, tuple, set, frozenset)):
        return all(literal(item) for item in value)
    return value is None or isinstance(value, (bool, int, float, date, timedelta))
