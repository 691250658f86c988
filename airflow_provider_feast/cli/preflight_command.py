"""``airflow feast preflight``: whether the Jobs of a connection can work, and what to do if not."""

from __future__ import annotations

import json
import sys
from typing import Any

import yaml
from airflow.utils import cli as cli_utils
from airflow.utils.providers_configuration_loader import providers_configuration_loaded

from airflow_provider_feast.cli.connection import OUTAGE_SECONDS, hook_of
from airflow_provider_feast.cli.tables import table
from airflow_provider_feast.jobs.inspection import Subject, deep_refused, inspect
from airflow_provider_feast.jobs.trial import Trial
from airflow_provider_feast.model.command import FeastCommand
from airflow_provider_feast.model.preflight import Report, report_of


@cli_utils.action_cli(check_db=False)
@cli_utils.suppress_logs_and_warning
@providers_configuration_loaded
def preflight(args: Any) -> None:
    """Inspect, print the report, and end with 1 when a task would fail."""
    report = inspected(args)
    print(shown(report, args.output))
    sys.exit(1 if report.failed else 0)


def inspected(args: Any) -> Report:
    """The report that the arguments ask for; with ``--deep`` a Job is run if nothing is in its way."""
    hook = hook_of(args, api_outage_tolerance_seconds=int(OUTAGE_SECONDS))
    command = FeastCommand(args.deep or "version")
    subject = Subject(hook, lambda: Trial(hook, command).build(), args.feature_store_resource or "")
    report = inspect(subject)
    if not args.deep or report.failed:
        return report
    deep = deep_refused(hook.settings, args.deep) or Trial(hook, command).run(_say)
    return report_of([*report.findings, deep])


def _say(text: str, at: str = "") -> None:
    """The Job's log, beside the report."""
    print(f"{at} {text}".lstrip(), file=sys.stderr)


def shown(report: Report, output: str) -> str:
    """A report as text.

    :param output: ``table``, ``json`` or ``yaml``.
    """
    if output == "json":
        return json.dumps(report.to_dict(), indent=2)
    if output == "yaml":
        return yaml.safe_dump(report.to_dict(), sort_keys=False, allow_unicode=True).rstrip()
    rows = [{"status": f.status.value, "check": f.check, "found": f.what} for f in report.findings]
    remedies = [f"  {f.check}: {f.remedy}" for f in report.findings if f.remedy]
    return "\n".join(
        [
            table(("status", "check", "found"), rows),
            *(["", "What to do:", *remedies] if remedies else []),
            "",
            f"{report.summary()}.",
        ]
    )
