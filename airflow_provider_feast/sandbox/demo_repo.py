"""The demo's feature repository: data, definitions, and the online values they must lead to.

Also a plain script that needs only what Feast brings (no other module of this package), so that a Job can run it:
``demo_repo.py seed DATA --end …``, ``demo_repo.py expect DATA --start … --end …`` and
``demo_repo.py check DATA --start … --end … --repo REPO --config FILE``.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # run as a script, its neighbours must not hide modules of the standard library
    sys.path[:] = sys.path[1:]

import argparse
import importlib
import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

DEFAULT_DATA = "/feast/data"
DATA_VARIABLE = "FEAST_DEMO_DATA"
SEED = 20
DAYS = 5
ON_DEMAND_VIEW = "driver_score"


class View(NamedTuple):
    """One feature view of the demo, as the independent computation needs it."""

    key: str
    keys: tuple[int, ...]
    features: tuple[str, ...]
    step: timedelta
    ttl: timedelta


DRIVERS, CUSTOMERS = (1001, 1002, 1003, 1004, 1005), (201, 202, 203, 204)
VIEWS = {
    "driver_hourly_stats": View(
        "driver_id", DRIVERS, ("conv_rate", "acc_rate", "trips"), timedelta(hours=1), timedelta(days=1)
    ),
    "driver_daily_rating": View("driver_id", DRIVERS, ("rating",), timedelta(hours=24), timedelta(days=7)),
    "customer_profile": View(
        "customer_id", CUSTOMERS, ("orders", "segment"), timedelta(hours=6), timedelta(days=30)
    ),
}

_DEFINITIONS = '''"""Feature definitions of the demo: drivers and customers of a small taxi company."""

import os
from datetime import timedelta

import pandas as pd
from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64, String

DATA = os.environ.get("FEAST_DEMO_DATA", "@DATA@")


def parquet(name: str) -> FileSource:
    return FileSource(
        name=name,
        path=f"{DATA}/{name}.parquet",
        timestamp_field="event_timestamp",
        created_timestamp_column="created",
    )


driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.INT64)

driver_hourly_stats = FeatureView(
    name="driver_hourly_stats",
    entities=[driver],
    ttl=timedelta(days=1),
    schema=[
        Field(name="conv_rate", dtype=Float64),
        Field(name="acc_rate", dtype=Float64),
        Field(name="trips", dtype=Int64),
    ],
    source=parquet("driver_hourly_stats"),
)

driver_daily_rating = FeatureView(
    name="driver_daily_rating",
    entities=[driver],
    ttl=timedelta(days=7),
    schema=[Field(name="rating", dtype=Float64)],
    source=parquet("driver_daily_rating"),
)

customer_profile = FeatureView(
    name="customer_profile",
    entities=[customer],
    ttl=timedelta(days=30),
    schema=[Field(name="orders", dtype=Int64), Field(name="segment", dtype=String)],
    source=parquet("customer_profile"),
)


@on_demand_feature_view(
    sources=[driver_hourly_stats, driver_daily_rating],
    schema=[Field(name="score", dtype=Float64)],
    mode="pandas",
)
def driver_score(inputs: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"score": inputs["conv_rate"] * inputs["rating"]})


driver_ranking = FeatureService(
    name="driver_ranking",
    features=[driver_hourly_stats[["conv_rate", "trips"]], driver_daily_rating, driver_score],
)
'''


class DemoRepo(NamedTuple):
    """What :func:`write_demo_repo` wrote.

    :param definitions: the Python file with the feature definitions.
    :param data: the directory with one parquet file per feature view.
    :param start: begin of the data, inclusive.
    :param end: end of the data, exclusive.
    """

    definitions: Path
    data: Path
    start: datetime
    end: datetime


def write_demo_repo(directory: str | Path, *, end: datetime, data_dir: str | None = None) -> DemoRepo:
    """Write ``definitions.py`` and the parquet files; the same arguments give the same values.

    :param directory: where ``definitions.py`` goes; made if it is missing.
    :param end: UTC midnight at which the five days of data end.
    :param data_dir: where the parquet files go and where the definitions look for them. Without it they go to
        ``directory/data``, and the definitions look in ``/feast/data`` or where FEAST_DEMO_DATA says.
    :raises ValueError: when ``end`` is not a UTC midnight.
    """
    root = Path(directory)
    root.mkdir(parents=True, exist_ok=True)
    data = Path(data_dir) if data_dir else root / "data"
    write_data(data, end)
    definitions = root / "definitions.py"
    definitions.write_text(definitions_text(data_dir or DEFAULT_DATA), encoding="utf-8")
    return DemoRepo(definitions, data, end - timedelta(days=DAYS), end)


def definitions_text(data_dir: str = DEFAULT_DATA) -> str:
    """``definitions.py``, looking for parquet in ``data_dir``."""
    return _DEFINITIONS.replace("@DATA@", data_dir)


def feature_store_yaml(project: str, data_dir: str = DEFAULT_DATA) -> str:
    """``feature_store.yaml``: a file registry and a SQLite online store in ``data_dir``."""
    return (
        f"project: {project}\n"
        "provider: local\n"
        f"registry: {data_dir}/registry.db\n"
        "online_store:\n"
        "  type: sqlite\n"
        f"  path: {data_dir}/online_store.db\n"
        "offline_store:\n"
        "  type: file\n"
        "entity_key_serialization_version: 3\n"
    )


def write_data(directory: Path, end: datetime) -> None:
    """One parquet file per view: rows every step, some missing, some corrected by a later ``created``."""
    np, pd = importlib.import_module("numpy"), importlib.import_module("pandas")  # Feast brings them
    if end.utcoffset() != timedelta(0) or (end.hour, end.minute, end.second, end.microsecond) != (0, 0, 0, 0):
        raise ValueError(f"end is {end.isoformat()}; it must be a midnight in UTC")
    directory.mkdir(parents=True, exist_ok=True)
    for number, (name, view) in enumerate(VIEWS.items()):
        random = np.random.default_rng([SEED, number])
        rows: list[dict[str, Any]] = []
        for count in range(int(timedelta(days=DAYS) / view.step)):
            for key in view.keys:
                when = (
                    end
                    - timedelta(days=DAYS)
                    + count * view.step
                    + timedelta(minutes=int(random.integers(1, 55)))
                )
                copies = int(random.choice([0, 1, 2], p=[0.15, 0.75, 0.1])) if count else 1
                for copy in range(copies):
                    stamps = {"event_timestamp": when, "created": when + timedelta(minutes=5 + copy)}
                    rows.append({view.key: key, **stamps, **_values(view, random)})
        order = random.permutation(len(rows))
        pd.DataFrame([rows[index] for index in order]).to_parquet(directory / f"{name}.parquet", index=False)


def _values(view: View, random: Any) -> dict[str, Any]:
    made: dict[str, Any] = {
        "conv_rate": round(float(random.random()), 4),
        "acc_rate": round(float(random.random()), 4),
        "trips": int(random.integers(0, 40)),
        "rating": round(1 + 4 * float(random.random()), 2),
        "orders": int(random.integers(0, 500)),
        "segment": str(random.choice(["new", "regular", "gold"])),
    }
    return {feature: made[feature] for feature in view.features}


def expected_online_values(
    data_dir: str | Path, start: datetime, end: datetime
) -> dict[str, dict[int, dict[str, Any]]]:
    """What must be online after ``[start, end)`` was materialized, from the parquet alone, never through Feast.

    For each entity the row with the latest ``event_timestamp`` in the window, of equal ones the latest ``created``.
    Rows older than the view's TTL are in it: Feast 0.67 serves them as long as they are in the store
    (``infra/online_stores/online_store.py``); :func:`past_ttl` tells which they are.

    :returns: ``{view: {entity key: {feature: value}}}``.
    """
    return {
        name: {key: {feature: row[feature] for feature in VIEWS[name].features} for key, row in rows.items()}
        for name, rows in _latest_rows(data_dir, start, end).items()
    }


def past_ttl(data_dir: str | Path, start: datetime, end: datetime, now: datetime) -> set[tuple[str, int]]:
    """The (view, entity key) whose expected row is older than the view's TTL at ``now``."""
    return {
        (name, key)
        for name, rows in _latest_rows(data_dir, start, end).items()
        for key, row in rows.items()
        if now - row["event_timestamp"] > VIEWS[name].ttl
    }


