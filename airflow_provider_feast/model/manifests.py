"""What a platform team installs for a feature store: namespace, accounts, Airflow's Role, network policies, quotas."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from airflow_provider_feast.model import naming, rights
from airflow_provider_feast.model.egress import ANYWHERE, Egress, port_number, port_rule
from airflow_provider_feast.model.errors import FeastDagError
from airflow_provider_feast.model.identity import Identity
from airflow_provider_feast.model.naming import slug
from airflow_provider_feast.model.settings import QUANTITY
from airflow_provider_feast.model.sources import check_object_name

A_EGRESS = f"{naming.PREFIX}/egress"
LABELS = {"app.kubernetes.io/part-of": "airflow-provider-feast"}
LEVELS = ("restricted", "baseline", "privileged")
_RESOURCE = re.compile(r"[a-z0-9]([-a-z0-9._/]{0,251}[a-z0-9])?")
NODE_LOCAL_DNS = "169.254.20.10/32"


class Account(NamedTuple):
    """A ServiceAccount.

    :param namespace: "" for the Jobs' namespace, where it is made; one elsewhere exists already.
    """

    name: str
    namespace: str = ""


class Dns(NamedTuple):
    """Where the cluster's DNS pods are, and the port they listen on."""

    namespace: str = "kube-system"
    port: int = 53


class Installation(NamedTuple):
    """What to install.

    :param feature_store: the connection's ``feature_store``.
    :param namespace: where the Jobs run.
    :param airflow: the accounts that Airflow's workers and triggerers use.
    :param service_account: that of the Jobs' pods.
    :param level: the Pod Security Standard that the namespace enforces.
    :param egress: where the pods may connect to.
    :param identity: how the pods are known to a cloud, or ``None``.
    :param parts: parts of :mod:`~airflow_provider_feast.model.rights`.
    :param quota: ``hard`` of a ResourceQuota, e.g. ``{"pods": "20"}``; empty for none.
    :param container_max: what one container may have at most, e.g. ``{"memory": "8Gi"}``; empty for no LimitRange.
    """

    feature_store: str = "default"
    namespace: str = "feast"
    airflow: tuple[Account, ...] = (Account("airflow"),)
    service_account: str = "feast"
    level: str = "restricted"
    egress: tuple[Egress, ...] = ()
    dns: Dns = Dns()
    identity: Identity | None = None
    parts: tuple[str, ...] = rights.ALWAYS
    quota: Mapping[str, str] = {}
    container_max: Mapping[str, str] = {}


class Document(NamedTuple):
    """One object, and a line for the person who reads it."""

    why: str
    manifest: dict[str, Any]


def check_namespace(name: str, what: str) -> str:
    """A namespace's name (DNS-1123 label).

    :raises FeastDagError: when the API would refuse it.
    """
    check_object_name(name, what)
    if "." in name or len(name) > 63:
        raise FeastDagError(
            f"{what}={name!r} cannot be the name of a namespace", remedy="at most 63 characters, and no '.'"
        )
    return name


def read_account(text: str) -> Account:
    """``NAME`` or ``NAMESPACE:NAME``.

    :raises FeastDagError: when it is neither.
    """
    namespace, _, name = text.rpartition(":")
    check_object_name(name, "airflow-service-account")
    if namespace:
        check_namespace(namespace, "airflow-service-account")
    return Account(name, namespace)


def read_dns(text: str) -> Dns:
    """``NAMESPACE`` or ``NAMESPACE:PORT``.

    :raises FeastDagError: when it is neither.
    """
    namespace, colon, digits = text.partition(":")
    check_namespace(namespace, "dns")
    port = port_number(digits) if colon else Dns().port
    if port is None:
        raise FeastDagError(f"dns={text!r} has no port", remedy="write e.g. kube-system:53")
    return Dns(namespace, port)


def read_amounts(texts: Iterable[str], what: str) -> dict[str, str]:
    """``NAME=QUANTITY`` …, e.g. ``pods=20`` or ``limits.memory=64Gi``.

    :raises FeastDagError: naming the one that is something else.
    """
    found = {}
    for text in texts:
        name, _, quantity = text.partition("=")
        if not _RESOURCE.fullmatch(name) or not QUANTITY.fullmatch(quantity):
            raise FeastDagError(f"{what}: {text!r} is no amount", remedy="write e.g. pods=20 or memory=8Gi")
        found[name] = quantity
    return found


def documents(wanted: Installation) -> list[Document]:
    """All objects, in the order in which they can be created.

    :raises FeastDagError: for a name that the API would refuse.
    """
    check_namespace(wanted.namespace, "namespace")
    check_object_name(wanted.service_account, "service-account")
    if not wanted.feature_store.isprintable():
        raise FeastDagError(
            f"feature-store={wanted.feature_store!r} is not one line of text",
            remedy="write its name as the connection has it",
        )
    return [*_namespace(wanted), *_accounts(wanted), *_role(wanted), *_network(wanted), *_limits(wanted)]


