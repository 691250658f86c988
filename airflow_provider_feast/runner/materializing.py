"""Load the windows of a plan in one process, through ``FeatureStore``."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import datetime
from typing import Any, Sequence

from airflow_provider_feast.runner.basics import REFUSED, Failure
from airflow_provider_feast.runner.commands import Session, open_store, print_traceback, run_through_python
from airflow_provider_feast.runner.gaps import Gaps
from airflow_provider_feast.runner.guarding import newest_end, older
from airflow_provider_feast.runner.inspecting import listed_objects
from airflow_provider_feast.runner.intervals import TICK
from airflow_provider_feast.runner.output import quiet
from airflow_provider_feast.runner.planning import (
    Load,
    around,
    completion_index,
    in_order,
    read_plan,
    selected,
)
from airflow_provider_feast.runner.progress import Progress
from airflow_provider_feast.runner.reasons import classify
from airflow_provider_feast.runner.watching import is_local, nothing

VIEW_KINDS = ("list_feature_views", "list_stream_feature_views")
POLICIES = ("guard", "extend", "refuse", "skip", "overwrite")


class Materializer:
    """Loads windows one after another, each view by itself, so that one that fails leaves the others their result."""

    def __init__(self, session: Session, options: argparse.Namespace) -> None:
        self._session, self._options = session, options
        self._store: Any = None
        self._orders: dict[tuple[str, ...], list[str]] = {}
        policy = getattr(options, "gaps", "ignore")
        self._gaps = Gaps(policy, session.output, session.report, is_local)
        self.failed: dict[str, tuple[str, str, str]] = {}

    def load(
        self,
        windows: list[Load],
        place: str,
        before: Sequence[list[Load]] = (),
        after: Sequence[list[Load]] = (),
    ) -> None:
        """Load the windows of one or more chunks, in their order.

        :param place: which chunk this is, in words, or "".
        :param before: the chunks of the plan that are done already.
        :param after: those that are left to other processes.
        """
        self._store = open_store(self._options, self._session)
        orders = [(window, self._order(window.views)) for window in windows]
        total = sum(len(names) for _, names in orders)
        starts = (time.monotonic() - self._session.began) * len(after)
        progress = Progress(
            total, place, print, before=self._count(before), after=self._count(after), starts=starts
        )
        self._session.watcher.progress = progress
        for window, names in orders:
            for name in names:
                progress.start(name, str(window))
                if name not in self.failed:
                    self._attempt(window, name)
                progress.finish()
                self._session.report.steps(progress.done, progress.total)

    def _count(self, chunks: Sequence[list[Load]]) -> int:
        """How many loads other chunks are; a rule's have the views of ours."""
        windows = (window for chunk in chunks for window in chunk)
        return sum(len(self._orders.get(window.views, window.views)) for window in windows)

    def _order(self, names: tuple[str, ...]) -> list[str]:
        """The views of a window in the order in which they are loaded."""
        if names not in self._orders:
            views = self._store._get_feature_views_to_materialize(list(names) or None)
            if not views and not self._options.allow_empty:
                raise nothing("the registry has no feature view that is enabled and online")
            self._heal({view.name for view in views})
            self._orders[names] = [view.name for view in in_order(views)]
        return self._orders[names]

    def _heal(self, planned: set[str]) -> None:
        """Free views that a dead writer left in MATERIALIZING: we hold the lock, so nobody else is at work."""
        if self._options.heal == "none":
            return
        registry, project = self._store.registry, self._store.project
        for name in sorted(stuck(self._store)):
            if self._options.heal == "planned" and name not in planned:
                continue
            view = registry.get_any_feature_view(name, project)
            states = type(view.state)
            loaded = bool(getattr(view, "materialization_intervals", None))
            view.state = states.AVAILABLE_ONLINE if loaded else states.GENERATED
            with self._session.stopper.shielded():
                registry.apply_feature_view(view, project, commit=True)
            print(f"{name}: was left MATERIALIZING by a writer that died; it is {view.state.name} again")

    def _attempt(self, window: Load, name: str) -> None:
        """Load one window of one view; a failure is kept, and the store is opened anew.

        A database connection in a failed transaction would make every later view fail, too.
        """
        try:
            self._load(window, name)
        except Exception as error:  # noqa: BLE001  (kept, and raised when the others have had their turn)
            if isinstance(error, Failure):
                kind, reason = error.kind, str(error)
                print(f"{name} {window}: {reason}", file=sys.stderr)
            else:
                print_traceback(error)
                kind, reason = classify(error, self._options.repo)
            self.failed[name] = (kind, reason, str(window))
            self._session.report.fail(name)
            self._store = open_store(self._options, self._session)

    def _load(self, window: Load, name: str) -> None:
        start, last = window.start, window.last
        if start is None:
            self._load_what_is_new(name, last)
            return
        policy = self._options.older_windows
        newest = self._newest_end(name)
        if policy != "overwrite" and newest is not None and newest - last > TICK:
            if policy == "skip":
                self._session.output.event(
                    "view_skipped", view=name, start=start, end=window.end, newest=newest
                )
                print(f"{name} {window}: skipped, for it is loaded up to {newest.isoformat()} already")
                return
            if policy == "refuse" or (policy == "guard" and not self._session.watcher.local):
                raise older(name, str(window), last, newest, policy)
            if policy == "extend":
                print(f"{name} {window}: extended by {newest - last} up to {newest.isoformat()}")
                last = newest
        with quiet():
            self._store.materialize(start_date=start, end_date=last, feature_views=[name])

    def _load_what_is_new(self, name: str, last: datetime) -> None:
        newest = self._newest_end(name)
        self._gaps.find(self._store, name, last)
        if newest is not None and newest >= last:  # Feast would note an interval that runs backwards
            self._session.output.event("view_skipped", view=name, end=last + TICK, newest=newest)
            print(f"{name}: nothing is new, for it is loaded up to {newest.isoformat()} already")
        else:
            with quiet():
                self._store.materialize_incremental(end_date=last, feature_views=[name])
        self._gaps.fill(self._store, name)

    def _newest_end(self, name: str) -> datetime | None:
        return newest_end(self._store._get_feature_views_to_materialize([name])[0])

    def conclude(self) -> None:
        """Raise what went wrong, if anything did."""
        if not self.failed:
            return
        told = "; ".join(f"{name} {window}: {reason}" for name, (_, reason, window) in self.failed.items())
        kinds = [kind for kind, _, _ in self.failed.values()]
        same = len(set(kinds)) == 1
        count = len(self.failed)
        code = REFUSED if set(kinds) == {"older_window"} else 1
        what = "1 feature view failed" if count == 1 else f"{count} feature views failed"
        raise Failure(code, kinds[0] if same else "command_failed", f"{what}: {told}")


