"""The lines that ``make bench`` prints, and that a benchmark does not hide a file that fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_feast.jobs import task
from benchmarks import waits
from benchmarks.__main__ import BENCHMARKS
from benchmarks.figure import Figure
from benchmarks.parse import EMPTY, OURS, PEER, parse_times


def test_a_figure_is_printed_as_one_line_with_its_ratio() -> None:
    line = Figure("P1", "parse_ms_above_empty", 25.04, 1000.0).line
    assert line == "P1 parse_ms_above_empty ours=25.0 peer=1000.0 ratio=0.025"


@pytest.mark.parametrize(("ours", "ratio"), [(0.0, "1.000"), (2.0, "inf")])
def test_a_peer_that_needs_nothing_has_a_ratio_too(ours: float, ratio: str) -> None:
    assert Figure("P3", "reads", ours, 0.0).line.endswith(f" peer=0.000 ratio={ratio}")


def test_a_benchmark_is_found_by_the_id_of_its_figures() -> None:
    assert set(BENCHMARKS) >= {"P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8", "P9"}


def test_the_cost_of_live_logs_is_that_of_the_default() -> None:
    assert waits.LIVE_LOG_SECONDS == task.DEFERRED_LOG_SECONDS


def test_the_benchmarked_files_are_there() -> None:
    assert [file.is_file() for file in (EMPTY, OURS, PEER)] == [True, True, True]


def test_a_file_that_cannot_be_parsed_stops_the_benchmark(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("raise SystemExit(3)\n")
    with pytest.raises(RuntimeError, match="could not be parsed"):
        parse_times([str(broken)], 1)
