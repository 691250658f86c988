"""Images: a name stands for a local runtime (a virtual environment, a Python installation, the host)."""

import fnmatch
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from airflow_provider_feast.sandbox.shapes import Obj

SYSTEM_PATH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
DEFAULT_IMAGE = "feast-sandbox:local"
DEFAULT_USER = 1001


@dataclass(frozen=True)
class Image:
    """A local runtime.

    Attributes:
        path: directories for PATH, before the system's own.
        root: paths inside the image, and the local files or directories that they are.
        env: what `ENV` of an image would set.
        user: the numeric user of the image.
    """

    path: tuple[str, ...] = ()
    root: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    user: int = DEFAULT_USER

    @classmethod
    def of(cls, spec: str) -> "Image":
        """Read `PREFIX[,/in/image=/local/dir][,NAME=value][,user=N]`; PREFIX is a venv or a directory."""
        prefix, *rest = spec.split(",")
        root: dict[str, str] = {}
        env: dict[str, str] = {}
        user = DEFAULT_USER
        for item in rest:
            key, equals, value = item.partition("=")
            if not equals:
                raise ValueError(f"image option {item!r} is not KEY=VALUE")
            if key.startswith("/"):
                root[key] = str(Path(value).absolute())
            elif key == "user":
                user = int(value)
            else:
                env[key] = value
        base = Path(prefix).absolute()
        if not base.is_dir():
            raise ValueError(f"image runtime {prefix!r} is not a directory")
        bin_dir = base / "bin"
        return cls((str(bin_dir if bin_dir.is_dir() else base),), root, env, user)

    def to_dict(self) -> Obj:
        return {"path": list(self.path), "root": dict(self.root), "env": dict(self.env), "user": self.user}

    @classmethod
    def from_dict(cls, found: Obj) -> "Image":
        return cls(tuple(found["path"]), found["root"], found["env"], found["user"])

    def environment(self) -> dict[str, str]:
        return {"PATH": os.pathsep.join((*self.path, *SYSTEM_PATH)), **self.env}


class Images:
    """The image table; names may be patterns (`perl:*`)."""

    def __init__(self, table: Mapping[str, Image]) -> None:
        self._table = dict(table)
        self._broken: set[str] = set()

    def add(self, name: str, image: Image) -> None:
        self._table[name] = image
        self._broken.discard(name)

    def break_pulls(self, name: str) -> None:
        """A fault: this name cannot be pulled until it is added again."""
        self._broken.add(name)

    def find(self, name: str) -> Image | None:
        if name in self._broken:
            return None
        if name in self._table:
            return self._table[name]
        for pattern, image in self._table.items():
            if fnmatch.fnmatchcase(name, pattern):
                return image
        return None

    def refusal(self, name: str) -> str:
        """Why an image cannot be pulled, in the runtime's words plus what to do."""
        known = ", ".join(sorted(self._table)) or "none"
        return (
            f'failed to pull and unpack image "{name}": failed to resolve image: {name}: not found '
            f"(the sandbox knows: {known}; map it with --image {name}=PATH)"
        )


def image_id(name: str) -> str:
    return "sha256:" + hashlib.sha256(name.encode()).hexdigest()
