"""Sets of completion indexes as Kubernetes writes them: ``0,2,4-6``."""

from __future__ import annotations

from collections.abc import Iterable

MOST_INDEXES = 100_000
"""No Indexed Job has more (Kubernetes' own limit), so a text that has would only cost memory."""


def parse_indexes(text: str | None) -> frozenset[int]:
    """Read ``status.completedIndexes`` or ``failedIndexes`` of an Indexed Job.

    :param text: numbers and ranges with both ends included, comma-separated; empty or ``None`` means none.
    :raises ValueError: when it is not that.
    """
    found: set[int] = set()
    for part in (text or "").split(",") if text else ():
        first, dash, last = part.partition("-")
        low, high = int(first), int(last) if dash else int(first)
        if low > high:
            raise ValueError(f"the range {part!r} of indexes runs backwards")
        if high > MOST_INDEXES:
            raise ValueError(f"no Job has an index {high}")
        found.update(range(low, high + 1))
    return frozenset(found)


def format_indexes(indexes: Iterable[int]) -> str:
    """The shortest text that :func:`parse_indexes` reads as these numbers; three in a row become a range."""
    runs: list[list[int]] = []
    for number in sorted(set(indexes)):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(
        str(low) if low == high else f"{low},{high}" if high == low + 1 else f"{low}-{high}"
        for low, high in runs
    )
