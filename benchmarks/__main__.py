"""Run every benchmark, or those whose ids are given: ``python -m benchmarks [ID …]``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable

from benchmarks import api_requests, demo, latency, long_range, materialize, parse, sandbox, triggerer_cost
from benchmarks.figure import Figure

BENCHMARKS: dict[str, Callable[[], Iterable[Figure]]] = {
    "P1": parse.measure,
    "P2": latency.measure,
    "P3": api_requests.measure,
    "P4": triggerer_cost.measure,
    "P5": materialize.one_window,
    "P6": materialize.thirty_windows,
    "P7": long_range.measure,
    "P8": materialize.memory,
    "P9": demo.measure,
    "D1": sandbox.start,
    "D2": sandbox.no_op,
    "D3": sandbox.load,
}
"""Every benchmark by its id; each yields its figures as they are measured."""


def main() -> None:
    """Print one line per figure."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("ids", nargs="*", metavar="ID", help=f"of {', '.join(BENCHMARKS)}; default: all")
    wanted = parser.parse_args().ids or list(BENCHMARKS)
    if unknown := [name for name in wanted if name not in BENCHMARKS]:
        parser.error(f"unknown benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    for name in wanted:
        for figure in BENCHMARKS[name]():
            print(figure.line, flush=True)


if __name__ == "__main__":
    main()
