"""Where things lie in the pod."""

from __future__ import annotations

RUNNER_KEY = "feast_runner.py"
RUNNER = f"/feast/runner/{RUNNER_KEY}"
CONFIG_FILE = "/feast/config/feature_store.yaml"
DEFINITIONS_DIR = "/feast/definitions"
REPO_DIR = "/feast/repo"
CA_DIR = "/feast/ca"
CA_FILE = f"{CA_DIR}/ca-bundle.crt"
TMP = "/tmp"  # noqa: S108 (the pod's own emptyDir)
NO_REPO_DIR = f"{TMP}/feast-repo"

PATCH_DIR = "/feast/patch"
MERGED_DIR = "/feast/merged"
"""Memory for a configuration that the runner patches: it may hold secrets, which no disk shall keep."""

SECRETS_DIR = "/feast/secrets"
"""The Secrets of ``env_from``, one directory each: the runner masks what is in them."""

SOURCE_DIR = "/feast/source"
CHECKOUT = f"{SOURCE_DIR}/repo"
"""The working tree; a directory of its own, because git wants to be the owner, and a volume's root belongs to root."""

GIT_SECRET_DIR = "/feast/git-secret"  # noqa: S105 (a directory)
GIT_ACCESS_DIR = "/feast/git"
"""Memory for what git and ssh need of the Secret, in the forms and modes that they want."""
