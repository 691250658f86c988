"""What a preflight found: one finding for each check, with its remedy. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, NamedTuple

from airflow_provider_feast.model.errors import ERRORS, FeastError


class Status(StrEnum):
    """How a check came out."""

    PASS = "pass"  # noqa: S105 (no password)
    WARN = "warn"
    FAIL = "fail"
    NOT_CHECKED = "not checked"


class Finding(NamedTuple):
    """One check's outcome.

    :param check: the check, e.g. ``rights``.
    :param what: what was found, in the user's words.
    :param remedy: what to do, or "".
    :param kind: of a failure: the ``kind`` of its error class.
    :param where: of a failure: the object it happened to.
    """

    check: str
    status: Status
    what: str
    remedy: str = ""
    kind: str = ""
    where: str = ""

    @property
    def error(self) -> FeastError:
        """The exception that says a failure."""
        return ERRORS.get(self.kind, FeastError)(self.what, where=self.where, remedy=self.remedy)


def passed(check: str, what: str) -> Finding:
    """A check that found nothing wrong."""
    return Finding(check, Status.PASS, what)


def not_checked(check: str, what: str, remedy: str = "") -> Finding:
    """A check that could not be made; what it would have found shows when the Job runs."""
    return Finding(check, Status.NOT_CHECKED, what, remedy)


def warned(check: str, what: str, remedy: str = "") -> Finding:
    """Something that may go wrong, or does for some tasks."""
    return Finding(check, Status.WARN, what, remedy)


def failed(check: str, error: FeastError) -> Finding:
    """Something that makes every task fail."""
    return Finding(check, Status.FAIL, error.what, error.remedy, error.kind, error.where)


class Report(NamedTuple):
    """All findings of one preflight, in the order of the checks."""

    findings: tuple[Finding, ...]

    def of(self, *statuses: Status) -> list[Finding]:
        """The findings with these statuses."""
        return [finding for finding in self.findings if finding.status in statuses]

    @property
    def failed(self) -> bool:
        """Whether a task would fail."""
        return bool(self.of(Status.FAIL))

    def error(self) -> FeastError | None:
        """The exception for all failures: of the class of the first one, which is the most basic."""
        failures = self.of(Status.FAIL)
        if len(failures) < 2:
            return failures[0].error if failures else None
        first = failures[0]
        what = "\n".join(f"{number}. {f.what}" for number, f in enumerate(failures, 1))
        remedy = "\n".join(f"{number}. {f.remedy}" for number, f in enumerate(failures, 1) if f.remedy)
        where = "; ".join(dict.fromkeys(f.where for f in failures if f.where))
        return first._replace(what=what, where=where, remedy=remedy).error

    def summary(self) -> str:
        """How many checks came out how."""
        counts = [(status, len(self.of(status))) for status in Status]
        return ", ".join(f"{count} {status}" for status, count in counts if count) or "nothing to check"

    def to_dict(self) -> dict[str, Any]:
        """A JSON object: the report as a task leaves it in XCom and the command prints it."""
        return {
            "ok": not self.failed,
            "checks": [{**finding._asdict(), "status": finding.status.value} for finding in self.findings],
        }


def report_of(findings: Iterable[Finding]) -> Report:
    """A report, with what is the same said once."""
    return Report(tuple(dict.fromkeys(findings)))
