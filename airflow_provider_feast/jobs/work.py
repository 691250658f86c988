"""What a task run asks of an operator: the shape that operators and sensors with a Job of their own have."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Protocol

from airflow_provider_feast.model.command import FeastCommand
from airflow_provider_feast.model.plan import AnyPlan
from airflow_provider_feast.model.windows import Window


class Work(Protocol):
    """The rendered fields of an operator that the life of its Job depends on; see ``FeastCommandOperator``."""

    feast_conn_id: str
    deferrable: bool
    preflight: bool
    log_interval: float | None
    execution_timeout: timedelta | None
    retries: int | None

    @property
    def log(self) -> Any: ...
    @property
    def allows_empty(self) -> bool: ...
    @property
    def online_policy(self) -> str: ...
    @property
    def gap_policy(self) -> str: ...
    @property
    def deletions_allowed(self) -> bool | tuple[str, ...]: ...

    def overrides(self) -> dict[str, Any]: ...
    def feast_command(self, context: Any) -> tuple[FeastCommand, Window | None]: ...
    def load_plan(self, window: Window | None, command_mode: str, context: Any) -> AnyPlan | None: ...
    def defer(self, *, trigger: Any, method_name: str, timeout: timedelta | None) -> Any: ...