def _object(api: str, kind: str, name: str, namespace: str = "", **fields: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": api, "kind": kind, "metadata": {**metadata, "labels": dict(LABELS)}, **fields}


def _namespace(wanted: Installation) -> Iterator[Document]:
    found = _object("v1", "Namespace", wanted.namespace)
    modes = ("enforce", "warn")
    found["metadata"]["labels"] |= {f"pod-security.kubernetes.io/{mode}": wanted.level for mode in modes}
    yield Document(f"Pods that break the {wanted.level} Pod Security Standard are refused here.", found)


def _accounts(wanted: Installation) -> Iterator[Document]:
    pods = _object(
        "v1",
        "ServiceAccount",
        wanted.service_account,
        wanted.namespace,
        automountServiceAccountToken=False,
    )
    if wanted.identity is not None and wanted.identity.annotations:
        pods["metadata"]["annotations"] = dict(wanted.identity.annotations)
    yield Document(f"For the Jobs' pods: `service_account` {wanted.service_account} of the connection.", pods)
    for account in wanted.airflow:
        if account.namespace in ("", wanted.namespace):
            made = _object("v1", "ServiceAccount", account.name, wanted.namespace)
            yield Document("For Airflow, which uses a token of it.", made)


def _role(wanted: Installation) -> Iterator[Document]:
    api, name, namespace = "rbac.authorization.k8s.io", "airflow-feast", wanted.namespace
    rules = rights.role_rules(wanted.parts)
    yield Document(
        "What Airflow may do here, and nothing else.",
        _object(f"{api}/v1", "Role", name, namespace, rules=rules),
    )
    subjects = [
        {"kind": "ServiceAccount", "name": account.name, "namespace": account.namespace or namespace}
        for account in wanted.airflow
    ]
    reference = {"apiGroup": api, "kind": "Role", "name": name}
    binding = _object(f"{api}/v1", "RoleBinding", name, namespace, roleRef=reference, subjects=subjects)
    yield Document("Who may do it.", binding)


def _policy(wanted: Installation, name: str, labels: dict[str, str], **spec: Any) -> dict[str, Any]:
    body = {"podSelector": {"matchLabels": labels}, **spec}
    return _object("networking.k8s.io/v1", "NetworkPolicy", name, wanted.namespace, spec=body)


def _network(wanted: Installation) -> Iterator[Document]:
    ours = {naming.L_MANAGED_BY: naming.MANAGED_BY}
    yield Document(
        "The Jobs' pods reach nothing and nobody reaches them, but for what follows.",
        _policy(wanted, "feast-default-deny", ours, policyTypes=["Ingress", "Egress"]),
    )
    dns = [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": wanted.dns.namespace}}},
        {"ipBlock": {"cidr": NODE_LOCAL_DNS}},
    ]
    ports = [{"protocol": protocol, "port": wanted.dns.port} for protocol in ("UDP", "TCP")]
    yield Document(
        "Names can be looked up (the address is that of a node-local DNS cache).",
        _policy(wanted, "feast-dns", ours, policyTypes=["Egress"], egress=[{"to": dns, "ports": ports}]),
    )
    identity = wanted.identity.egress if wanted.identity is not None else ()
    if targets := (*wanted.egress, *identity):
        labels = {naming.L_FEATURE_STORE: naming.label_value(wanted.feature_store)}
        name = f"feast-egress-{_readable(wanted.feature_store)}"
        rules = [port_rule(target) for target in targets]
        policy = _policy(wanted, name, labels, policyTypes=["Egress"], egress=rules)
        policy["metadata"]["annotations"] = {A_EGRESS: ", ".join(target.text for target in targets)}
        yield Document(f"Where the Jobs of feature store {wanted.feature_store} may connect to.", policy)


def _readable(feature_store: str) -> str:
    """A feature store's name as part of an object's name, another one for each."""
    short = slug(feature_store, 200)
    tail = "" if short == feature_store else naming.digest(feature_store)[:8]
    return "-".join(part for part in (short, tail) if part)


def _limits(wanted: Installation) -> Iterator[Document]:
    if wanted.quota:
        spec = {"hard": dict(wanted.quota)}
        yield Document(
            "What all pods of the namespace may use together.",
            _object("v1", "ResourceQuota", "feast", wanted.namespace, spec=spec),
        )
    if wanted.container_max:
        limits = {"limits": [{"type": "Container", "max": dict(wanted.container_max)}]}
        yield Document(
            "What one container may have at most.",
            _object("v1", "LimitRange", "feast", wanted.namespace, spec=limits),
        )


def notes(wanted: Installation) -> list[str]:
    """What the objects cannot say themselves."""
    found = []
    anywhere = [target.text for target in wanted.egress if target.peers == ANYWHERE]
    if anywhere:
        found.append(
            f"A NetworkPolicy knows no host names outside of the cluster: {', '.join(anywhere)} allows that port of "
            "every address but link-local ones. Give an address range instead (10.1.2.0/24:5432) where you know it."
        )
    inside = [target.text for target in wanted.egress if "namespaceSelector" in target.peers[0]]
    if inside:
        found.append(
            "A NetworkPolicy sees the port of the pods behind a Service, not the Service's own (kubectl get "
            "endpointslices shows it; the Feast operator's servers: online 6566, registry 6570, offline 8815, with TLS "
            "one more): "
            f"{', '.join(inside)}."
        )
    if wanted.identity is not None:
        found += wanted.identity.notes
    return found
