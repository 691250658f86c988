"""What a schedule's steps do: kills, faults of the cluster, and what people do."""

from __future__ import annotations

import signal
import time
from typing import Any

import psutil
from kubernetes.client import ApiException

from airflow_provider_feast.sandbox.handle import SandboxError
from chaos.airflow_home import wait_for
from chaos.parts import SCHEDULER, TRIGGERER, running, send, tree
from chaos.scene import Scene
from chaos.schedule import WORKER

KILL_SECONDS = 10.0
"""How long a process may take to be gone after SIGKILL; until then nobody can tell that it was killed."""


def _supervisor(runner: int) -> int:
    """The process that supervises a task runner, or 0."""
    try:
        parent = psutil.Process(runner).parent()
    except psutil.NoSuchProcess:
        return 0
    return parent.pid if parent is not None and parent.pid > 1 else 0


class Actions:
    """The actions of one scene; each is named in :class:`chaos.schedule.Step`."""

    def __init__(self, scene: Scene) -> None:
        self._scene, self._stage = scene, scene.stage

    def perform(self, name: str, task: str, options: dict[str, Any]) -> None:
        """Do it."""
        getattr(self, name.replace("-", "_"))(task, **options)

    # --- processes --------------------------------------------------------------------------------

    def _worker(self, task: str) -> list[int]:
        """The task runner and its supervisor."""
        instance = self._scene.instance(task)
        if instance.state not in ("running", "restarting") or not instance.pid:
            return []
        supervisor = _supervisor(instance.pid)
        return [supervisor, instance.pid] if supervisor else [instance.pid]

    def _kill(self, pids: list[int], what: str) -> None:
        killed = send(signal.SIGKILL, *pids)
        wait_for(lambda: not any(map(running, pids)), f"the end of {pids}", KILL_SECONDS)
        self._scene.kills[what] += bool(killed)
        self._scene.say(f"killed {what} {pids}" if killed else f"no {what} to kill")

    def kill_runner(self, task: str) -> None:
        """The process that runs the task's code; its supervisor tells Airflow at once."""
        self._kill(self._worker(task)[-1:], WORKER)

    def kill_worker(self, task: str) -> None:
        """The task runner and its supervisor: Airflow notices by missing heartbeats."""
        self._kill(self._worker(task), WORKER)

    def replace_worker(self, task: str) -> None:
        """What a rollout does: SIGTERM to the supervisor, which passes it on; the task is to be handed over."""
        workers = self._worker(task)[:-1]
        sent = send(signal.SIGTERM, *workers)
        self._scene.say(f"told {workers} to end" if sent else "no worker to replace")

    def freeze_worker(self, task: str) -> None:
        """Stop it for a while."""
        pids = self._worker(task)
        send(signal.SIGSTOP, *pids)
        self._stage.parts.frozen += pids
        self._scene.say(f"froze worker {pids}")

    def thaw_worker(self, task: str) -> None:
        """Let it go on."""
        self._stage.parts.thaw()

    def kill_triggerer(self, task: str) -> None:
        """The whole triggerer; another one is started."""
        self._kill_part(TRIGGERER)

    def kill_trigger_runner(self, task: str) -> None:
        """The process that runs the triggers; the triggerer ends because of it, and another one is started."""
        pid = self._stage.parts.current.pop(TRIGGERER, 0)
        self._kill(tree(pid)[1:2], TRIGGERER)
        self._stage.parts.start(TRIGGERER)

    def freeze_triggerer(self, task: str) -> None:
        """Stop it for a while, and start another one."""
        self._stage.parts.freeze(TRIGGERER)

    def stall_triggerer(self, task: str) -> None:
        """Its supervisor stops, as when a disk or a database is slow, and its triggers run on; nobody replaces it."""
        pid = self._stage.parts.current[TRIGGERER]
        send(signal.SIGSTOP, pid)
        self._stage.parts.frozen.append(pid)

    def thaw_triggerer(self, task: str) -> None:
        """Let it go on."""
        self._stage.parts.thaw()

    def kill_scheduler(self, task: str, everything: bool = False) -> None:
        """The scheduler alone, or with all of its workers and their tasks; another one is started."""
        self._kill_part(SCHEDULER, everything=everything)

    def _kill_part(self, part: str, **options: bool) -> None:
        killed = self._stage.parts.kill(part, **options)
        self._scene.kills[part] += bool(killed)
        self._stage.parts.start(part)
        self._scene.say(f"killed the {part} ({killed} processes), started another")

    # --- the cluster ------------------------------------------------------------------------------

    def fault(self, task: str, path: str, **options: Any) -> None:
        """Disturb requests about this schedule's namespace."""
        self._stage.sandbox.fault(f"/namespaces/{self._scene.namespace}.*{path}", **options)

    def outage(self, task: str, seconds: float) -> None:
        """The API server answers 503 and drops its watches."""
        self.fault(task, "", kind="error", code=503, times=-1)
        self._stage.sandbox.cut_watches()
        time.sleep(seconds)
        self._stage.sandbox.clear_faults()

    def cut_watches(self, task: str) -> None:
        """Watches end without a word."""
        self._stage.sandbox.cut_watches()

    def compact(self, task: str) -> None:
        """The history is forgotten, and watches have to start anew (410)."""
        self._stage.sandbox.compact()
        self._stage.sandbox.cut_watches()

    def delay_pods(self, task: str, seconds: float) -> None:
        """New pods stay pending."""
        self._stage.sandbox.delay_pods(seconds)

    def disrupt_pod(self, task: str, how: str) -> None:
        """Evict it, lose its node, or kill it for its memory."""
        job = self._scene.live_job(task)
        pods = [pod for pod in job.pods.values() if pod.running and not pod.ended] if job else []
        do = {"evict": "evict_pod", "lose": "lose_pod", "oom": "oom_kill"}[how]
        for pod in pods[:1]:
            try:
                getattr(self._stage.sandbox, do)(self._scene.namespace, pod.name)
                self._scene.say(f"{how}: {pod.name}")
            except SandboxError as error:  # it has just ended by itself
                self._scene.say(f"{how}: {error}")

    # --- people -----------------------------------------------------------------------------------

    def delete_job(self, task: str) -> None:
        """Somebody deletes the Job with kubectl."""
        job = self._scene.live_job(task)
        if job is None:
            return
        try:
            self._stage.person.delete_namespaced_job(job.name, job.namespace, propagation_policy="Foreground")
            self._scene.say(f"a person deleted {job.name}")
        except ApiException as error:
            self._scene.say(f"delete {job.name}: {error.status}")

    def clear(self, task: str) -> None:
        """Somebody clears the task."""
        self._stage.airflow.clear(self._scene.dag, self._scene.run, task)

    def mark_failed(self, task: str) -> None:
        """Somebody marks it as failed."""
        self._mark(task, "failed")

    def mark_success(self, task: str) -> None:
        """Somebody marks it as succeeded."""
        self._mark(task, "success")

    def _mark(self, task: str, state: str) -> None:
        self._stage.airflow.set_state(self._scene.dag, self._scene.run, task, state)
        self._scene.marked = True
