"""Make a real copy of mounted definitions."""

from __future__ import annotations

import argparse
import os
import shutil

from airflow_provider_feast.runner.basics import COPY, Failure


def copy_tree(source: str, target: str, skip: str = "", above: tuple[str, ...] = ()) -> int:
    """Copy a tree, following symbolic links; the number of files. Not the modes: mounts refuse them."""
    here = os.path.realpath(source)
    if here in above:
        raise OSError(f"{source} is a symbolic link to a directory above it")
    if os.path.join(os.path.realpath(target), "").startswith(os.path.join(here, "")):
        raise OSError("the target lies inside the source")
    names = sorted(os.listdir(source))
    if not names and not above:
        raise OSError("the source is empty")
    os.makedirs(target, exist_ok=True)
    count = 0
    for name in names:
        if skip and name.startswith(skip):
            continue
        origin, goal = os.path.join(source, name), os.path.join(target, name)
        if os.path.isdir(origin):
            count += copy_tree(origin, goal, above=(*above, here))
        else:
            shutil.copyfile(origin, goal)
            count += 1
    return count


def copy(options: argparse.Namespace) -> None:
    """Copy mounted definitions to a writable place."""
    source, target = options.source, options.target
    try:
        count = copy_tree(source, target, skip="..")
    except OSError as error:
        message = f"definitions cannot be copied from {source} to {target}: {error}"
        raise Failure(COPY, "definitions_invalid", message) from error
    print(f"copied {count} files from {source} to {target}", flush=True)
