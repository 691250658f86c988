"""Read ``feature_store.yaml``: which variables it needs, and whether they are there."""

from __future__ import annotations

import os
import re

from airflow_provider_feast.runner.basics import CONFIGURATION, Failure

_COMMENT = re.compile(
    r"""((?:(?<![^\s\[{,:-])"(?:\\.|[^"\\])*"|(?<![^\s\[{,:-])'[^']*'|[^#\n]|(?<=\S)#)*)[^\n]*"""
)
_VARIABLE = re.compile(r"\$(?:(\w+)|\{([^}]*)\})", re.ASCII)
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def without_comments(text: str) -> str:
    """``text`` without YAML comments: a ``#`` that begins a word outside quotes, to the end of the line."""
    return "\n".join(_COMMENT.sub(r"\1", line, count=1) for line in text.split("\n"))


def variables(text: str) -> list[str]:
    """The environment variables that ``os.path.expandvars`` would look up in a configuration, in order."""
    found = (match[1] or match[2] or "" for match in _VARIABLE.finditer(without_comments(text)))
    return list(dict.fromkeys(name for name in found if _NAME.fullmatch(name)))


def read_configuration(path: str) -> str:
    """The text of ``feature_store.yaml``. Raises Failure when it is missing or unreadable."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        why = "does not exist"
    except (OSError, UnicodeDecodeError) as error:
        why = f"cannot be read ({type(error).__name__})"
    raise Failure(CONFIGURATION, "configuration_invalid", f"the configuration file {path} {why}")


def check_variables(text: str, path: str) -> None:
    """Raises Failure, naming them, when variables of the configuration are not in the environment."""
    missing = [name for name in variables(text) if name not in os.environ]
    if missing:
        raise Failure(
            CONFIGURATION,
            "unexpanded_variables",
            f"{path} uses environment variables that are not set in this container: {', '.join(missing)}",
        )
