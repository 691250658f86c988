"""Memory limits: a container whose processes hold more than its limit is killed, as the kernel would.

The resident memory of its processes is read ten times a second (Linux only), so a shorter excess goes
unnoticed; containers without a limit are not looked at.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from airflow_provider_feast.sandbox import quantity
from airflow_provider_feast.sandbox.shapes import Obj

_PERIOD_SECONDS = 0.1
_PAGE = os.sysconf("SC_PAGE_SIZE")


def limit_of(container: Obj) -> int | None:
    """The memory limit in bytes."""
    value = (container["resources"].get("limits") or {}).get("memory")
    return None if value is None else int(quantity.parse(value))


def resident(pid: int) -> int:
    """Resident bytes of a process and all below it; what has ended counts nothing."""
    root = Path(f"/proc/{pid}")
    try:
        pages = int((root / "statm").read_text().split()[1])
        children = (root / "task" / str(pid) / "children").read_text().split()
    except (OSError, IndexError):
        return 0
    return pages * _PAGE + sum(resident(int(child)) for child in children)


async def enforce(pid: int, limit: int, kill: Callable[[], None]) -> None:
    """Call `kill` once the limit is exceeded."""
    while True:
        if resident(pid) > limit:
            kill()
            return
        await asyncio.sleep(_PERIOD_SECONDS)
