"""Decoding: unknown fields and wrong types, by the schemas that kubernetes-validate ships.

The schemas are kubernetes-validate's; the walk over them is ours because clients must see the words of Go's
decoder (`unknown field "spec.x"`), which a JSON Schema validator does not know, and because it is quick.
"""

import importlib.util
import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from airflow_provider_feast.sandbox import clock, quantity
from airflow_provider_feast.sandbox.shapes import Obj, ReadOnlyObj

NEWEST_MINOR = 36
_REF = re.compile(r"\$defs/(.+)$")
_ZONE = r"(Z|[+-]\d\d:\d\d)"
_SECONDS = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d"
# Layout of Go, what it reads, and how the server writes it. Go reads a fraction of any length into a `Time`.
_LAYOUTS: dict[str, tuple[str, re.Pattern[str], Callable[[datetime], str]]] = {
    "Time": ("2006-01-02T15:04:05Z07:00", re.compile(rf"{_SECONDS}(\.\d+)?{_ZONE}"), clock.stamp),
    "MicroTime": (
        "2006-01-02T15:04:05.000000Z07:00",
        re.compile(rf"{_SECONDS}\.\d{{6}}{_ZONE}"),
        clock.micro_stamp,
    ),
}
_PLAIN = frozenset(
    {"Quantity", "IntOrString", "FieldsV1", "JSON", "JSONSchemaPropsOrBool", "JSONSchemaPropsOrArray"}
)
_JSON_NAMES = {bool: "bool", str: "string", int: "number", float: "number", list: "array", dict: "object"}


@dataclass
class Findings:
    """What is wrong with a body: `unknown` fields, and the first wrong type in Go's words."""

    unknown: list[str] = field(default_factory=list)
    wrong_type: str = ""


@cache
def definitions() -> dict[str, Obj]:
    """The definitions of the newest Kubernetes that the sandbox imitates, by their OpenAPI name."""
    spec = importlib.util.find_spec("kubernetes_validate")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError(
            "the sandbox needs kubernetes-validate: pip install 'airflow-provider-feast[sandbox]'"
        )
    root = Path(spec.submodule_search_locations[0]) / "kubernetes-json-schema"
    versions = [
        (int(match.group(1)), path)
        for path in root.iterdir()
        if (match := re.fullmatch(r"v1\.(\d+)\.\d+-local-strict", path.name))
    ]
    _, newest = max(item for item in versions if item[0] <= NEWEST_MINOR)
    found: dict[str, Obj] = json.loads((newest / "_definitions.json").read_bytes())["$defs"]
    return found


@cache
def _by_kind() -> dict[tuple[str, str, str], str]:
    return {
        (gvk["group"], gvk["version"], gvk["kind"]): name
        for name, definition in definitions().items()
        for gvk in definition.get("x-kubernetes-group-version-kind", ())
    }


def definition_of(group: str, version: str, kind: str) -> str | None:
    """The name of a kind's definition; `None` when there is no schema for it."""
    return _by_kind().get((group, version, kind))


def decode(definition: str, body: Obj) -> tuple[Obj, Findings]:
    """Copy a body without the fields its schema does not know, and say what was wrong with it."""
    walk = _Walk()
    copy = walk.value({"$ref": f"#/$defs/{definition}"}, body, "", "")
    return copy, walk.findings


