"""One DAG run on a stage, and the moments in its life that a schedule's steps wait for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from chaos.airflow_db import Instance
from chaos.airflow_home import HEARTBEAT_TIMEOUT
from chaos.history import Job
from chaos.judge import FINISHED
from chaos.parts import TRIGGERER, running
from chaos.stage import Stage


@dataclass
class Scene:
    """One run.

    :param tries: each task's try number when its latest step began.
    """

    stage: Stage
    namespace: str
    dag: str
    run: str
    tasks: tuple[str, ...]
    since: datetime
    kills: int = 0
    marked: bool = False
    told: list[str] = field(default_factory=list)
    tries: dict[str, int] = field(default_factory=dict)

    def say(self, text: str) -> None:
        """A line of the schedule's own record."""
        self.told.append(f"{datetime.now(UTC):%H:%M:%S.%f} {text}")

    def instance(self, task: str) -> Instance:
        """The task as it is now."""
        return self.stage.database.instance(self.dag, self.run, task)

    def jobs(self, task: str) -> list[Job]:
        """A task's Jobs so far."""
        return self.stage.audit.read().of(self.namespace, task)

    def live_job(self, task: str) -> Job | None:
        """The Job that is there and not ending."""
        return next((job for job in self.jobs(task) if not (job.ended or job.deleting)), None)

    def over(self) -> bool:
        """Whether the run has ended."""
        state = self.stage.database.run_state(self.dag, self.run)
        return state in FINISHED and all(self.instance(task).state in FINISHED for task in self.tasks)


Moment = Callable[[Scene, str], bool]


def _state(*states: str) -> Moment:
    return lambda scene, task: scene.instance(task).state in states


def _pod(scene: Scene, task: str) -> bool:
    job = scene.live_job(task)
    return job is not None and any(pod.running and not pod.ended for pod in job.pods.values())


def _resumed(scene: Scene, task: str) -> bool:
    job = scene.live_job(task)
    return job is not None and job.resumed is not None


def _succeeded(scene: Scene, task: str) -> bool:
    return any(job.succeeded for job in scene.jobs(task))


def _concluding(scene: Scene, task: str) -> bool:
    return _succeeded(scene, task) and scene.instance(task).state == "running"


def _retried(scene: Scene, task: str) -> bool:
    instance = scene.instance(task)
    return instance.try_number > scene.tries.get(task, 0) and instance.state in (
        "running",
        "deferred",
        *FINISHED,
    )


def _fault_hit(scene: Scene, _: str) -> bool:
    rules = scene.stage.sandbox.control("faults")["rules"]
    return bool(rules) and rules[-1]["hits"] > 0


def _settled(scene: Scene, task: str) -> bool:
    """Somebody alive waits for the Job, who can end it: a person marks no task whose worker has just died.

    Airflow calls nobody's ``on_kill`` when neither a worker nor a triggerer has the task.
    """
    instance, recent = scene.instance(task), datetime.now(UTC) - timedelta(seconds=HEARTBEAT_TIMEOUT / 2)
    database, parts = scene.stage.database, scene.stage.parts
    if not _pod(scene, task) or parts.frozen:
        return False
    if instance.state == "running":
        beat = database.heartbeat(scene.dag, scene.run, task)
        return running(instance.pid) and beat is not None and beat > recent
    if instance.state != "deferred" or instance.trigger_id is None or TRIGGERER not in parts.current:
        return False
    return database.triggerer_of(instance.trigger_id) in database.alive_triggerers(recent)


MOMENTS: dict[str, Moment] = {
    "now": lambda *_: True,
    "running": _state("running"),
    "restarting": _state("restarting"),
    "deferred": _state("deferred"),
    "done": _state(*FINISHED),
    "created": lambda scene, task: scene.live_job(task) is not None,
    "resumed": _resumed,
    "pod": _pod,
    "succeeded": _succeeded,
    "concluding": _concluding,
    "retried": _retried,
    "fault-hit": _fault_hit,
    "settled": _settled,
}
