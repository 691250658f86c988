"""What a schedule does, made from a seed: pure, so the same seed is the same schedule everywhere."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

WORKER = "worker"
KILLS_A_RUNNER = ("kill-runner", "kill-worker", "kill-triggerer", "kill-trigger-runner")
"""Actions that SIGKILL a process that runs Airflow's task runner or triggerer."""


OUTLASTS_SECONDS = 12
"""A command of this length still runs when Airflow has noticed that its worker died, and tries again."""


@dataclass(frozen=True)
class Step:
    """One thing that happens.

    :param when: a moment in the life of `task`, see :mod:`chaos.moments`; it is waited for.
    :param delay: seconds after it.
    :param action: the name of a method of :class:`chaos.actions.Actions`, with hyphens.
    :param task: the task that it concerns.
    :param options: arguments of the action.
    """

    when: str
    delay: float
    action: str
    task: str
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        options = "".join(f" {key}={value}" for key, value in self.options.items())
        return f"{self.when}+{self.delay:.2f} {self.action} {self.task}{options}"


@dataclass(frozen=True)
class Schedule:
    """One run of one DAG, and what happens to it.

    :param seed: what it was made from.
    :param dag: a DAG of ``chaos_dags.py``.
    :param conf: the run's conf: how many lines a command prints, the pause after each, how many
        more it prints in the end without a pause, its exit code.
    :param tracks: what happens: the steps of a track in their order, the tracks side by side.
    :param marked: the state that a person sets after all of that, or "".
    :param standalone: whether it is for a whole `airflow standalone`.
    """

    seed: str
    dag: str
    conf: dict[str, Any]
    tracks: tuple[tuple[Step, ...], ...]
    marked: str = ""
    standalone: bool = False

    def has_killed(self, kills: Counter[str]) -> bool:
        """Whether enough was killed: worker, triggerer and scheduler of a whole Airflow, else one of the first two."""
        every = kills[WORKER] and kills["triggerer"] and kills["scheduler"]
        return bool(every if self.standalone else kills[WORKER] or kills["triggerer"])

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps of all tracks."""
        return tuple(step for track in self.tracks for step in track)

    @property
    def expected(self) -> str:
        """The state that its tasks must end in."""
        return self.marked or ("failed" if self.conf["exit"] else "success")

    @property
    def spares_the_command(self) -> bool:
        """Whether nothing happens to its pods and its worker, so that a failed run of it is in the log to its end."""
        return all(step.action in _SPARING for step in self.steps)

    def __str__(self) -> str:
        conf = " ".join(f"{key}={value}" for key, value in self.conf.items())
        tracks = " | ".join("; ".join(map(str, track)) for track in self.tracks)
        return f"{self.dag} ({conf}): {tracks}" + (f"; then mark {self.marked}" if self.marked else "")


_SPARING = {
    "fault",
    "outage",
    "cut-watches",
    "compact",
    "delay-pods",
    "kill-triggerer",
    "kill-trigger-runner",
    "freeze-triggerer",
    "thaw-triggerer",
    "stall-triggerer",
}

TASKS = {"waits": ("waits",), "defers": ("defers",), "both": ("waits", "defers"), "fails": ("defers",)}


@dataclass
class _Dice:
    """Random choices for one schedule.

    :param seconds: how long a command must run at least, so that what happens meets it.
    """

    random: random.Random
    seconds: int = 4

    def step(self, moments: str, action: str, task: str, latest: float = 1.0, **options: Any) -> Step:
        """A step at one of some moments (separated by spaces)."""
        when = self.random.choice(moments.split())
        return Step(when, round(self.random.uniform(0, latest), 2), action, task, options)

    def worker_kill(self) -> str:
        return self.random.choice(["kill-runner", "kill-worker", "kill-worker"])


Motif = Callable[[_Dice, str], list[Step]]


def _kill_worker(dice: _Dice, task: str) -> list[Step]:
    """Its Job still runs, or has ended, when Airflow notices that the worker is gone."""
    dice.seconds = max(dice.seconds, dice.random.choice([4, OUTLASTS_SECONDS]))
    return [dice.step("running created resumed pod", dice.worker_kill(), task)]


def _answer_of_create_lost(dice: _Dice, task: str) -> list[Step]:
    """The Job is stored, and the worker dies before it reads so."""
    after = {"path": "/jobs$", "method": "POST", "kind": "after", "code": dice.random.choice([500, 503, 504])}
    slow = {"path": "/jobs$", "method": "POST", "kind": "slow", "seconds": 3.0}
    return [
        Step("now", 0, "fault", task, after),
        Step("now", 0, "fault", task, slow),
        Step("created", 0, dice.worker_kill(), task),
    ]


def _killed_before_the_wait(dice: _Dice, task: str) -> list[Step]:
    """The worker dies between the Job's creation and its start."""
    slow = {"path": "/jobs/", "method": "PATCH", "kind": "slow", "seconds": 2.0}
    return [Step("now", 0, "fault", task, slow), dice.step("created", dice.worker_kill(), task, latest=0.5)]


