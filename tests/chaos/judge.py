"""The verdict on a schedule: pure, from the Jobs of the audit log, the rows of Airflow's database and the task's log."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import combinations

from chaos.history import Job

DOUBLES, LOSSES, FALSE_VERDICTS, ORPHANS = "doubles", "losses", "false_verdicts", "orphans"
KINDS = (DOUBLES, LOSSES, FALSE_VERDICTS, ORPHANS)
FINISHED = ("success", "failed")
PROVIDER = "sandbox-admin"
"""The account of Airflow in the audit log; a person has another one."""

_LINE = re.compile(r"\bchaos ([0-9a-f-]{36}) (\d+) of (\d+)\s*$")


@dataclass(frozen=True)
class Finding:
    """Something that must not be."""

    kind: str
    what: str


@dataclass(frozen=True)
class TaskRow:
    """A task instance, as the database has it in the end.

    :param acts: when a person cleared it or set its state.
    :param clears: when a person cleared it.
    """

    task: str
    state: str
    try_number: int
    acts: Sequence[datetime] = ()
    clears: Sequence[datetime] = ()


@dataclass(frozen=True)
class Case:
    """All that a verdict is made of.

    :param expected: the state that the tasks must end in.
    :param marked: whether a person set that state.
    :param jobs: every Job of the schedule.
    :param tasks: its task instances.
    :param logs: the lines of each task's last try, as Airflow's reader gives them.
    :param spared: whether nothing happened to pods and workers: then a failed run, too, is in the log to its end.
    """

    expected: str
    marked: bool
    jobs: Sequence[Job]
    tasks: Sequence[TaskRow]
    logs: Mapping[str, Sequence[str]] = field(default_factory=dict)
    spared: bool = False


def judge(case: Case) -> list[Finding]:
    """Every violation, in no order that matters."""
    found = [*two_jobs_of_one_task(case.jobs), *two_writers_of_one_registry(case.jobs), *orphans(case.jobs)]
    for task in case.tasks:
        jobs = [job for job in case.jobs if job.task == task.task]
        found += wrong_verdict(case, task, jobs)
        found += killed_without_cause(task, jobs)
        complete = not case.marked and (task.state == "success" or case.spared)
        found += log_faults(task.task, case.logs.get(task.task, ()), complete=complete)
    return found


def two_jobs_of_one_task(jobs: Iterable[Job]) -> Iterator[Finding]:
    """Never two live Jobs for one task key."""
    by_key: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        by_key[job.key].append(job)
    for same in by_key.values():
        for one, two in combinations(sorted(same, key=lambda job: job.created), 2):
            if two.created < one.dead:
                what = f"{one.name} ({one.uid}) was live when {two.name} ({two.uid}) was created"
                yield Finding(DOUBLES, f"two live Jobs of task {one.task}: {what}")


def two_writers_of_one_registry(jobs: Iterable[Job]) -> Iterator[Finding]:
    """Never two Jobs of one registry at work at the same time."""
    by_registry: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        if job.resumed is not None:
            by_registry[job.registry].append(job)
    for same in by_registry.values():
        for one, two in combinations(sorted(same, key=lambda job: job.resumed or job.created), 2):
            if one.key != two.key and two.resumed is not None and two.resumed < one.idle:
                yield Finding(DOUBLES, f"{two.name} was started while {one.name} was at work in the registry")


def orphans(jobs: Iterable[Job]) -> Iterator[Finding]:
    """No live Job, and no live pod, when all is over."""
    for job in jobs:
        if job.ended is None and job.removed is None:
            state = "suspended" if job.resumed is None else "running"
            yield Finding(ORPHANS, f"{job.name} is still there, {state}")
        elif any(pod.ended is None for pod in job.pods.values()):
            yield Finding(ORPHANS, f"a pod of {job.name} is still there")


def wrong_verdict(case: Case, task: TaskRow, jobs: Sequence[Job]) -> Iterator[Finding]:
    """Success needs a Job that succeeded (since the last clear), failure one that did not."""
    if task.state not in FINISHED:
        yield Finding(LOSSES, f"task {task.task} never ended: it is {task.state}")
        return
    since = max(task.clears, default=None)
    won = [job for job in jobs if job.succeeded and job.ended and (since is None or job.ended > since)]
    if task.state == "success" and not won and not case.marked:
        yield Finding(FALSE_VERDICTS, f"task {task.task} succeeded, and no Job of it did")
    if task.state == "failed" and won and not case.marked:
        names = ", ".join(job.name for job in won)
        yield Finding(FALSE_VERDICTS, f"task {task.task} failed, and its Job succeeded: {names}")
    if task.state != case.expected:
        kind = LOSSES if task.state == "failed" else FALSE_VERDICTS
        yield Finding(kind, f"task {task.task} is {task.state}, and should be {case.expected}")


def killed_without_cause(task: TaskRow, jobs: Iterable[Job]) -> Iterator[Finding]:
    """A Job at work is deleted by Airflow only after a person cleared the task or set its state."""
    for job in jobs:
        at_work = (
            job.resumed is not None and job.deleting is not None and job.deleting < (job.ended or job.idle)
        )
        if not at_work or job.deleted_by != PROVIDER or job.deleting is None:
            continue
        if not any(job.created <= act <= job.deleting for act in task.acts):
            yield Finding(LOSSES, f"Airflow deleted {job.name} ({job.uid}) at work, and nobody wanted that")


def log_faults(task: str, lines: Iterable[str], *, complete: bool) -> Iterator[Finding]:
    """Each line of a command once and in order; of one run of it, all of them.

    :param complete: whether one run must be there to its end.
    """
    runs: dict[str, list[int]] = defaultdict(list)
    lengths: dict[str, int] = {}
    for line in lines:
        if match := _LINE.search(line):
            runs[match[1]].append(int(match[2]))
            lengths[match[1]] = int(match[3])
    for run, numbers in runs.items():
        doubled = sorted(number for number, times in Counter(numbers).items() if times > 1)
        missing = sorted(set(range(1, max(numbers) + 1)) - set(numbers))
        if doubled:
            yield Finding(DOUBLES, f"log of task {task}: lines {_short(doubled)} of {run} are there twice")
        if missing:
            yield Finding(LOSSES, f"log of task {task}: lines {_short(missing)} of {run} are missing")
        if not doubled and not missing and numbers != sorted(numbers):
            yield Finding(
                LOSSES, f"log of task {task}: the lines of {run} are out of order: {_short(numbers)}"
            )
    if complete and not any(max(numbers) == lengths[run] for run, numbers in runs.items()):
        reached = {run: max(numbers) for run, numbers in runs.items()}
        yield Finding(
            LOSSES, f"log of task {task}: no run is there to its end ({reached or 'no lines at all'})"
        )


def _short(numbers: Sequence[int]) -> str:
    """Some numbers, and how many more there are."""
    more = f" … ({len(numbers)} in all)" if len(numbers) > 20 else ""
    return f"{', '.join(map(str, numbers[:20]))}{more}"
