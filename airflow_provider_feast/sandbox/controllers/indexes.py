"""Sets of completion indexes, written as Kubernetes writes them: `0-2,5`."""

from collections.abc import Iterable


def parse(text: str) -> set[int]:
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def write(indexes: Iterable[int]) -> str:
    """Two neighbours are written `1,2`, three or more `1-3`."""
    parts: list[str] = []
    run: list[int] = []
    for index in [*sorted(set(indexes)), None]:
        if run and index != run[-1] + 1:
            parts += [f"{run[0]}-{run[-1]}"] if len(run) > 2 else [str(item) for item in run]
            run = []
        if index is not None:
            run.append(index)
    return ",".join(parts)
