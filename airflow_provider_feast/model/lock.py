"""One writer per registry: who holds a Lease, who must wait for whom. Pure.

Feast registries lose concurrent writes, and file registries can be destroyed by them, so whoever writes holds a
Kubernetes Lease. Its annotation maps the uid of each holding Job to what that Job writes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_feast.model.command import FeastCommand
from airflow_provider_feast.model.errors import FeastClusterError
from airflow_provider_feast.model.naming import PREFIX, slug

if TYPE_CHECKING:
    from airflow_provider_feast.model.settings import FeastSettings

A_HOLDERS = f"{PREFIX}/holders"
"""The Lease's annotation: a JSON object, uid of a Job to ``job``, ``namespace``, ``views`` and ``since``."""

ALL = "*"
"""Instead of names of feature views: the whole registry."""

_READERS = frozenset(
    {
        "configuration",
        "dump",
        "endpoint",
        "get-historical-features",
        "get-online-features",
        "plan",
        "registry-dump",
    }
    | {"search", "validate", "version"}
)
_READING_VERBS = frozenset({"check", "describe", "get", "list", "list-roles", "list-versions", "lineage"})


class Holder(NamedTuple):
    """One Job that holds the lock, or wants it.

    :param uid: the Job's uid.
    :param job: the Job's name.
    :param namespace: the Job's namespace.
    :param views: names of the feature views that it writes, or ``("*",)`` for all and everything.
    :param since: when it took the lock, ISO 8601, UTC.
    """

    uid: str
    job: str
    namespace: str
    views: tuple[str, ...] = (ALL,)
    since: str = ""

    @property
    def scope(self) -> str:
        """What it holds, in words."""
        return "the whole registry" if ALL in self.views else f"feature views {', '.join(self.views)}"


class LockRequest(NamedTuple):
    """The lock that a command needs.

    :param name: the Lease's name.
    :param namespace: the Lease's namespace.
    :param views: see :class:`Holder`.
    """

    name: str
    namespace: str
    views: tuple[str, ...] = (ALL,)


def default_lock_name(feature_store: str) -> str:
    """The Lease of a feature store whose connection names none."""
    return f"feast-{slug(feature_store, 56)}".rstrip("-")


def lock_of(settings: FeastSettings, namespace: str, command: FeastCommand) -> LockRequest | None:
    """The lock that a command of a feature store needs, if it needs one.

    :param namespace: where its Job runs.
    """
    views = written_views(command, settings.concurrency)
    name = settings.lock_name or default_lock_name(settings.feature_store)
    return LockRequest(name, settings.lock_namespace or namespace, views) if views else None


def only_reads(command: FeastCommand) -> bool:
    """Whether a command is known to leave the registry alone; the runner sees to it that it does."""
    verb = command.arguments[0] if command.arguments else ""
    if command.of_runner:
        return command.only_reads
    return command.subcommand in _READERS or verb in _READING_VERBS


def written_views(command: FeastCommand, concurrency: str) -> tuple[str, ...]:
    """What a command writes, as far as the lock is concerned; nothing means that it needs no lock.

    Commands that are not known to read only count as writers of everything.

    :param concurrency: ``registry`` (one writer), ``view`` (one writer for each view; SQL registries), ``none``.
    """
    if concurrency == "none" or only_reads(command):
        return ()
    if concurrency == "view" and command.loads:
        return tuple(sorted(_named_views(command.arguments))) or (ALL,)
    return (ALL,)


def _named_views(arguments: Iterable[str]) -> set[str]:
    """The values of ``-v`` and ``--views`` (the runner's: ``--view``), in each of their spellings."""
    parts, found = list(arguments), set()
    for before, part in zip(["", *parts], parts, strict=False):
        if before in ("-v", "--views", "--view"):
            found.add(part)
        elif part.startswith("--views="):
            found.add(part.removeprefix("--views="))
        elif part.startswith("-v") and len(part) > 2:
            found.add(part[2:])
    return found


def in_the_way(wanted: Holder, holders: Mapping[str, Holder]) -> list[Holder]:
    """The holders that must be gone before ``wanted`` may write, the longest-standing first."""

    def clash(other: Holder) -> bool:
        both = set(wanted.views) & set(other.views)
        return bool(both) or ALL in wanted.views or ALL in other.views

    found = [other for uid, other in holders.items() if uid != wanted.uid and clash(other)]
    return sorted(found, key=lambda other: (other.since, other.uid))


def read_holders(lease: Mapping[str, Any]) -> dict[str, Holder]:
    """Who holds a Lease.

    :param lease: a ``coordination.k8s.io/v1`` Lease as the API's JSON.
    :raises FeastClusterError: when its annotation is not what this package writes: guessing could let two write.
    """
    metadata = lease.get("metadata") or {}
    text = (metadata.get("annotations") or {}).get(A_HOLDERS) or "{}"
    try:
        return {
            uid: Holder(
                uid, str(v["job"]), str(v["namespace"]), tuple(map(str, v["views"])), str(v.get("since", ""))
            )
            for uid, v in json.loads(text).items()
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FeastClusterError(
            f"the annotation {A_HOLDERS} of the Lease cannot be read: {text[:200]!r}",
            where=f"Lease {metadata.get('name')} in namespace {metadata.get('namespace')}",
            remedy="see that no Feast Job runs on this registry, then delete the Lease; the next task makes a new one",
        ) from error


def write_holders(holders: Mapping[str, Holder]) -> str:
    """The annotation's text; :func:`read_holders` reads it."""
    body = {
        uid: {"job": h.job, "namespace": h.namespace, "views": list(h.views), "since": h.since}
        for uid, h in holders.items()
    }
    return json.dumps(body, sort_keys=True, separators=(",", ":"))
