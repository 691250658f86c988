"""The JSONPath of printer columns: fields, indexes and one comparison, as CustomResourceDefinitions use it."""

import re
from typing import Any

_STEP = re.compile(
    r"""\.(?P<field>(?:[\w-]|\\.)+)
      | \[(?P<index>\d+)\]
      | \[\?\(@\.(?P<key>[\w-]+)\s*==\s*(?P<quote>["'])(?P<value>[^"']*)(?P=quote)\)\]""",
    re.VERBOSE,
)
Step = re.Match[str]


def parse(path: str) -> list[Step] | None:
    """The steps of a path; `None` for one that needs more than is known here."""
    steps: list[Step] = []
    at = 0
    while at < len(path):
        step = _STEP.match(path, at)
        if step is None:
            return None
        steps.append(step)
        at = step.end()
    return steps or None


def find(steps: list[Step], value: Any) -> Any:
    """What a path leads to; `None` where it leads nowhere."""
    for step in steps:
        value = _follow(step, value)
        if value is None:
            return None
    return value


def _follow(step: Step, value: Any) -> Any:
    if step["field"] is not None:
        return value.get(re.sub(r"\\(.)", r"\1", step["field"])) if isinstance(value, dict) else None
    if not isinstance(value, list):
        return None
    if step["index"] is not None:
        return value[int(step["index"])] if int(step["index"]) < len(value) else None
    matches = (item for item in value if isinstance(item, dict) and item.get(step["key"]) == step["value"])
    return next(matches, None)
