"""The retry policy that operators have when the DAG gives none."""

from __future__ import annotations

from typing import Any


def default_retry_policy() -> Any:
    """A :class:`~airflow_provider_feast.policies.FeastRetryPolicy`, or ``None`` below Airflow 3.3."""
    try:
        from airflow_provider_feast.policies import FeastRetryPolicy
    except ImportError:
        return None
    return FeastRetryPolicy()


def retry_arguments(policy: Any) -> dict[str, Any]:
    """What to hand to ``BaseOperator``: below Airflow 3.3 it does not know the argument."""
    return {} if policy is None else {"retry_policy": policy}