def _latest_rows(
    data_dir: str | Path, start: datetime, end: datetime
) -> dict[str, dict[int, dict[str, Any]]]:
    pq = importlib.import_module("pyarrow.parquet")
    latest: dict[str, dict[int, dict[str, Any]]] = {}
    for name, view in VIEWS.items():
        rows = latest.setdefault(name, {})
        for row in pq.read_table(Path(data_dir) / f"{name}.parquet").to_pylist():
            seen = rows.get(row[view.key])
            if start <= row["event_timestamp"] < end and (
                seen is None
                or (row["event_timestamp"], row["created"]) > (seen["event_timestamp"], seen["created"])
            ):
                rows[row[view.key]] = row
    return latest


class Comparison(NamedTuple):
    """One online value beside the one that was expected."""

    entity: str
    feature: str
    online: Any
    expected: Any
    ok: bool


def compare(
    online: dict[tuple[str, int, str], Any], data_dir: str, start: datetime, end: datetime
) -> list[Comparison]:
    """Set online values (``{(view, key, feature): value}``) beside the expected ones, all views and entities."""
    expected = expected_online_values(data_dir, start, end)
    stale = past_ttl(data_dir, start, end, datetime.now(UTC))
    compared = []
    for name, view in VIEWS.items():
        for key in view.keys:
            for feature in view.features:
                wanted, got = expected[name].get(key, {}).get(feature), online.get((name, key, feature))
                ok = same(got, wanted) or (got is None and (name, key) in stale)
                compared.append(Comparison(f"{view.key}={key}", f"{name}:{feature}", got, wanted, ok))
    for key in DRIVERS:
        factors = [
            online.get(("driver_hourly_stats", key, "conv_rate")),
            online.get(("driver_daily_rating", key, "rating")),
        ]
        rows = (expected["driver_hourly_stats"].get(key, {}), expected["driver_daily_rating"].get(key, {}))
        wanted = rows[0]["conv_rate"] * rows[1]["rating"] if all(rows) and None not in factors else None
        got = online.get((ON_DEMAND_VIEW, key, "score"))
        compared.append(
            Comparison(f"driver_id={key}", f"{ON_DEMAND_VIEW}:score", got, wanted, same(got, wanted))
        )
    return compared


