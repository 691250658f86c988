"""The online store never goes back in time: rows older than what is online are left out of each batch.

Most online stores overwrite without comparing event times (Feast 0.67: SQLite, Postgres, DynamoDB), so an older
window, a retry or a backfill would put stale values online. Redis compares by itself unless ``skip_dedup`` is set.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Callable, Sequence

from airflow_provider_feast.runner.basics import CONFIGURATION, REFUSED, Failure
from airflow_provider_feast.runner.intervals import TICK, aware, span_text

READ_KEYS = 500
"""Entities per read: older SQLite takes 999 variables in a statement."""


def compares_itself(store: Any, config: Any) -> bool:
    """Whether an online store leaves older rows out by itself."""
    if not any(cls.__name__ == "RedisOnlineStore" for cls in type(store).__mro__):
        return False
    return not getattr(config.online_store, "skip_dedup", False)


class Tally:
    """Counts the rows of a batch that a store which compares event times leaves out, older and equal ones.

    Redis tells of each such row as it comes to it, and at the end of all that it wrote (Feast 0.67).

    :param progress: what the store would tell otherwise.
    """

    def __init__(self, progress: Callable[[int], Any] | None) -> None:
        self._progress, self._told = progress, [0]

    def __call__(self, count: int) -> Any:
        self._told.append(count)
        return self._progress(count) if self._progress else None

    @property
    def left_out(self) -> int:
        return sum(self._told[:-1])


def latest_of_each(data: Sequence[Any]) -> list[Any]:
    """One row for each entity of a batch: the one with the newest event time."""
    found: dict[bytes, Any] = {}
    for row in data:
        key = row[0].SerializeToString()
        if key not in found or aware(row[2]) >= aware(found[key][2]):
            found[key] = row
    return list(found.values())


def newer_rows(store: Any, config: Any, view: Any, data: Sequence[Any]) -> Sequence[Any]:
    """The rows of a batch that are not older than what is online.

    :param data: rows as ``OnlineStore.online_write_batch`` takes them: entity key, values, event time, created time.
    :raises Failure: when the store does not tell event times.
    """
    if not data or compares_itself(store, config):
        return data
    rows = latest_of_each(data)
    read = sqlite_times if is_sqlite(store) else read_times
    kept = []
    for first in range(0, len(rows), READ_KEYS):
        part = rows[first : first + READ_KEYS]
        online = read(store, config, view, [row[0] for row in part])
        kept += [row for row, time in zip(part, online) if time is None or aware(row[2]) >= time]
    return kept


def is_sqlite(store: Any) -> bool:
    return any(cls.__name__ == "SqliteOnlineStore" for cls in type(store).__mro__) and hasattr(
        store, "_get_conn"
    )


def read_times(store: Any, config: Any, view: Any, keys: list[Any]) -> list[datetime | None]:
    """Event times that are online, by the store's own read.

    One feature is asked for, to move little; where it is not online, all are: it may be younger than the rest.
    """
    names = [feature.name for feature in view.features]
    times = asked(store.online_read, config, view, keys, names[:1])
    unknown = [place for place, time in enumerate(times) if time is None]
    if unknown and len(names) > 1:
        again = asked(store.online_read, config, view, [keys[place] for place in unknown], names)
        for place, time in zip(unknown, again):
            times[place] = time
    return times


def asked(
    read: Callable[..., Any], config: Any, view: Any, keys: list[Any], features: list[str]
) -> list[datetime | None]:
    try:
        answer = read(config=config, table=view, entity_keys=keys, requested_features=features)
    except NotImplementedError as error:
        raise no_times(config) from error
    if len(answer) != len(keys) or any(time is None and values for time, values in answer):
        raise no_times(config)
    return [None if time is None else aware(time) for time, _ in answer]


def no_times(config: Any) -> Failure:
    kind = getattr(config.online_store, "type", "unknown")
    return Failure(
        CONFIGURATION,
        "configuration_invalid",
        f"the online store {kind} does not tell the event times of its rows, so older rows cannot be left out; "
        "choose older_windows='refuse', 'skip' or 'overwrite'",
    )


def sqlite_times(store: Any, config: Any, view: Any, keys: list[Any]) -> list[datetime | None]:
    """As :func:`read_times`; the store's own read ignores which features are asked for, and reads them all."""
    from feast.infra.key_encoding_utils import serialize_entity_key
    from feast.infra.online_stores.sqlite import _table_id

    version = config.entity_key_serialization_version
    packed = [serialize_entity_key(key, entity_key_serialization_version=version) for key in keys]
    versioning = getattr(config.registry, "enable_online_feature_view_versioning", None)
    table = _table_id(config.project, view, *([] if versioning is None else [versioning]))
    names = [feature.name for feature in view.features]
    quoted = '"' + table.replace('"', '""') + '"'
    places, wanted = ",".join("?" * len(packed)), ",".join("?" * len(names))
    question = (
        f"SELECT entity_key, max(event_ts) FROM {quoted} "  # noqa: S608  (names are quoted, values are bound)
        f"WHERE entity_key IN ({places}) AND feature_name IN ({wanted}) GROUP BY entity_key"
    )
    found = dict(store._get_conn(config).execute(question, [*packed, *names]).fetchall())
    return [None if key not in found else sqlite_time(found[key]) for key in packed]


def sqlite_time(stored: Any) -> datetime:
    """What the store made of a time: the naive UTC time, taken for local, in whole seconds; or ISO 8601."""
    if isinstance(stored, str):
        return aware(datetime.fromisoformat(stored))
    return aware(datetime.fromtimestamp(stored))  # noqa: DTZ006  (as the store itself reads it)


def newest_end(view: Any) -> datetime | None:
    """Up to when a feature view is loaded, by the registry."""
    ends = [aware(end) for _, end in getattr(view, "materialization_intervals", None) or []]
    return max(ends, default=None)


def older(name: str, window: str, last: datetime, newest: datetime, policy: str) -> Failure:
    """Why a window that ends at ``last`` is not loaded, and what loading up to ``newest`` would cost."""
    why = "older_windows='refuse'"
    if policy == "guard":
        why = "this compute engine writes past the runner, so older rows cannot be left out"
    return Failure(
        REFUSED,
        "older_window",
        f"{name} is loaded up to {newest.isoformat()} already, and {window} is older: loading it could put older "
        f"values online ({why}). older_windows='extend' would load up to {newest.isoformat()}, {newest - last} more",
    )


def extension_cost(name: str, start: datetime, newest: datetime, end: datetime) -> str:
    """What ``extend`` loads of a view for a plan that begins at ``start`` and ends at ``end``, excluded."""
    more = newest + TICK - end
    cost = f"{more} more than the plan asks for" if more > TICK else "no more than the plan asks for"
    return (
        f"{name} is loaded up to {newest.isoformat()} already: older_windows='extend' loads "
        f"{span_text((start, newest + TICK))} of it at once, {cost}"
    )


def ahead_of_time(name: str, newest: datetime) -> str:
    """A warning: the registry says that what is to come is loaded."""
    return (
        f"WARNING: {name}: the registry says that it is loaded up to {newest.isoformat()}, which is in the future, so "
        "materialize-incremental loads nothing until then. Somebody gave a wrong end. Until then load it with "
        "FeastMaterializeOperator, which does not go by that; to be rid of it, apply the definitions without this "
        "feature view and then with it again (which empties its online table), and load it anew"
    )
