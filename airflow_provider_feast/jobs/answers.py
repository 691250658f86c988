"""What an API server answers, read with care: a proxy before it may answer something else."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any


class OddAnswerError(OSError):
    """The answer is none of Kubernetes' (a proxy's page, say), so the API server did not answer."""


def json_object(text: bytes) -> dict[str, Any]:
    """The JSON object that a text is.

    :raises OddAnswerError: when it is none.
    """
    try:
        found = json.loads(text)
    except ValueError as error:
        raise OddAnswerError(f"an answer that is no JSON: {text[:200]!r}") from error
    if not isinstance(found, dict):
        raise OddAnswerError(f"an answer that is no JSON object: {text[:200]!r}")
    return found


def list_version(body: dict[str, Any]) -> str:
    """The ``resourceVersion`` of a list.

    :raises OddAnswerError: when it is no list of objects.
    """
    metadata = body.get("metadata")
    version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
    if not version:
        raise OddAnswerError(f"an answer that is no list of objects: {str(body)[:200]}")
    return str(version)


async def changes(answer: Any) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """The events of a watch, a JSON line each; an object may be longer than a stream reader's line limit.

    :raises OddAnswerError: for a line that is no event.
    """
    rest = b""
    async for chunk in answer.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                event = json_object(line)
                change, item = event.get("type"), event.get("object")
                if not (change and isinstance(item, dict)):
                    raise OddAnswerError(f"a line of a watch that is no event: {line[:200]!r}")
                yield change, item
