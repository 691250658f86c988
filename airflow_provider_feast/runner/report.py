"""The result so far, in the termination message: always valid JSON, always within its budget."""

from __future__ import annotations

import functools
import json
import os
import stat
import sys
import threading
from datetime import datetime
from typing import Any, Callable, Mapping, Sequence

from airflow_provider_feast.runner.basics import MIN_MESSAGE, SCHEMA, one_line, shortened, utc_now
from airflow_provider_feast.runner.intervals import Span
from airflow_provider_feast.runner.output import Mask


def fit(body: dict[str, Any], limit: int) -> bytes:
    """``body`` as JSON of at most ``limit`` bytes: the message is cut first, then gaps and then views are left out."""
    message: str = body["message"]
    gaps = [(view, gap) for view, found in body["gaps"].items() for gap in found]
    most = {"message": len(message), "gaps": len(gaps), "views": len(body["views"])}

    def packed(sizes: dict[str, int]) -> bytes:
        cut = sizes["message"] < len(message)
        kept: dict[str, list[Any]] = {}
        for view, gap in gaps[: sizes["gaps"]]:
            kept.setdefault(view, []).append(gap)
        value = {
            **body,
            "message": message[: sizes["message"]].rstrip() + "…" if cut else message,
            "gaps": kept,
            "gaps_omitted": body["gaps_omitted"] + len(gaps) - sizes["gaps"],
            "views": dict(list(body["views"].items())[: sizes["views"]]),
            "views_omitted": len(body["views"]) - sizes["views"],
        }
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")

    def fits(name: str, size: int) -> bool:
        return len(packed({**most, **chosen, name: size})) <= limit

    least = {"message": min(MIN_MESSAGE, len(message)), "gaps": 0, "views": 0}
    chosen: dict[str, int] = {}
    for name, size in least.items():
        if fits(name, size):
            return packed({**most, **chosen, name: largest(most[name], functools.partial(fits, name))})
        chosen[name] = size
    return packed(chosen)


def largest(high: int, fits: Callable[[int], bool]) -> int:
    """The largest number from 0 to ``high`` that fits."""
    low = 0
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


MOST_GAPS = 10
"""Gaps that the result names; the log has all."""


def within(lists: dict[str, list[str]], limit: int, omitted: int = 0) -> dict[str, Any]:
    """Lists of names of at most ``limit`` bytes together, the first lists first, and how many were left out."""
    kept: dict[str, Any] = {}
    for what, names in lists.items():
        kept[what] = []
        for name in names:
            limit -= len(json.dumps(name, ensure_ascii=False).encode("utf-8", "replace")) + 1
            if limit >= 0:
                kept[what].append(name)
            else:
                omitted += 1
    return {**kept, "omitted": omitted}


MOST_FAILED = 10
"""Views of a kind (failed, ahead of time) that the result names: they must fit."""


class Report:
    """The result so far, rewritten into the termination log after each step."""

    def __init__(self, path: str, limit: int, mask: Mask) -> None:
        self._path, self._limit, self._mask = path, limit, mask
        self._lock = threading.RLock()
        self._size = 0
        self.body: dict[str, Any] = {
            "v": SCHEMA,
            "verdict": "running",
            "kind": "",
            "message": "",
            "exit_code": None,
            "feast": "",
            "commit": "",
            "started": utc_now(),
            "finished": "",
            "chunk": None,
            "steps": [0, 0],
            "failed": [],
            "gaps": {},
            "gaps_omitted": 0,
            "ahead": {},
            "views": {},
            "views_omitted": 0,
            "changes": None,
        }

    def end(self, verdict: str, code: int, kind: str = "", message: str = "") -> None:
        told = shortened(one_line(self._mask.value(message)))
        self.body.update(verdict=verdict, exit_code=code, kind=kind, message=told, finished=utc_now())
        self.write()

    def add(self, view: str, rows: int | None, seconds: float) -> None:
        """One window of one view is done."""
        seen = self.body["views"].get(view, {"rows": 0, "seconds": 0.0, "windows": 0})
        both = None if rows is None or seen["rows"] is None else seen["rows"] + rows
        total = {"rows": both, "seconds": round(seen["seconds"] + seconds, 3), "windows": seen["windows"] + 1}
        self.body["views"][view] = total
        self.write()

    def steps(self, done: int, total: int) -> None:
        """One more load of a plan is done, or was tried."""
        self.body["steps"] = [done, total]
        self.write()

    def gaps(self, found: Mapping[str, Sequence[Span]]) -> None:
        """What of each view is not loaded; replaces what was said before."""
        every = [(view, gap) for view in sorted(found) for gap in found[view]]
        named: dict[str, list[list[str]]] = {}
        for view, gap in every[:MOST_GAPS]:
            named.setdefault(view, []).append([moment.isoformat() for moment in gap])
        self.body.update(gaps=named, gaps_omitted=max(0, len(every) - MOST_GAPS))
        self.write()

    def ahead(self, view: str, newest: datetime) -> None:
        """The registry says that a view is loaded up to a time that is still to come."""
        self.body["ahead"] = dict(
            sorted({**self.body["ahead"], view: newest.isoformat()}.items())[:MOST_FAILED]
        )
        self.write()

    def fail(self, view: str) -> None:
        """A load of a view failed."""
        self.body["failed"] = sorted({*self.body["failed"], view})[:MOST_FAILED]

    def changes(self, found: dict[str, list[str]]) -> None:
        """What an apply would do, as far as half of the message holds it; of several projects all of it."""
        seen = self.body["changes"] or {}
        both = {what: [*seen.get(what, []), *names] for what, names in found.items()}
        self.body["changes"] = within(both, self._limit // 2, seen.get("omitted", 0))
        self.write()

    def write(self) -> None:
        """One write call, padded over what was there: a kill at any moment leaves valid JSON."""
        if not self._path:
            return
        data = fit(self._mask.value(self.body), self._limit)
        with self._lock:
            try:
                fd = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o644)
                try:
                    os.pwrite(fd, data.ljust(self._size), 0)
                    if stat.S_ISREG(os.fstat(fd).st_mode):
                        os.ftruncate(fd, len(data))
                finally:
                    os.close(fd)
            except OSError as error:
                print(f"feast_runner: cannot write the result to {self._path}: {error}", file=sys.stderr)
                self._path = ""
            self._size = len(data)
