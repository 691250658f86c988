"""Where a command's definitions (the feature repository's .py files) come from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

from airflow_provider_feast.model.errors import FeastDagError
from airflow_provider_feast.model.names import (
    check_image,
    check_object_name,
    check_path,
    check_plain,
    check_subdirectory,
)

GIT_IMAGE = "docker.io/alpine/git:v2.52.0"
"""An image with git and ssh, unless the connection or the DAG names another one."""

_SCHEMES = ("https", "http", "ssh", "file")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:.]+\]")
_SCP = re.compile(r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9._-]*)@)(?P<host>[^:/@]+):(?P<path>[^:].*)")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_REF_CHARACTERS = frozenset("~^:?*[\\")
_REF_LENGTH = 250


class ImageDefinitions(NamedTuple):
    """A feature repository baked into the image.

    :param path: its absolute path there.
    :param copy: copy it to a writable place first, following its symbolic links.
    """

    path: str
    copy: bool = False


class ConfigMapDefinitions(NamedTuple):
    """A feature repository in an existing ConfigMap; it is copied to a writable place before use.

    :param name: the ConfigMap, in the Job's namespace; each key is one file.
    """

    name: str


class VolumeDefinitions(NamedTuple):
    """A feature repository on a volume.

    :param volume: the name of a PersistentVolumeClaim, or any volume as in a pod's manifest, without its name, e.g.
        ``{"csi": {…}}``. What the security profile forbids is refused.
    :param subdirectory: where on the volume the repository is.
    :param copy: copy it to a writable place first, following its symbolic links; else it is used where it is,
        read-only.
    """

    volume: Any
    subdirectory: str = ""
    copy: bool = True


class GitDefinitions(NamedTuple):
    """A feature repository in Git, fetched by the pod: one commit, without history and submodules.

    :param url: ``https://…``, ``ssh://…``, ``user@host:path`` (``http://`` and ``file://`` work, too), without
        credentials.
    :param ref: a branch, a tag, or a whole commit id if the server allows that; the result says which commit it was.
    :param subdirectory: where in the repository the feature repository is.
    :param secret: a Secret with ``token`` (or ``username`` and ``password``) for HTTPS, or ``ssh-privatekey`` and
        ``known_hosts`` for SSH. Only the pod reads it.
    :param image: an image with git, and ssh where that is used; "" is :data:`GIT_IMAGE`.
    """

    url: str
    ref: str = "HEAD"
    subdirectory: str = ""
    secret: str = ""
    image: str = ""

    @property
    def ssh(self) -> bool:
        """Whether it is fetched by SSH."""
        return self.scheme == "ssh"

    @property
    def scheme(self) -> str:
        """The protocol, as git's own setting calls it."""
        return urlsplit(self.url).scheme if "://" in self.url else "ssh"


Definitions = ImageDefinitions | ConfigMapDefinitions | VolumeDefinitions | GitDefinitions


def read_definitions(value: Any, what: str = "definitions") -> Definitions | None:
    """Check what an author gave as definitions: a source, a path in the image, or nothing.

    :raises FeastDagError: when it is none of these, or its parts cannot work.
    """
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return ImageDefinitions(check_path(value, what))
    if isinstance(value, ImageDefinitions):
        return ImageDefinitions(check_path(value.path, what), _flag(value.copy, f"{what}.copy"))
    if isinstance(value, ConfigMapDefinitions):
        return ConfigMapDefinitions(check_object_name(value.name, f"{what}.name"))
    if isinstance(value, VolumeDefinitions):
        return VolumeDefinitions(
            _volume(value.volume, f"{what}.volume"),
            check_subdirectory(value.subdirectory or "", f"{what}.subdirectory"),
            _flag(value.copy, f"{what}.copy"),
        )
    if isinstance(value, GitDefinitions):
        return _git(value, what)
    raise FeastDagError(
        f"{what} is {type(value).__name__}",
        remedy="give a path in the image, or ImageDefinitions(path=…), ConfigMapDefinitions(name=…), "
        "VolumeDefinitions(volume=…) or GitDefinitions(url=…)",
    )


def _flag(value: Any, what: str) -> bool:
    if not isinstance(value, bool):
        raise FeastDagError(f"{what}={value!r} is neither True nor False", remedy="give one of them")
    return value


