"""What Feast does, seen from inside: views, rows, seconds."""

from __future__ import annotations

import collections
import time
from datetime import datetime
from inspect import signature
from typing import Any, Callable

from airflow_provider_feast.runner.basics import BATCH_ROWS, NOTHING, Failure, Interrupted, wrap
from airflow_provider_feast.runner.guarding import Tally, compares_itself, newer_rows, newest_end, older
from airflow_provider_feast.runner.intervals import aware, is_older
from airflow_provider_feast.runner.output import Output
from airflow_provider_feast.runner.progress import Progress
from airflow_provider_feast.runner.registry_files import Unsaved, write_whole
from airflow_provider_feast.runner.report import Report
from airflow_provider_feast.runner.stopping import Stopper

WRITE_PARAMETERS = ("self", "config", "table", "data", "progress")
"""Of ``OnlineStore.online_write_batch``."""


class Watcher:
    """Wraps the methods of Feast that materialize, to see views, rows and seconds.

    Behaviour stays the same, but for what is asked for: ``guarding`` leaves rows out that are older than what is
    online. Another version of Feast may lack a method: then that part is not seen, and nothing else changes.
    """

    def __init__(self, output: Output, report: Report, stopper: Stopper) -> None:
        self._output, self._report, self._stopper = output, report, stopper
        self._allow_empty = self.local = True
        self._last: datetime | None = None
        self._states: dict[str, Any] = {}
        self._seen: set[str] = set()
        self.guarding = self.reading = self.saving_nothing = False
        self.progress: Progress | None = None
        self.selected: int | None = None
        self.current = ""
        self.rows: collections.Counter[str] = collections.Counter()
        self.older: collections.Counter[str] = collections.Counter()

    def install(self, allow_empty: bool) -> None:
        from feast import FeatureStore
        from feast.infra.passthrough_provider import PassthroughProvider
        from feast.infra.registry.file import FileRegistryStore
        from feast.infra.registry.registry import Registry

        self._allow_empty = allow_empty
        wrap(Registry, "commit", self._commit)
        wrap(FileRegistryStore, "_write_registry", write_whole)
        wrap(FeatureStore, "_get_feature_views_to_materialize", self._select)
        wrap(PassthroughProvider, "materialize_single_feature_view", self._view)
        for name in ("materialize", "materialize_incremental"):
            wrap(FeatureStore, name, self._command)

    def prepare(self, store: Any) -> None:
        """Bound the memory of a store's loads, and see what its online store is given."""
        materialization: Any = getattr(store.config, "materialization_config", None)
        if getattr(materialization, "online_write_batch_size", BATCH_ROWS) is None:
            materialization.online_write_batch_size = BATCH_ROWS
        provider = store._get_provider()
        self.local = is_local(store)
        online = getattr(provider, "online_store", None)
        owner = next((cls for cls in type(online).__mro__ if "online_write_batch" in vars(cls)), None)
        if owner is not None and not hasattr(vars(owner)["online_write_batch"], "__wrapped__"):
            wrap(owner, "online_write_batch", self._write)

    def _commit(self, original: Callable[..., Any], registry: Any, *args: Any, **kwargs: Any) -> Any:
        if self.reading:  # Feast makes a registry that is not there; who only reads holds no lock
            raise nothing("the registry does not exist yet")
        proto = getattr(registry, "cached_registry_proto", None)
        if self.saving_nothing:
            registry._registry_store = Unsaved(registry._registry_store, proto)
            return None
        if self.selected is None and not self._allow_empty and not getattr(proto, "projects", True):
            raise nothing("the registry does not exist yet, or it is empty")
        with self._stopper.shielded():
            return original(registry, *args, **kwargs)

    def _select(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        views = original(*args, **kwargs)
        self.selected = len(views)
        self._states = {view.name: view.state for view in views if hasattr(view, "state")}
        if not views and not self._allow_empty:
            raise nothing("the registry has no feature view that is enabled and online")
        if self.guarding and not self.local and self._last is not None:
            self._refuse_older(views, self._last)
        return views

    @staticmethod
    def _refuse_older(views: list[Any], last: datetime) -> None:
        """Rows that do not pass through here cannot be left out."""
        for view in views:
            newest = newest_end(view)
            if newest is not None and is_older(last, newest):
                raise older(view.name, f"what ends at {last.isoformat()}", last, newest, "guard")

    def _command(self, original: Callable[..., Any], store: Any, *args: Any, **kwargs: Any) -> Any:
        self.prepare(store)
        given = signature(original).bind(store, *args, **kwargs).arguments
        begin, before, older = time.monotonic(), self.rows.copy(), self.older.copy()
        self._seen.clear()
        self._last = aware(given["end_date"]) if isinstance(given.get("end_date"), datetime) else None
        try:
            result = original(store, *args, **kwargs)
        except Interrupted:
            with self._stopper.shielded():
                self._heal(store)
            raise
        finally:
            self._last = None  # who only looks for views, between two loads, asks for no window
        for name in sorted(set(self._states) - self._seen):
            rows = self.rows[name] - before[name] if name in self.rows else None
            self._finished(name, rows, self.older[name] - older[name], begin, {})
        return result

    def _heal(self, store: Any) -> None:
        """Give back the state that a view had: online reads refuse one that is MATERIALIZING."""
        for name, before in self._states.items():
            view = store.registry.get_any_feature_view(name, store.project)
            if getattr(getattr(view, "state", None), "name", "") != "MATERIALIZING":
                continue
            if before.name == "MATERIALIZING" and name not in self._seen:
                continue
            view.state = type(before).GENERATED if before.name == "MATERIALIZING" else before
            store.registry.apply_feature_view(view, store.project, commit=True)
            print(f"{name}: interrupted; its state is {view.state.name} again")

    def _view(self, original: Callable[..., Any], provider: Any, *args: Any, **kwargs: Any) -> Any:
        names = ("config", "feature_view", "start_date", "end_date")
        given = {**dict(zip(names, args)), **kwargs}
        view = str(getattr(given.get("feature_view"), "name", "unknown"))
        window = {key: getattr(given.get(f"{key}_date"), "isoformat", str)() for key in ("start", "end")}
        local, older = self.local, self.older[view]
        self.current, before, begin = view, self.rows[view], time.monotonic()
        self._seen.add(view)
        self._output.event("view_started", view=view, **window)
        try:
            result = original(provider, *args, **kwargs)
        except BaseException as error:
            kind = "interrupted" if isinstance(error, Interrupted) else type(error).__name__
            self._output.event("view_failed", view=view, error=kind, **window)
            raise
        rows = self.rows[view] - before
        older = self.older[view] - older
        self._finished(view, rows if local or rows or older else None, older, begin, window)
        self.current = ""
        return result

    def _finished(
        self, view: str, rows: int | None, older: int, begin: float, window: dict[str, str]
    ) -> None:
        seconds = round(time.monotonic() - begin, 3)
        self._report.add(view, rows, seconds)
        counts = {"rows": rows, "older": older} if self.guarding else {"rows": rows}
        self._output.event("view_finished", view=view, **counts, seconds=seconds, **window)
        said = "an unknown number of rows (not written by this process)" if rows is None else f"{rows:,} rows"
        left = f" ({older:,} older than what is online were left out)" if older else ""
        told = f"{said} in {seconds:.1f} s{left}"
        if self.progress is not None:
            self.progress.loaded(told)
        else:
            print(f"{view}: {told}")

    def _write(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """A batch on its way to the online store; without what is older than what is there, if asked for."""
        given = {**dict(zip(WRITE_PARAMETERS, args)), **kwargs}
        data = given.get("data")
        if data is None or not hasattr(data, "__len__"):
            return original(*args, **kwargs)
        name = str(getattr(given.get("table"), "name", self.current))
        if self.guarding:
            given["data"] = newer_rows(given["self"], given["config"], given["table"], data)
        kept, tally = given["data"], Tally(given.get("progress"))
        result = None
        if kept or not self.guarding:
            if "progress" in given and compares_itself(given["self"], given["config"]):
                given["progress"] = tally
            positional = [given[parameter] for parameter in WRITE_PARAMETERS[: len(args)]]
            result = original(*positional, **{key: given[key] for key in kwargs})
        written = len(kept) - min(tally.left_out, len(kept))
        self.older[name] += len(data) - written
        self.rows[name] += written
        if self.progress is not None:
            self.progress.wrote(written)
        return result


def is_local(store: Any) -> bool:
    """Whether all rows of a load pass through this process: not with an engine elsewhere, nor a remote feature server."""
    if getattr(store, "_is_remote_topology", bool)():
        return False
    engine = getattr(store._get_provider(), "batch_engine", None)
    return ".compute_engines.local" in type(engine).__module__


def nothing(why: str) -> Failure:
    return Failure(
        NOTHING,
        "nothing_materialized",
        f"0 feature views were materialized: {why}. Run apply first, or allow it",
    )
