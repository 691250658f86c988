"""Where pods may connect to: ``HOST:PORT`` as a person writes it, as NetworkPolicy peers."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, NamedTuple

from airflow_provider_feast.model.errors import FeastDagError

ANYWHERE: tuple[dict[str, Any], ...] = (
    {"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}},
    {"ipBlock": {"cidr": "::/0", "except": ["fe80::/10", "fd00:ec2::/32"]}},
)
"""Every address but those of a cloud's metadata services."""

_HOST = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_IN_CLUSTER = re.compile(r"(?:[-a-z0-9]+\.)?(?P<namespace>[-a-z0-9]+)\.svc(?:\.[-a-z0-9.]+)?")


class Egress(NamedTuple):
    """One target.

    :param text: as it was given.
    :param peers: ``to`` of an egress rule.
    :param port: a TCP port.
    """

    text: str
    peers: tuple[dict[str, Any], ...]
    port: int


def port_rule(target: Egress) -> dict[str, Any]:
    """An egress rule of a NetworkPolicy."""
    return {"to": list(target.peers), "ports": [{"protocol": "TCP", "port": target.port}]}


def read_egress(text: str) -> Egress:
    """Read ``HOST:PORT``.

    The host is an address or a range (``10.0.0.0/8``, ``[2001:db8::1]``), a Service of the cluster
    (``redis.data.svc``: the pods of its namespace, as a NetworkPolicy cannot name Services), or any other host name
    (every address, as it cannot name hosts).

    :raises FeastDagError: when it is something else.
    """
    host, _, digits = text.strip().rpartition(":")
    port = port_number(digits)
    if port is None or not host:
        raise FeastDagError(
            f"egress={text!r} is not HOST:PORT",
            remedy="write e.g. redis.data.svc:6379, 10.1.2.0/24:5432 or [2001:db8::1]:443",
        )
    return Egress(text.strip(), _peers(host, text), port)


def port_number(digits: str) -> int | None:
    """A TCP port, or ``None`` for anything else."""
    port = int(digits) if re.fullmatch(r"[0-9]{1,5}", digits) else 0
    return port if 0 < port < 65536 else None


def _peers(host: str, text: str) -> tuple[dict[str, Any], ...]:
    try:
        network = ipaddress.ip_network(host.replace("[", "").replace("]", ""))
    except ValueError as error:
        if re.fullmatch(r"[\d./]+|.*[:/\[].*", host):
            raise FeastDagError(
                f"egress={text!r}: {error}", remedy="write e.g. 10.1.2.0/24:5432 or [2001:db8::1]:443"
            ) from error
    else:
        return ({"ipBlock": {"cidr": str(network)}},)
    if not _HOST.fullmatch(host):
        raise FeastDagError(
            f"egress={text!r} has no host name", remedy="use lower-case letters, digits, '-' and '.'"
        )
    if match := _IN_CLUSTER.fullmatch(host):
        label = {"kubernetes.io/metadata.name": match.group("namespace")}
        return ({"namespaceSelector": {"matchLabels": label}},)
    return ANYWHERE
