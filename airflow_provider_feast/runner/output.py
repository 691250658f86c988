"""Standard output of the process: whole lines, plain text, masked; and the machine events between them."""

from __future__ import annotations

import atexit
import collections
import io
import json
import os
import re
import sys
import threading
import time
from typing import Any, Callable

from airflow_provider_feast.runner.basics import PROGRESS_SECONDS, utc_now

_ANSI = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_]|[ -/]+[0-~])")


class Mask:
    """Replaces secrets by ``***``."""

    def __init__(self) -> None:
        self._pattern: re.Pattern[bytes] | None = None

    def set(self, secrets: list[bytes]) -> None:
        self._pattern = re.compile(b"|".join(map(re.escape, secrets))) if secrets else None

    def bytes(self, data: bytes) -> bytes:
        return self._pattern.sub(b"***", data) if self._pattern else data

    def value(self, value: Any) -> Any:
        """``value`` (a JSON value) with every string in it masked."""
        if isinstance(value, str):
            masked = self.bytes(value.encode("utf-8", "surrogateescape"))
            return masked.decode("utf-8", "replace")
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        if isinstance(value, dict):
            return {self.value(key): self.value(item) for key, item in value.items()}
        return value


class PlainLines(io.RawIOBase):
    """A byte stream that passes whole lines on, without escape sequences and secrets.

    A progress bar (``\\r``) becomes a line of its own, at most one every PROGRESS_SECONDS.
    """

    def __init__(self, fd: int, mask: Mask, clock: Callable[[], float] = time.monotonic) -> None:
        self._fd, self._mask, self._clock = fd, mask, clock
        self._buffer = b""
        self._shown: bytes | None = None
        self._shown_at = float("-inf")
        self._lock = threading.RLock()
        self.tail: collections.deque[str] = collections.deque(maxlen=40)

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return False

    def write(self, data: Any) -> int:
        with self._lock:
            self._buffer = (self._buffer + bytes(data)).replace(b"\r\n", b"\n")
            *lines, self._buffer = self._buffer.split(b"\n")
            for line in lines:
                self._finish(line)
            self._progress()
            if len(self._buffer) > 65536:
                head, self._buffer = self._buffer[:-1024], self._buffer[-1024:]
                self._emit(head)
        return len(data)

    def _finish(self, line: bytes) -> None:
        last = next((part for part in reversed(line.split(b"\r")) if part.strip()), b"")
        if b"\r" in line or self._shown is not None:
            if last and last != self._shown:
                self._emit(last)
        else:
            self._emit(line)
        self._shown = None

    def _progress(self) -> None:
        head, mark, last = self._buffer.rpartition(b"\r")
        if not mark:
            return
        current = last if last.strip() else head.rpartition(b"\r")[2]
        self._buffer = b"\r" + current if not last.strip() else mark + last
        now = self._clock()
        if current.strip() and current != self._shown and now - self._shown_at >= PROGRESS_SECONDS:
            self._emit(current)
            self._shown, self._shown_at = current, now

    def _emit(self, line: bytes) -> None:
        plain = self._mask.bytes(_ANSI.sub(b"", line))
        if plain.strip():
            self.tail.append(plain.decode("utf-8", "replace").strip())
        self.line(plain)

    def line(self, line: bytes) -> None:
        """Write one line as it is."""
        with self._lock:
            rest = line + b"\n"
            while rest:
                rest = rest[os.write(self._fd, rest) :]

    def drain(self) -> None:
        """Write what has no line end yet."""
        with self._lock:
            rest, self._buffer = self._buffer, b""
            if _ANSI.sub(b"", rest).strip():
                self._finish(rest)


class Output:
    """Standard output and error of the process, and the machine events between them."""

    def __init__(self) -> None:
        self.mask = Mask()
        self.out, self.err = PlainLines(1, self.mask), PlainLines(2, self.mask)

    def install(self) -> None:
        for name, stream in (("stdout", self.out), ("stderr", self.err)):
            text: Any = io.TextIOWrapper(stream, "utf-8", "backslashreplace", write_through=True)
            setattr(sys, name, text)
        atexit.register(self.drain)

    def drain(self) -> None:
        for stream in (self.out, self.err):
            stream.drain()

    def event(self, name: str, /, **fields: Any) -> None:
        body = self.mask.value({"feast_event": name, "time": utc_now(), **fields})
        self.out.line(json.dumps(body, ensure_ascii=False, default=str).encode("utf-8", "replace"))

    def last_line(self) -> str:
        """What Feast said last: on standard error, else on standard output."""
        self.drain()
        return (self.err.tail or self.out.tail or [""])[-1]
