"""What git says when definitions cannot be fetched, and what it means."""

from __future__ import annotations

import re

from airflow_provider_feast.jobs.feast_texts import clean, shorten
from airflow_provider_feast.model.outcome import Problem

GIT_STEPS = ("definitions-init", "definitions-fetch", "definitions-checkout")
"""The init containers that run git."""

_AWAY = re.compile(
    r"could not resolve|couldn't connect|failed to connect|connection (?:refused|reset|closed|timed out)"
    r"|operation timed out|network is unreachable|no route to host|early eof|rpc failed|unexpected disconnect"
    r"|the requested url returned error: 5\d\d|kex_exchange_identification",
    re.I,
)
_REFUSED = re.compile(
    r"authentication failed|permission denied \(|could not read (?:username|password)|access denied"
    r"|the requested url returned error: 40[13]|invalid credentials|terminal prompts disabled",
    re.I,
)
_STRANGER = re.compile(r"host key verification failed|no \S+ host key is known", re.I)
_NO_REF = re.compile(r"couldn't find remote ref|not our ref|unadvertised object", re.I)
_NO_REPOSITORY = re.compile(r"not found|does not appear to be a git repository|does not exist", re.I)
_CERTIFICATE = re.compile(r"certificate|ssl_?error|tls", re.I)

_MEANINGS = (
    (
        _STRANGER,
        "definitions_invalid",
        "add the server's line to known_hosts in the Secret (ssh-keyscan prints it)",
    ),
    (
        _REFUSED,
        "definitions_refused",
        "renew the token or key in the Secret that definitions_git_secret names",
    ),
    (_NO_REF, "definitions_invalid", "correct the ref: a branch, a tag, or all 40 digits of a commit"),
    (
        _AWAY,
        "definitions_unreachable",
        "see that pods of the namespace reach the Git server (DNS, proxy, network policy)",
    ),
    (_CERTIFICATE, "definitions_invalid", "name a ConfigMap with the server's CA in ca_bundle_config_map"),
    (_NO_REPOSITORY, "definitions_invalid", "correct the repository's address; a private one needs a Secret"),
)
_ELSE = "read what git says; correct address, ref or Secret of the definitions"


def git_problem(container: str, code: int, message: str) -> Problem:
    """Why a git command of a pod failed.

    :param container: the init container's name.
    :param message: the last lines that git wrote.
    """
    said = shorten(_words(message))
    kind, then = next(
        ((kind, then) for pattern, kind, then in _MEANINGS if pattern.search(message)),
        ("definitions_invalid", _ELSE),
    )
    what = {"definitions-fetch": "fetched", "definitions-checkout": "checked out"}.get(container, "prepared")
    cause = f"The definitions could not be {what} from Git (exit code {code}){f': {said}' if said else ''}"
    return Problem(kind, cause.rstrip(" .") + ".", then[0].upper() + then[1:] + ".")


def _words(message: str) -> str:
    """The lines in which git complains, and those of ssh that say why; without hints."""
    lines = [line.strip() for line in message.splitlines() if line.strip() and not line.startswith("hint:")]
    marked = [line for line in lines if re.match(r"(fatal|error|remote|ERROR)\b", line) or _by_ssh(line)]
    return clean(" ".join(marked or lines[-3:]))


def _by_ssh(line: str) -> bool:
    return any(pattern.search(line) for pattern in (_STRANGER, _REFUSED, _AWAY))