def _volume(value: Any, what: str) -> dict[str, Any]:
    if isinstance(value, str):
        return {"persistentVolumeClaim": {"claimName": check_object_name(value, what)}}
    kinds = [kind for kind in value if kind != "name"] if isinstance(value, Mapping) else []
    if len(kinds) != 1 or not isinstance(value[kinds[0]], Mapping):
        raise FeastDagError(
            f"{what} is not one volume",
            remedy='give the name of a PersistentVolumeClaim, or e.g. {"csi": {"driver": "…"}}',
        )
    check_plain(value, what)
    return {kinds[0]: dict(value[kinds[0]])}


def _git(value: GitDefinitions, what: str) -> GitDefinitions:
    found = GitDefinitions(
        check_git_url(value.url, f"{what}.url"),
        check_git_ref(value.ref or "HEAD", f"{what}.ref"),
        check_subdirectory(value.subdirectory or "", f"{what}.subdirectory"),
        check_object_name(value.secret, f"{what}.secret") if value.secret else "",
        check_image(value.image or "", f"{what}.image"),
    )
    if found.secret and found.scheme not in ("https", "ssh"):
        raise FeastDagError(
            f"{what} has a secret, but {found.scheme}:// would not keep it",
            remedy="use https:// or ssh://, or leave the secret out",
        )
    if found.ssh and not found.secret:
        raise FeastDagError(
            f"{what} uses SSH without a secret",
            remedy="name a Secret with ssh-privatekey and known_hosts, or use https://",
        )
    return found


def check_git_url(url: Any, what: str) -> str:
    """A repository's address. Messages do not repeat it where credentials may be in it.

    :raises FeastDagError: for a protocol that runs programs, credentials, or what git could take for an option.
    """
    if not isinstance(url, str) or not url or not url.isprintable() or " " in url or url.startswith("-"):
        raise FeastDagError(
            f"{what} is not a repository's address",
            remedy="write e.g. https://git.example.com/team/features.git",
        )
    scp = None if "://" in url else _SCP.fullmatch(url)
    if scp is not None and _HOST.fullmatch(scp["host"]) and not scp["path"].startswith("-"):
        return url
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:  # its text repeats a part of the address
        raise FeastDagError(
            f"{what} is not a repository's address: its host or port cannot be read", remedy="correct it"
        ) from None
    _check_parts(parts, what)
    return url


def _check_parts(parts: SplitResult, what: str) -> None:
    if parts.scheme not in _SCHEMES or not parts.path.strip("/"):
        raise FeastDagError(
            f"{what} is none of https://…, ssh://…, http://…, file://… or user@host:path",
            remedy="write e.g. https://git.example.com/team/features.git",
        )
    user, at, place = parts.netloc.rpartition("@")
    credentials = bool(at) if parts.scheme != "ssh" else ":" in user or bool(at and not _USER.fullmatch(user))
    if credentials or parts.query or parts.fragment:
        raise FeastDagError(
            f"{what} holds credentials or a query; whatever is in an address ends up in manifests and logs",
            remedy="write the bare address, and put the token into a Secret: secret=…",
        )
    host = re.sub(r":\d*$", "", place)
    if parts.scheme == "file":
        if place:
            raise FeastDagError(f"{what} names a host behind file://", remedy="write file:///path")
    elif not _HOST.fullmatch(host):
        raise FeastDagError(f"{what} has no host that can exist", remedy="correct the address")


def check_git_ref(ref: Any, what: str) -> str:
    """A branch, tag or commit that ``git fetch`` is asked for.

    :raises FeastDagError: for what git could take for an option or a mapping of refs, or can never be a ref.
    """
    if (
        not isinstance(ref, str)
        or not ref.isprintable()
        or " " in ref
        or not 0 < len(ref.encode()) <= _REF_LENGTH
        or ref.startswith(("-", "+"))
        or ref == "@"
        or ref.endswith(".")
        or _REF_CHARACTERS.intersection(ref)
        or any(part in ref for part in ("..", "@{"))
        or any(not part or part.startswith(".") or part.endswith(".lock") for part in ref.split("/"))
    ):
        raise FeastDagError(
            f"{what}={ref!r} is not a branch, a tag or a commit",
            remedy="write e.g. main, v1.2 or the 40 digits of a commit",
        )
    return ref
