"""Bring a Secret into the forms that git and ssh read."""

from __future__ import annotations

import argparse
import os
import urllib.parse

from airflow_provider_feast.runner.basics import COPY, Failure
from airflow_provider_feast.runner.patching import write_private

_SSH_CONFIG = """\
IdentityFile {target}/key
IdentitiesOnly yes
UserKnownHostsFile {target}/known_hosts
GlobalKnownHostsFile /dev/null
StrictHostKeyChecking yes
BatchMode yes
ConnectTimeout 30
"""


def secret_value(directory: str, *keys: str) -> str:
    """The first of these keys that a mounted Secret has. Raises Failure with the names of those it has."""
    for key in keys:
        path = os.path.join(directory, key)
        if os.path.isfile(path):
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                return file.read()
    there = sorted(name for name in os.listdir(directory) if not name.startswith(".."))
    has = ", ".join(there) or "nothing"
    raise Failure(
        COPY, "definitions_invalid", f"the Secret for Git has no key {' or '.join(keys)}; it has: {has}"
    )


def prepare_git_access(options: argparse.Namespace) -> None:
    """Write what git and ssh read, for this user only: credentials, or a key, known hosts and a user's name."""
    source, target, parts = options.source, options.target, urllib.parse.urlsplit(options.url)
    if parts.scheme == "https":
        token = secret_value(source, "token", "password").strip()
        user = "git"
        if os.path.isfile(os.path.join(source, "username")):
            user = secret_value(source, "username").strip()
        account = f"{urllib.parse.quote(user, safe='')}:{urllib.parse.quote(token, safe='')}"
        write_private(os.path.join(target, "credentials"), f"https://{account}@{parts.netloc}\n")
        return
    key, hosts = secret_value(source, "ssh-privatekey", "identity"), secret_value(source, "known_hosts")
    write_private(os.path.join(target, "key"), key.rstrip("\n") + "\n")
    write_private(os.path.join(target, "known_hosts"), hosts.rstrip("\n") + "\n")
    write_private(os.path.join(target, "ssh_config"), _SSH_CONFIG.format(target=target))
    user = f"feast:x:{os.getuid()}:{os.getgid()}:feast:/tmp:/sbin/nologin"
    write_private(os.path.join(target, "passwd"), f"root:x:0:0:root:/:/sbin/nologin\n{user}\n")
