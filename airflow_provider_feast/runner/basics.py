"""What every part of the runner uses: exit codes, the two ways a command ends early, plain lines."""

from __future__ import annotations

import functools
from datetime import datetime, timezone
from typing import Any, Callable

SCHEMA = 1
DEFAULT_TERMINATION_LOG = "/dev/termination-log"
DEFAULT_MESSAGE_BYTES = 2048
STOP_SECONDS = 20.0
PROGRESS_SECONDS = 5.0
LAST_WORDS_SECONDS = 2.0
MIN_SECRET = 6
LARGE_SECRET = 16 * 1024
MIN_MESSAGE = 160
USAGE, NOTHING, CONFIGURATION, COPY, REFUSED = 64, 65, 66, 67, 68
BATCH_ROWS = 10_000
MATERIALIZE = ("materialize", "materialize-incremental")


class Failure(Exception):  # noqa: N818  (not every one is an error: nothing to do)
    """The command cannot go on; ``code``, ``kind`` and the message say why."""

    def __init__(self, code: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.code, self.kind = code, kind


class Interrupted(BaseException):
    """The process was asked to stop. A BaseException, so that no ``except Exception`` swallows it."""


def utc_now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def one_line(text: str) -> str:
    return " ".join(text.split())


def shortened(line: str, limit: int = 900) -> str:
    """A line that is not too long; what must be masked is masked before: half a secret matches nothing."""
    return line if len(line) <= limit else line[: limit - 1] + "…"


def wrap(owner: Any, name: str, around: Callable[..., Any]) -> None:
    """Put ``around`` in front of a function of a class or module; another version of Feast may lack it."""
    original = getattr(owner, name, None)
    if original is None:
        return

    @functools.wraps(original)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return around(original, *args, **kwargs)

    setattr(owner, name, wrapper)
