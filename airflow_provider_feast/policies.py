"""FeastRetryPolicy: fail at once on what another try cannot help (Airflow 3.3 and later)."""

from __future__ import annotations

from typing import Any

try:
    from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy
except ImportError as missing:
    raise ImportError(
        "FeastRetryPolicy needs Airflow 3.3 or later. On an older Airflow leave retry_policy= out: each failure is "
        "retried then, as often as retries= says."
    ) from missing

from airflow_provider_feast.model.errors import FeastError


class FeastRetryPolicy(RetryPolicy):
    """Spends no ``retries`` on failures that stay: a wrong command, a missing ConfigMap, too little memory, …

    Whether a kind of failure can pass by itself is in ``docs/errors.md``. All other failures, also those that are not of
    this package, are retried as the task's ``retries`` and ``retry_delay`` say.

    The operators of this package have it unless the DAG gives them another ``retry_policy=`` (``None``: none). It never
    makes a task run more often than ``retries`` says.
    """

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Any = None
    ) -> RetryDecision:
        """Fail now, or do what Airflow does by itself."""
        if isinstance(exception, FeastError) and not exception.retryable:
            return RetryDecision.fail(reason=f"{exception.kind}: running it again would fail in the same way")
        return RetryDecision.default()

    def serialize(self) -> dict[str, Any]:
        """It has no options."""
        return {}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> FeastRetryPolicy:
        """Read what :meth:`serialize` wrote."""
        return cls()
