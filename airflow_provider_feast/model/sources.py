"""Where a command's configuration (feature_store.yaml) and definitions (.py files) come from."""

from __future__ import annotations

import posixpath
import re
from typing import Any, NamedTuple

from airflow_provider_feast.model.errors import FeastConfigurationError, FeastDagError

CONFIG_KEY = "feature_store.yaml"
CONFIG_BYTES = 1_000_000
"""Largest inline configuration: a ConfigMap holds at most 1 MiB, names and labels included."""

_OBJECT_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")
_KEY = re.compile(r"(?!\.\.)[-._a-zA-Z0-9]{1,253}")
_REQUIRED = ("project", "registry", "provider")


class ConfigMapConfiguration(NamedTuple):
    """feature_store.yaml in an existing ConfigMap.

    :param name: the ConfigMap, in the Job's namespace.
    :param key: its key.
    """

    name: str
    key: str = CONFIG_KEY


class InlineConfiguration(NamedTuple):
    """feature_store.yaml written in the DAG or the connection; becomes a ConfigMap that the Job owns.

    :param content: a mapping, or YAML text.
    """

    content: Any


class ImageDefinitions(NamedTuple):
    """A feature repository baked into the image.

    :param path: its absolute path there.
    """

    path: str


class ConfigMapDefinitions(NamedTuple):
    """A feature repository in an existing ConfigMap; it is copied to a writable place before use.

    :param name: the ConfigMap, in the Job's namespace; each key is one file.
    """

    name: str


Configuration = ConfigMapConfiguration | InlineConfiguration
Definitions = ImageDefinitions | ConfigMapDefinitions


def check_object_name(name: Any, what: str) -> str:
    """A Kubernetes object's name (DNS-1123 subdomain).

    :raises FeastDagError: when the API would refuse it.
    """
    if not isinstance(name, str) or not _OBJECT_NAME.fullmatch(name) or ".." in name:
        raise FeastDagError(
            f"{what}={name!r} cannot be the name of a Kubernetes object",
            remedy="use lower-case letters, digits, '-' and '.', at most 253, a letter or digit at both ends",
        )
    return name


def check_key(key: Any, what: str) -> str:
    """A key of a ConfigMap or Secret; it becomes a file name.

    :raises FeastDagError: when the API would refuse it.
    """
    if not isinstance(key, str) or key in (".", "..") or not _KEY.fullmatch(key):
        raise FeastDagError(
            f"{what}={key!r} cannot be a key of a ConfigMap",
            remedy="use letters, digits, '-', '_' and '.', such as feature_store.yaml",
        )
    return key


def check_path(path: Any, what: str) -> str:
    """An absolute path inside the container.

    :raises FeastDagError: when it is relative or leaves its parent.
    """
    if (
        not isinstance(path, str)
        or not path.startswith("/")
        or "\x00" in path
        or ".." in path.split("/")
        or not posixpath.normpath(path).strip("/")
    ):
        raise FeastDagError(
            f"{what}={path!r} is not a path inside the image",
            remedy="give an absolute path without '..', e.g. /app/repo",
        )
    return "/" + posixpath.normpath(path).lstrip("/")  # normpath keeps two leading slashes


def read_configuration(value: Any, what: str = "configuration") -> Configuration | None:
    """Check what an author gave as configuration: a source, a mapping, YAML text, or nothing.

    :raises FeastDagError: when it is none of these, or its literal parts cannot work.
    """
    if value is None or value == "":
        return None
    if isinstance(value, ConfigMapConfiguration):
        return ConfigMapConfiguration(
            check_object_name(value.name, f"{what}.name"), check_key(value.key, f"{what}.key")
        )
    if isinstance(value, InlineConfiguration):
        value = value.content
    if isinstance(value, dict):
        check_feature_store(value, what)
    elif not isinstance(value, str):
        raise FeastDagError(
            f"{what} is {type(value).__name__}",
            remedy="give a mapping, YAML text, ConfigMapConfiguration(name=…) or InlineConfiguration(…)",
        )
    return InlineConfiguration(value)


def read_definitions(value: Any, what: str = "definitions") -> Definitions | None:
    """Check what an author gave as definitions: a source, a path in the image, or nothing.

    :raises FeastDagError: when it is none of these, or its parts cannot work.
    """
    if value is None or value == "":
        return None
    if isinstance(value, ConfigMapDefinitions):
        return ConfigMapDefinitions(check_object_name(value.name, f"{what}.name"))
    if isinstance(value, (ImageDefinitions, str)):
        return ImageDefinitions(check_path(value if isinstance(value, str) else value.path, what))
    raise FeastDagError(
        f"{what} is {type(value).__name__}",
        remedy="give a path in the image, ImageDefinitions(path=…) or ConfigMapDefinitions(name=…)",
    )


def check_feature_store(content: Any, what: str) -> dict[str, Any]:
    """What every feature_store.yaml needs at least.

    :param content: the parsed YAML.
    :raises FeastConfigurationError: naming what is missing.
    """
    if not isinstance(content, dict):
        raise FeastConfigurationError(
            f"{what} is not a mapping but {type(content).__name__}",
            remedy="feature_store.yaml starts with lines like `project: …`, `provider: local`, `registry: …`",
        )
    if missing := [key for key in _REQUIRED if not content.get(key)]:
        raise FeastConfigurationError(
            f"{what} lacks {', '.join(missing)}",
            remedy=f"add {' and '.join(f'`{key}:`' for key in missing)} to it",
        )
    return content
