"""Names, labels and keys: the rules of apimachinery's validation, in its words."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from airflow_provider_feast.sandbox.status import Cause, required, wrong

_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED = r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?"
_CONFIG_KEY = r"[-._a-zA-Z0-9]+"
_ENV = r"[-._a-zA-Z][-._a-zA-Z0-9]*"
_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    f"start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '{_SUBDOMAIN}')"
)
_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and "
    f"end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '{_LABEL}')"
)
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for "
    f"validation is '{_VALUE}')"
)
_NAME_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    f"'{_QUALIFIED}')"
)
_KEY_RULE = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or "
    f"'KEY_NAME',  or 'key-name', regex used for validation is '{_CONFIG_KEY}')"
)
ANNOTATIONS_LIMIT = 256 * 1024


def too_long(limit: int) -> str:
    return f"must be no more than {limit} bytes"


def dns_label(field: str, value: str) -> Iterator[Cause]:
    if len(value) > 63:
        yield wrong(field, value, too_long(63))
    if not re.fullmatch(_LABEL, value):
        yield wrong(field, value, _LABEL_RULE)


def dns_subdomain(field: str, value: str) -> Iterator[Cause]:
    if len(value) > 253:
        yield wrong(field, value, too_long(253))
    if not re.fullmatch(_SUBDOMAIN, value):
        yield wrong(field, value, _SUBDOMAIN_RULE)


def is_dns_label(value: str) -> bool:
    return not list(dns_label("", value))


def labels(field: str, found: Mapping[str, str] | None) -> Iterator[Cause]:
    for key, value in (found or {}).items():
        yield from qualified_name(field, key)
        if len(value) > 63:
            yield wrong(field, value, too_long(63))
        if not re.fullmatch(_VALUE, value):
            yield wrong(field, value, _VALUE_RULE)


def annotations(field: str, found: Mapping[str, str] | None) -> Iterator[Cause]:
    size = 0
    for key, value in (found or {}).items():
        yield from qualified_name(field, key.lower())
        size += len(key.encode()) + len(value.encode())
    if size > ANNOTATIONS_LIMIT:
        message = f"Too long: may not be more than {ANNOTATIONS_LIMIT} bytes"
        yield Cause("FieldValueTooLong", message, field)


def qualified_name(field: str, key: str) -> Iterator[Cause]:
    prefix, slash, name = key.rpartition("/")
    if slash and not re.fullmatch(_SUBDOMAIN, prefix):
        yield wrong(field, key, f"prefix part {_SUBDOMAIN_RULE}")
    if not name:
        yield wrong(field, key, "name part must be non-empty")
    elif len(name) > 63:
        yield wrong(field, key, f"name part {too_long(63)}")
    if not re.fullmatch(_QUALIFIED, name):
        yield wrong(field, key, _NAME_RULE)


def config_key(field: str, key: str) -> Iterator[Cause]:
    if len(key) > 253:
        yield wrong(field, key, too_long(253))
    if not re.fullmatch(_CONFIG_KEY, key) or key in {".", ".."}:
        yield wrong(field, key, _KEY_RULE)


def environment_name(field: str, name: Any) -> Iterator[Cause]:
    if not name:
        yield required(field)
    elif any(not 0x20 <= ord(char) <= 0x7E or char == "=" for char in name):
        rule = (
            "a valid environment variable name must consist only of printable ASCII characters other than '='"
        )
        yield wrong(field, name, rule)
