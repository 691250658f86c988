"""The operator that runs any Feast command as a Kubernetes Job; the others are made of it.

Light on purpose: a DAG file is parsed again and again, so nothing here imports ``kubernetes``. The Job is built
and run by :mod:`airflow_provider_feast.jobs`, which is imported when the task runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperator, conf

from airflow_provider_feast.model.command import FeastCommand
from airflow_provider_feast.model.errors import FeastDagError
from airflow_provider_feast.model.literals import literal
from airflow_provider_feast.model.plan import AnyPlan
from airflow_provider_feast.model.settings import FeastSettings
from airflow_provider_feast.model.windows import Window, parse_duration
from airflow_provider_feast.operators.retries import default_retry_policy, retry_arguments

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import Context

DEFAULT_RETRY_POLICY = default_retry_policy()

TRIGGER_GIVEN_UP = "__fail__"
"""Airflow's ``TRIGGER_FAIL_REPR``: the method that a task is resumed with whose trigger brought no event."""

_DURATIONS = ("deadline", "api_outage_tolerance", "defer_after")
_OVERRIDES = (
    "image",
    "namespace",
    "configuration",
    "configuration_patch",
    "definitions",
    "service_account",
    "security_profile",
    "env",
    "env_from",
    "backoff_limit",
    "memory_limit",
    "memory_request",
    "cpu_limit",
    "cpu_request",
    "command_mode",
    "pod_options",
    "job_overrides",
)


