"""Names, keys, paths and plain values that an author gives: what the cluster would refuse is refused here."""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Mapping
from typing import Any, TypeGuard

from airflow_provider_feast.model.errors import FeastDagError

_OBJECT_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_KEY = re.compile(r"(?!\.\.)[-._a-zA-Z0-9]{1,253}")
_PATH_BYTES = 1024

MOST_NODES = 20_000
"""Values inside one value (a mapping counts one, plus what is in it); a feature_store.yaml has some dozens."""

DEEPEST = 50
LONGEST_ARGUMENT = 100_000
"""Bytes of one argument or variable; Linux starts no program with one of 128 KiB."""

_LARGEST = 2**63


def check_object_name(name: Any, what: str) -> str:
    """A Kubernetes object's name (DNS-1123 subdomain).

    :raises FeastDagError: when the API would refuse it.
    """
    if not isinstance(name, str) or not _OBJECT_NAME.fullmatch(name):
        raise FeastDagError(
            f"{what}={name!r} cannot be the name of a Kubernetes object",
            remedy="use lower-case letters, digits, '-' and '.', at most 253, no '-' at an end or beside a '.'",
        )
    return name


def check_key(key: Any, what: str) -> str:
    """A key of a ConfigMap or Secret; it becomes a file name.

    :raises FeastDagError: when the API would refuse it.
    """
    if not isinstance(key, str) or key in (".", "..") or not _KEY.fullmatch(key):
        raise FeastDagError(
            f"{what}={key!r} cannot be a key of a ConfigMap or Secret",
            remedy="use letters, digits, '-', '_' and '.', such as feature_store.yaml",
        )
    return key


def check_path(path: Any, what: str) -> str:
    """An absolute path inside the container.

    :raises FeastDagError: when it is relative or leaves its parent.
    """
    if (
        not _writable_text(path)
        or not path.startswith("/")
        or ".." in path.split("/")
        or not posixpath.normpath(path).strip("/")
    ):
        raise FeastDagError(
            f"{what}={path!r} is not a path inside the image",
            remedy="give an absolute path without '..', e.g. /app/repo",
        )
    return "/" + posixpath.normpath(path).lstrip("/")  # normpath keeps two leading slashes


def check_subdirectory(path: Any, what: str) -> str:
    """A directory below another one: relative, and never above it; "" is the directory itself.

    :raises FeastDagError: when it is absolute, leaves its parent or is not text that can be a path.
    """
    if (
        not _writable_text(path)
        or path.startswith("/")
        or {"..", ".git"}.intersection(path.split("/"))
        or len(path.encode()) > _PATH_BYTES
    ):
        raise FeastDagError(
            f"{what}={path!r} is not a directory inside the repository",
            remedy="give a relative path without '..', e.g. features/production",
        )
    found = posixpath.normpath(path)
    return "" if found == "." else found


def check_image(image: Any, what: str) -> str:
    """An image's reference, as far as blanks go; what else is wrong the container runtime says.

    :raises FeastDagError: for blanks in it.
    """
    if not isinstance(image, str) or not image.isprintable() or any(letter.isspace() for letter in image):
        raise FeastDagError(f"{what}={image!r} has blanks in it", remedy="write NAME:TAG or NAME@sha256:…")
    return image


def _writable_text(value: Any) -> TypeGuard[str]:
    """Whether it is text that a path or argument can hold: one line, no control characters, real characters."""
    return isinstance(value, str) and value.isprintable()  # NUL, line ends and lone surrogates are not


def text_problem(text: str) -> str:
    """Why a text cannot be an argument or a variable of a process, or ""."""
    if "\x00" in text:
        return "holds NUL"
    if _has_half_pair(text):
        return "holds half of a character pair, which is no Unicode"
    return f"is longer than {LONGEST_ARGUMENT} bytes" if len(text.encode()) > LONGEST_ARGUMENT else ""


def _has_half_pair(text: str) -> bool:
    return any("\ud800" <= letter <= "\udfff" for letter in text)


def check_plain(value: Any, what: str) -> None:
    """See that a value is plain JSON of a sane size, so that every part of the system can carry it.

    :raises FeastDagError: for other types, too deep or too many values, and text that is no Unicode.
    """
    left = MOST_NODES
    stack = [(value, what, 0)]
    while stack:
        item, place, depth = stack.pop()
        left -= 1
        if left < 0 or depth > DEEPEST:
            raise FeastDagError(
                f"{what} is too large: more than {MOST_NODES} values, or nested deeper than {DEEPEST}",
                remedy="keep only what is needed",
            )
        if isinstance(item, Mapping):
            for key, inner in item.items():
                if not isinstance(key, str):
                    raise FeastDagError(
                        f"{place} has the key {key!r}, which is not text", remedy="use text as keys"
                    )
                _check_text(key, f"a key of {place}")
                stack.append((inner, f"{place}.{key}"[-200:], depth + 1))
        elif isinstance(item, (list, tuple)):
            stack.extend((inner, f"{place}[…]"[-200:], depth + 1) for inner in item)
        elif isinstance(item, str):
            _check_text(item, place)
        elif not _is_plain(item):
            raise FeastDagError(
                f"{place} is {type(item).__name__}, or a number that JSON cannot hold",
                remedy="use text, numbers, true, false, null, lists and mappings only",
            )


def _is_plain(item: Any) -> bool:
    if isinstance(item, int):
        return abs(item) < _LARGEST
    return item is None or (isinstance(item, float) and math.isfinite(item))


def _check_text(text: str, what: str) -> None:
    if "\x00" in text or _has_half_pair(text):
        raise FeastDagError(
            f"{what[:200]} holds NUL or half of a character pair, which no file or API takes",
            remedy="write proper Unicode text",
        )
