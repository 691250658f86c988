"""Bounds that the schema of a custom resource sets: of numbers, of lengths, patterns and choices."""

import re
from collections.abc import Iterator
from typing import Any

from airflow_provider_feast.sandbox.shapes import Obj
from airflow_provider_feast.sandbox.status import Cause, unsupported, wrong


def of_scalar(schema: Obj, value: Any, path: str) -> Iterator[Cause]:
    """What is wrong with a number or a string."""
    if schema.get("enum") and value not in schema["enum"]:
        yield unsupported(path, value, schema["enum"])
    if isinstance(value, str):
        yield from _of_text(schema, value, path)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _of_number(schema, value, path)


def of_list(schema: Obj, value: list[Any], path: str) -> Iterator[Cause]:
    """What is wrong with the length of a list."""
    if len(value) > schema.get("maxItems", len(value)):
        message = f"Too many: {len(value)}: must have at most {schema['maxItems']} items"
        yield Cause("FieldValueTooMany", message, path)
    if len(value) < schema.get("minItems", 0):
        yield wrong(path, len(value), f"{path} in body should have at least {schema['minItems']} items")


def _of_text(schema: Obj, value: str, path: str) -> Iterator[Cause]:
    if len(value) > schema.get("maxLength", len(value)):
        message = f"Too long: may not be more than {schema['maxLength']} bytes"
        yield Cause("FieldValueTooLong", message, path)
    if len(value) < schema.get("minLength", 0):
        yield wrong(path, value, f"{path} in body should be at least {schema['minLength']} chars long")
    if schema.get("pattern") and not re.search(schema["pattern"], value):
        yield wrong(path, value, f"{path} in body should match '{schema['pattern']}'")


def _of_number(schema: Obj, value: float, path: str) -> Iterator[Cause]:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None:
        exclusive = schema.get("exclusiveMinimum")
        if value < low or (exclusive and value == low):
            equal = "" if exclusive else " or equal to"
            yield wrong(path, value, f"{path} in body should be greater than{equal} {low}")
    if high is not None:
        exclusive = schema.get("exclusiveMaximum")
        if value > high or (exclusive and value == high):
            equal = "" if exclusive else " or equal to"
            yield wrong(path, value, f"{path} in body should be less than{equal} {high}")
