"""What a namespace's Pod Security level makes of a pod: which field breaks which level."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_feast.model.security import SecurityProfile, loosened

L_ENFORCE = "pod-security.kubernetes.io/enforce"


def enforced(namespace: Mapping[str, Any]) -> str:
    """The level that a namespace enforces by its label, or ""."""
    labels = (namespace.get("metadata") or {}).get("labels") or {}
    return str(labels.get(L_ENFORCE) or "")


def violations(spec: dict[str, Any], level: str) -> list[str]:
    """The fields of a pod spec that a level refuses, each with what it must be.

    :param level: ``restricted``, ``baseline`` or ``privileged``; Kubernetes takes any other for ``restricted``.
    """
    standard = level if level in ("baseline", "privileged") else "restricted"
    return loosened(spec, SecurityProfile(level, standard=standard, read_only_root=False))
