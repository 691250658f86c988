"""Workload identity: how pods prove to a cloud who they are without a stored key, and what they must reach for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from airflow_provider_feast.model.egress import ANYWHERE, Egress, read_egress
from airflow_provider_feast.model.errors import FeastDagError

_APIS = "the cloud's token and API endpoints:443"


class Identity(NamedTuple):
    """What a cloud's workload identity needs.

    :param annotations: of the pods' ServiceAccount.
    :param egress: metadata, token and API endpoints.
    :param notes: what has to be done elsewhere.
    """

    annotations: Mapping[str, str]
    egress: tuple[Egress, ...]
    notes: tuple[str, ...] = ()


class _Cloud(NamedTuple):
    annotation: str
    pattern: str
    example: str
    metadata: tuple[str, ...]
    needs_name: bool = False
    notes: tuple[str, ...] = ()


_CLOUDS = {
    # https://docs.aws.amazon.com/eks/latest/userguide/pod-id-how-it-works.html: the agent's addresses
    "aws": _Cloud(
        "eks.amazonaws.com/role-arn",
        r"arn:aws[-a-z]*:iam::\d{12}:role/[-\w+=,.@/]+",
        "arn:aws:iam::123456789012:role/feast",
        ("169.254.170.23:80", "[fd00:ec2::23]:80"),
        notes=("Without an ARN the role comes from an EKS Pod Identity association with this account.",),
    ),
    # https://cloud.google.com/kubernetes-engine/docs/how-to/workload-identity: the metadata server's addresses
    "gcp": _Cloud(
        "iam.gke.io/gcp-service-account",
        r"[-a-z0-9]+@[-a-z0-9.:]+\.iam\.gserviceaccount\.com",
        "feast@my-project.iam.gserviceaccount.com",
        ("169.254.169.252:988", "169.254.169.254:80"),
        notes=(
            "Without a Google service account the roles are granted to the Kubernetes account itself (principal://…).",
        ),
    ),
    # https://azure.github.io/azure-workload-identity/docs/topics/service-account-labels-and-annotations.html
    "azure": _Cloud(
        "azure.workload.identity/client-id",
        r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
        "00000000-0000-0000-0000-000000000000",
        (),
        needs_name=True,
        notes=(
            "Azure only looks at pods with a label of its own; set job_overrides in the connection: "
            '{"spec": {"template": {"metadata": {"labels": {"azure.workload.identity/use": "true"}}}}}',
        ),
    ),
}

CLOUDS = tuple(_CLOUDS)


def read_identity(text: str) -> Identity:
    """``aws``, ``gcp`` or ``azure``, with the cloud's name for the pods after a ``=``.

    :param text: e.g. ``aws=arn:aws:iam::123456789012:role/feast``.
    :raises FeastDagError: for another cloud, or a name that is none of that cloud's.
    """
    cloud, _, name = text.strip().partition("=")
    known = _CLOUDS.get(cloud)
    if known is None:
        raise FeastDagError(
            f"workload-identity={text!r}: {cloud!r} is unknown", remedy=f"choose one of {', '.join(CLOUDS)}"
        )
    if (name or known.needs_name) and not re.fullmatch(known.pattern, name):
        raise FeastDagError(
            f"workload-identity={text!r} does not say who the pods are there",
            remedy=f"write e.g. {cloud}={known.example}",
        )
    endpoints = (*(read_egress(address) for address in known.metadata), Egress(_APIS, ANYWHERE, 443))
    return Identity({known.annotation: name} if name else {}, endpoints, known.notes)
