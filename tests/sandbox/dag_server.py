"""Runs DAG files with `dag.test()` in one Airflow process: a JSON request a line on stdin, a JSON answer a line back.

A request names a `file` in the DAG folder, a `dag_id`, and optionally a `logical_date` (`null`: none) and a `conf`.
Started by `airflow_helpers.DagServer`, with Airflow's settings in the environment.
"""

import json
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any


class Recorder:
    """What each task wrote to the log (the file behind descriptor 2), and the exceptions it failed with."""

    def __init__(self) -> None:
        self.errors: dict[str, list[dict[str, str]]] = {}
        self._starts: list[tuple[str, int]] = []

    def starts(self, context: Any) -> None:
        """A task's ``on_execute_callback``."""
        self._starts.append((task_key(context["ti"]), os.fstat(2).st_size))

    def fails(self, context: Any) -> None:
        """A task's ``on_failure_callback``."""
        error = context["exception"]
        found = {"class": type(error).__name__, "text": str(error)}
        self.errors.setdefault(task_key(context["ti"]), []).append(found)

    def log(self, key: str, text: bytes) -> str:
        """What a task wrote, from the whole log."""
        ends = [start for _, start in self._starts[1:]] + [len(text)]
        parts = [text[start:end] for (of, start), end in zip(self._starts, ends, strict=True) if of == key]
        return b"".join(parts).decode(errors="replace")


def task_key(instance: Any) -> str:
    """`task`, or `task[0]` for a mapped one."""
    return instance.task_id if instance.map_index < 0 else f"{instance.task_id}[{instance.map_index}]"


def observe(dag: Any, recorder: Recorder) -> None:
    """Have each task of a DAG tell the recorder when it starts and fails."""
    callbacks = {
        "on_execute_callback": [recorder.starts],
        "on_failure_callback": [recorder.fails],
        "on_retry_callback": [recorder.fails],
    }
    for task in dag.tasks:
        if task.is_mapped:
            task.partial_kwargs.update(callbacks)
        else:
            for name, functions in callbacks.items():
                setattr(task, name, functions)


def results(run: Any, recorder: Recorder) -> dict[str, Any]:
    """State, tries, log, errors and XComs of each task instance."""
    from airflow.models.xcom import XComModel
    from airflow.utils.session import create_session

    found: dict[str, Any] = {}
    written = Path("/proc/self/fd/2").read_bytes()
    with create_session() as session:
        for instance in run.get_task_instances(session=session):
            key = task_key(instance)
            rows = XComModel.get_many(
                run_id=run.run_id,
                dag_ids=run.dag_id,
                task_ids=instance.task_id,
                map_indexes=instance.map_index,
            )
            found[key] = {
                "state": str(instance.state),
                "tries": instance.try_number,
                "log": recorder.log(key, written),
                "errors": recorder.errors.get(key, []),
                "xcoms": {row.key: XComModel.deserialize_value(row) for row in session.scalars(rows)},
            }
    return found


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Import a DAG file and run one of its DAGs."""
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(request["file"])
    if bag.import_errors or not request.get("dag_id"):
        return {"import_errors": dict(bag.import_errors), "dags": sorted(bag.dags)}
    recorder = Recorder()
    dag = bag.dags[request["dag_id"]]
    observe(dag, recorder)
    options: dict[str, Any] = {"run_conf": request.get("conf")}
    if "logical_date" in request:
        given = request["logical_date"]
        options["logical_date"] = datetime.fromisoformat(given) if given else None
    run = dag.test(**options)
    return {
        "import_errors": {},
        "state": str(run.state),
        "run_id": run.run_id,
        "tasks": results(run, recorder),
    }


def main() -> None:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what Airflow prints goes to the log
    Path(os.environ["AIRFLOW__CORE__DAGS_FOLDER"]).mkdir(parents=True, exist_ok=True)
    from airflow import settings

    settings.configure_orm()
    for line in sys.stdin:
        answers.write(json.dumps(answer(json.loads(line)), default=str) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
