"""`emptyDir.sizeLimit`: a pod that writes more than a volume's limit is evicted, as the kubelet does it."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from airflow_provider_feast.sandbox import quantity
from airflow_provider_feast.sandbox.shapes import Obj

_PERIOD_SECONDS = 1.0


def limits(spec: Obj) -> dict[str, Obj]:
    """The volumes of a pod whose size is limited, by name."""
    return {
        volume["name"]: volume["emptyDir"]
        for volume in spec.get("volumes") or ()
        if (volume.get("emptyDir") or {}).get("sizeLimit") is not None
        and quantity.parse(volume["emptyDir"]["sizeLimit"]) > 0
    }


async def enforce(spec: Obj, place: Callable[[str], Path], evict: Callable[[str], None]) -> None:
    """Call `evict` with the kubelet's words once a volume is over its limit."""
    limited = limits(spec)
    while limited:
        await asyncio.sleep(_PERIOD_SECONDS)
        for name, source in limited.items():
            if size(place(name)) > quantity.parse(source["sizeLimit"]):
                evict(f'Usage of EmptyDir volume "{name}" exceeds the limit "{source["sizeLimit"]}". ')
                return


def size(root: Path) -> int:
    """Bytes of all files below a directory."""
    total = 0
    for directory, _, files in os.walk(root):
        for name in files:
            with suppress(OSError):
                total += os.lstat(f"{directory}/{name}").st_size
    return total
