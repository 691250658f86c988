"""A form for people: run one Feast command by hand.

Press **Trigger**, fill in the form. A dry run changes nothing and says what would happen: in the log of the task `show`
(both ways to materialize), `repair` (a table) or `plan` (apply). `apply` that would delete something waits until a person
has seen the list and approves it (Required Actions).
"""

from __future__ import annotations

import logging
from typing import Any

from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, Param, get_current_context, task

from airflow_provider_feast.operators.feast import (
    FeastApplyOperator,
    FeastMaterializeIncrementalOperator,
    FeastMaterializeOperator,
    FeastPlanOperator,
    FeastRepairOperator,
)

# Airflow checks "format" only where a library for it is installed; the pattern always holds. A time zone is a must.
MOMENT = {
    "type": ["null", "string"],
    "format": "date-time",
    "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:?\d\d)$",
}
HOW = "How to load"
LOG = logging.getLogger("airflow.task")  # what a task prints can end up in a folded part of its log

PARAMS = {  # those without a section are what the form shows at first
    "command": Param(
        "materialize",
        type="string",
        title="Command",
        enum=["materialize", "materialize-incremental", "repair", "apply"],
        values_display={
            "materialize": "materialize: load a range of time",
            "materialize-incremental": "materialize-incremental: load what is new, up to an end",
            "repair": "repair: load what a range of time lacks",
            "apply": "apply: bring the registry to what the definitions say",
        },
        description="What Feast shall do.",
    ),
    "feature_store": Param(
        "feast_quickstart",
        type="string",
        title="Feature store",
        pattern=r"^[A-Za-z0-9_.\-]+$",
        minLength=1,
        description="The id of an Airflow connection of the type Feast.",
    ),
    "start": Param(
        None,
        **MOMENT,
        title="From",
        description="The first moment that is loaded. For materialize and repair.",
    ),
    "end": Param(
        None,
        **MOMENT,
        title="Up to",
        description="The first moment that is no longer loaded. For materialize-incremental and repair: now, if it is "
        "empty.",
    ),
    "dry_run": Param(
        False,
        type="boolean",
        title="Dry run",
        description="Change nothing, and say what would happen: in the log of the task show, repair or plan.",
    ),
    "feature_views": Param(
        None,
        type=["null", "array"],
        items={"type": "string", "pattern": r"^[^\s\-]\S*$"},
        title="Feature views",
        section=HOW,
        description="One name a line. Empty means all of them.",
    ),
    "older_windows": Param(
        "guard",
        type="string",
        enum=["guard", "refuse", "skip", "extend", "overwrite"],
        values_display={
            "guard": "guard: never replace a newer value by an older one",
            "refuse": "refuse: fail if the range ends before what is loaded already",
            "skip": "skip: leave such a range out",
            "extend": "extend: load up to the newest end, and all that lies between",
            "overwrite": "overwrite: as plain Feast, older values may replace newer ones",
        },
        title="Older windows",
        section=HOW,
        description="What becomes of values that are older than those online. "
        "materialize-incremental knows guard and overwrite, repair knows guard and extend.",
    ),
    "chunk": Param(
        None,
        type=["null", "string"],
        pattern=r"^\d+(\.\d+)?\s*[smhdw]$",
        title="Chunk",
        section=HOW,
        description="How much time one pod loads, e.g. 12h, 7d or 2w. Empty: chosen from the range. A retry goes on with "
        "the first chunk that is not done. Only for materialize.",
    ),
}

APPROVAL = """
`feast apply` for **{{ params.feature_store }}** would delete what is in the registry and no longer in the definitions,
with the online values of feature views:

{% set changes = ti.xcom_pull(task_ids="plan")["changes"] %}
{% for name in changes["delete"] %}* delete **{{ name }}**
{% endfor %}{% for name in changes["create"] %}* create {{ name }}
{% endfor %}{% if changes["omitted"] %}* … and {{ changes["omitted"] }} more, see the log of the task `plan`
{% endif %}
Definitions that changed are in the log of the task `plan`, where Feast lists some that did not.

**Approve** deletes these objects and no others. **Reject** changes nothing.
"""

with DAG(
    "feast_manual",
    schedule=None,
    params=PARAMS,
    render_template_as_native_obj=True,  # lists stay lists
    # In quotes: native rendering would make a number of an id such as 2024.
    default_args={"feast_conn_id": "{{ params.feature_store | tojson }}", "deferrable": True},
    doc_md=__doc__,
    tags=["feast", "example"],
):

    @task.branch
    def choose(params: dict[str, Any]) -> str:
        """The task that the form asks for; `repair` has a dry run of its own."""
        if params["command"] == "apply":
            return "plan"
        if params["dry_run"] and params["command"] != "repair":
            return "show"
        return params["command"].replace("-", "_")

    common = {
        "end": "{{ params.end }}",
        "feature_views": "{{ params.feature_views or none }}",
        "older_windows": "{{ params.older_windows }}",
    }
    materialize = FeastMaterializeOperator(
        task_id="materialize", start="{{ params.start }}", chunk="{{ params.chunk }}", **common
    )
    incremental = FeastMaterializeIncrementalOperator(task_id="materialize_incremental", **common)
    repair = FeastRepairOperator(
        task_id="repair", start="{{ params.start }}", dry_run="{{ params.dry_run }}", **common
    )

    @task
    def show(params: dict[str, Any]) -> None:
        """Say what a materialization would do: what is wrong with the form or the connection fails here as well."""
        from airflow_provider_feast.hooks.feast import FeastHook

        context, settings = get_current_context(), FeastHook(params["feature_store"]).settings
        views = ", ".join(params["feature_views"] or ["all feature views"])
        given = {name: params[name] for name in ("end", "older_windows")}
        given |= {"task_id": "dry_run", "feature_views": params["feature_views"] or None}
        if params["command"] == "materialize-incremental":
            last = FeastMaterializeIncrementalOperator(**given).last_end(context)
            LOG.info("Would load %s, each from its last end up to %s.", views, last.isoformat())
            return
        operator = FeastMaterializeOperator(start=params["start"], chunk=params["chunk"], **given)
        span = operator.window(context, settings.lookback)
        plan = operator.load_plan(span, settings.command_mode, context)
        pieces = f"{plan.chunk_count} chunks" if plan and plan.chunk_count > 1 else "one piece"
        older = params["older_windows"]
        LOG.info("Would load %s for %s", views, span)
        LOG.info("in %s, older windows: %s.", pieces, older)

    plan = FeastPlanOperator(task_id="plan")

    @task.branch
    def deletions(found: dict[str, Any], params: dict[str, Any]) -> str | None:
        """Ask a person before anything is deleted."""
        if found["changes"] is None:
            raise ValueError(
                "Plain Feast does not say what apply would delete. Set command_mode of the connection to `runner`."
            )
        if params["dry_run"]:
            return None
        return "approve" if found["changes"]["delete"] else "apply"

    approve = ApprovalOperator(
        task_id="approve", subject="Delete objects of {{ params.feature_store }}?", body=APPROVAL
    )
    apply = FeastApplyOperator(
        task_id="apply",
        allow_deletions="{{ ti.xcom_pull(task_ids='plan')['changes']['delete'] }}",
        trigger_rule="none_failed_min_one_success",
    )

    choose() >> [plan, show(), materialize, incremental, repair]
    deletions(plan.output) >> [approve, apply]
    approve >> apply