def stuck(store: Any) -> list[str]:
    """Feature views that are MATERIALIZING."""
    views = [view for kind in VIEW_KINDS for view in listed_objects(store, kind)]
    return [
        view.name for view in views if getattr(getattr(view, "state", None), "name", "") == "MATERIALIZING"
    ]


def materialize(options: argparse.Namespace, session: Session) -> None:
    """Load this pod's chunk of the plan, or all of it where there is no completion index."""
    digest, chunks = read_plan(options.plan)
    wanted = selected(len(chunks), options.chunks, options.index or completion_index())
    session.report.body["chunk"] = wanted[0] if len(wanted) == 1 else None
    session.watcher.guarding = options.older_windows == "guard"
    place = f"chunk {wanted[0] + 1} of {len(chunks)}" if len(wanted) == 1 < len(chunks) else ""
    before, after = around(chunks, wanted, options.chunks)
    materializer = Materializer(session, options)

    def work() -> None:
        session.output.event("plan_started", digest=digest, chunks=wanted, of=len(chunks))
        materializer.load([window for number in wanted for window in chunks[number]], place, before, after)

    run_through_python(options, session, work)
    materializer.conclude()
    views = session.report.body["views"]
    if views and all(total["rows"] == 0 for total in views.values()):
        print(f"WARNING: 0 new rows in all {len(views)} feature views", file=sys.stderr)
