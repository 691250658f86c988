"""``airflow feast manifests``: what a platform team installs, as YAML."""

from __future__ import annotations

import json
import sys
from typing import Any

import yaml
from airflow.utils import cli as cli_utils

from airflow_provider_feast.model import rights
from airflow_provider_feast.model.egress import read_egress
from airflow_provider_feast.model.errors import FeastDagError
from airflow_provider_feast.model.identity import read_identity
from airflow_provider_feast.model.manifests import (
    Installation,
    documents,
    notes,
    read_account,
    read_amounts,
    read_dns,
)


@cli_utils.action_cli(check_db=False)
@cli_utils.suppress_logs_and_warning
def manifests(args: Any) -> None:
    """Print the objects."""
    try:
        print(rendered(installation(args)))
    except FeastDagError as error:
        sys.exit(str(error))


def installation(args: Any) -> Installation:
    """What the arguments ask for.

    :raises FeastDagError: for one that cannot work.
    """
    accounts = args.airflow_service_account or ["airflow"]
    return Installation(
        feature_store=args.feature_store,
        namespace=args.namespace or "feast",
        airflow=tuple(dict.fromkeys(read_account(text) for text in accounts)),
        service_account=args.service_account,
        level=args.pod_security,
        egress=tuple(read_egress(text) for text in args.egress or ()),
        dns=read_dns(args.dns),
        identity=read_identity(args.workload_identity) if args.workload_identity else None,
        parts=(*rights.ALWAYS, *dict.fromkeys(args.allow or ())),
        quota=read_amounts(args.quota or (), "quota"),
        container_max=read_amounts(args.container_max or (), "container-max"),
    )


class _Plain(yaml.SafeDumper):
    """Writes equal parts out instead of referring to them."""

    def ignore_aliases(self, data: Any) -> bool:
        """Always."""
        return True


def rendered(wanted: Installation) -> str:
    """The objects as YAML documents, each with a comment that says what it is for."""
    extra = {
        "namespace": wanted.namespace,
        "feature_store": wanted.feature_store,
        "service_account": wanted.service_account,
    }
    head = [
        "# Made by `airflow feast manifests`. To use it: kubectl apply -f FILE",
        f"# Fields of the Feast connection that belong to it: {json.dumps(extra)}",
        *(f"# Note: {note}" for note in notes(wanted)),
    ]
    parts = [
        f"---\n# {document.why}\n"
        + yaml.dump(document.manifest, Dumper=_Plain, sort_keys=False, allow_unicode=True, width=120)
        for document in documents(wanted)
    ]
    return "\n".join(head) + "\n" + "".join(parts).rstrip()
