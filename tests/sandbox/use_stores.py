"""Feature stores for the example DAGs, one for each on the volume with the demo's data, read beside Airflow."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from airflow_helpers import Cluster, feast_connection
from feast.protos.feast.core.Registry_pb2 import Registry

from airflow_provider_feast.sandbox import Sandbox, demo_repo

CONFIG_MAP = "feast-demo-config"


@dataclass(frozen=True)
class UseStore:
    """A registry file and a SQLite store.

    :param name: its project.
    :param volume: where the volume is on this machine.
    :param home: a directory for what reads it.
    """

    name: str
    volume: Path
    home: Path

    def configuration(self, data: Path | str = demo_repo.DEFAULT_DATA) -> str:
        """Its feature_store.yaml, which is JSON as well."""
        text = {
            "project": self.name,
            "provider": "local",
            "registry": f"{data}/{self.name}.registry.db",
            "online_store": {"type": "sqlite", "path": f"{data}/{self.name}.online.db"},
            "offline_store": {"type": "file"},
            "entity_key_serialization_version": 3,
        }
        return json.dumps(text)

    def connection(self, world_connection: str, **more: Any) -> str:
        """The `feast` connection that leads to it."""
        extra = json.loads(world_connection)["extra"] | {"config_map_key": f"{self.name}.yaml", **more}
        return feast_connection(**{key: value for key, value in extra.items() if value is not None})

    def registry(self) -> Any:
        """The registry's file as protobuf reads it."""
        return Registry.FromString((self.volume / f"{self.name}.registry.db").read_bytes())

    def intervals(self, view: str) -> list[tuple[datetime, datetime]]:
        """What the registry says was loaded of a view, in the order of time; Feast includes both ends."""
        specs = {each.spec.name: each.meta for each in self.registry().feature_views}
        times = [(each.start_time, each.end_time) for each in specs[view].materialization_intervals]
        read = [tuple(time.ToDatetime(tzinfo=demo_repo.UTC) for time in pair) for pair in times]
        return sorted((start, end + timedelta(microseconds=1)) for start, end in read)

    def wrong_values(self, start: datetime, end: datetime) -> list[demo_repo.Comparison]:
        """Online values that are not what the parquet says for this window."""
        config = self.home / f"{self.name}.yaml"
        config.write_text(self.configuration(self.volume))
        online = demo_repo.read_online(str(self.home), str(config))
        return [each for each in demo_repo.compare(online, str(self.volume), start, end) if not each.ok]


def make_stores(names: list[str], sandbox: Sandbox, cluster: Cluster, home: Path) -> dict[str, UseStore]:
    """Put a configuration for each into the demo's ConfigMap."""
    claim = cluster.core.read_namespaced_persistent_volume_claim("feast-demo-data", cluster.namespace)
    volume = sandbox.directory / "claims" / claim.metadata.uid
    stores = {name: UseStore(name, volume, home) for name in names}
    data = {f"{name}.yaml": store.configuration() for name, store in stores.items()}
    cluster.core.patch_namespaced_config_map(CONFIG_MAP, cluster.namespace, {"data": data})
    return stores
