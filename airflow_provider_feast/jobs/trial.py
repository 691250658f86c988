"""A Job without a task: what ``airflow feast preflight`` builds to be looked at, and runs with ``--deep``."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from airflow_provider_feast.jobs.builder import build_final_job
from airflow_provider_feast.jobs.logs import Say
from airflow_provider_feast.jobs.manifest import JobPlan
from airflow_provider_feast.jobs.submit import Wanted, create_or_adopt, runner_config_map_name
from airflow_provider_feast.jobs.watch import WatchOptions
from airflow_provider_feast.model import naming
from airflow_provider_feast.model.command import FeastCommand
from airflow_provider_feast.model.errors import FeastError
from airflow_provider_feast.model.preflight import Finding, failed, passed

if TYPE_CHECKING:
    from airflow_provider_feast.hooks.feast import FeastHook

_DAG = "airflow-feast-preflight"


class Trial:
    """One such Job; it writes nothing, so it needs no lock.

    :param command: a command that only reads.
    """

    def __init__(self, hook: FeastHook, command: FeastCommand) -> None:
        self._hook, self._command = hook, command
        run = f"cli__{uuid.uuid4().hex}"
        self._key = naming.TaskKey(hook.settings.deployment_id, _DAG, hook.feast_conn_id, run)

    def build(self) -> dict[str, Any]:
        """The final Job."""
        return self._build(self._name(0))

    def _name(self, count: int) -> str:
        return naming.job_name(self._command.subcommand, self._key, "0", count)

    def _build(self, name: str) -> dict[str, Any]:
        plan = JobPlan(
            name=name,
            key=self._key,
            epoch="0",
            try_number=1,
            command=self._command,
            settings=self._hook.resolved.settings,
            namespace=self._hook.namespace,
            runner=runner_config_map_name(),
            config_digest=self._hook.resolved.digest,
        )
        return build_final_job(plan, self._hook.kubernetes, None)

    def run(self, say: Say) -> Finding:
        """Run the Job to its end and delete it.

        :param say: takes the lines of its log.
        """
        check = "deep check"
        try:
            return self._run(check, say)
        except FeastError as error:
            return failed(check, error)

    def _run(self, check: str, say: Say) -> Finding:
        hook = self._hook
        wanted = Wanted(self._key, "0", self._name, self._build, hook.resolved.files)
        job = create_or_adopt(hook.cluster, wanted, say=say).job
        try:
            options = WatchOptions(
                startup_seconds=hook.settings.startup_timeout_seconds,
                log_seconds=1.0,
                outage_seconds=hook.settings.api_outage_tolerance_seconds,
            )
            outcome = hook.watch(job, say, options)
        finally:
            hook.delete(job)
        where = f"Job {job['metadata']['name']} in namespace {hook.namespace}"
        if outcome is None or outcome.problem is not None:
            problem = outcome.problem if outcome else None
            return failed(
                check, problem.error(where) if problem else FeastError("the Job did not end", where=where)
            )
        feast = f" with Feast {outcome.result.feast}" if outcome.result and outcome.result.feast else ""
        return passed(check, f"`feast {' '.join(self._command.argv)}` ran in a Job{feast}")
