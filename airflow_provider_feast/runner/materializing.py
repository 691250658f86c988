"""Load the windows of a plan in one process, through ``FeatureStore``."""

from __future__ import annotations

import argparse
import sys
import time
from datetime import datetime, timezone
from typing import Any, Sequence

from airflow_provider_feast.runner.basics import REFUSED, Failure
from airflow_provider_feast.runner.commands import Session, open_store, print_traceback, run_through_python
from airflow_provider_feast.runner.gaps import Gaps, with_intervals
from airflow_provider_feast.runner.guarding import ahead_of_time, extension_cost, newest_end, older
from airflow_provider_feast.runner.inspecting import listed_objects
from airflow_provider_feast.runner.intervals import TICK, first_start, is_older, within_extension
from airflow_provider_feast.runner.output import quiet
from airflow_provider_feast.runner.planning import (
    Load,
    around,
    as_one,
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
        self._starts: frozenset[datetime] = frozenset()
        policy = getattr(options, "gaps", "ignore")
        self._gaps = Gaps(policy, session.output, session.report, is_local)
        self.failed: dict[str, tuple[str, str, str]] = {}

    def chunks_as_loaded(self, chunks: list[list[Load]]) -> list[list[Load]]:
        """The chunks of a plan, each as one window where older rows cannot be left out.

        Were such a chunk loaded window by window and stopped in its middle, its first window would be older than what is
        noted of its others, and the next try could never load it.
        """
        policy = self._options.older_windows
        self._starts = frozenset(chunk[0].start for chunk in chunks if chunk[0].start is not None)
        self._store = open_store(self._options, self._session)
        whole = policy in ("refuse", "extend") or (policy == "guard" and not self._session.watcher.local)
        return [as_one(chunk) for chunk in chunks] if whole else chunks

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
        self._store = self._store or open_store(self._options, self._session)
        self._tell_cost(windows, after)
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
        start = window.start
        if start is None:
            self._load_what_is_new(name, window.last)
            return
        last: datetime | None = window.last
        newest = newest_end(self._view(name))
        if (
            self._options.older_windows != "overwrite"
            and newest is not None
            and is_older(window.last, newest)
        ):
            last = self._end_of_older(window, start, name, newest)
        if last is not None:
            self._materialize(name, start, last)

    def _materialize(self, name: str, start: datetime, last: datetime) -> None:
        with quiet():
            self._store.materialize(start_date=start, end_date=last, feature_views=[name])

    def _end_of_older(self, window: Load, start: datetime, name: str, newest: datetime) -> datetime | None:
        """Up to where a window is loaded that ends before what is loaded already; ``None`` leaves it out.

        :raises Failure: when that is the policy, or older rows could not be left out.
        """
        policy = self._options.older_windows
        if policy == "refuse" or (policy == "guard" and not self._session.watcher.local):
            raise older(name, str(window), window.last, newest, policy)
        if policy == "skip":
            self._tell_skipped(name, window, newest, f"it is loaded up to {newest.isoformat()} already")
            return None
        if policy == "extend":
            if within_extension(self._view(name).materialization_intervals, start, newest, self._starts):
                self._tell_skipped(
                    name, window, newest, "an earlier window of this plan was extended over it"
                )
                return None
            print(f"{name} {window}: extended by {newest - window.last} up to {newest.isoformat()}")
            return newest
        return window.last

    def _tell_skipped(self, name: str, window: Load, newest: datetime, why: str) -> None:
        self._session.output.event(
            "view_skipped", view=name, start=window.start, end=window.end, newest=newest
        )
        print(f"{name} {window}: skipped, for {why}")

    def _tell_cost(self, windows: list[Load], after: Sequence[list[Load]]) -> None:
        """What ``extend`` is going to load of each view, before the first load."""
        start, last, names = windows[0].start, windows[0].last, windows[0].views
        if self._options.older_windows != "extend" or start is None:
            return
        end = [*windows, *(window for chunk in after for window in chunk)][-1].end
        for name in self._order(names):
            view = self._view(name)
            newest = newest_end(view)
            if newest is None or not is_older(last, newest):
                continue
            if not within_extension(view.materialization_intervals, start, newest, self._starts):
                print(extension_cost(name, start, newest, end))

    def _load_what_is_new(self, name: str, last: datetime) -> None:
        view = self._view(name)
        newest = newest_end(view)
        self._gaps.find(self._store, name, last)
        if newest is not None and newest >= last:  # Feast would note an interval that runs backwards
            self._session.output.event("view_skipped", view=name, end=last + TICK, newest=newest)
            print(f"{name}: nothing is new, for it is loaded up to {newest.isoformat()} already")
            if newest > datetime.now(timezone.utc):
                self._session.report.ahead(name, newest)
                print(ahead_of_time(name, newest), file=sys.stderr)
        elif not with_intervals(
            [view]
        ):  # of an on-demand view Feast keeps no record: all of its sources' TTL
            with quiet():
                self._store.materialize_incremental(end_date=last, feature_views=[name])
        else:
            start = first_start(view.ttl, last) if newest is None else newest + TICK
            self._materialize(name, start, last)
        self._gaps.fill(self._store, name)

    def _view(self, name: str) -> Any:
        return self._store._get_feature_views_to_materialize([name])[0]

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
    materializer = Materializer(session, options)

    def work() -> None:
        session.output.event("plan_started", digest=digest, chunks=wanted, of=len(chunks))
        loads = materializer.chunks_as_loaded(chunks)
        before, after = around(loads, wanted, options.chunks)
        materializer.load([window for number in wanted for window in loads[number]], place, before, after)

    run_through_python(options, session, work)
    materializer.conclude()
    views = session.report.body["views"]
    if views and all(total["rows"] == 0 for total in views.values()):
        print(f"WARNING: 0 new rows in all {len(views)} feature views", file=sys.stderr)