def same(left: Any, right: Any) -> bool:
    """Equal values; a float may differ in the last digits, and a missing value may be a NaN."""
    left, right = (None if isinstance(x, float) and math.isnan(x) else x for x in (left, right))
    if isinstance(left, float) and isinstance(right, float):
        return math.isclose(left, right, rel_tol=1e-9)
    return bool(left == right)


def read_online(repo: str, config: str) -> dict[tuple[str, int, str], Any]:
    """Every online value of every entity, and the on-demand one, as a Feast client gets them."""
    from feast import FeatureStore

    store = FeatureStore(repo_path=repo, fs_yaml_file=Path(config))
    online: dict[tuple[str, int, str], Any] = {}
    for key_name, keys in (("driver_id", DRIVERS), ("customer_id", CUSTOMERS)):
        names = {
            (name, feature)
            for name, view in VIEWS.items()
            if view.key == key_name
            for feature in view.features
        }
        if key_name == "driver_id":
            names.add((ON_DEMAND_VIEW, "score"))
        answer = store.get_online_features(
            features=[f"{name}:{feature}" for name, feature in sorted(names)],
            entity_rows=[{key_name: key} for key in keys],
            full_feature_names=True,
        ).to_dict()
        for name, feature in names:
            for key, value in zip(answer[key_name], answer[f"{name}__{feature}"], strict=True):
                online[name, int(key), feature] = value
    return online


def table(compared: list[Comparison]) -> str:
    """The comparison as aligned text."""

    def shown(value: Any) -> str:
        return f"{value:.4f}" if isinstance(value, float) else str(value)

    lines = [("entity", "feature", "online", "expected", "ok")]
    lines += [
        (c.entity, c.feature, shown(c.online), shown(c.expected), "yes" if c.ok else "NO") for c in compared
    ]
    widths = [max(len(line[column]) for line in lines) for column in range(5)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def moment(text: str) -> datetime:
    """An ISO 8601 time; without an offset it is UTC."""
    value = datetime.fromisoformat(text)
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def main(argv: list[str]) -> int:
    """``seed``, ``expect`` or ``check``; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("mode", choices=("seed", "expect", "check"))
    parser.add_argument("data", help="directory of the parquet files")
    parser.add_argument("--start", type=moment, help="begin of the materialized window; default: of the data")
    parser.add_argument(
        "--end", type=moment, required=True, help="end of the window, exclusive (seed: of the data)"
    )
    parser.add_argument("--repo", default=".", help="check: the feature repository")
    parser.add_argument(
        "--config", default="/feast/config/feature_store.yaml", help="check: feature_store.yaml"
    )
    options = parser.parse_args(argv)
    start = options.start or options.end - timedelta(days=DAYS)
    if options.mode == "seed":
        write_data(Path(options.data), options.end)
        print(f"wrote {', '.join(f'{name}.parquet' for name in VIEWS)} to {options.data}")
        return 0
    if options.mode == "expect":
        print(json.dumps(expected_online_values(options.data, start, options.end), indent=1))
        return 0
    compared = compare(read_online(options.repo, options.config), options.data, start, options.end)
    wrong = sum(not each.ok for each in compared)
    print(table(compared))
    print(f"{len(compared) - wrong} of {len(compared)} online values are as expected")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
