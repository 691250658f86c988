"""A short chaos suite, and the proof that the long one would see a broken safeguard."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from chaos.judge import DOUBLES, LOSSES
from chaos.player import Result, play_for_certain
from chaos.schedule import OUTLASTS_SECONDS, Schedule, make, seeds
from chaos.stage import Stage, open_stage

SHORT = seeds(20261125, 4)


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """A sandbox and an Airflow whose parts are killed and restarted."""
    opened = open_stage()
    yield opened
    opened.close()


def told(result: Result) -> str:
    """What a person needs to look into it."""
    found = "\n".join(f"{finding.kind}: {finding.what}" for finding in result.findings)
    again = f"PYTHONPATH=tests python -m chaos --only {result.schedule.seed}"
    return "\n".join([found, str(result.schedule), *result.told, again])


@pytest.mark.parametrize("seed", SHORT)
def test_whoever_dies_each_task_has_one_job_and_the_right_verdict(stage: Stage, seed: str) -> None:
    stage.mutate("")
    result = play_for_certain(stage, make(seed))
    assert not result.findings, told(result)
    assert result.enough, told(result)


def first(*actions: str, dag: str, seconds: int = 0) -> Schedule:
    """The first schedule that starts with these actions and where nothing else happens, of a command so long."""
    made = map(make, seeds(1, 5000))
    return next(
        schedule
        for schedule in made
        if schedule.dag == dag
        and not schedule.marked
        and schedule.conf["lines"] * schedule.conf["pause"] >= seconds
        and len(schedule.tracks) == (2 if dag == "both" else 1)
        and tuple(step.action for step in schedule.tracks[0])[: len(actions)] == actions
    )


BROKEN = {
    "no-adoption": (first("kill-worker", dag="waits", seconds=OUTLASTS_SECONDS), DOUBLES),
    "no-lock": (first("kill-worker", dag="both"), DOUBLES),
    "no-uid": (first("fault", "clear", "kill-worker", "delete-job", dag="waits"), LOSSES),
}


@pytest.mark.parametrize("mutation", BROKEN)
def test_the_suite_turns_red_without_a_safeguard_and_only_then(stage: Stage, mutation: str) -> None:
    schedule, kind = BROKEN[mutation]
    stage.mutate(mutation)
    broken = play_for_certain(stage, schedule)
    assert kind in {finding.kind for finding in broken.findings}, told(broken)
    stage.mutate("")
    whole = play_for_certain(stage, schedule)
    assert not whole.findings, told(whole)
