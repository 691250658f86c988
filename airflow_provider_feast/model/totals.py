"""What the chunks of a plan have written in all: each chunk once, whichever Job's pod loaded it."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from airflow_provider_feast.model.indexes import format_indexes, parse_indexes
from airflow_provider_feast.model.result import CommandResult, ViewTotals

MOST_VIEWS = 1000
"""Feature views that are kept: they lie in an annotation of the Job, and all of these may have 256 KiB."""

NONE = ViewTotals(0, 0.0, 0)


class Totals(NamedTuple):
    """The sum over some chunks.

    :param chunks: those whose accounts are in it.
    :param views: totals of the feature views of which every account tells.
    :param views_omitted: how many views there are at least besides, of which some account had no room to tell.
    """

    chunks: frozenset[int] = frozenset()
    views: dict[str, ViewTotals] = {}
    views_omitted: int = 0

    def plus(self, chunk: int, result: CommandResult) -> Totals:
        """The sum with one more chunk."""
        return self.with_part(result)._replace(chunks=self.chunks | {chunk})

    def with_part(self, result: CommandResult) -> Totals:
        """The sum with what was done of a chunk that is not complete.

        A view that one side had no room to tell of is told of no more: its sum would be too small.
        """
        names = [
            name
            for name in sorted({*self.views, *result.views})
            if (name in self.views or not self.views_omitted)
            and (name in result.views or not result.views_omitted)
        ]
        views = {
            name: _sum(self.views.get(name, NONE), result.views.get(name, NONE))
            for name in names[:MOST_VIEWS]
        }
        there_are = max(
            len({*self.views, *result.views}),
            len(self.views) + self.views_omitted,
            len(result.views) + result.views_omitted,
        )
        return Totals(self.chunks, views, there_are - len(views))

    @property
    def rows(self) -> int | None:
        """Rows of all views, or ``None`` where that is not known."""
        rows = [totals.rows for totals in self.views.values()]
        if self.views_omitted or any(count is None for count in rows):
            return None
        return sum(count or 0 for count in rows)

    def to_dict(self) -> dict[str, Any]:
        """A JSON object that :meth:`from_dict` reads."""
        return {
            "chunks": format_indexes(self.chunks),
            "views": {name: list(totals) for name, totals in self.views.items()},
            "views_omitted": self.views_omitted,
        }

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> Totals:
        """Read what :meth:`to_dict` wrote.

        :raises KeyError, ValueError, TypeError: when ``value`` is not such an object.
        """
        views = {str(name): ViewTotals(*totals) for name, totals in value["views"].items()}
        return cls(parse_indexes(value["chunks"]), views, int(value["views_omitted"]))

    def to_json(self) -> str:
        """:meth:`to_dict` as text."""
        return json.dumps(self.to_dict(), separators=(",", ":"))

    @classmethod
    def parse(cls, text: str | None) -> Totals:
        """Read :meth:`to_json`'s text; what is none, or was changed by somebody, tells of no chunk."""
        try:
            return cls.from_dict(json.loads(text or "{}"))
        except (AttributeError, KeyError, TypeError, ValueError):
            return cls()


class PlanProgress(NamedTuple):
    """How far the Jobs of a plan have come.

    :param chunks: how many chunks the plan has.
    :param done: those that are complete.
    :param totals: what they wrote, as far as it is known.
    """

    chunks: int
    done: frozenset[int]
    totals: Totals

    @property
    def unknown(self) -> frozenset[int]:
        """Chunks that are done, but whose pods were gone before anybody had read what they wrote."""
        return self.done - self.totals.chunks

    def to_dict(self) -> dict[str, Any]:
        """A JSON object that :meth:`from_dict` reads."""
        return {"chunks": self.chunks, "done": format_indexes(self.done), "totals": self.totals.to_dict()}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> PlanProgress:
        """Read what :meth:`to_dict` wrote.

        :raises KeyError, ValueError, TypeError: when ``value`` is not such an object.
        """
        return cls(int(value["chunks"]), parse_indexes(value["done"]), Totals.from_dict(value["totals"]))


def _sum(one: ViewTotals, other: ViewTotals) -> ViewTotals:
    rows = None if one.rows is None or other.rows is None else one.rows + other.rows
    return ViewTotals(rows, round(one.seconds + other.seconds, 3), one.windows + other.windows)
