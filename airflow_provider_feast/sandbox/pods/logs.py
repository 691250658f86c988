"""Container logs: one file per run, each line with the time it was written."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
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
        """Take output as it comes; whole lines are written with a timestamp."""
        *lines, self._partial = (self._partial + data).split(b"\n")
        moment = f"{clock.micro_stamp()[:-1]}000Z".encode()
        whole = b"".join(moment + b" " + line + b"\n" for line in lines)
        while len(self._partial) > _LONGEST_LINE:
            whole += moment + b" " + self._partial[:_LONGEST_LINE] + b"\n"
            self._partial = self._partial[_LONGEST_LINE:]
        if whole:
            self._file.write(whole)
            self._wake()

    def close(self) -> None:
        if self.closed:
            return
        if self._partial:
            self._file.write(f"{clock.micro_stamp()[:-1]}000Z ".encode() + self._partial)
            self._partial = b""
        self._file.close()
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def tail_text(self, lines: int, size: int) -> str:
        """The end of the log without timestamps (for FallbackToLogsOnError)."""
        found = [line.partition(b" ")[2] for line in self.path.read_bytes().splitlines(keepends=True)]
        return b"".join(found[-lines:])[-size:].decode(errors="replace")

    async def read(self, query: LogQuery) -> AsyncIterator[bytes]:
        """The log as the client asked for it; with `follow`, until the container ends."""
        sent, left = 0, query.limit_bytes
        first = True
        while True:
            changed, closed = self._changed, self.closed
            data = self._from(sent)
            sent += len(data)
            lines = [line for line in data.splitlines(keepends=True) if _wanted(line, query)]
            if first and query.tail is not None:
                lines = lines[-query.tail :] if query.tail else []
            first = False
            chunk = b"".join(line if query.timestamps else line.partition(b" ")[2] for line in lines)
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


def _wanted(line: bytes, query: LogQuery) -> bool:
    if query.since is None:
        return True
    moment = line.partition(b" ")[0].decode()
    return clock.parse_stamp(moment) >= query.since
