"""Tables: what `kubectl get` prints. Rows of built-in kinds are in `table_rows.py`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airflow_provider_feast.sandbox import jsonpath
from airflow_provider_feast.sandbox.ages import age
from airflow_provider_feast.sandbox.resources import Resource
from airflow_provider_feast.sandbox.shapes import Obj
from airflow_provider_feast.sandbox.table_rows import KINDS, PLAIN, Row

_NAME = "Name"
_ENDED = {
    "Succeeded": "The pod has completed successfully.",
    "Failed": "The pod failed.",
}


@dataclass(frozen=True)
class Column:
    """One column; those of priority 1 are for `-o wide`."""

    name: str
    type: str = "string"
    priority: int = 0
    description: str = ""

    @property
    def definition(self) -> Obj:
        return {
            "name": self.name,
            "type": self.type,
            "format": "name" if self.name == _NAME else "",
            "description": self.description or self.name,
            "priority": self.priority,
        }


def table(
    resource: Resource, objects: list[Obj], meta: Obj, *, include: str = "Metadata", header: bool = True
) -> Obj:
    """A `meta.k8s.io/v1` Table of objects of one kind."""
    columns, row = _layout(resource)
    rows = []
    for obj in objects:
        partial = {
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": obj["metadata"],
        }
        found: Obj = {"cells": row(obj), "object": obj if include == "Object" else partial}
        if resource.kind == "Pod" and obj["status"].get("phase") in _ENDED:
            found["conditions"] = [_completed(obj["status"]["phase"])]
        rows.append(found)
    kind: Obj = {"kind": "Table", "apiVersion": "meta.k8s.io/v1", "metadata": meta}
    definitions = [column.definition for column in columns] if header else None
    return kind | {"columnDefinitions": definitions, "rows": rows}


def _completed(phase: str) -> Obj:
    return {"type": "Completed", "status": "True", "reason": phase, "message": _ENDED[phase]}


def _layout(resource: Resource) -> tuple[list[Column], Row]:
    if resource.columns:
        return _custom(resource.columns)
    names, row = KINDS.get(resource.kind, PLAIN) if not resource.custom else PLAIN
    return [Column(name.removeprefix("+"), priority=int(name.startswith("+"))) for name in names], row


def _custom(columns: tuple[Obj, ...]) -> tuple[list[Column], Row]:
    """The `additionalPrinterColumns` of a custom resource."""
    layout = [Column(_NAME)]
    cells: list[Callable[[Obj], Any]] = [lambda obj: obj["metadata"]["name"]]
    for given in columns:
        kind = given["type"]
        layout.append(Column(given["name"], kind, given.get("priority", 0), given.get("description", "")))
        cells.append(_cell(given["jsonPath"], kind))
    return layout, lambda obj: [cell(obj) for cell in cells]


def _cell(path: str, kind: str) -> Callable[[Obj], Any]:
    steps = jsonpath.parse(path) or []

    def found(obj: Obj) -> Any:
        value = jsonpath.find(steps, obj)
        return value if kind != "date" or value is None else _date(value)

    return found


def _date(value: Any) -> str:
    try:
        return age(str(value))
    except ValueError:
        return "<invalid>"
