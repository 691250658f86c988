"""Secrets that stand in plain text where everybody who may read Jobs and ConfigMaps can read them: found, not quoted."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

SECRET_NAME = re.compile(
    r"passw|passphrase|secret|token|credential|api_?key|access_?key|private_?key|account_?key|conn(ection)?_?str",
    re.I,
)
"""Names whose values are secrets more often than not; the runner has the same."""

_SHORTEST = 6
_PASSWORD = re.compile(
    r"://[^/\s:@]*:([^/\s@$]+)@"
    r"|\b(?:password|passwd|pwd|secret|token|(?:account|access|api|shared_?access)_?key)=([^\s;,&$]+)",
    re.I,
)


def passwords_in(text: str) -> list[str]:
    """The passwords inside an address or a connection string; one with a ``$`` in it counts as a reference."""
    return [password for match in _PASSWORD.finditer(text) for password in match.groups() if password]


def in_configuration(content: Any, place: str = "") -> Iterator[str]:
    """The places in a configuration where a secret stands in plain text, or something that is called like one.

    :param content: a parsed feature_store.yaml; text with a ``$`` in it counts as a reference.
    """
    if isinstance(content, Mapping):
        for key, value in content.items():
            here = f"{place}.{key}" if place else str(key)
            called_so = SECRET_NAME.search(str(key)) and isinstance(value, str) and value and "$" not in value
            if called_so:
                yield here
            else:
                yield from in_configuration(value, here)
    elif isinstance(content, list):
        for number, value in enumerate(content):
            yield from in_configuration(value, f"{place}[{number}]")
    elif isinstance(content, str) and passwords_in(content):
        yield place


def in_environment(env: Mapping[str, Any]) -> Iterator[str]:
    """Variables that are called like secrets, or hold a password, and stand in plain text."""
    for name, value in env.items():
        called_so = SECRET_NAME.search(name) and not name.upper().endswith(("_FILE", "_PATH"))
        if isinstance(value, str) and ((called_so and len(value) >= _SHORTEST) or passwords_in(value)):
            yield name
