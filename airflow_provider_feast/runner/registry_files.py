"""Registry files: replaced as a whole by who writes, left alone by who only reads."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import stat
import time
import uuid
from pathlib import Path
from typing import Any, Callable

CANNOT_REPLACE = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EBUSY,
    errno.EXDEV,
    errno.ENOTSUP,
    errno.ENOSYS,
)
"""A directory that is not ours, a file that is a mount of its own, an owner that we may not give, no renaming."""


LEFT_SECONDS = 3600.0
"""How old a file beside a registry must be that its writer, who died, has left there: writing one takes seconds."""


class Unsaved:
    """Stands before a registry store for a command that only reads: what it would write stays in memory.

    Feast makes a registry that is not there as soon as it looks at it, and reads it again afterwards.
    """

    def __init__(self, store: Any, proto: Any) -> None:
        self._store, self._proto = store, proto

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def get_registry_proto(self) -> Any:
        return self._proto

    def update_registry_proto(self, registry_proto: Any) -> None:
        self._proto = registry_proto


def write_whole(original: Callable[..., Any], store: Any, *args: Any, **kwargs: Any) -> Any:
    """``FileRegistryStore._write_registry`` into a file beside the registry, which then takes its place.

    Feast empties the registry before it writes it (0.67): a process that is killed in between, or a full disk, would lose
    all of it, and who reads meanwhile finds half. Where the file cannot be replaced by one of the same owner and mode, it
    is written as Feast does.
    """
    path = getattr(store, "_filepath", None)
    if path is None:
        return original(store, *args, **kwargs)
    target = Path(os.path.realpath(path))
    target.parent.mkdir(exist_ok=True)
    beside = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        make_like(beside, target)
        store._filepath = beside
        try:
            original(store, *args, **kwargs)
        finally:
            store._filepath = path
        sync(beside)
        os.replace(beside, target)
        sweep(target)
    except OSError as error:
        if error.errno not in CANNOT_REPLACE:
            raise
        return original(store, *args, **kwargs)
    finally:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
    return None


def sweep(target: Path) -> None:
    """Remove what writers that were killed have left beside a registry."""
    for left in target.parent.glob(f".{glob.escape(target.name)}.{'[0-9a-f]' * 32}"):
        with contextlib.suppress(OSError):  # another one's, or gone meanwhile: no harm to the registry
            if time.time() - left.stat().st_mtime > LEFT_SECONDS:
                left.unlink()


def make_like(path: Path, other: Path) -> None:
    """Make an empty file with the owner and the mode of another one, if that is there."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
    if not other.exists():
        return
    wanted, made = other.stat(), path.stat()
    if (wanted.st_uid, wanted.st_gid) != (made.st_uid, made.st_gid):
        os.chown(path, wanted.st_uid, wanted.st_gid)
    path.chmod(stat.S_IMODE(wanted.st_mode))


def sync(path: Path) -> None:
    """See that a file's content is on its disk before its name is."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