class FeastCommandOperator(BaseOperator):
    """Run any Feast command as a Kubernetes Job and wait for it.

    Everything that is not given comes from the connection. The result is one JSON object in XCom, see
    ``docs/result.md``.

    :param command: the command as a list, e.g. ``["apply"]``, or a
        :class:`~airflow_provider_feast.model.command.FeastCommand`.
    :param feast_conn_id: the `feast` connection.
    :param image: image with Python and Feast.
    :param namespace: where the Job runs.
    :param configuration: feature_store.yaml: a mapping, YAML text, or one of
        :mod:`airflow_provider_feast.model.sources`.
    :param configuration_patch: a part of feature_store.yaml, merged over the rest for this task; ``None`` in it removes
        a key.
    :param definitions: the feature repository: a path in the image, or one of the same module.
    :param service_account: the pod's service account.
    :param security_profile: name of a profile of :mod:`airflow_provider_feast.model.security`.
    :param env: environment variables of the pod, merged over the connection's; a
        :class:`~airflow_provider_feast.model.sources.SecretRef` takes a value from a Secret.
    :param env_from: ``configmap/NAME`` and ``secret/NAME`` whose keys are variables of the pod.
    :param deadline: the Job is stopped after this time (timedelta, seconds, or text such as ``2h``).
    :param backoff_limit: pod failures that the Job bears before it fails.
    :param memory_limit: Kubernetes quantity, e.g. ``4Gi``. ``memory_request``, ``cpu_limit``, ``cpu_request`` alike.
    :param command_mode: ``runner``, or ``cli`` for plain ``feast …``.
    :param pod_options: any keyword of ``KubernetesJobOperator``.
    :param job_overrides: a partial Job in Kubernetes' own spelling, merged last.
    :param deferrable: wait in the triggerer.
    :param defer_after: how long the worker watches before it defers (as ``deadline``; 0: not at all), so that short
        commands need no triggerer.
    :param api_outage_tolerance: how long the Kubernetes API may be away before the task gives up; as ``deadline``.
    :param log_interval: seconds between reads of a running pod's log; 0 reads it at the end only.
    :param preflight: look before a Job is made whether it can work (rights, account, ConfigMaps): a few requests, none
        for a Job that is taken over; see ``docs/preflight.md``.
    :param retry_policy: what to try again (Airflow ≥ 3.3); by default what can help, see ``docs/errors.md``.
    :raises FeastDagError: at parse for literal values that cannot work, when run for templated ones.
    """

    template_fields: Sequence[str] = (
        "command",
        "feast_conn_id",
        "image",
        "namespace",
        "configuration",
        "configuration_patch",
        "definitions",
        "service_account",
        "security_profile",
        "env",
        "env_from",
        "deadline",
        "api_outage_tolerance",
        "defer_after",
        "memory_limit",
        "memory_request",
        "cpu_limit",
        "cpu_request",
        "pod_options",
        "job_overrides",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "command": "json",
        "configuration": "json",
        "configuration_patch": "json",
        "env": "json",
        "pod_options": "json",
        "job_overrides": "json",
    }
    ui_color = "#e8f4ea"

    def __init__(
        self,
        *,
        command: Any = None,
        feast_conn_id: str = "feast_default",
        image: str | None = None,
        namespace: str | None = None,
        configuration: Any = None,
        configuration_patch: dict[str, Any] | None = None,
        definitions: Any = None,
        service_account: str | None = None,
        security_profile: str | None = None,
        env: dict[str, Any] | None = None,
        env_from: list[str] | str | None = None,
        deadline: timedelta | float | str | None = None,
        backoff_limit: int | None = None,
        memory_limit: str | None = None,
        memory_request: str | None = None,
        cpu_limit: str | None = None,
        cpu_request: str | None = None,
        command_mode: str | None = None,
        pod_options: dict[str, Any] | None = None,
        job_overrides: dict[str, Any] | None = None,
        deferrable: bool | None = None,
        defer_after: timedelta | float | str | None = None,
        log_interval: float | None = None,
        api_outage_tolerance: timedelta | float | str | None = None,
        preflight: bool = True,
        retry_policy: Any = DEFAULT_RETRY_POLICY,
        **kwargs: Any,
    ) -> None:
        super().__init__(**retry_arguments(retry_policy), **kwargs)
        self.command = command
        self.feast_conn_id = feast_conn_id
        self.image = image
        self.namespace = namespace
        self.configuration = configuration
        self.configuration_patch = configuration_patch
        self.definitions = definitions
        self.service_account = service_account
        self.security_profile = security_profile
        self.env = env
        self.env_from = env_from
        self.deadline = deadline
        self.backoff_limit = backoff_limit
        self.memory_limit = memory_limit
        self.memory_request = memory_request
        self.cpu_limit = cpu_limit
        self.cpu_request = cpu_request
        self.command_mode = command_mode
        self.pod_options = pod_options
        self.job_overrides = job_overrides
        self.deferrable = (
            conf.getboolean("operators", "default_deferrable", fallback=False)
            if deferrable is None
            else deferrable
        )
        self.defer_after = defer_after
        self.log_interval = log_interval
        self.api_outage_tolerance = api_outage_tolerance
        self.preflight = preflight
        self._run: Any = None
        self._check_literals()

    # --- what a subclass says -------------------------------------------------------------------

    @property
    def allows_empty(self) -> bool:
        """Whether a materialization that touches no feature view is a success."""
        return False

    @property
    def online_policy(self) -> str:
        """What a materialization does with rows that are older than what is online."""
        return "overwrite"

    @property
    def gap_policy(self) -> str:
        """What ``materialize-incremental`` does with what it would pass over."""
        return "ignore"

    @property
    def deletions_allowed(self) -> bool | tuple[str, ...]:
        """Whether ``apply`` may delete what the definitions lack, or which objects of it."""
        return False

    def load_plan(self, window: Window | None, command_mode: str, context: Context) -> AnyPlan | None:
        """What the runner loads by a plan, or ``None``: the pod runs Feast's own command."""
        return None

    def feast_command(self, context: Context) -> tuple[FeastCommand, Window | None]:
        """The command of this run, and its window if it has one.

        :raises FeastDagError: when an argument cannot work.
        """
        return FeastCommand.read(self.command), None

    def _check_literals(self) -> None:
        if self.command is not None and literal(self.command):
            FeastCommand.read(self.command)
        elif self.command is None and type(self).feast_command is FeastCommandOperator.feast_command:
            raise FeastDagError(
                "command is missing", where=f"task {self.task_id!r}", remedy="give command=['apply']"
            )
        for name in _DURATIONS:
            value = getattr(self, name)
            if value is not None and literal(value):
                self._seconds(name)
        fields = {name: getattr(self, name) for name in _OVERRIDES}
        FeastSettings("").override(**{name: value for name, value in fields.items() if literal(value)})

    # --- the life of a task ---------------------------------------------------------------------

    def overrides(self) -> dict[str, Any]:
        """The connection's fields that this operator sets itself."""
        fields = {name: getattr(self, name) for name in _OVERRIDES}
        for name in _DURATIONS:
            if getattr(self, name) not in (None, ""):
                fields[f"{name}_seconds"] = self._seconds(name)
        return fields

    def _seconds(self, name: str) -> int:
        return math.ceil(
            parse_duration(getattr(self, name), name, zero=name == "defer_after").total_seconds()
        )

    def _task_run(self, context: Context) -> Any:
        from airflow_provider_feast.jobs.task import TaskRun

        return TaskRun(self, context)

    def execute(self, context: Context) -> Any:
        """Run the command; see ``docs/architecture.md`` for the life of a task."""
        self._run = self._task_run(context)
        return self._run.execute()

    def resume(self, context: Context, event: dict[str, Any]) -> Any:
        """Conclude after the triggerer saw the Job's end."""
        self._run = self._task_run(context)
        return self._run.resume(event)

    def resume_execution(self, next_method: str, next_kwargs: dict[str, Any] | None, context: Context) -> Any:
        """As Airflow's, but a trigger that Airflow gave up is no verdict on the Job."""
        if next_method != TRIGGER_GIVEN_UP:
            return super().resume_execution(next_method, next_kwargs, context)
        self._run = self._task_run(context)
        return self._run.trigger_failed(next_kwargs or {})

    def on_kill(self) -> None:
        """Delete the Job of a task that is killed in its worker."""
        if self._run is not None:
            self._run.kill()


def refuse_command(kwargs: dict[str, Any]) -> None:
    """See that nobody gives a command to an operator that has one of its own."""
    if kwargs.get("command") is not None:
        raise FeastDagError(
            "command is set by this operator itself", remedy="use FeastCommandOperator for other commands"
        )
