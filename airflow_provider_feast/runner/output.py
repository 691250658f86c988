"""Standard output of the process: whole lines, plain text, masked; and the machine events between them."""

from __future__ import annotations

import atexit
import collections
import contextlib
import io
import json
import os
import re
import sys
import threading
import time
from typing import Any, Callable, Iterable, Iterator

from airflow_provider_feast.runner.basics import LAST_WORDS_SECONDS, PROGRESS_SECONDS, utc_now
from airflow_provider_feast.runner.secrecy import forms

_ANSI = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_]|[ -/]+[0-~])")


_INPUT = re.compile(rb"input_value=.*?, input_type=")


class Mask:
    """Replaces secrets by ``***``. What is shorter than MIN_SECRET is no secret: it would be in every other word."""

    def __init__(self) -> None:
        self._secrets: set[bytes] = set()
        self._pattern: re.Pattern[bytes] | None = None
        self.longest = 0

    def add(self, values: Iterable[str]) -> None:
        """Mask these values from now on, in all forms that they may have."""
        spelled = (form.encode("utf-8", "surrogateescape") for value in values for form in forms(value))
        self._secrets |= set(spelled)
        ordered = sorted(self._secrets, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, ordered))) if ordered else None
        self.longest = len(ordered[0]) if ordered else 0

    def bytes(self, data: bytes) -> bytes:
        if not self._pattern:
            return data
        shown = _INPUT.sub(
            b"input_value=***, input_type=", data
        )  # pydantic cuts it: half a secret matches nothing
        return self._pattern.sub(b"***", shown)

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

    A progress bar (``\\r``) becomes a line of its own, at most one every PROGRESS_SECONDS. A stream ``beside`` another
    one writes to the same place: their lines do not mix.
    """

    def __init__(
        self,
        fd: int,
        mask: Mask,
        clock: Callable[[], float] = time.monotonic,
        beside: PlainLines | None = None,
    ) -> None:
        self._fd, self._mask, self._clock = fd, mask, clock
        self._number = fd
        self._buffer = b""
        self._shown: bytes | None = None
        self._shown_at = float("-inf")
        self._lock: Any = beside._lock if beside else threading.RLock()
        self.tail: collections.deque[str] = beside.tail if beside else collections.deque(maxlen=40)

    def move(self, fd: int) -> None:
        """Write to another descriptor; programs that ask for this stream's one are still told the old."""
        self._fd = fd

    def renew_lock(self) -> None:
        """In a new process: a thread that is not there may have held it."""
        self._lock = threading.RLock()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return False

    def write(self, data: Any) -> int:
        with self._lock:
            self._buffer = (self._buffer + bytes(data)).replace(b"\r\n", b"\n")
            *lines, self._buffer = self._buffer.split(b"\n")
            for line in lines:
                self._finish(line)
            self._progress()
            if len(self._buffer) > 65536 + self._mask.longest:
                whole, keep = self._mask.bytes(self._buffer), max(1024, self._mask.longest)
                head, self._buffer = whole[:-keep], whole[-keep:]
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
        self._pumps: list[threading.Thread] = []

    def install(self) -> None:
        for name, stream in (("stdout", self.out), ("stderr", self.err)):
            text: Any = io.TextIOWrapper(stream, "utf-8", "backslashreplace", write_through=True)
            setattr(sys, name, text)
        atexit.register(self.drain)
        os.register_at_fork(after_in_child=self._after_fork)

    def capture(self) -> None:
        """From now on mask what C code and child processes write, too: they know the descriptors only.

        Their words are passed on by a thread, so the very last ones are lost when this process is killed. That is why
        it is done only where there is something to mask.
        """
        for number, stream in ((1, self.out), (2, self.err)):
            saved = os.dup(number)
            read, write = os.pipe()
            stream.move(saved)
            os.dup2(write, number)
            os.close(write)
            raw = PlainLines(saved, self.mask, beside=stream)
            thread = threading.Thread(
                target=self._pump, args=(read, raw), daemon=True, name="feast-runner-output"
            )
            thread.start()
            self._pumps.append(thread)
        atexit.register(self._end_capture)

    @staticmethod
    def _pump(read: int, raw: PlainLines) -> None:
        while data := os.read(read, 65536):
            raw.write(data)
        raw.drain()

    def _end_capture(self) -> None:
        """Pass on what is still on its way; a child process that goes on is not waited for."""
        self.drain()
        null = os.open(os.devnull, os.O_WRONLY)
        for number in (1, 2):
            os.dup2(null, number)
        for thread in self._pumps:
            thread.join(LAST_WORDS_SECONDS)

    def _after_fork(self) -> None:
        for stream in (self.out, self.err):
            stream.renew_lock()

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


class Quiet(io.TextIOBase):
    """Standard output without what Feast says before each window; the result and the progress say it better."""

    def __init__(self, out: Any) -> None:
        self._out, self._line = out, ""

    def write(self, text: str) -> int:
        *lines, self._line = (self._line + text).split("\n")
        for line in lines:
            plain = line.strip()
            if plain and "Materializing " not in plain and not plain.endswith("\x1b[0m:"):
                self._out.write(f"{line}\n")
        return len(text)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    with contextlib.redirect_stdout(Quiet(sys.stdout)):
        yield
