"""The lines that ``make bench`` prints, and that a benchmark does not hide a file that fails."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_feast.jobs import task
from benchmarks import long_range, materialize, waits
from benchmarks.__main__ import BENCHMARKS
from benchmarks.figure import Figure
from benchmarks.long_range import Spent
from benchmarks.materialize import Cost
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


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What P5, P6 and P8 would run: a call of plain Feast costs 2 CPU seconds and 800 MB, one of the runner half a
    second and 100 MB."""
    ran: list[list[str]] = []

    def cost(command: list[str]) -> Cost:
        ran.append(command)
        return Cost(2.0, 800.0) if command[0].endswith("/feast") else Cost(0.5, 100.0)

    monkeypatch.setattr(materialize, "cost", cost)
    return ran


def loads(commands: list[list[str]]) -> tuple[list[list[str]], int]:
    """The windows that plain Feast loads, and how many times the runner loads."""
    plain = [command[-2:] for command in commands if "materialize" in command and "--plan" not in command]
    return plain, sum("--plan" in command for command in commands)


def test_p5_compares_one_window_with_one_call_of_plain_feast_in_rounds(commands: list[list[str]]) -> None:
    (figure,) = materialize.one_window()
    assert figure.line == "P5 one_window_cpu_seconds ours=0.500 peer=2.000 ratio=0.250"
    assert loads(commands) == ([["2026-01-01T00:00:00", "2026-01-01T23:59:59.999999"]] * 5, 5)


def test_p6_compares_thirty_windows_of_one_process_with_thirty_calls(commands: list[list[str]]) -> None:
    (figure,) = materialize.thirty_windows()
    assert figure.line == "P6 thirty_windows_cpu_seconds ours=0.500 peer=60.0 ratio=0.008"
    plain, runs = loads(commands)
    assert [start[:10] for start, _ in plain] == [f"2026-01-{day:02}" for day in range(1, 31)]
    assert runs == 1


def test_p8_compares_the_memory_of_one_large_window(
    commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEAST_BENCH_P8_ROWS", "50")
    (figure,) = materialize.memory()
    assert figure.line == "P8 large_window_peak_mb ours=100.0 peer=800.0 ratio=0.125"
    plain, runs = loads(commands)
    assert (len(plain), runs) == (1, 1)


def test_p7_compares_one_load_of_all_days_with_a_sample_of_jobs_and_scales_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lengths: list[timedelta] = []

    def run(task: str, store: Any, start: Any, end: Any, **options: Any) -> None:
        lengths.append(end - start)

    def spent(work: Any) -> Spent:
        before = len(lengths)
        work()
        return Spent(float(len(lengths) - before), 2.0)

    monkeypatch.setenv("FEAST_BENCH_P7_DAYS", "40")
    monkeypatch.setenv("FEAST_BENCH_P7_SAMPLE", "4")
    monkeypatch.setattr(long_range, "run", run)
    monkeypatch.setattr(long_range, "spent", spent)
    monkeypatch.setattr(long_range, "applied", lambda home, data, name: {})
    name = "P7 40_windows_of_3_views_peer_scaled_from_4"
    assert [figure.line for figure in long_range.measure()] == [
        f"{name}_cpu_seconds ours=1.000 peer=40.0 ratio=0.025",
        f"{name}_wall_seconds ours=2.000 peer=20.0 ratio=0.100",
    ]
    assert lengths == [timedelta(days=40), *[timedelta(days=1)] * 4]
