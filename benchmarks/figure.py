"""One measured figure and the line it is printed as."""

from __future__ import annotations

import math
from typing import NamedTuple


class Figure(NamedTuple):
    """Our value beside the peer's, in the same unit and from the same run; less is better.

    :param id: short and stable, e.g. ``P1``.
    :param name: what is measured, with its unit, without blanks.
    """

    id: str
    name: str
    ours: float
    peer: float

    @property
    def line(self) -> str:
        """``<id> <name> ours=<x> peer=<y> ratio=<ours/peer>``."""
        ratio = self.ours / self.peer if self.peer else 1.0 if self.ours == self.peer else math.inf
        return f"{self.id} {self.name} ours={_short(self.ours)} peer={_short(self.peer)} ratio={ratio:.3f}"


def _short(value: float) -> str:
    return f"{value:.1f}" if value >= 10 else f"{value:.3f}"
