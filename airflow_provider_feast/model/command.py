"""A Feast command as an argv list: checked values in, never a shell line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from airflow_provider_feast.model.errors import FeastDagError
from airflow_provider_feast.model.names import text_problem

_SUBCOMMAND = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_VERSION = re.compile(r"v(ersion)?\d+|latest", re.IGNORECASE)
_VIEW = re.compile(r"[^\s\x00-\x1f-][^\s\x00-\x1f]*")
_OBJECT = re.compile(r"[A-Za-z]+ \S[^\x00-\x1f]*")

SERVERS = frozenset(
    {"serve", "serve_lineage", "serve_offline", "serve_registry", "serve_transformations"}
) | {
    "ui",
    "listen",
    "mcp",
}
"""Subcommands that serve until they are stopped; as a Job they would only run into their deadline."""

MATERIALIZE = frozenset({"materialize", "materialize-incremental"})
"""Subcommands that write the online store."""


class FeastCommand(NamedTuple):
    """One Feast command line, without ``feast`` and without its global options.

    :param subcommand: e.g. ``apply``.
    :param arguments: what follows it, one string each, handed over without a shell.
    :param of_runner: whether it is a command of the runner's own, which Feast does not know.
    """

    subcommand: str
    arguments: Sequence[str] = ()
    of_runner: bool = False

    @property
    def argv(self) -> list[str]:
        """The subcommand and its arguments."""
        return [self.subcommand, *self.arguments]

    @property
    def line(self) -> str:
        """The command for a person."""
        return " ".join([*([] if self.of_runner else ["feast"]), *self.argv])

    @property
    def loads(self) -> bool:
        """Whether it writes the online store from the offline store."""
        return self.subcommand in MATERIALIZE or (self.of_runner and self.subcommand == "repair")

    @property
    def only_reads(self) -> bool:
        """Whether it is a command of the runner's that changes nothing."""
        return self.of_runner and (self.subcommand == "inspect" or "--dry-run" in self.arguments)

    @classmethod
    def apply(
        cls, *, skip_source_validation: bool = False, skip_feature_view_validation: bool = False
    ) -> FeastCommand:
        """``feast apply``."""
        return cls("apply", _skips(skip_source_validation, skip_feature_view_validation))

    @classmethod
    def plan(
        cls, *, skip_source_validation: bool = False, skip_feature_view_validation: bool = False
    ) -> FeastCommand:
        """``feast plan``."""
        return cls("plan", _skips(skip_source_validation, skip_feature_view_validation))

    @classmethod
    def materialize(
        cls, start: str, end: str, *, feature_views: Iterable[str] = (), version: str | None = None
    ) -> FeastCommand:
        """``feast materialize START END``.

        :param start: ISO 8601, UTC, inclusive.
        :param end: ISO 8601, UTC, inclusive (Feast reads both ends).
        :param feature_views: names; none means all of the registry.
        :param version: a version of exactly one feature view, e.g. ``v2``.
        """
        return cls("materialize", [start, end, *_views(feature_views, version)])

    @classmethod
    def materialize_incremental(
        cls, end: str, *, feature_views: Iterable[str] = (), version: str | None = None
    ) -> FeastCommand:
        """``feast materialize-incremental END``; parameters as for :meth:`materialize`."""
        return cls("materialize-incremental", [end, *_views(feature_views, version)])

    @classmethod
    def teardown(cls) -> FeastCommand:
        """``feast teardown``."""
        return cls("teardown")

    @classmethod
    def repair(
        cls, start: str, end: str, *, feature_views: Iterable[str] = (), step: float, dry_run: bool = False
    ) -> FeastCommand:
        """The runner's ``repair``: load what the registry lacks.

        :param start: ISO 8601 with a time zone, included.
        :param end: as ``start``, excluded.
        :param feature_views: names; none means all of the registry.
        :param step: the length of a window, in seconds.
        :param dry_run: only say what is missing.
        """
        flags = ["--dry-run"] if dry_run else []
        range_ = ["--start", start, "--end", end, "--step", f"{step:g}"]
        return cls("repair", [*range_, *flags, *_only(feature_views)], of_runner=True)

    @classmethod
    def inspect(cls, feature_views: Iterable[str] = ()) -> FeastCommand:
        """The runner's ``inspect``: print the registry, or some feature views of it, as JSON lines."""
        return cls("inspect", _only(feature_views), of_runner=True)

    @classmethod
    def read(cls, value: Any, name: str = "command") -> FeastCommand:
        """Check what a DAG author gave as a command.

        :param value: a list of strings, or a :class:`FeastCommand`.
        :param name: the parameter's name, for the message.
        :raises FeastDagError: when it is not a command that a Job can run.
        """
        if isinstance(value, str):
            raise FeastDagError(
                f"{name} is the text {value!r}, but no shell runs here that could split it",
                remedy=f"give a list, one string per argument: {name}={value.split()!r}",
            )
        if isinstance(value, FeastCommand):
            if isinstance(value.arguments, str):
                raise FeastDagError(
                    f"{name}.arguments is the text {value.arguments!r}, which would become one argument a letter",
                    remedy=f"give a list, one string per argument: {value.arguments.split()!r}",
                )
            value = value.argv
        if not isinstance(value, (list, tuple)) or not value:
            raise FeastDagError(
                f"{name} must be a list like ['materialize', '2026-01-01T00:00:00', …], not {value!r}",
                remedy="start the list with a Feast subcommand",
            )
        for index, item in enumerate(value):
            if not isinstance(item, str) or "\x00" in item:
                raise FeastDagError(
                    f"{name}[{index}] is {item!r}; every argument must be text without NUL characters",
                    remedy="convert it with str(), and write dates as ISO 8601",
                )
            if problem := text_problem(item):
                raise FeastDagError(
                    f"{name}[{index}] {problem}", remedy="give an argument that Feast can use"
                )
        return cls._checked(list(value), name)

    @classmethod
    def _checked(cls, argv: list[str], name: str) -> FeastCommand:
        subcommand = argv[0]
        if subcommand == "feast":
            raise FeastDagError(f"{name} starts with 'feast'", remedy=f"leave it out: {name}={argv[1:]!r}")
        if subcommand.startswith("-"):
            raise FeastDagError(
                f"{name} starts with {subcommand!r}, but Feast's global options are set by the operator",
                remedy="start with the subcommand; use configuration= and definitions= for -f and -c",
            )
        if not _SUBCOMMAND.fullmatch(subcommand):
            raise FeastDagError(
                f"{name} starts with {subcommand!r}, which cannot be a Feast subcommand",
                remedy="see `feast --help` for the subcommands, e.g. apply, plan, materialize",
            )
        if subcommand in SERVERS:
            raise FeastDagError(
                f"{name}: `feast {subcommand}` is a server that never finishes",
                remedy="run servers as a Deployment (the Feast operator does), and commands here",
            )
        return cls(subcommand, argv[1:])