def _create_fails_though_stored(dice: _Dice, task: str) -> list[Step]:
    lost = {"path": "/jobs$", "method": "POST", "kind": "after", "code": 500}
    return [Step("now", 0, "fault", task, lost), *_kill_worker(dice, task)]


def _worker_freezes(dice: _Dice, task: str) -> list[Step]:
    """Airflow takes it for dead and starts another try; then it wakes up and is told to end."""
    dice.seconds = 14
    return [
        dice.step("running created pod", "freeze-worker", task),
        dice.step("retried", "thaw-worker", task),
        dice.step("now", dice.worker_kill(), task, latest=2.0),
    ]


def _worker_is_replaced(dice: _Dice, task: str) -> list[Step]:
    """It hands its task over in the same try; the next one dies."""
    dice.seconds = max(dice.seconds, OUTLASTS_SECONDS)
    return [
        dice.step("running created pod", "replace-worker", task),
        dice.step("running", dice.worker_kill(), task, latest=4.0),
    ]


def _scheduler_dies(dice: _Dice, task: str) -> list[Step]:
    dice.seconds = dice.random.choice([4, 10])
    everything = dice.random.random() < 0.5
    return [
        dice.step("running created pod", "kill-scheduler", task, everything=everything),
        dice.step("running pod", dice.worker_kill(), task),
    ]


def _late_delete(dice: _Dice, task: str) -> list[Step]:
    """A delete of an older try arrives when its Job is gone and another one of the same name runs."""
    slow = {"path": "/jobs/", "method": "DELETE", "kind": "slow", "seconds": 9.0}
    return [
        Step("pod", 0.3, "fault", task, slow),
        Step("now", 0, "clear", task),
        Step("delete-sent", 0.1, "kill-worker", task),
        Step("now", 0, "delete-job", task),
    ]


def _cleared_while_running(dice: _Dice, task: str) -> list[Step]:
    return [dice.step("pod", "clear", task), dice.step("running", dice.worker_kill(), task)]


def _cleared_after_success(dice: _Dice, task: str) -> list[Step]:
    return [*_kill_worker(dice, task), dice.step("done", "clear", task), *_kill_worker(dice, task)]


def _kill_triggerer(dice: _Dice, task: str) -> list[Step]:
    action = dice.random.choice(["kill-triggerer", "kill-triggerer", "kill-trigger-runner"])
    again = [dice.step("deferred", "kill-triggerer", task, latest=2.0)] if dice.random.random() < 0.4 else []
    return [dice.step("deferred", action, task, latest=2.0), *again]


def _triggerer_freezes(dice: _Dice, task: str) -> list[Step]:
    """Another triggerer takes over; then the first one wakes up."""
    dice.seconds = dice.random.choice([4, 12])
    return [
        dice.step("deferred", "freeze-triggerer", task),
        dice.step("now", "thaw-triggerer", task, latest=9.0),
        dice.step("now", "kill-triggerer", task),
    ]


def _triggerer_stalls(dice: _Dice, task: str) -> list[Step]:
    """The Job ends meanwhile, and what the trigger says last comes at once with its end."""
    dice.seconds = max(dice.seconds, OUTLASTS_SECONDS)
    return [
        dice.step("running created", dice.worker_kill(), task, latest=0.5),
        dice.step("deferred", "stall-triggerer", task),
        dice.step("succeeded", "thaw-triggerer", task, latest=2.0),
    ]


def _killed_at_the_end(dice: _Dice, task: str) -> list[Step]:
    """The worker dies while it concludes what the triggerer brought."""
    return [
        dice.step("deferred", "kill-triggerer", task),
        dice.step("concluding", dice.worker_kill(), task, latest=0.1),
    ]


def _scheduler_dies_meanwhile(dice: _Dice, task: str) -> list[Step]:
    everything = dice.random.random() < 0.5
    return [
        dice.step("deferred succeeded", "kill-scheduler", task, everything=everything),
        dice.step("now", "kill-triggerer", task),
    ]


