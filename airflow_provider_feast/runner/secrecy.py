"""What must not be printed: the values of Secrets, in all their forms."""

from __future__ import annotations

import base64
import contextlib
import html
import json
import os
import re
import urllib.parse
from typing import Any, Iterator

from airflow_provider_feast.runner.basics import LARGE_SECRET, MIN_SECRET, one_line
from airflow_provider_feast.runner.configuration import variables

_SECRET_NAME = re.compile(
    r"passw|passphrase|secret|token|credential|api_?key|access_?key|private_?key|account_?key|conn(ection)?_?str",
    re.I,
)
_NO_SECRET = re.compile(r"_(file|path|dir|ur[il]|uri_prefix)$", re.I)
_PUBLIC_KEYS = ("project", "provider", "type", "registry_type", "registry_store_type")
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\s*", re.S)
_UNDECODED = re.compile(r"[\udc80-\udcff]")
_ESCAPE = re.compile(r"\\u([0-9a-f]{4})")
_PART = re.compile(r"(?:password|passwd|pwd|secret|token|key)=([^\s;,&]+)", re.I)


def secrets_of(text: str) -> list[str]:
    """The values of the variables that a configuration uses."""
    return [os.environ.get(name, "") for name in variables(text)]


def secret_variables(names: list[str]) -> list[str]:
    """The values of variables that come from Secrets, or are called like secrets."""
    told = [os.environ.get(name, "") for name in names]
    guessed = [
        value
        for name, value in os.environ.items()
        if _SECRET_NAME.search(name) and not _NO_SECRET.search(name)
    ]
    return told + guessed


def secret_files(places: list[str]) -> list[str]:
    """The values of mounted Secrets: directories, or single files."""
    found = []
    for place in places:
        for path in files_below(place) if os.path.isdir(place) else [place]:
            if os.path.isfile(path):
                with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
                    found.append(file.read())
    return found


def files_below(directory: str) -> Iterator[str]:
    """The files of a mounted volume, which are symbolic links into directories whose names begin with ``..``."""
    for root, directories, names in os.walk(directory, followlinks=True):
        directories[:] = [name for name in directories if not name.startswith("..")]
        yield from (os.path.join(root, name) for name in names)


def secrets_in(content: Any, key: str = "") -> Iterator[str]:
    """The values of a configuration that lies in a Secret, but for what every error message needs."""
    if isinstance(content, dict):
        for name, value in content.items():
            yield from secrets_in(value, str(name))
    elif isinstance(content, list):
        for value in content:
            yield from secrets_in(value, key)
    elif isinstance(content, str) and key not in _PUBLIC_KEYS:
        yield content
        yield os.path.expandvars(content)
    elif isinstance(content, (int, float)) and _SECRET_NAME.search(key):
        yield str(content)


def secrets_of_json(value: str) -> list[str]:
    """What a JSON text holds under names of secrets, such as the key of a service account."""
    if not value.lstrip().startswith(("{", "[")):
        return []
    try:
        left, found = [json.loads(value)], []
    except (ValueError, RecursionError):
        return []
    while left:
        item = left.pop()
        left += item if isinstance(item, list) else item.values() if isinstance(item, dict) else ()
        for name, inner in item.items() if isinstance(item, dict) else ():
            if isinstance(inner, str) and _SECRET_NAME.search(name) and not _NO_SECRET.search(name):
                found.append(inner)
    return found


def _as_yaml(match: re.Match[str]) -> str:
    """A character that JSON escapes, as YAML does."""
    code = match[1].upper()
    return f"\\x{code[2:]}" if code.startswith("00") else f"\\u{code}"


def parts(value: str) -> set[str]:
    """What of a secret is masked by itself: the whole, each line, passwords inside. Of a large one, the lines of text."""
    if len(value) > LARGE_SECRET:
        return set() if _UNDECODED.search(value) else set(value.splitlines())
    found = {value, value.strip(), one_line(value), *value.splitlines()}
    found |= {match[1] for match in _PART.finditer(value)}
    inner = (line for text in secrets_of_json(value) for line in text.splitlines())
    found |= {line for line in inner if not line.startswith("-----")}
    with contextlib.suppress(ValueError):
        password = urllib.parse.urlsplit(value).password or ""
        found |= {password, urllib.parse.unquote(password)}
    return found


def in_base64(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "surrogateescape")).decode().rstrip("=")


def forms(value: str) -> Iterator[str]:
    """A secret as it may show up: its parts, and as other languages spell them. Certificates are none."""
    value = _CERTIFICATE.sub("", value)
    if len(value) > LARGE_SECRET:
        yield in_base64(value)
    for line in (part for part in parts(value) if len(part) >= MIN_SECRET):
        yield line
        yield urllib.parse.quote(line, safe="", errors="surrogateescape")
        yield urllib.parse.quote_plus(line, errors="surrogateescape")
        yield from (repr(line)[1:-1], ascii(line)[1:-1], json.dumps(line, ensure_ascii=False)[1:-1])
        plain = json.dumps(line)[1:-1]
        yield from (plain, _ESCAPE.sub(_as_yaml, plain))
        yield from (line.replace("'", "''"), html.escape(line), html.escape(line, quote=False))
        yield in_base64(line)
