"""Container logs: one file per run in the format of the container runtime interface, and how clients read them.

A record is `TIME stdout F text`; the tag `P` means that the line goes on in the next record (lines longer than 16 KiB)
or that the container ended in the middle of it.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from airflow_provider_feast.sandbox import clock

_LONGEST_LINE = 16 * 1024


@dataclass(frozen=True)
class LogQuery:
    """What a reader of a log asks for."""

    follow: bool = False
    since: datetime | None = None
    tail: int | None = None
    timestamps: bool = False
    limit_bytes: int | None = None


class LogFile:
    """Collects the output of one run of a container; readers may follow it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)
        self._partial = b""
        self._changed = asyncio.Event()
        self.closed = False

    def feed(self, data: bytes) -> None:
        """Take output as it comes; a line is there for readers once it has ended, or is long."""
        *lines, self._partial = (self._partial + data).split(b"\n")
        found = [part for line in lines for part in _cut(line, ended=True)]
        *long, self._partial = (piece for piece, _ in _cut(self._partial, ended=False))
        self._write([*found, *((piece, b"P") for piece in long)])

    def close(self) -> None:
        if self.closed:
            return
        if self._partial:
            self._write([(self._partial, b"P")])
            self._partial = b""
        self._file.close()
        self.closed = True
        self._wake()

    def _write(self, records: list[tuple[bytes, bytes]]) -> None:
        if records:
            moment = f"{clock.micro_stamp()[:-1]}000Z".encode()
            self._file.write(b"".join(b"%s stdout %s %s\n" % (moment, tag, text) for text, tag in records))
            self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def tail_text(self, lines: int, size: int) -> str:
        """The end of the log without timestamps (for FallbackToLogsOnError)."""
        found = self.path.read_bytes().splitlines(keepends=True)[-lines:]
        return _Text(timestamps=False).of(found)[-size:].decode(errors="replace")

    async def read(self, query: LogQuery) -> AsyncIterator[bytes]:
        """The log as the client asked for it; with `follow`, until the container ends."""
        sent, left = 0, query.limit_bytes
        text = _Text(query.timestamps)
        first = True
        while True:
            changed, closed = self._changed, self.closed
            data = self._from(sent)
            sent += len(data)
            records = [record for record in data.splitlines(keepends=True) if _wanted(record, query)]
            if first and query.tail is not None:
                records = records[-query.tail :] if query.tail else []
            first = False
            chunk = text.of(records)
            if left is not None:
                chunk = chunk[:left]
                left -= len(chunk)
            if chunk:
                yield chunk
            if closed or not query.follow or left == 0:
                return
            await changed.wait()

    def _from(self, offset: int) -> bytes:
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read()


@dataclass
class _Text:
    """From records to text; a line in several records gets one timestamp."""

    timestamps: bool
    _in_line: bool = field(default=False, init=False)

    def of(self, records: Iterable[bytes]) -> bytes:
        return b"".join(map(self._one, records))

    def _one(self, record: bytes) -> bytes:
        moment, _, tag, text = record.split(b" ", 3)
        goes_on = tag == b"P"
        prefix = moment + b" " if self.timestamps and not self._in_line else b""
        self._in_line = goes_on
        return prefix + (text[:-1] if goes_on else text)


def _cut(line: bytes, *, ended: bool) -> list[tuple[bytes, bytes]]:
    """Pieces of a line with their tags."""
    starts = range(0, max(len(line), 1), _LONGEST_LINE)
    pieces = [line[start : start + _LONGEST_LINE] for start in starts]
    return [(piece, b"P") for piece in pieces[:-1]] + [(pieces[-1], b"F" if ended else b"P")]


def _wanted(record: bytes, query: LogQuery) -> bool:
    if query.since is None:
        return True
    return clock.parse_stamp(record.partition(b" ")[0].decode()) >= query.since
