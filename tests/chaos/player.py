"""Plays a schedule on a stage and has it judged."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from chaos.actions import Actions
from chaos.airflow_home import wait_for
from chaos.judge import LOSSES, Case, Finding, judge
from chaos.scene import MOMENTS, Scene
from chaos.schedule import TASKS, Schedule, Step, make, make_standalone
from chaos.stage import Stage

MOMENT_SECONDS = 30.0
"""How long a step waits for its moment before it is left out."""

RUN_SECONDS = 150.0
"""How long a run may take after its last step."""

QUIET_SECONDS = 12.0
"""How long the last Job may take to be gone after the run's end: a pod's grace period, retries of a delete."""


@dataclass(frozen=True)
class Result:
    """What became of a schedule."""

    schedule: Schedule
    findings: tuple[Finding, ...]
    kills: Counter[str]
    seconds: float
    told: tuple[str, ...]

    @property
    def enough(self) -> bool:
        """Whether it killed what it was to kill."""
        return self.schedule.has_killed(self.kills)


def play_for_certain(stage: Stage, schedule: Schedule, times: int = 3) -> Result:
    """Play it, and again if its kills came too late for anything to be killed; then another one in its place.

    An outage in the moment that a kill waits for can keep that moment from coming.
    """
    again = make_standalone if schedule.standalone else make
    for candidate in (schedule, again(f"{schedule.seed}b"), again(f"{schedule.seed}c")):
        for _ in range(times):
            result = play(stage, candidate)
            if result.enough or result.findings:
                return result
    return result


def play(stage: Stage, schedule: Schedule) -> Result:
    """Run it; faults and frozen processes are gone afterwards, and all parts are up again."""
    started = time.monotonic()
    scene = _open(stage, schedule)
    actions = Actions(scene)
    try:
        with ThreadPoolExecutor(len(schedule.tracks)) as pool:
            list(pool.map(lambda track: _follow(scene, actions, track), schedule.tracks))
        if schedule.marked:
            _take(scene, actions, Step("settled", 0.2, f"mark-{schedule.marked}", scene.tasks[0]))
        stage.parts.thaw()
        ended = _ends(scene)
        stage.sandbox.clear_faults()
        case = _case(scene, schedule)
        findings = judge(case)
        if not ended and not findings:
            findings = [Finding(LOSSES, f"the run did not end within {RUN_SECONDS:.0f} s")]
    finally:
        stage.sandbox.clear_faults()
        stage.parts.tidy()
    stage.core.delete_namespace(scene.namespace)
    seconds = time.monotonic() - started
    return Result(schedule, tuple(findings), scene.kills, seconds, tuple(scene.told))


def _open(stage: Stage, schedule: Schedule) -> Scene:
    namespace = f"chaos-{uuid.uuid4().hex[:10]}"
    stage.core.create_namespace({"metadata": {"name": namespace}})
    since = datetime.now(UTC)
    run = stage.airflow.trigger(schedule.dag, {**schedule.conf, "namespace": namespace})
    return Scene(stage, namespace, schedule.dag, run, TASKS[schedule.dag], since)


def _follow(scene: Scene, actions: Actions, track: tuple[Step, ...]) -> None:
    for step in track:
        _take(scene, actions, step)


def _take(scene: Scene, actions: Actions, step: Step) -> None:
    """Wait for a step's moment and act; a moment that does not come is said and left out."""
    come = MOMENTS[step.when]
    end = time.monotonic() + MOMENT_SECONDS
    while not come(scene, step.task):
        if scene.over() or time.monotonic() > end:
            scene.say(f"left out: {step}")
            return
        time.sleep(0.02)
    time.sleep(step.delay)
    scene.say(f"{scene.instance(step.task).state}: {step}")
    scene.tries[step.task] = scene.instance(step.task).try_number
    actions.perform(step.action, step.task, step.options)


def _ends(scene: Scene) -> bool:
    """Wait for the run's end, then until nothing of it is left at work."""
    try:
        wait_for(scene.over, "the end of the run", RUN_SECONDS)
        wait_for(lambda: _quiet(scene), "the end of its Jobs", QUIET_SECONDS)
    except TimeoutError as error:
        scene.say(str(error))
        return False
    return True


def _quiet(scene: Scene) -> bool:
    jobs = scene.stage.audit.read().of(scene.namespace)
    return all(job.idle <= datetime.now(UTC) for job in jobs)


def _case(scene: Scene, schedule: Schedule) -> Case:
    """The material for the judge."""
    rows = scene.stage.database.rows(scene.dag, scene.run, scene.tasks, scene.since)
    logs = {
        row.task: scene.stage.airflow.log(scene.dag, scene.run, row.task, row.try_number)
        for row in rows
        if row.try_number
    }
    expected = schedule.expected if scene.marked or not schedule.marked else "success"
    jobs = scene.stage.audit.read().of(scene.namespace)
    return Case(expected, scene.marked, jobs, rows, logs, schedule.spares_the_command)
