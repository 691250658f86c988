"""What a finished command says of itself: the JSON that the runner leaves in the termination message."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

RESULT_SCHEMA = 1
"""Version of the termination message; ``runner/feast_runner.py`` writes the same number."""


class ViewTotals(NamedTuple):
    """What was written of one feature view.

    :param rows: rows written online, or ``None`` where the compute engine does not pass through the runner.
    :param seconds: time spent on the view.
    :param windows: how many windows were materialized.
    """

    rows: int | None
    seconds: float
    windows: int


class CommandResult(NamedTuple):
    """One command's own account of its end.

    :param verdict: ``running``, ``succeeded``, ``failed`` or ``interrupted``.
    :param kind: the ``kind`` of an error in :mod:`airflow_provider_feast.model.errors`, or "".
    :param message: the reason of a failure, in Feast's words, or "".
    :param exit_code: the process's exit code, or ``None`` while it runs.
    :param feast: the version of Feast, or "".
    :param commit: the Git commit of the definitions, or "".
    :param started: ISO 8601, UTC.
    :param finished: ISO 8601, UTC, or "".
    :param views: totals per feature view, as far as they fit.
    :param views_omitted: how many views did not fit into the termination message.
    :param chunk: which chunk of a plan this was, or ``None``.
    :param steps: loads (one window of one view) done and planned of a plan; ``(0, 0)`` for other commands.
    :param failed: feature views that failed, the first ten by name.
    :param gaps: what of a feature view was still not loaded when the command ended, as far as it looked and as they fit:
        start (included) and end (excluded), ISO 8601.
    :param gaps_omitted: how many gaps are not among them.
    :param ahead: feature views that materialize-incremental leaves alone because the registry says that they are loaded
        up to a time that is still to come, the first ten by name, and that time.
    :param changes: of ``plan``: what ``apply`` would ``delete``, ``create`` and ``update`` (lists of names with their
        types), and how many names were ``omitted``; else ``None``.
    """

    verdict: str
    kind: str = ""
    message: str = ""
    exit_code: int | None = None
    feast: str = ""
    commit: str = ""
    started: str = ""
    finished: str = ""
    views: dict[str, ViewTotals] = {}
    views_omitted: int = 0
    chunk: int | None = None
    steps: tuple[int, int] = (0, 0)
    failed: tuple[str, ...] = ()
    gaps: dict[str, list[tuple[str, str]]] = {}
    gaps_omitted: int = 0
    ahead: dict[str, str] = {}
    changes: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of the termination message, verdict first."""
        body = self._asdict()
        body["views"] = {name: totals._asdict() for name, totals in self.views.items()}
        body |= {"steps": list(self.steps), "failed": list(self.failed)}
        body["gaps"] = {name: [list(gap) for gap in found] for name, found in self.gaps.items()}
        return {"v": RESULT_SCHEMA, **body}

    @classmethod
    def from_dict(cls, value: dict[str, Any]) -> CommandResult:
        """Read :meth:`to_dict`'s object; fields of newer versions are ignored.

        :raises KeyError, TypeError: when ``value`` is not such an object.
        """
        known = {key: value[key] for key in cls._fields if key in value}
        known["verdict"] = value["verdict"]
        known["views"] = {
            name: ViewTotals(
                totals.get("rows"), float(totals.get("seconds", 0)), int(totals.get("windows", 0))
            )
            for name, totals in (value.get("views") or {}).items()
        }
        done, total = value.get("steps") or (0, 0)
        known["steps"] = (int(done), int(total))
        known["failed"] = tuple(map(str, value.get("failed") or ()))
        known["gaps"] = {
            name: [(str(start), str(end)) for start, end in found]
            for name, found in (value.get("gaps") or {}).items()
        }
        known["ahead"] = {name: str(newest) for name, newest in (value.get("ahead") or {}).items()}
        return cls(**known)

    @classmethod
    def parse(cls, text: str | None) -> CommandResult | None:
        """Read a termination message; ``None`` when it is not one of the runner's."""
        try:
            value = json.loads(text or "")
            return cls.from_dict(value) if isinstance(value, dict) and "v" in value else None
        except (ValueError, KeyError, TypeError, AttributeError):
            return None
