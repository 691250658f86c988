"""What a pod needs for its definitions: volumes, init containers, and where the repository is then. Pure."""

from __future__ import annotations

import posixpath
from typing import Any, NamedTuple

from airflow_provider_feast.jobs.environment import proxy_variables
from airflow_provider_feast.jobs.paths import (
    CA_DIR,
    CA_FILE,
    CHECKOUT,
    DEFINITIONS_DIR,
    GIT_ACCESS_DIR,
    GIT_SECRET_DIR,
    NO_REPO_DIR,
    REPO_DIR,
    RUNNER,
    SOURCE_DIR,
    TMP,
)
from airflow_provider_feast.model.definitions import (
    GIT_IMAGE,
    ConfigMapDefinitions,
    GitDefinitions,
    ImageDefinitions,
    VolumeDefinitions,
)
from airflow_provider_feast.model.settings import FeastSettings

COPY_CONTAINER = "definitions"
COPY_EXITS = (64, 67)
"""Exit codes of the runner's ``copy`` and ``git-access`` that every further pod would end with, too."""

Object = dict[str, Any]


class InitStep(NamedTuple):
    """One init container.

    :param image: "" for the one with Feast.
    :param mounts: its mounts besides ``/tmp``.
    :param env: its variables, in plain text.
    :param fails_job: exit codes that fail the Job at once.
    """

    name: str
    command: list[str]
    mounts: list[Object]
    image: str = ""
    env: dict[str, str] = {}
    fails_job: tuple[int, ...] = ()


class DefinitionsPart(NamedTuple):
    """What one source of definitions adds to a pod.

    :param repo: the repository's directory in the main container.
    :param volumes: its volumes.
    :param mounts: its mounts in the main container.
    :param steps: its init containers, in order.
    :param checkout: where git's working tree is, or "".
    """

    repo: str
    volumes: list[Object] = []
    mounts: list[Object] = []
    steps: list[InitStep] = []
    checkout: str = ""


def definitions_part(settings: FeastSettings) -> DefinitionsPart:
    """What the definitions of these settings add to a pod."""
    source = settings.definitions
    if isinstance(source, GitDefinitions):
        return _git(source, settings)
    if isinstance(source, ConfigMapDefinitions):
        volume = {"name": "feast-definitions", "configMap": {"name": source.name}}
        return _copied(settings, DEFINITIONS_DIR, [volume])
    if isinstance(source, VolumeDefinitions):
        volume = {"name": "feast-definitions", **source.volume}
        path = (
            posixpath.join(DEFINITIONS_DIR, source.subdirectory) if source.subdirectory else DEFINITIONS_DIR
        )
        if source.copy:
            return _copied(settings, path, [volume])
        return DefinitionsPart(path, [volume], [mount("feast-definitions", DEFINITIONS_DIR, read_only=True)])
    if isinstance(source, ImageDefinitions):
        return _copied(settings, source.path, []) if source.copy else DefinitionsPart(source.path)
    return DefinitionsPart(NO_REPO_DIR)


def mount(volume: str, path: str, *, read_only: bool = False) -> Object:
    """A mount of a volume."""
    return {"name": volume, "mountPath": path} | ({"readOnly": True} if read_only else {})


def _copied(settings: FeastSettings, origin: str, volumes: list[Object]) -> DefinitionsPart:
    repo = mount("feast-repo", REPO_DIR)
    mounts = [mount("feast-runner", posixpath.dirname(RUNNER), read_only=True)]
    mounts += [mount(volume["name"], DEFINITIONS_DIR, read_only=True) for volume in volumes]
    step = InitStep(
        COPY_CONTAINER,
        [settings.python, RUNNER, "copy", origin, REPO_DIR],
        [*mounts, repo],
        fails_job=COPY_EXITS,
    )
    empty = {"name": "feast-repo", "emptyDir": {"sizeLimit": settings.tmp_size}}
    return DefinitionsPart(REPO_DIR, [*volumes, empty], [repo], [step])


# --- git -----------------------------------------------------------------------------------------

_SETTINGS = ("core.hooksPath=/dev/null", "gc.auto=0", "maintenance.auto=false", "credential.helper=")
_STORE = f"credential.helper=store --file={GIT_ACCESS_DIR}/credentials"
_PLAIN = {
    "HOME": TMP,
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
}


def _git(source: GitDefinitions, settings: FeastSettings) -> DefinitionsPart:
    """One git command a container, each executed directly: no shell ever sees an address or a ref."""
    repo = posixpath.join(CHECKOUT, source.subdirectory) if source.subdirectory else CHECKOUT
    image, tree = source.image or GIT_IMAGE, [mount("feast-source", SOURCE_DIR)]
    volumes: list[Object] = [{"name": "feast-source", "emptyDir": {"sizeLimit": settings.tmp_size}}]
    steps: list[InitStep] = []
    if source.secret:
        volumes += [
            {"name": "feast-git", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
            {"name": "feast-git-secret", "secret": {"secretName": source.secret}},
        ]
        steps.append(_access(source, settings))
    options = [part for value in _SETTINGS for part in ("-c", value)]
    git = ["git", "-C", CHECKOUT, *options]
    checkout = ["checkout", "--quiet", "--detach", "--no-recurse-submodules", "FETCH_HEAD", "--"]
    init = ["git", "init", "--quiet", "--template=", CHECKOUT]
    steps += [
        InitStep("definitions-init", init, tree, image, _PLAIN),
        _fetch(source, settings, git)._replace(image=image),
        InitStep("definitions-checkout", [*git, *checkout], tree, image, _PLAIN),
    ]
    return DefinitionsPart(repo, volumes, tree, steps, CHECKOUT)


def _fetch(source: GitDefinitions, settings: FeastSettings, git: list[str]) -> InitStep:
    """The one command that needs the network and the Secret."""
    env = {**_PLAIN, "GIT_ALLOW_PROTOCOL": source.scheme, **proxy_variables(settings)}
    mounts, options = [mount("feast-source", SOURCE_DIR)], []
    if source.secret:
        mounts.append(
            mount("feast-git", GIT_ACCESS_DIR)
        )  # writable: git keeps credentials that were accepted
    if source.secret and not source.ssh:
        options = ["-c", _STORE]
    if source.ssh:
        env["GIT_SSH_COMMAND"] = f"ssh -F {GIT_ACCESS_DIR}/ssh_config"
        # OpenSSH refuses to run under a user id that has no line in this file.
        mounts.append({**mount("feast-git", "/etc/passwd", read_only=True), "subPath": "passwd"})
    if settings.ca_bundle_config_map:
        env["GIT_SSL_CAINFO"] = CA_FILE
        mounts.append(mount("feast-ca", CA_DIR, read_only=True))
    fetch = ["fetch", "--depth=1", "--no-tags", "--no-recurse-submodules", "--", source.url, source.ref]
    return InitStep("definitions-fetch", [*git, *options, *fetch], mounts, env=env)


def _access(source: GitDefinitions, settings: FeastSettings) -> InitStep:
    """Bring the Secret into the forms that git and ssh read; its image is the one with Python."""
    return InitStep(
        "definitions-access",
        [settings.python, RUNNER, "git-access", source.url, GIT_SECRET_DIR, GIT_ACCESS_DIR],
        [
            mount("feast-runner", posixpath.dirname(RUNNER), read_only=True),
            mount("feast-git-secret", GIT_SECRET_DIR, read_only=True),
            mount("feast-git", GIT_ACCESS_DIR),
        ],
        fails_job=COPY_EXITS,
    )
