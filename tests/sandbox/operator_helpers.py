"""Operators and triggers in the test's own process: a small context, deferral and resume, and what they log."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from unittest import mock

import structlog
from airflow.providers.common.compat.sdk import TaskDeferred


def context(operator: Any, *, try_number: int = 1) -> dict[str, Any]:
    """The context of a task instance; what it pushes to XCom is in ``context["ti"].xcoms``."""
    retries = operator.retries or 0
    names = {"dag_id": "d", "task_id": operator.task_id, "run_id": "r", "map_index": -1}
    xcoms: dict[str, Any] = {}
    instance = mock.MagicMock(try_number=try_number, max_tries=retries, xcoms=xcoms, **names)
    instance.xcom_push.side_effect = lambda key, value: xcoms.update({key: value})
    return {
        "ti": instance,
        "task_instance": instance,
        "run_id": "r",
        "dag": mock.MagicMock(dag_id="d", parent_dag=None),
        "task": operator,
        "dag_run": mock.MagicMock(run_id="r", start_date=datetime(2026, 6, 1, tzinfo=UTC)),
    }


def execute(
    operator: Any,
    given: dict[str, Any] | None = None,
    *,
    before_resume: Callable[[Any], None] = lambda event: None,
) -> Any:
    """Run a task to its end; triggers of one that defers run here.

    :param given: its context.
    :param before_resume: what happens between a trigger's event and the worker that takes it.
    """
    given = context(operator) if given is None else given
    method, arguments = operator.execute, {}
    while True:
        try:
            return method(context=given, **arguments)
        except TaskDeferred as deferred:
            event = asyncio.run(first_event(deferred.trigger))
            before_resume(event)
            arguments = {**(deferred.kwargs or {}), "event": event}
            method = getattr(operator, deferred.method_name)


def deferral(operator: Any, given: dict[str, Any] | None = None) -> TaskDeferred:
    """Run a task until it defers."""
    try:
        operator.execute(context=context(operator) if given is None else given)
    except TaskDeferred as deferred:
        return deferred
    raise AssertionError("the task did not defer")


async def first_event(trigger: Any) -> Any:
    """The payload of a trigger's event."""
    async for event in trigger.run():
        return event.payload
    raise AssertionError("the trigger ended without an event")


@contextmanager
def log_lines(on_line: Callable[[str], None] = lambda line: None) -> Iterator[list[str]]:
    """What is logged meanwhile, by operators, hooks and triggers alike; a record that is there twice counts once.

    Airflow's log reader shows a pod's line once that two say: a trigger, and the worker that reads the end again.

    :param on_line: called for each line, in the thread that logs it.
    """
    lines: list[str] = []
    dated: set[tuple[str, str]] = set()

    def take(_logger: Any, _method: str, event: Any) -> Any:
        record = (str(event.get("timestamp", "")), str(event["event"]))
        if record[0] and record in dated:
            raise structlog.DropEvent
        dated.add(record)
        lines.append(str(event["event"]).rstrip())
        on_line(lines[-1])
        raise structlog.DropEvent

    processors = structlog.get_config()["processors"]
    before = list(processors)
    processors[:] = [take]
    structlog.configure(processors=processors)
    try:
        yield lines
    finally:
        processors[:] = before
        structlog.configure(processors=processors)