def check_feature_views(value: Any, name: str = "feature_views") -> list[str]:
    """Check a list of feature view names, and drop repetitions; a set comes back sorted.

    :param value: names; ``None`` means all. An empty list is refused: it would mean all, too, and is more often the
        answer of a task that found none.
    :raises FeastDagError: when it is not a list of names.
    """
    if value is None:
        return []
    if isinstance(value, str) or not isinstance(value, (list, tuple, set, frozenset)):
        raise FeastDagError(
            f"{name} is {value!r}, not a list of names",
            remedy=f"write {name}=['driver_stats', 'customer_profile']",
        )
    if not value:
        raise FeastDagError(
            f"{name} is empty, which would load every feature view",
            remedy=f"leave {name} out to load all, or skip the task when there is none to load",
        )
    for item in value:
        if not isinstance(item, str) or not _VIEW.fullmatch(item):
            raise FeastDagError(
                f"{name} holds {item!r}, which cannot be the name of a feature view",
                remedy="names are text without blanks that does not start with '-'",
            )
    names = sorted(value) if isinstance(value, (set, frozenset)) else value
    return list(dict.fromkeys(names))


def check_version(value: Any, feature_views: Sequence[str], name: str = "version") -> None:
    """Check the version of a feature view.

    :param feature_views: the views that are named; Feast takes a version of exactly one.
    :raises FeastDagError: when it cannot work.
    """
    if value in (None, ""):
        return
    if not isinstance(value, str) or not _VERSION.fullmatch(value):
        raise FeastDagError(
            f"{name}={value!r} is not a version of a feature view", remedy=f"write {name}='v2' or 'latest'"
        )
    if len(feature_views) != 1:
        raise FeastDagError(
            f"{name}={value!r} needs exactly one feature view, not {len(feature_views) or 'all'}",
            remedy="name it: feature_views=['…']",
        )


def _only(names: Iterable[str]) -> list[str]:
    return [part for name in check_feature_views(list(names) or None) for part in ("--view", name)]


def check_deletions(value: Any, name: str = "allow_deletions") -> bool | tuple[str, ...]:
    """Check what an author lets ``apply`` delete: everything, nothing, or the objects of a list.

    :raises FeastDagError: when it is none of these.
    """
    if isinstance(value, bool) or value is None:
        return bool(value)
    if not isinstance(value, (list, tuple)):
        raise FeastDagError(
            f"{name}={value!r} is neither True nor False nor a list of objects",
            remedy=f"write {name}=True, or {name}=['FeatureView driver_stats']; a template needs "
            "render_template_as_native_obj=True on its DAG",
        )
    for item in value:
        if not isinstance(item, str) or not _OBJECT.fullmatch(item) or text_problem(item):
            raise FeastDagError(
                f"{name} holds {item!r}, which is no object of a registry",
                remedy="write its type and its name, as in 'FeatureView driver_stats'",
            )
    return tuple(dict.fromkeys(value))


def _skips(source: bool, view: bool) -> list[str]:
    return ["--skip-source-validation"] * bool(source) + ["--skip-feature-view-validation"] * bool(view)


def _views(names: Iterable[str], version: str | None) -> list[str]:
    views = check_feature_views(list(names) or None)
    check_version(version, views)
    found = [part for name in views for part in ("--views", name)]
    return [*found, "--version", version] if version else found
