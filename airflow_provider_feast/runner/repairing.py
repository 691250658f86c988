"""Load what the registry's intervals lack in a range of event time.

What is missing is found in the pod that loads it, under the lock: nobody else can load it meanwhile, and a retry finds
only what is left, for the registry has an interval of each load that is done.
"""

from __future__ import annotations

import argparse
from datetime import timedelta
from typing import Any

from airflow_provider_feast.runner.basics import USAGE, Failure
from airflow_provider_feast.runner.commands import Session, open_store, run_through_python
from airflow_provider_feast.runner.gaps import tell_gaps, with_intervals
from airflow_provider_feast.runner.guarding import newest_end
from airflow_provider_feast.runner.intervals import Span, by_span, missing, repair_spans, span_text
from airflow_provider_feast.runner.materializing import Materializer
from airflow_provider_feast.runner.planning import Load, instant

REPAIR_POLICIES = ("guard", "extend")
MOST_LINES = 200
"""Lines of the table in the log; the events have all."""


class Repair:
    """One repair.

    :param start: where the range begins.
    :param end: where it ends, excluded.
    """

    def __init__(self, options: argparse.Namespace, session: Session) -> None:
        self._options, self._session = options, session
        try:
            self.start, self.end = instant(options.start), instant(options.end)
        except ValueError as error:
            raise Failure(USAGE, "usage_error", f"the range cannot be read: {error}") from error
        if self.start >= self.end or options.step <= 0:
            raise Failure(USAGE, "usage_error", "--start must be before --end, and --step larger than zero")
        self.materializer = Materializer(session, options)

    def work(self) -> None:
        """Say what is missing, and load it."""
        views = self._views()
        gaps = self._missing(views)
        self._tell(gaps)
        guarded = self._options.older_windows == "guard"
        step = timedelta(seconds=self._options.step)
        spans = {view.name: repair_spans(gaps[view.name], newest_end(view), guarded, step) for view in views}
        loads = [Load(*span, tuple(names)) for span, names in by_span(spans)]
        self._print(views, loads)
        if loads and not self._options.dry_run:
            self.materializer.load(loads, "")
            self._tell(self._missing(self._views()))

    def _tell(self, gaps: dict[str, list[Span]]) -> None:
        tell_gaps(self._session.output, gaps)
        self._session.report.gaps(gaps)

    def _views(self) -> list[Any]:
        """The views that are asked for, as the registry has them now."""
        store = open_store(self._options, self._session)
        views = store._get_feature_views_to_materialize(self._options.view or None)
        found = with_intervals(views)
        known = {view.name for view in found}
        for view in views:
            if view.name not in known:
                print(f"{view.name}: Feast keeps no record of what is loaded of an on-demand view; left out")
        return sorted(found, key=lambda view: str(view.name))

    def _missing(self, views: list[Any]) -> dict[str, list[Span]]:
        return {view.name: missing(view.materialization_intervals, self.start, self.end) for view in views}

    def _print(self, views: list[Any], loads: list[Load]) -> None:
        range_ = span_text((self.start, self.end))
        if not loads:
            print(f"Nothing is missing in {range_} of {len(views)} feature views.")
            return
        verb = "would be loaded" if self._options.dry_run else "is loaded now"
        print(f"In {range_} the registry lacks the following, which {verb} in this order:")
        rows = [(name, str(load)) for load in loads for name in load.views]
        wide, long = (max(len(row[column]) for row in rows) for column in (0, 1))
        wide = max(wide, len("feature view"))
        print(f"{'feature view':<{wide}}  {'window':<{long}}  rows")
        for name, window in rows[:MOST_LINES]:
            print(f"{name:<{wide}}  {window:<{long}}  unknown")
        if len(rows) > MOST_LINES:
            print(f"… and {len(rows) - MOST_LINES} more")


def repair(options: argparse.Namespace, session: Session) -> None:
    """Close what is missing in a range, or only say what that would be."""
    work = Repair(options, session)
    session.watcher.guarding = options.older_windows == "guard"
    run_through_python(options, session, work.work)
    work.materializer.conclude()
