"""P1: what a DAG file costs the DAG processor, above the same file with an EmptyOperator.

The DAG processor executes each DAG file in a process that is forked from one that has ``airflow.sdk`` loaded.
So does this: one process loads it, and forks a child for each measurement. The files take turns, so that a busy
moment of the machine meets all of them, and the medians are compared.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figure import Figure

HERE = Path(__file__).resolve().parent
EMPTY = HERE / "dags" / "empty.py"
PEER = HERE / "dags" / "kubernetes_job.py"
OURS = HERE.parent / "example_dags" / "feast_quickstart.py"
ROUNDS = 15


def measure() -> Iterator[Figure]:
    """Milliseconds of parsing the quickstart, and of the same DAG with KubernetesJobOperator."""
    files = [EMPTY, OURS, PEER]
    with tempfile.TemporaryDirectory() as home:
        environment = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW_")}
        environment |= {"AIRFLOW_HOME": home, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        command = [sys.executable, "-m", "benchmarks.parse", *map(str, files)]
        run = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True, cwd=HERE.parent)
    samples: list[list[float]] = json.loads(run.stdout.splitlines()[-1])
    empty, ours, peer = (statistics.median(times) for times in samples)
    yield Figure("P1", "parse_ms_above_empty", ours - empty, peer - empty)


def parse_times(files: list[str], rounds: int) -> list[list[float]]:
    """Milliseconds of executing each file, ``rounds`` times each; a first round is run and left out."""
    from airflow.sdk import DAG, BaseOperator  # noqa: F401  (loaded before the fork, as the DAG processor does)

    times = [[_in_a_child(file) for file in files] for _ in range(rounds + 1)][1:]
    return [list(column) for column in zip(*times, strict=True)]


def _in_a_child(file: str) -> float:
    """Milliseconds that a forked child needs to execute a DAG file."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.write(write, f"{_execute(file):.6f}".encode())
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    _, status = os.waitpid(child, 0)
    if status or not said:
        raise RuntimeError(f"{file} could not be parsed; run `python {file}` to see why")
    return float(said)


def _execute(file: str) -> float:
    source = Path(file).read_text(encoding="utf-8")
    start = time.perf_counter()
    exec(compile(source, file, "exec"), {"__name__": "parsed_dag", "__file__": file})
    return (time.perf_counter() - start) * 1000


if __name__ == "__main__":
    print(json.dumps(parse_times(sys.argv[1:], ROUNDS)))
