"""What commands that ask a cluster share: the connection, and an end with a message instead of a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from airflow_provider_feast.hooks.feast import FeastHook
from airflow_provider_feast.model.errors import FeastError

T = TypeVar("T")

OUTAGE_SECONDS = 20.0
"""How long a command waits for an API server that does not answer: a person is watching."""


def hook_of(args: Any, **overrides: Any) -> FeastHook:
    """The feature store that ``--conn-id`` and ``--namespace`` name."""
    # Airflow looks connections up in its database only where it is told that it may.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    return FeastHook(args.conn_id, namespace=args.namespace, **overrides)


def or_exit(act: Callable[[], T]) -> T:
    """What a command comes to; an error of ours ends it with its message, not with a traceback."""
    try:
        return act()
    except FeastError as error:
        sys.exit(str(error))