def _cleared_while_deferred(dice: _Dice, task: str) -> list[Step]:
    return [dice.step("deferred", "clear", task), dice.step("running pod", dice.worker_kill(), task)]


WAITING: tuple[Motif, ...] = (
    _kill_worker,
    _kill_worker,
    _answer_of_create_lost,
    _killed_before_the_wait,
    _create_fails_though_stored,
    _worker_freezes,
    _worker_is_replaced,
    _scheduler_dies,
    _late_delete,
    _cleared_while_running,
    _cleared_after_success,
)
DEFERRING: tuple[Motif, ...] = (
    _kill_triggerer,
    _kill_triggerer,
    _triggerer_freezes,
    _triggerer_stalls,
    _killed_at_the_end,
    _scheduler_dies_meanwhile,
    _cleared_while_deferred,
    _answer_of_create_lost,
    _killed_before_the_wait,
)


def _noise(dice: _Dice, task: str) -> Step:
    """Something of the cluster's own."""
    roll = dice.random
    code = roll.choice([429, 500, 502, 503, 504])
    few = roll.randint(1, 6)
    kinds: list[tuple[str, str, dict[str, Any]]] = [
        ("running created pod deferred", "outage", {"seconds": round(roll.uniform(0.5, 4), 1)}),
        ("now created pod", "fault", {"path": "/", "kind": "error", "code": code, "times": few}),
        ("now created pod", "fault", {"path": "/", "kind": "reset", "times": few}),
        ("now created pod", "fault", {"path": "/", "kind": "slow", "seconds": 0.5, "times": few}),
        ("created pod deferred", "cut-watches", {}),
        ("created pod deferred", "compact", {}),
        ("pod", "disrupt-pod", {"how": roll.choice(["evict", "lose", "oom"])}),
        ("now", "delay-pods", {"seconds": round(roll.uniform(0.2, 2), 1)}),
        ("pod", "delete-job", {}),
    ]
    moments, action, options = roll.choice(kinds)
    if task == "waits":
        moments = " ".join(moment for moment in moments.split() if moment != "deferred")
    return dice.step(moments, action, task, **options)


def make(seed: str) -> Schedule:
    """The schedule of a seed."""
    dice = _Dice(random.Random(seed))
    roll = dice.random
    dag = roll.choices(["waits", "defers", "both", "fails"], [4, 4, 4, 1])[0]
    task = roll.choice(TASKS[dag])
    tracks = [roll.choice(WAITING if task == "waits" else DEFERRING)(dice, task)]
    if dag == "both":
        other = next(name for name in TASKS[dag] if name != task)
        tracks.append((_kill_worker if other == "waits" else _kill_triggerer)(dice, other))
    noise = [_noise(dice, roll.choice(TASKS[dag])) for _ in range(roll.choice([0, 0, 1, 1, 2, 3]))]
    tracks += [[step] for step in noise]
    lines = roll.randint(10 * dice.seconds - 5, 10 * dice.seconds + 10)
    burst = roll.choice([0, 0, 0, 200, 2000])
    code = roll.choice([1, 2]) if dag == "fails" else 0
    conf = {"lines": lines, "pause": 0.1, "burst": burst, "exit": code}
    one_task = dag in ("waits", "defers")
    marked = roll.choice(["failed", "success"]) if one_task and roll.random() < 0.15 else ""
    return Schedule(seed, dag, conf, tuple(map(tuple, tracks)), marked)


def make_standalone(seed: str) -> Schedule:
    """A schedule that kills worker, triggerer and scheduler of one run, for a whole `airflow standalone`."""
    dice = _Dice(random.Random(seed))
    worker = dice.step("running created pod", dice.worker_kill(), "defers")
    triggerer = dice.step("deferred", "kill-triggerer", "defers", latest=2.0)
    moments = dice.random.choice(["running", "pod", "deferred"])
    everything = dice.random.random() < 0.5
    scheduler = dice.step(moments, "kill-scheduler", "defers", everything=everything)
    order = [worker, scheduler, triggerer] if moments != "deferred" else [worker, triggerer, scheduler]
    noise = [(_noise(dice, "defers"),)] if dice.random.random() < 0.5 else []
    conf = {"lines": dice.random.randint(34, 40), "pause": 0.5, "burst": 0, "exit": 0}
    return Schedule(seed, "defers", conf, (tuple(order), *noise), standalone=True)


def seeds(seed: int, count: int) -> list[str]:
    """The seeds of a suite: each is reproducible alone."""
    return [f"{seed}.{number}" for number in range(count)]
