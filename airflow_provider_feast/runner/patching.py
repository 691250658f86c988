"""A configuration that is patched here, because only the pod may read it."""

from __future__ import annotations

import os
from typing import Any

from airflow_provider_feast.runner.basics import CONFIGURATION, Failure


def merge_patch(base: Any, patch: Any) -> Any:
    """Merge as RFC 7386 says: mappings deeply, ``None`` removes, all else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(base) if isinstance(base, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def parse_yaml(text: str, path: str, loader: Any = None) -> Any:
    """The content of a configuration. Raises Failure without a line of it: the parser would print lines."""
    import yaml

    try:
        return yaml.load(text, Loader=loader or yaml.SafeLoader)  # noqa: S506  (a SafeLoader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or type(error).__name__
        raise Failure(
            CONFIGURATION, "configuration_invalid", f"{path} is not YAML: {problem}{place}"
        ) from None


def patched(text: str, patches: list[Any], path: str) -> str:
    """A configuration with patches merged over it. Quotes around variables stay: a number in them must stay text."""
    import yaml

    class Quoted(str):
        style = ""

    class Loader(yaml.SafeLoader):
        pass

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def construct(loader: Any, node: Any) -> str:
        value = str(loader.construct_scalar(node))
        if not node.style or "$" not in value:
            return value
        quoted = Quoted(value)
        quoted.style = node.style
        return quoted

    def represent(dumper: Any, value: str) -> Any:
        style = '"' if set("\x85\u2028\u2029").intersection(value) else getattr(value, "style", None)
        return dumper.represent_scalar("tag:yaml.org,2002:str", str(value), style=style)

    Loader.add_constructor("tag:yaml.org,2002:str", construct)
    for kind in (str, Quoted):  # PyYAML would fold what YAML takes for line ends, unless it is escaped
        Dumper.add_representer(kind, represent)
    content = parse_yaml(text, path, Loader)
    for patch in patches:
        content = merge_patch(content, patch)
    dumped: str = yaml.dump(content, Dumper=Dumper, sort_keys=False, allow_unicode=True)
    return dumped


def write_private(path: str, text: str) -> None:
    """Write a file that only this user may read."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
