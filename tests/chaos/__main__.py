"""``make chaos N=200 SEED=1``: plays random schedules and counts what must not be."""

from __future__ import annotations

import argparse
import queue
import secrets
import sys
import threading
import time
from collections import Counter

from chaos.judge import KINDS
from chaos.player import Result, play
from chaos.schedule import Schedule, make, make_standalone, seeds
from chaos.stage import open_stage

STANDALONE = 10
"""How many schedules of a suite of at least four times as many run on a whole `airflow standalone`."""


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("-n", "--number", type=int, default=20, help="how many schedules")
    parser.add_argument("--seed", type=int, help="default: a random one, which is printed")
    parser.add_argument("--only", help="play the schedule of one seed, e.g. 1.17")
    parser.add_argument("--lanes", type=int, default=2, help="how many Airflows play side by side")
    parser.add_argument("--standalone", type=int, help="how many on a whole `airflow standalone`")
    parser.add_argument(
        "--mutation", default="", help="break a safeguard first: no-adoption, no-lock, no-uid"
    )
    parser.add_argument(
        "--keep", action="store_true", help="leave the directories of Airflow and the sandbox"
    )
    return parser.parse_args()


class Suite:
    """Plays schedules on some stages and prints each result.

    :param options: the command line.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._lock = threading.Lock()
        self.results: list[Result] = []
        self.errors: list[str] = []

    def run(self, forked: list[Schedule], standalone: list[Schedule]) -> None:
        """Play all; returns when the last one is judged."""
        waiting: queue.SimpleQueue[Schedule] = queue.SimpleQueue()
        whole: queue.SimpleQueue[Schedule] = queue.SimpleQueue()
        for schedule in forked:
            waiting.put(schedule)
        for schedule in standalone:
            whole.put(schedule)
        lanes = min(self._options.lanes, len(forked))
        work = [(waiting, False)] * lanes + ([(whole, True)] if standalone else [])
        threads = [threading.Thread(target=self._lane, args=lane) for lane in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _lane(self, waiting: queue.SimpleQueue[Schedule], standalone: bool) -> None:
        try:
            self._play(waiting, standalone)
        except Exception as error:
            self.errors.append(f"{type(error).__name__}: {error}")
            raise

    def _play(self, waiting: queue.SimpleQueue[Schedule], standalone: bool) -> None:
        stage = open_stage(self._options.mutation, standalone=standalone)
        stage.keep = self._options.keep
        try:
            while True:
                try:
                    schedule = waiting.get_nowait()
                except queue.Empty:
                    return
                self._report(play(stage, schedule), standalone, str(stage.home))
        finally:
            stage.close()

    def _report(self, result: Result, standalone: bool, home: str) -> None:
        schedule = result.schedule
        with self._lock:
            self.results.append(result)
            verdict = "ok" if not result.findings else "FAILED"
            where = " standalone" if standalone else ""
            print(f"{verdict} {schedule.seed}{where} {result.seconds:.1f} s kills={result.kills} {schedule}")
            for finding in result.findings:
                print(f"   {finding.kind}: {finding.what}")
            if result.findings:
                print("   " + "\n   ".join(result.told))
                where = " --standalone 1" if standalone else ""
                print(f"   again: PYTHONPATH=tests {sys.executable} -m chaos --only {schedule.seed}{where}")
                if self._options.keep:
                    print(f"   directory: {home}")
            sys.stdout.flush()


def _schedules(options: argparse.Namespace) -> tuple[list[Schedule], list[Schedule]]:
    if options.only:
        return ([], [make_standalone(options.only)]) if options.standalone else ([make(options.only)], [])
    seed = options.seed if options.seed is not None else secrets.randbelow(10**6)
    whole = options.standalone
    if whole is None:
        whole = STANDALONE if options.number >= 4 * STANDALONE else 0
    print(f"chaos: {options.number} schedules of SEED={seed}, {whole} of them on `airflow standalone`")
    every = seeds(seed, options.number)
    return [make(name) for name in every[whole:]], [make_standalone(name) for name in every[:whole]]


def main() -> int:
    """Entry point; the exit code."""
    options = _arguments()
    suite, started = Suite(options), time.monotonic()
    suite.run(*_schedules(options))
    counts = Counter(finding.kind for result in suite.results for finding in result.findings)
    idle = [result.schedule.seed for result in suite.results if not result.kills]
    for error in suite.errors:
        print(f"error: {error}")
    if idle:
        print(f"killed nothing: {', '.join(idle)}")
    kills = sum(result.kills for result in suite.results)
    print(f"{time.monotonic() - started:.0f} s, {kills} kills of task runners and triggerers")
    print(f"chaos runs={len(suite.results)} " + " ".join(f"{kind}={counts[kind]}" for kind in KINDS))
    return 1 if counts or suite.errors or idle else 0


if __name__ == "__main__":
    sys.exit(main())
