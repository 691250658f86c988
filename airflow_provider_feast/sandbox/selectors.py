"""Label and field selectors, in the query's own syntax and as `LabelSelector` objects."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_feast.sandbox import status
from airflow_provider_feast.sandbox.shapes import ReadOnlyObj

Predicate = Callable[[ReadOnlyObj], bool]

_LEXEME = re.compile(r"\s*(!=|==|=|!|\(|\)|,|[^\s!=(),]+)")
_WORD = re.compile(r"[^\s!=(),]+")
_END = ""


@dataclass(frozen=True)
class Requirement:
    """One term of a label selector."""

    label: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Mapping[str, str]) -> bool:
        present = self.label in labels
        if self.operator == "exists":
            return present
        if self.operator == "!":
            return not present
        if self.operator == "in":
            return present and labels[self.label] in self.values
        return not present or labels[self.label] not in self.values


class _LabelParser:
    """The grammar of k8s.io/apimachinery/pkg/labels, with its error messages."""

    def __init__(self, text: str) -> None:
        self._words = [match.group(1) for match in _LEXEME.finditer(text)]
        self._at = 0

    def parse(self) -> list[Requirement]:
        found: list[Requirement] = []
        while self._peek() != _END:
            found.append(self._requirement())
            word = self._next()
            if word not in (",", _END):
                raise _unparsable(word, "',' or 'end of string'")
            if word == "," and self._peek() == _END:
                raise _unparsable("", "identifier after ','")
        return found

    def _requirement(self) -> Requirement:
        if self._peek() == "!":
            self._next()
            return Requirement(self._identifier(), "!")
        label = self._identifier()
        operator = self._peek()
        if operator in {",", _END}:
            return Requirement(label, "exists")
        self._next()
        if operator in {"=", "==", "!="}:
            return Requirement(label, "in" if operator != "!=" else "notin", frozenset({self._value()}))
        if operator in {"in", "notin"}:
            return Requirement(label, operator, self._set())
        raise _unparsable(operator, "in, notin, =, ==, !=, gt, lt")

    def _set(self) -> frozenset[str]:
        word = self._next()
        if word != "(":
            raise _unparsable(word, "'('")
        values: set[str] = set()
        while True:
            word = self._next()
            if word == ")":
                return frozenset(values or {""})
            if word == _END:
                raise _unparsable("", "',', or ')'")
            if word != ",":
                values.add(word)

    def _value(self) -> str:
        word = self._peek()
        if word in {",", _END}:
            return ""
        if not _WORD.fullmatch(word):
            raise _unparsable(word, "identifier")
        return self._next()

    def _identifier(self) -> str:
        word = self._next()
        if not _WORD.fullmatch(word):
            raise _unparsable(word, "identifier")
        return word

    def _peek(self) -> str:
        return self._words[self._at] if self._at < len(self._words) else _END

    def _next(self) -> str:
        word = self._peek()
        self._at += 1
        return word


def _unparsable(found: str, expected: str) -> status.ApiError:
    return status.bad_request(f"unable to parse requirement: found '{found}', expected: {expected}")


def parse_labels(text: str) -> list[Requirement]:
    """Parse a `labelSelector` query parameter.

    Raises:
        ApiError: 400 when it cannot be read.
    """
    return _LabelParser(text).parse()


def label_predicate(text: str) -> Predicate | None:
    """A test of objects for a `labelSelector` parameter; `None` when it selects everything."""
    requirements = parse_labels(text)
    if not requirements:
        return None

    def matches(obj: ReadOnlyObj) -> bool:
        labels = obj["metadata"].get("labels") or {}
        return all(requirement.matches(labels) for requirement in requirements)

    return matches


def selector_matches(selector: ReadOnlyObj, labels: Mapping[str, str]) -> bool:
    """Whether a `LabelSelector` object selects these labels."""
    wanted = selector.get("matchLabels") or {}
    return all(labels.get(key) == value for key, value in wanted.items()) and all(
        expression_matches(rule, labels) for rule in selector.get("matchExpressions") or ()
    )


def expression_matches(rule: ReadOnlyObj, labels: Mapping[str, str]) -> bool:
    """One of `matchExpressions`, of label selectors and of node selectors."""
    key, values = rule["key"], list(rule.get("values") or ())
    if rule["operator"] in {"Gt", "Lt"}:
        if not labels.get(key, "").lstrip("-").isdigit():
            return False
        difference = int(labels[key]) - int(values[0])
        return difference > 0 if rule["operator"] == "Gt" else difference < 0
    operator = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}[rule["operator"]]
    return Requirement(key, operator, frozenset(values)).matches(labels)


_COMMON_FIELDS = ("metadata.name", "metadata.namespace")
_FIELDS = {
    "pods": (
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ),
    "events": (
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
    "jobs": ("status.successful",),
    "secrets": ("type",),
    "namespaces": ("status.phase",),
}


def field_predicate(plural: str, text: str) -> Predicate | None:
    """A test of objects for a `fieldSelector` parameter.

    Raises:
        ApiError: 400 for a field that this resource cannot be selected by.
    """
    terms = [_field_term(plural, term) for term in text.split(",") if term.strip()]
    if not terms:
        return None

    def matches(obj: ReadOnlyObj) -> bool:
        return all((_field(obj, path) == value) is equal for path, value, equal in terms)

    return matches


def _field_term(plural: str, term: str) -> tuple[str, str, bool]:
    operator = next((found for found in ("!=", "==", "=") if found in term), "")
    if not operator:
        raise status.bad_request(f"invalid selector: '{term}'; can't understand '{term}'")
    path, _, value = term.strip().partition(operator)
    if path not in (*_COMMON_FIELDS, *_FIELDS.get(plural, ())):
        raise status.bad_request(f"field label not supported: {path}")
    return path, value, operator != "!="


def _field(obj: ReadOnlyObj, path: str) -> str:
    if path == "status.successful":
        return str((obj.get("status") or {}).get("succeeded", 0))
    if path == "source":
        return str((obj.get("source") or {}).get("component", ""))
    value: Any = obj
    for part in path.split("."):
        value = (value or {}).get(part)
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def both(first: Predicate | None, second: Predicate | None) -> Predicate | None:
    """Objects that both predicates accept."""
    if first is None or second is None:
        return first or second
    return lambda obj: first(obj) and second(obj)
