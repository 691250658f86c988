"""Schedules come from their seeds alone, and each of them kills a process that runs Airflow's code."""

from __future__ import annotations

import pytest

from chaos.actions import Actions
from chaos.scene import MOMENTS
from chaos.schedule import KILLS_A_RUNNER, TASKS, Schedule, make, make_standalone, seeds

MANY = [make(seed) for seed in seeds(7, 400)]
WHOLE = [make_standalone(seed) for seed in seeds(7, 50)]


def test_a_seed_makes_the_same_schedule_every_time() -> None:
    assert [make(seed) for seed in seeds(7, 400)] == MANY
    assert make_standalone("7.1") == WHOLE[1]


def test_seeds_make_different_schedules() -> None:
    assert len({str(schedule) for schedule in MANY}) > 350


@pytest.mark.parametrize("schedules", [MANY, WHOLE], ids=["forked", "standalone"])
def test_each_schedule_kills_a_task_runner_or_a_triggerer(schedules: list[Schedule]) -> None:
    for schedule in schedules:
        assert any(step.action in KILLS_A_RUNNER for step in schedule.steps), schedule


def test_a_standalone_schedule_kills_worker_triggerer_and_scheduler() -> None:
    for schedule in WHOLE:
        actions = {step.action for step in schedule.steps}
        assert actions & {"kill-worker", "kill-runner"}, schedule
        assert {"kill-triggerer", "kill-scheduler"} <= actions, schedule


def test_every_step_names_a_moment_an_action_and_a_task_that_exist() -> None:
    for schedule in [*MANY, *WHOLE]:
        for step in schedule.steps:
            assert step.when in MOMENTS
            assert callable(getattr(Actions, step.action.replace("-", "_")))
            assert step.task in TASKS[schedule.dag]


def test_the_suite_knows_every_kind_of_fault_kill_and_act() -> None:
    actions = {step.action for schedule in MANY for step in schedule.steps}
    kills = {"kill-runner", "kill-worker", "kill-triggerer", "kill-trigger-runner", "kill-scheduler"}
    freezes = {"freeze-worker", "thaw-worker", "freeze-triggerer", "thaw-triggerer", "stall-triggerer"}
    faults = {"fault", "outage", "cut-watches", "compact", "disrupt-pod", "delay-pods"}
    people = {"clear", "delete-job", "replace-worker"}
    assert actions == kills | freezes | faults | people


def test_what_a_person_marks_is_what_is_expected() -> None:
    assert {schedule.marked for schedule in MANY} == {"", "failed", "success"}
    for schedule in MANY:
        wanted = schedule.marked or ("failed" if schedule.dag == "fails" else "success")
        assert schedule.expected == wanted


def test_some_schedules_let_a_command_fail_in_peace() -> None:
    assert any(schedule.spares_the_command for schedule in MANY if schedule.dag == "fails")
    for schedule in MANY:
        if schedule.spares_the_command:
            actions = " ".join(step.action for step in schedule.steps)
            assert not any(word in actions for word in ("worker", "pod ", "job", "clear", "scheduler")), (
                schedule
            )