class _Walk:
    def __init__(self) -> None:
        self.findings = Findings()

    def value(self, schema: ReadOnlyObj, value: Any, path: str, owner: str) -> Any:
        """Check one value; `owner` is the Go struct that holds it."""
        match = _REF.search(schema.get("$ref", ""))
        if match:
            return self._definition(match.group(1), value, path, owner)
        if value is None:
            return None
        kinds = schema.get("type")
        kind = next((k for k in kinds if k != "null"), None) if isinstance(kinds, list) else kinds
        if kind == "object":
            return self._map(schema, value, path, owner)
        if kind == "array":
            return self._list(schema, value, path, owner)
        self._scalar(schema, kind, value, path, owner)
        return value

    def _definition(self, name: str, value: Any, path: str, owner: str) -> Any:
        if value is None:
            return None
        schema = definitions()[name]
        short = name.rsplit(".", 1)[1]
        if short in _LAYOUTS or short in _PLAIN:
            return self._plain(short, value)
        if "properties" not in schema:
            return self.value(schema, value, path, owner)
        if not isinstance(value, dict):
            self._unmarshal(value, path, owner, f"v1.{short}")
            return value
        return self._struct(schema, value, path, short)

    def _plain(self, kind: str, value: Any) -> Any:
        """A value that is no struct: a time, a quantity, or anything."""
        if kind in _LAYOUTS:
            return self._moment(kind, value)
        if kind == "Quantity" and not quantity.is_quantity(value):
            self._wrong(f"quantities must match the regular expression '{quantity.PATTERN}'")
        return value

    def _moment(self, kind: str, value: Any) -> Any:
        """A time, in UTC as the server writes it."""
        layout, pattern, write = _LAYOUTS[kind]
        if not isinstance(value, str):
            self._wrong(f"json: cannot unmarshal {_JSON_NAMES[type(value)]} into Go value of type string")
            return value
        if pattern.fullmatch(value):
            with suppress(ValueError):
                return write(clock.parse_stamp(value))
        seconds = re.match(_SECONDS, value)
        rest, expected = (value[seconds.end() :], layout[19:]) if seconds else (value, "2006")
        expected = ".000000" if expected.startswith(".") else expected
        self._wrong(f'parsing time "{value}" as "{layout}": cannot parse "{rest}" as "{expected}"')
        return value

    def _struct(self, schema: ReadOnlyObj, value: Obj, path: str, name: str) -> Obj:
        known = schema["properties"]
        copy: Obj = {}
        for key, item in value.items():
            where = f"{path}.{key}" if path else key
            if key in known:
                copy[key] = self.value(known[key], item, where, name)
            elif schema.get("additionalProperties") is False:
                self.findings.unknown.append(where)
            else:
                copy[key] = item
        return copy

    def _map(self, schema: ReadOnlyObj, value: Any, path: str, owner: str) -> Any:
        if not isinstance(value, dict):
            self._unmarshal(value, path, owner, "map[string]string")
            return value
        items = schema.get("additionalProperties")
        if not isinstance(items, dict):
            return value
        return {key: self.value(items, item, f"{path}.{key}", owner) for key, item in value.items()}

    def _list(self, schema: ReadOnlyObj, value: Any, path: str, owner: str) -> Any:
        items = schema.get("items", {})
        if not isinstance(value, list):
            match = _REF.search(items.get("$ref", ""))
            of = f"v1.{match.group(1).rsplit('.', 1)[1]}" if match else "string"
            self._unmarshal(value, path, owner, f"[]{of}")
            return value
        return [self.value(items, item, f"{path}[{at}]", owner) for at, item in enumerate(value)]

    def _scalar(self, schema: ReadOnlyObj, kind: str | None, value: Any, path: str, owner: str) -> None:
        expected = {
            "string": isinstance(value, str),
            "boolean": isinstance(value, bool),
            "integer": isinstance(value, int) and not isinstance(value, bool),
            "number": isinstance(value, int | float) and not isinstance(value, bool),
        }
        if kind is not None and not expected.get(kind, True):
            default = {"boolean": "bool", "integer": "int64", "number": "float64"}.get(kind, kind)
            number = kind in {"integer", "number"}
            self._unmarshal(value, path, owner, schema.get("format", default) if number else default)

    def _unmarshal(self, value: Any, path: str, owner: str, wanted: str) -> None:
        got = _JSON_NAMES[type(value)]
        if got == "number":
            got = f"number {value}" if isinstance(value, float) else "number"
        where = re.sub(r"\[\d+\]", "", path)
        self._wrong(f"json: cannot unmarshal {got} into Go struct field {owner}.{where} of type {wanted}")

    def _wrong(self, message: str) -> None:
        self.findings.wrong_type = self.findings.wrong_type or message
