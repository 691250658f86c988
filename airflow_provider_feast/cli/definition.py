"""The commands of ``airflow feast`` and their arguments.

Airflow 3.2 and later finds them through the provider's metadata (key ``cli``); ``python -m airflow_provider_feast`` has
the same ones in every Airflow. Imported whenever `airflow` runs, so it imports nothing but Airflow's own definitions.
"""

from __future__ import annotations

import argparse
import re
from datetime import timedelta

from airflow.cli.cli_config import ARG_VERBOSE, ARG_YES, ActionCommand, Arg, GroupCommand, lazy_load_command

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def age(text: str) -> timedelta:
    """A length of time such as ``90s``, ``30m``, ``1h`` or ``2d``."""
    match = re.fullmatch(r"(\d+)([smhd])", text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no length of time: write e.g. 30m, 1h or 2d")
    return timedelta(**{_UNITS[match.group(2)]: int(match.group(1))})


ARG_CONN_ID = Arg(
    ("--conn-id",),
    default="feast_default",
    help="Feast connection: the cluster and the namespace of its Jobs",
)
ARG_NAMESPACE = Arg(
    ("-n", "--namespace"), default=None, help="Namespace of the Jobs, instead of the connection's"
)
ARG_ALL = Arg(("-a", "--all"), action="store_true", help="List Jobs that have ended, too")
ARG_OUTPUT = Arg(
    ("-o", "--output"),
    choices=("table", "json", "yaml"),
    default="table",
    help="Output format (default: table)",
)
ARG_OLDER_THAN = Arg(
    ("--older-than",),
    type=age,
    default=timedelta(hours=1),
    metavar="AGE",
    help="Touch nothing that is younger, or whose task ended later, e.g. 30m, 1h, 2d (default: 1h)",
)
ARG_DRY_RUN = Arg(("--dry-run",), action="store_true", help="Say what would be deleted, and delete nothing")
ARG_SOLE_AIRFLOW = Arg(
    ("--sole-airflow",),
    action="store_true",
    help="No other Airflow runs Jobs in this namespace: a Job whose DAG run this Airflow does not know is left behind. "
    "Not needed where the connection has a deployment_id",
)

ARG_FEATURE_STORE = Arg(
    ("--feature-store",),
    default="default",
    help="Its name in the connection's field feature_store (default: default)",
)
ARG_JOBS_NAMESPACE = Arg(("-n", "--namespace"), default="feast", help="Where the Jobs run (default: feast)")
ARG_AIRFLOW_ACCOUNT = Arg(
    ("--airflow-service-account",),
    action="append",
    metavar="[NAMESPACE:]NAME",
    help="Account of Airflow's workers and triggerers; can be given again. One without a namespace is made with the "
    "Jobs (default: airflow)",
)
ARG_POD_ACCOUNT = Arg(
    ("--service-account",), default="feast", help="Account that is made for the Jobs' pods (default: feast)"
)
ARG_POD_SECURITY = Arg(
    ("--pod-security",),
    choices=("restricted", "baseline", "privileged"),
    default="restricted",
    help="Pod Security Standard that the namespace enforces (default: restricted)",
)
ARG_EGRESS = Arg(
    ("--egress",),
    nargs="+",
    action="extend",
    metavar="HOST:PORT",
    help="Where the pods may connect to: redis.data.svc:6379 (pods of that namespace), 10.1.2.0/24:5432, "
    "db.example.com:443 (a policy cannot name it: any address)",
)
ARG_DNS = Arg(
    ("--dns",),
    default="kube-system:53",
    metavar="NAMESPACE[:PORT]",
    help="Where the cluster's DNS pods are (default: kube-system:53; OpenShift: openshift-dns:5353)",
)
ARG_IDENTITY = Arg(
    ("--workload-identity",),
    metavar="aws|gcp|azure[=NAME]",
    help="How the pods are known to a cloud; NAME is the role's ARN, the Google service account, or the client id",
)
ARG_ALLOW = Arg(
    ("--allow",),
    action="append",
    choices=("clean", "feature-stores"),
    help="Rights beyond running Jobs: `airflow feast jobs clean`, FeatureStore resources; can be given again",
)
ARG_QUOTA = Arg(
    ("--quota",),
    nargs="+",
    action="extend",
    metavar="NAME=AMOUNT",
    help="A ResourceQuota, e.g. pods=20 limits.memory=64Gi",
)
ARG_CONTAINER_MAX = Arg(
    ("--container-max",),
    nargs="+",
    action="extend",
    metavar="NAME=AMOUNT",
    help="A LimitRange, e.g. cpu=4 memory=8Gi",
)

MANIFESTS = ActionCommand(
    name="manifests",
    help="Print what a platform team installs for a feature store, as YAML",
    description="Prints Namespace, ServiceAccounts, Airflow's Role and RoleBinding, NetworkPolicies, and on request "
    "ResourceQuota and LimitRange. Asks no cluster and no connection. Run it once for each feature store; what they "
    "share is the same each time.",
    func=lazy_load_command("airflow_provider_feast.cli.manifests_command.manifests"),
    args=(
        ARG_FEATURE_STORE,
        ARG_JOBS_NAMESPACE,
        ARG_AIRFLOW_ACCOUNT,
        ARG_POD_ACCOUNT,
        ARG_POD_SECURITY,
        ARG_EGRESS,
        ARG_DNS,
        ARG_IDENTITY,
        ARG_ALLOW,
        ARG_QUOTA,
        ARG_CONTAINER_MAX,
        ARG_VERBOSE,
    ),
)

ARG_DEEP = Arg(
    ("--deep",),
    choices=("version", "configuration"),
    help="Also run `feast version` (or `feast configuration`, which prints the configuration into the pod's log) in a "
    "Job, and delete it",
)
ARG_FEATURE_STORE_RESOURCE = Arg(
    ("--feature-store-resource",),
    metavar="NAME",
    help="FeatureStore of the Feast operator that must be Ready",
)

PREFLIGHT = ActionCommand(
    name="preflight",
    help="Look whether the Jobs of a connection can work, and say what to do if not",
    description="Checks the connection, the API server, the namespace, every right that Airflow needs, the objects "
    "that Jobs refer to, feature_store.yaml, Pod Security, and has the server admit a Job without creating it. Exit "
    "code: 0, or 1 when a task would fail.",
    func=lazy_load_command("airflow_provider_feast.cli.preflight_command.preflight"),
    args=(
        ARG_CONN_ID,
        ARG_NAMESPACE,
        ARG_DEEP,
        ARG_FEATURE_STORE_RESOURCE,
        ARG_OUTPUT,
        ARG_VERBOSE,
    ),
)

JOBS_COMMANDS = (
    ActionCommand(
        name="list",
        help="List this provider's Jobs: what runs, for which task, and who holds or awaits a lock",
        func=lazy_load_command("airflow_provider_feast.cli.jobs_command.jobs_list"),
        args=(ARG_CONN_ID, ARG_NAMESPACE, ARG_ALL, ARG_OUTPUT, ARG_VERBOSE),
    ),
    ActionCommand(
        name="clean",
        help="Delete what is left behind: Jobs without a task, locks of dead Jobs, runners of older releases",
        description="Says what is left behind and why, asks, and deletes it. Every deletion names the object's uid, so "
        "nothing that was made or resumed meanwhile is hit. Exit code: 0 done or nothing to do, 1 not (all) done.",
        func=lazy_load_command("airflow_provider_feast.cli.jobs_command.jobs_clean"),
        args=(
            ARG_CONN_ID,
            ARG_NAMESPACE,
            ARG_OLDER_THAN,
            ARG_DRY_RUN,
            ARG_SOLE_AIRFLOW,
            ARG_YES,
            ARG_VERBOSE,
        ),
    ),
)


def get_feast_cli_commands() -> list[GroupCommand]:
    """What the provider's metadata names under ``cli``."""
    jobs = GroupCommand(name="jobs", help="Kubernetes Jobs of Feast commands", subcommands=JOBS_COMMANDS)
    return [
        GroupCommand(
            name="feast", help="Feast commands as Kubernetes Jobs", subcommands=(jobs, MANIFESTS, PREFLIGHT)
        )
    ]
