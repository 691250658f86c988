"""feature_store.yaml as text: read within bounds, and written without changing what `${VAR}` will become."""

from __future__ import annotations

from typing import Any

import yaml

from airflow_provider_feast.model.configurations import CONFIG_BYTES
from airflow_provider_feast.model.errors import FeastConfigurationError
from airflow_provider_feast.model.names import DEEPEST, MOST_NODES

_Base: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Quoted(str):
    """Text that stood in quotes; it must again, or a number that replaces its `${VAR}` would be no text."""

    style: str


class _Loader(_Base):  # type: ignore[misc]
    pass


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _construct(loader: Any, node: yaml.ScalarNode) -> str:
    text = str(loader.construct_scalar(node))
    if not node.style or "$" not in text:
        return text
    quoted = _Quoted(text)
    quoted.style = node.style
    return quoted


def _represent(dumper: yaml.SafeDumper, text: _Quoted) -> yaml.ScalarNode:
    style = '"' if _LINE_ENDS.intersection(text) else text.style
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style=style)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """PyYAML forgets that YAML takes these characters for line ends, and folds them, unless they are escaped."""
    style = '"' if _LINE_ENDS.intersection(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_LINE_ENDS = frozenset("\x85\u2028\u2029")
_Loader.add_constructor("tag:yaml.org,2002:str", _construct)
_Dumper.add_representer(_Quoted, _represent)
_Dumper.add_representer(str, _represent_text)


def load(text: str, what: str) -> Any:
    """Parse YAML of a size that a configuration has.

    :param what: what it is, for messages.
    :raises FeastConfigurationError: when it is no YAML, or is larger than it looks (nested aliases).
    """
    check_size(text, what)
    try:
        _check_bounds(text, what)
        return yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, ValueError, TypeError, OverflowError) as error:
        raise FeastConfigurationError(
            f"{what} is not YAML: {_without_content(error)}", remedy="correct feature_store.yaml"
        ) from None


def _without_content(error: Exception) -> str:
    """What is wrong and where, without the lines themselves: they may hold secrets."""
    mark = getattr(error, "problem_mark", None)
    place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"{getattr(error, 'problem', None) or type(error).__name__}{place}"


def _check_bounds(text: str, what: str) -> None:
    """Count what the parser would make, aliases expanded, without making it."""
    sizes: dict[str, int] = {}
    open_nodes: list[tuple[str | None, int]] = []
    count = 0
    for event in yaml.parse(text, Loader=_Base):
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise FeastConfigurationError(
                    f"{what} refers to *{event.anchor} inside itself or before it is there",
                    remedy="write it out",
                )
            count += sizes[event.anchor]
        elif isinstance(event, yaml.NodeEvent):
            count += 1
            if isinstance(event, yaml.CollectionStartEvent):
                open_nodes.append((event.anchor, count - 1))
            elif event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = count - before
        if count > MOST_NODES or len(open_nodes) > DEEPEST:
            raise FeastConfigurationError(
                f"{what} is too large: more than {MOST_NODES} values with its aliases, or nested deeper than {DEEPEST}",
                remedy="keep only what feature_store.yaml needs",
            )


def dump(content: Any, what: str) -> str:
    """Write YAML.

    :raises FeastConfigurationError: when it has values that YAML cannot hold, or is too large for a ConfigMap.
    """
    try:
        text = yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True)
    except yaml.YAMLError as error:
        raise FeastConfigurationError(
            f"{what} holds something that YAML cannot: {error}",
            remedy="use text, numbers, lists and mappings",
        ) from error
    return check_size(text, what)


def check_size(text: str, what: str) -> str:
    """See that a ConfigMap can hold it.

    :raises FeastConfigurationError: when it cannot.
    """
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise FeastConfigurationError(
            f"{what} is not proper Unicode ({error.reason})", remedy="save feature_store.yaml as UTF-8"
        ) from error
    if size > CONFIG_BYTES:
        raise FeastConfigurationError(
            f"{what} has {size} bytes; a ConfigMap holds {CONFIG_BYTES}",
            remedy="keep only what feature_store.yaml needs",
        )
    return text
