"""Where a registry file cannot be replaced, it is written as Feast does; a failure leaves what was there."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_feast.runner import registry_files
from airflow_provider_feast.runner.registry_files import write_whole


@pytest.fixture
def store(tmp_path: Path) -> SimpleNamespace:
    (tmp_path / "registry.db").write_text("old")
    return SimpleNamespace(_filepath=tmp_path / "registry.db", tries=[])


def write(store: Any, text: str) -> None:
    """As Feast: empties the file, then writes it."""
    store.tries.append(store._filepath.name)
    store._filepath.write_text(text)


def names(store: Any) -> list[str]:
    return [path.name for path in store._filepath.parent.iterdir()]


def fail(number: int) -> Any:
    def failing(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    return failing


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EBUSY])
@pytest.mark.parametrize("step", ["make_like", "replace"])
def test_a_file_that_cannot_be_replaced_is_written_over(
    store: Any, monkeypatch: pytest.MonkeyPatch, step: str, number: int
) -> None:
    owner = registry_files if step == "make_like" else os
    monkeypatch.setattr(owner, step, fail(number))
    write_whole(write, store, "new")
    assert (store._filepath.read_text(), names(store)) == ("new", ["registry.db"])
    assert store.tries[-1] == "registry.db"


def test_a_full_disk_leaves_the_registry_as_it_was(store: Any) -> None:
    def half(store: Any, text: str) -> None:
        write(store, text[:1])
        fail(errno.ENOSPC)()

    with pytest.raises(OSError, match="No space left"):
        write_whole(half, store, "new")
    assert (store._filepath.read_text(), names(store)) == ("old", ["registry.db"])
    assert len(store.tries) == 1


def test_a_new_registry_is_made_in_a_new_directory(tmp_path: Path) -> None:
    store = SimpleNamespace(_filepath=tmp_path / "data" / "registry.db", tries=[])
    write_whole(write, store, "new")
    assert store._filepath.read_text() == "new"
    assert names(store) == ["registry.db"]


def test_another_kind_of_store_is_left_alone() -> None:
    said: list[tuple[Any, str]] = []
    store = SimpleNamespace()
    write_whole(lambda *given: said.append(given), store, "new")
    assert said == [(store, "new")]
