"""What ``materialize-incremental`` would pass over: told, or loaded as well."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Any, Callable, Mapping

from airflow_provider_feast.runner.basics import REFUSED, Failure
from airflow_provider_feast.runner.guarding import newest_end
from airflow_provider_feast.runner.intervals import DAY, TICK, Span, aware, brief, cut, passed_over, span_text
from airflow_provider_feast.runner.output import Output, quiet
from airflow_provider_feast.runner.report import Report

GAP_POLICIES = ("fill", "report", "ignore")


def with_intervals(views: list[Any]) -> list[Any]:
    """The views of which the registry keeps intervals; of on-demand views it does not."""
    return [view for view in views if getattr(view, "materialization_intervals", None) is not None]


def tell_gaps(output: Output, found: Mapping[str, list[Span]]) -> None:
    """One ``view_gaps`` event for each view that has some."""
    for name in sorted(found):
        if found[name]:
            output.event(
                "view_gaps", view=name, gaps=[[part.isoformat() for part in gap] for gap in found[name]]
            )


class Gaps:
    """Finds what ``materialize-incremental`` would pass over of each view, and loads that when the new is loaded.

    What is new comes first: an old gap that cannot be loaded does not keep it from the online store.

    :param policy: one of GAP_POLICIES.
    :param is_local: whether a store's rows pass through this process.
    """

    def __init__(self, policy: str, output: Output, report: Report, is_local: Callable[[Any], bool]) -> None:
        self._policy, self._output, self._report, self._is_local = policy, output, report, is_local
        self._found: dict[str, list[Span]] = {}

    def find(self, store: Any, name: str, end: datetime) -> None:
        """Say whether a view has gaps before ``end``.

        :raises Failure: when they shall be loaded, and older rows could not be left out.
        """
        views = [] if self._policy == "ignore" else store._get_feature_views_to_materialize([name])
        for view in with_intervals(views):
            gaps = passed_over(view.materialization_intervals, aware(end))
            if not gaps:
                continue
            self._found[name] = gaps
            tell_gaps(self._output, {name: gaps})
            self._report.gaps(self._found)
            print(self._words(view), file=sys.stderr)
            if self._policy == "fill" and not self._is_local(store):
                raise Failure(
                    REFUSED,
                    "older_window",
                    "gaps cannot be filled, for this compute engine writes past the runner, and older values would come "
                    "online. FeastRepairOperator(older_windows='extend') closes them; gaps='report' goes on without them",
                )

    def _words(self, view: Any) -> str:
        gaps, newest = self._found[view.name], newest_end(view) or view.materialization_intervals[0][1]
        end = newest if (newest + TICK).microsecond else newest + TICK
        more = f" and {len(gaps) - 1} more" if len(gaps) > 1 else ""
        goes_on = f"materialize-incremental goes on from {brief(end)}"
        what = (
            "It is loaded as well"
            if self._policy == "fill"
            else "FeastRepairOperator, or gaps='fill', loads it"
        )
        level = "" if self._policy == "fill" else "WARNING: "
        return f"{level}{view.name} was never loaded for {span_text(gaps[0])}{more}; {goes_on}. {what}"

    def fill(self, store: Any, name: str) -> None:
        """Load a view's gaps, ascending, where that is the policy; the guard leaves older rows out."""
        for gap in list(self._found.get(name, ())) if self._policy == "fill" else ():
            for start, end in cut(gap, DAY):
                with quiet():
                    store.materialize(start_date=start, end_date=end - TICK, feature_views=[name])
            self._found[name].remove(gap)
            self._report.gaps(self._found)
