"""Operators and the sensor as a DAG author meets them: checks at parse, templates, mapping, commands, windows."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, task
from airflow_versions import (
    CronDataIntervalTimetable,
    CronPartitionTimetable,
    DagSerialization,
    needs_partitions,
)
from job_plans import STORE

from airflow_provider_feast.model.command import FeastCommand
from airflow_provider_feast.model.errors import FeastDagError, FeastError
from airflow_provider_feast.model.literals import literal
from airflow_provider_feast.model.settings import FeastSettings
from airflow_provider_feast.model.sources import ConfigMapConfiguration, ImageDefinitions
from airflow_provider_feast.model.windows import Window
from airflow_provider_feast.operators.command import DEFAULT_RETRY_POLICY
from airflow_provider_feast.operators.feast import (
    FeastApplyOperator,
    FeastCommandOperator,
    FeastMaterializeIncrementalOperator,
    FeastMaterializeOperator,
    FeastPlanOperator,
    FeastRepairOperator,
    FeastTeardownOperator,
)
from airflow_provider_feast.sensors.feast import FeastJobSensor

D1, D2, D3 = (datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3))
DAY = timedelta(days=1)
NAIVE = datetime(2026, 1, 1)  # noqa: DTZ001 (that is the point)
OPERATORS = (
    FeastCommandOperator,
    FeastApplyOperator,
    FeastPlanOperator,
    FeastMaterializeOperator,
    FeastMaterializeIncrementalOperator,
    FeastRepairOperator,
    FeastTeardownOperator,
)


def make(cls: type, /, **arguments: Any) -> Any:
    """An operator with what its class must be given."""
    needed = {
        FeastCommandOperator: {"command": ["apply"]},
        FeastTeardownOperator: {"confirm": "p"},
        FeastRepairOperator: {"lookback": "30d"},
    }
    return cls(**{"task_id": "load", **needed.get(cls, {}), **arguments})


def argv(operator: Any, context: dict[str, Any] | None = None) -> list[str]:
    command, _ = operator.feast_command(context or {})
    found: list[str] = command.argv
    return found


def run_checks(operator: Any, context: dict[str, Any]) -> list[str]:
    """What happens to a task's arguments when it runs, up to the cluster."""
    operator.render_template_fields(context)
    FeastSettings("production").override(**operator.overrides())
    return argv(operator, context)


# --- parsing -------------------------------------------------------------------------------------


def test_importing_operators_and_sensors_does_not_import_kubernetes() -> None:
    code = (
        "import sys, airflow_provider_feast.operators.feast, airflow_provider_feast.sensors.feast\n"
        "heavy = ('kubernetes', 'kubernetes_asyncio', 'feast', 'airflow.providers.cncf.kubernetes.operators')\n"
        "ours = [m for m in sys.modules if m.startswith('airflow_provider_feast')]\n"
        "print([m for m in heavy if m in sys.modules],\n"
        "      sorted({m.split('.')[1] for m in ours if '.' in m} - {'get_provider_info'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    policies = [] if DEFAULT_RETRY_POLICY is None else ["policies"]
    light = ["model", "operators", *policies, "sensors"]
    assert done.stdout.strip().splitlines()[-1] == f"[] {light}"


LITERALS: list[tuple[type, dict[str, Any], str]] = [
    (FeastCommandOperator, {"command": None}, "command is missing"),
    (FeastCommandOperator, {"command": "apply now"}, "command is the text 'apply now'"),
    (FeastCommandOperator, {"command": ["serve"]}, "server that never finishes"),
    (FeastCommandOperator, {"deadline": "soon"}, "deadline='soon'"),
    (FeastCommandOperator, {"deadline": 0}, "deadline=0"),
    (FeastApplyOperator, {"command": ["apply"]}, "command is set by this operator itself"),
    (
        FeastMaterializeOperator,
        {"older_windows": "ignore"},
        "older_windows='ignore' is not one of guard, extend, refuse, skip, overwrite",
    ),
    (FeastApplyOperator, {"image": "feast: 1"}, "image='feast: 1'"),
    (FeastApplyOperator, {"namespace": "My Namespace"}, "namespace='My Namespace'"),
    (FeastApplyOperator, {"configuration": {"project": "p"}}, "configuration lacks registry, provider"),
    (FeastApplyOperator, {"configuration": ConfigMapConfiguration("A")}, "configuration.name='A'"),
    (FeastApplyOperator, {"definitions": "repo"}, "definitions='repo'"),
    (FeastApplyOperator, {"service_account": "A"}, "service_account='A'"),
    (FeastApplyOperator, {"security_profile": "none"}, "security_profile='none'"),
    (FeastApplyOperator, {"env": {"A": None}}, "env['A'] is None"),
    (FeastApplyOperator, {"memory_limit": "lots"}, "memory_limit='lots'"),
    (FeastApplyOperator, {"backoff_limit": -1}, "backoff_limit=-1"),
    (FeastApplyOperator, {"command_mode": "shell"}, "command_mode='shell'"),
    (FeastApplyOperator, {"pod_options": ["x"]}, "pod_options is not a JSON object"),
    (FeastApplyOperator, {"job_overrides": {"metadata": {"name": "x"}}}, "job_overrides sets metadata.name"),
    (FeastMaterializeOperator, {"start": NAIVE, "end": D2}, "start='2026-01-01T00:00:00' has no time zone"),
    (FeastMaterializeOperator, {"start": D1, "end": "tomorrow"}, "end='tomorrow'"),
    (FeastMaterializeOperator, {"start": D1, "end": date(2026, 1, 2)}, "end=datetime.date"),
    (FeastMaterializeOperator, {"start": D2, "end": D1}, "is later than end="),
    (FeastMaterializeOperator, {"start": D1, "end": D1}, "is the same as end="),
    (FeastMaterializeOperator, {"start": D1}, "start= is given without end="),
    (FeastMaterializeOperator, {"lookback": "1 month"}, "lookback='1 month'"),
    (FeastMaterializeOperator, {"feature_views": "a"}, "feature_views is 'a', not a list"),
    (FeastMaterializeOperator, {"feature_views": []}, "feature_views is empty"),
    (FeastMaterializeOperator, {"feature_views": ["a", "b"], "version": "v2"}, "exactly one feature view"),
    (FeastMaterializeOperator, {"version": "v2"}, "exactly one feature view"),
    (FeastMaterializeOperator, {"feature_views": ["a"], "version": "2"}, "version='2'"),
    (
        FeastMaterializeIncrementalOperator,
        {"end": "2026-01-01"},
        "end='2026-01-01T00:00:00' has no time zone",
    ),
    (FeastMaterializeIncrementalOperator, {"feature_views": [1]}, "feature_views holds 1"),
    (FeastMaterializeIncrementalOperator, {"gaps": "close"}, "gaps='close' is not one of"),
    (
        FeastMaterializeIncrementalOperator,
        {"gaps": "fill", "older_windows": "overwrite"},
        "needs older_windows",
    ),
    (
        FeastMaterializeIncrementalOperator,
        {"gaps": "fill", "command_mode": "cli"},
        "needs older_windows='guard'",
    ),
    (
        FeastMaterializeIncrementalOperator,
        {"gaps": "fill", "feature_views": ["a"], "version": "v2"},
        "loads no single version",
    ),
    (FeastMaterializeOperator, {"chunk": "36h", "step": "1d"}, "does not hold whole windows of step=1 day"),
    (FeastRepairOperator, {"start": D1}, "a repair's range begins once"),
    (FeastRepairOperator, {"lookback": "a while"}, "lookback='a while'"),
    (FeastRepairOperator, {"step": "a while"}, "step='a while'"),
    (FeastRepairOperator, {"start": NAIVE, "lookback": None}, "start='2026-01-01T00:00:00' has no time zone"),
    (FeastRepairOperator, {"end": "now"}, "end='now'"),
    (FeastRepairOperator, {"feature_views": []}, "feature_views is empty"),
    (FeastRepairOperator, {"older_windows": "overwrite"}, "is not one of guard, extend"),
    (FeastRepairOperator, {"dry_run": "perhaps"}, "dry_run='perhaps' is neither true nor false"),
    (FeastRepairOperator, {"command_mode": "cli"}, "a repair is done by the runner"),
    (FeastTeardownOperator, {"confirm": None}, "was not confirmed"),
    (FeastTeardownOperator, {"confirm": ""}, "was not confirmed"),
    (FeastJobSensor, {}, "which Job to wait for"),
    (FeastJobSensor, {"job_name": "a", "labels": {"b": "c"}}, "which Job to wait for"),
    (FeastJobSensor, {"job_name": "My Job"}, "job_name='My Job'"),
    (FeastJobSensor, {"job_name": "a", "created_after": NAIVE}, "created_after='2026-01-01T00:00:00'"),
]


@pytest.mark.parametrize(("cls", "arguments", "says"), LITERALS)
def test_a_literal_that_cannot_work_fails_the_dag_and_names_the_parameter(
    cls: type, arguments: dict[str, Any], says: str
) -> None:
    with pytest.raises(FeastError) as caught:
        make(cls, **arguments)
    assert says in str(caught.value)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("cls", "arguments", "rendered", "says"),
    [
        (FeastCommandOperator, {"command": "{{ x }}"}, "apply", "command is the text 'apply'"),
        (FeastCommandOperator, {"command": ["{{ x }}"]}, "ui", "server that never finishes"),
        (FeastApplyOperator, {"deadline": "{{ x }}"}, "soon", "deadline='soon'"),
        (FeastApplyOperator, {"image": "{{ x }}"}, "a b", "image='a b'"),
        (FeastApplyOperator, {"memory_limit": "{% if 1 %}{{ x }}{% endif %}"}, "lots", "memory_limit='lots'"),
        (FeastApplyOperator, {"definitions": ImageDefinitions("{{ x }}")}, "repo", "definitions='repo'"),
        (
            FeastApplyOperator,
            {"configuration": {"project": "{{ x }}", "registry": "r"}},
            "p",
            "lacks provider",
        ),
        (
            FeastMaterializeOperator,
            {"start": "{{ x }}", "end": D2},
            "2026-01-01",
            "start='2026-01-01T00:00:00'",
        ),
        (FeastMaterializeOperator, {"start": "{{ x }}", "end": D2}, "None", "start='None' is not a point"),
        (FeastMaterializeOperator, {"start": "{{ x }}", "end": D2}, D2.isoformat(), "is the same as end="),
        (FeastMaterializeOperator, {"start": D1, "end": D2, "feature_views": ["{{ x }}"]}, "", "holds ''"),
        (FeastMaterializeOperator, {"lookback": "{{ x }}"}, "long", "lookback='long'"),
        (FeastMaterializeIncrementalOperator, {"end": "{{ x }}"}, "now", "end='now' is not a point"),
    ],
)
def test_a_template_passes_at_parse_and_fails_when_run(
    cls: type, arguments: dict[str, Any], rendered: str, says: str
) -> None:
    operator = make(cls, **arguments)
    with pytest.raises(FeastError) as caught:
        run_checks(operator, {"x": rendered, "data_interval_start": D1, "data_interval_end": D2})
    assert says in str(caught.value)


@pytest.mark.parametrize("rendered", ["", "None"])
def test_a_sensor_whose_name_renders_to_nothing_says_so(rendered: str) -> None:
    sensor = make(FeastJobSensor, job_name="{{ x }}")
    sensor.render_template_fields({"x": rendered})
    with pytest.raises(FeastDagError, match="job_name="):
        sensor.execute({})


def test_templates_are_rendered_inside_lists_maps_and_sources() -> None:
    operator = make(
        FeastMaterializeOperator,
        start="{{ data_interval_start }}",
        end="{{ data_interval_end }}",
        feature_views=["{{ x }}_stats"],
        configuration=ConfigMapConfiguration("{{ x }}"),
        env={"DRIVER": "{{ x }}"},
        job_overrides={"metadata": {"annotations": {"a": "{{ x }}"}}},
    )
    context = {"x": "driver", "data_interval_start": D1, "data_interval_end": D2}
    assert run_checks(operator, context) == [
        "materialize",
        "2026-01-01T00:00:00",
        "2026-01-01T23:59:59.999999",
        "--views",
        "driver_stats",
    ]
    assert operator.configuration == ConfigMapConfiguration("driver")
    assert operator.env == {"DRIVER": "driver"}
    assert operator.job_overrides == {"metadata": {"annotations": {"a": "driver"}}}


def test_a_command_is_rendered_inside() -> None:
    operator = make(FeastCommandOperator, command=FeastCommand("entities", ["describe", "{{ x }}"]))
    assert run_checks(operator, {"x": "$(HOME)"}) == ["entities", "describe", "$(HOME)"]


KEPT_AS = {"dry_run": "plan_only"}
"""Arguments that cannot be attributes of the same name: those are methods of every operator."""


@pytest.mark.parametrize("cls", [*OPERATORS, FeastJobSensor])
def test_template_fields_are_attributes_and_stored_unchanged(cls: type) -> None:
    fields = set(cls.template_fields)  # type: ignore[attr-defined]
    if cls not in (FeastCommandOperator, FeastJobSensor):
        fields -= {"command"}
    if cls is FeastJobSensor:
        fields -= {"labels"}
    given = {field: "{{ " + field + " }}" for field in fields}
    names = {kept: name for name, kept in KEPT_AS.items()}
    operator = make(cls, **{names.get(field, field): value for field, value in given.items()})
    for field, value in given.items():
        assert getattr(operator, field) is value


NOT_TEMPLATED = {
    *("deferrable", "log_interval", "backoff_limit", "command_mode", "mode", "poke_interval"),
    *(
        "retry_policy",
        "preflight",
        "allow_empty",
        "allow_future",
        "skip_source_validation",
        "skip_feature_view_validation",
    ),
}


@pytest.mark.parametrize("cls", [*OPERATORS, FeastJobSensor])
def test_whatever_a_user_would_template_is_a_template_field(cls: Any) -> None:
    own = {
        name
        for base in cls.__mro__
        if base.__module__.startswith("airflow_provider_feast")
        for name, parameter in inspect.signature(base.__init__).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    ours = {name for name in own if f":param {name}:" in "".join(c.__doc__ or "" for c in cls.__mro__[:3])}
    assert {KEPT_AS.get(name, name) for name in ours} - set(cls.template_fields) <= NOT_TEMPLATED
    assert set(cls.template_fields_renderers) <= set(cls.template_fields)


@pytest.mark.parametrize(
    ("value", "known"),
    [
        (None, True),
        ("text", True),
        ("{{ x }}", False),
        ("{% if x %}a{% endif %}", False),
        ("{# note #}", False),
        ("{not jinja}", True),
        (5, True),
        (DAY, True),
        (D1, True),
        (date(2026, 1, 1), True),
        (["a", ["{{ x }}"]], False),
        ({"{{ x }}": 1}, False),
        ({"a": ("b", {"c"})}, True),
        ({"{{ x }}"}, False),
        (ConfigMapConfiguration("a"), True),
        (ConfigMapConfiguration("{{ x }}"), False),
        (FeastCommand("apply", ["{{ x }}"]), False),
        (object(), False),
    ],
)
def test_what_is_known_at_parse(value: Any, known: bool) -> None:
    assert literal(value) is known


# --- commands ------------------------------------------------------------------------------------

INTERVAL = {"data_interval_start": D1, "data_interval_end": D2, "logical_date": D1}
WINDOW = ["2026-01-01T00:00:00", "2026-01-01T23:59:59.999999"]


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        (make(FeastCommandOperator, command=["registry-dump"]), ["registry-dump"]),
        (make(FeastCommandOperator, command=FeastCommand.plan()), ["plan"]),
        (make(FeastApplyOperator), ["apply"]),
        (make(FeastApplyOperator, skip_source_validation=True), ["apply", "--skip-source-validation"]),
        (make(FeastPlanOperator), ["plan"]),
        (
            make(FeastPlanOperator, skip_feature_view_validation=True),
            ["plan", "--skip-feature-view-validation"],
        ),
        (make(FeastMaterializeOperator), ["materialize", *WINDOW]),
        (
            make(FeastMaterializeOperator, feature_views=["b", "a"]),
            ["materialize", *WINDOW, "--views", "b", "--views", "a"],
        ),
        (
            make(FeastMaterializeOperator, feature_views={"b", "a"}),
            ["materialize", *WINDOW, "--views", "a", "--views", "b"],
        ),
        (
            make(FeastMaterializeOperator, feature_views=["a"], version="v2"),
            ["materialize", *WINDOW, "--views", "a", "--version", "v2"],
        ),
        (
            make(FeastMaterializeOperator, start=D2, end=D3),
            ["materialize", "2026-01-02T00:00:00", "2026-01-02T23:59:59.999999"],
        ),
        (make(FeastMaterializeIncrementalOperator), ["materialize-incremental", WINDOW[1]]),
        (
            make(FeastMaterializeIncrementalOperator, end="2026-01-03T02:00:00+02:00", feature_views=["a"]),
            ["materialize-incremental", "2026-01-02T23:59:59.999999", "--views", "a"],
        ),
        (make(FeastTeardownOperator), ["teardown"]),
    ],
)
def test_an_operators_command_line(operator: Any, expected: list[str]) -> None:
    assert argv(operator, INTERVAL) == expected


PARTITIONED = SimpleNamespace(
    timetable=CronPartitionTimetable and CronPartitionTimetable("0 0 * * *", timezone="UTC")
)
WINDOWS: list[Any] = [
    pytest.param(INTERVAL, None, Window(D1, D2), id="scheduled with a data interval"),
    pytest.param(INTERVAL, "2d", Window(D1, D2), id="a data interval wins over a lookback"),
    pytest.param(
        {"data_interval_start": D2, "data_interval_end": D2, "logical_date": D2},
        DAY,
        Window(D1, D2),
        id="@daily: start == end",
    ),
    pytest.param(
        {"dag_run": SimpleNamespace(run_after=D3, start_date=None)},
        "24h",
        Window(D2, D3),
        id="manual: no keys",
    ),
    pytest.param(
        {"dag_run": SimpleNamespace(start_date=D3)}, 86400, Window(D2, D3), id="asset: only a start"
    ),
    pytest.param(
        {"logical_date": D2, "data_interval_end": None}, DAY, Window(D1, D2), id="logical date only"
    ),
    pytest.param(
        {"partition_date": D2, "dag": PARTITIONED},
        None,
        Window(D2, D3),
        id="cron partition",
        marks=needs_partitions,
    ),
    pytest.param({"partition_date": D2, "dag": SimpleNamespace()}, DAY, Window(D2, D3), id="other partition"),
]


@needs_partitions
@pytest.mark.parametrize(
    ("date", "hours"),
    [
        pytest.param("2026-01-31T23:00:00Z", 24, id="a day"),
        pytest.param("2026-03-28T23:00:00Z", 23, id="the day summer time begins"),
        pytest.param("2026-10-24T22:00:00Z", 25, id="the day it ends"),
    ],
)
def test_a_partition_is_a_day_of_its_timetables_time_zone(date: str, hours: int) -> None:
    dag = SimpleNamespace(timetable=CronPartitionTimetable("@daily", timezone="Europe/Berlin"))
    context = {"partition_date": datetime.fromisoformat(date), "dag": dag}
    window = make(FeastMaterializeOperator).feast_command(context)[1]
    assert window.end - window.start == timedelta(hours=hours)


@pytest.mark.parametrize(("context", "lookback", "window"), WINDOWS)
def test_the_window_for_each_kind_of_run(context: dict[str, Any], lookback: Any, window: Window) -> None:
    operator = make(FeastMaterializeOperator, lookback=lookback)
    assert operator.feast_command(context)[1] == window


@pytest.mark.parametrize(
    "context",
    [
        {},
        {"data_interval_start": D2, "data_interval_end": D2},
        {"dag_run": SimpleNamespace(run_after=D3)},
        {"partition_date": D2, "dag": SimpleNamespace(timetable=object())},
    ],
)
def test_a_run_without_a_window_names_the_cure(context: dict[str, Any]) -> None:
    with pytest.raises(FeastDagError) as caught:
        make(FeastMaterializeOperator).feast_command(context)
    assert "lookback=" in caught.value.remedy


def test_the_connections_lookback_is_used_when_the_operator_has_none() -> None:
    operator = make(FeastMaterializeOperator)
    operator._run = SimpleNamespace(settings=FeastSettings("p", lookback="1d"))
    assert operator.feast_command({"logical_date": D2})[1] == Window(D1, D2)


def test_a_lookback_may_be_templated_beside_literal_times() -> None:
    operator = make(FeastMaterializeOperator, start=D1, end=D2, lookback="{{ x }}")
    assert run_checks(operator, {"x": "1d"}) == ["materialize", *WINDOW]


def test_incremental_without_any_time_names_the_cure() -> None:
    with pytest.raises(FeastDagError, match="give end="):
        make(FeastMaterializeIncrementalOperator).feast_command({})


@pytest.mark.parametrize(
    ("deadline", "seconds"), [(None, None), ("2h", 7200), (DAY, 86400), (0.2, 1), ("90", 90)]
)
def test_a_deadline_becomes_whole_seconds(deadline: Any, seconds: int | None) -> None:
    assert make(FeastApplyOperator, deadline=deadline).overrides().get("deadline_seconds") == seconds


def test_teardown_asks_whether_the_confirmed_project_is_the_configured_one() -> None:
    asked: list[str] = []
    operator = make(FeastTeardownOperator, confirm="{{ x }}")
    operator.render_template_fields({"x": "demo"})
    operator._run = SimpleNamespace(confirm_project=asked.append)
    assert argv(operator) == ["teardown"]
    assert asked == ["demo"]


def test_a_deadline_that_renders_to_nothing_is_the_connections() -> None:
    operator = make(FeastApplyOperator, deadline="{{ x }}", image="{{ x }}")
    operator.render_template_fields({"x": ""})
    settings = FeastSettings("p", image="feast:1", deadline_seconds=77).override(**operator.overrides())
    assert (settings.image, settings.deadline_seconds) == ("feast:1", 77)


# --- in a DAG ------------------------------------------------------------------------------------


def make_dag(**arguments: Any) -> DAG:
    return DAG(
        "features", schedule=CronDataIntervalTimetable("@daily", timezone="UTC"), start_date=D1, **arguments
    )


def test_the_output_of_another_task_can_be_an_argument() -> None:
    @task
    def choose() -> list[str]:
        return ["driver_stats"]

    with make_dag():
        chosen = choose()
        load = make(FeastMaterializeOperator, feature_views=chosen, image=chosen)
        wait = make(FeastJobSensor, task_id="wait", job_name=load.output["job"])
    assert load.upstream_task_ids == {"choose"}
    assert wait.upstream_task_ids == {"load"}


def test_default_args_reach_the_operators() -> None:
    with make_dag(default_args={"feast_conn_id": "feast_production", "memory_limit": "8Gi", "retries": 3}):
        operator = make(FeastApplyOperator)
    assert (operator.feast_conn_id, operator.memory_limit, operator.retries) == ("feast_production", "8Gi", 3)


def test_an_operator_maps_and_unmaps() -> None:
    with make_dag() as dag:
        mapped = FeastMaterializeOperator.partial(
            task_id="load", feast_conn_id="feast_production", start="{{ data_interval_start }}", end=D2
        ).expand(feature_views=[["a"], ["b", "c"]])
    assert dag.task_dict["load"] is mapped
    unmapped = mapped.unmap({"feature_views": ["b", "c"]})
    assert isinstance(unmapped, FeastMaterializeOperator)
    assert unmapped.feast_conn_id == "feast_production"
    assert run_checks(unmapped, INTERVAL) == ["materialize", *WINDOW, "--views", "b", "--views", "c"]


def test_a_mapped_value_that_cannot_work_is_refused_when_its_task_runs() -> None:
    with make_dag():
        mapped = FeastMaterializeOperator.partial(task_id="load").expand_kwargs(
            [{"feature_views": ["a"]}, {"feature_views": "a"}]
        )
    with pytest.raises(FeastDagError, match="feature_views is 'a', not a list"):
        mapped.unmap({"feature_views": "a"})


@pytest.mark.parametrize("cls", OPERATORS)
def test_every_operator_can_be_mapped_over_connections(cls: Any) -> None:
    needed = {
        FeastCommandOperator: {"command": ["apply"]},
        FeastTeardownOperator: {"confirm": "p"},
        FeastRepairOperator: {"lookback": "30d"},
    }
    with make_dag():
        mapped = cls.partial(task_id="each", **needed.get(cls, {})).expand(
            feast_conn_id=["feast_a", "feast_b"]
        )
    assert mapped.unmap({"feast_conn_id": "feast_b"}).feast_conn_id == "feast_b"


def full_dag() -> DAG:
    """Every operator with every kind of value."""
    with make_dag() as dag:
        apply = make(
            FeastApplyOperator,
            task_id="apply",
            configuration=STORE,
            definitions=ImageDefinitions("/app/repo"),
            deadline=DAY,
            env={"A": "1"},
            pod_options={"node_selector": {"a": "b"}},
            job_overrides={"spec": {"backoffLimit": 0}},
        )
        load = make(FeastMaterializeOperator, start="{{ ds }}", end=D2, feature_views=["a"], lookback="1d")
        raw = make(FeastCommandOperator, task_id="raw", command=FeastCommand("entities", ["list"]))
        wait = make(FeastJobSensor, task_id="wait", labels={"a": "b"}, created_after=D1)
        each = FeastPlanOperator.partial(task_id="each").expand(configuration=[ConfigMapConfiguration("c")])
        more = make(FeastMaterializeIncrementalOperator, task_id="more", end=D2)
        last = make(FeastTeardownOperator, task_id="last")
        apply >> load >> raw >> wait >> each >> more >> last
    return dag


def test_a_dag_survives_serialization() -> None:
    serialized = json.loads(json.dumps(DagSerialization.to_dict(full_dag())))
    DagSerialization.validate_schema(serialized)
    restored = DagSerialization.from_dict(serialized)
    assert list(restored.task_dict) == ["apply", "load", "raw", "wait", "each", "more", "last"]
    assert restored.task_dict["load"].upstream_task_ids == {"apply"}
    apply = restored.task_dict["apply"]
    assert apply.configuration == STORE
    assert apply.job_overrides == {"spec": {"backoffLimit": 0}}
    assert apply.task_type == "FeastApplyOperator"


def test_a_dag_serializes_the_same_each_time_so_that_it_gets_no_new_version() -> None:
    assert DagSerialization.to_dict(full_dag()) == DagSerialization.to_dict(full_dag())


# --- the life of a task --------------------------------------------------------------------------


class Recorder:
    """In place of a TaskRun: notes what is asked of it."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def execute(self) -> str:
        self.calls.append("execute")
        return "result"

    def resume(self, event: Any) -> str:
        self.calls.append(event)
        return "resumed"

    def kill(self) -> None:
        self.calls.append("kill")


def test_a_task_is_executed_resumed_and_killed_by_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    run, operator = Recorder(), make(FeastApplyOperator)
    operator.on_kill()
    monkeypatch.setattr(FeastCommandOperator, "_task_run", lambda self, context: run)
    assert operator.execute({}) == "result"
    assert operator.resume({}, {"job": "j"}) == "resumed"
    operator.on_kill()
    assert run.calls == ["execute", {"job": "j"}, "kill"]


def test_only_materializations_may_be_empty_when_asked() -> None:
    assert not make(FeastApplyOperator).allows_empty
    assert not make(FeastMaterializeOperator).allows_empty
    assert make(FeastMaterializeOperator, allow_empty=True).allows_empty
    assert make(FeastMaterializeIncrementalOperator, allow_empty=True).allows_empty


@pytest.mark.parametrize(("given", "found"), [(None, False), (True, True), (False, False)])
def test_deferrable_follows_airflows_default_unless_given(given: bool | None, found: bool) -> None:
    assert make(FeastApplyOperator, deferrable=given).deferrable is found
    assert make(FeastJobSensor, job_name="a", deferrable=given).deferrable is found


def test_online_values_are_guarded_and_deletions_refused_unless_the_author_says_otherwise() -> None:
    guarded = FeastMaterializeOperator(task_id="t")
    plain = FeastMaterializeIncrementalOperator(task_id="t", older_windows="overwrite")
    assert (guarded.online_policy, plain.online_policy) == ("guard", "overwrite")
    templated = FeastMaterializeOperator(task_id="t", older_windows="{{ params.older }}")
    templated.older_windows = "later"
    with pytest.raises(FeastDagError, match="older_windows='later' is not one of"):
        _ = templated.online_policy
    careful, bold = FeastApplyOperator(task_id="t"), FeastApplyOperator(task_id="t", allow_deletions=True)
    assert (careful.deletions_allowed, bold.deletions_allowed) == (False, True)
    named = FeastApplyOperator(task_id="t", allow_deletions=["FeatureView old", "Entity old"])
    assert named.deletions_allowed == ("FeatureView old", "Entity old")


@pytest.mark.parametrize("value", ["true", 1, ["old"], ["FeatureView  "], [7], {"FeatureView": "old"}])
def test_what_may_be_deleted_is_a_flag_or_a_list_of_objects(value: Any) -> None:
    with pytest.raises(FeastDagError, match="allow_deletions"):
        FeastApplyOperator(task_id="t", allow_deletions=value)
    templated = FeastApplyOperator(task_id="t", allow_deletions="{{ params.deletions }}")
    templated.allow_deletions = value
    with pytest.raises(FeastDagError, match="allow_deletions"):
        _ = templated.deletions_allowed


def test_every_window_has_a_plan_and_a_long_one_more_chunks_than_one() -> None:
    def plan_of(days: int, **options: Any) -> Any:
        window = Window(
            datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=days)
        )
        mode = options.pop("command_mode", "runner")
        return FeastMaterializeOperator(task_id="t", **options).load_plan(window, mode, {})

    assert (plan_of(7).chunk_count, plan_of(7).window_count, plan_of(8).chunk_count) == (1, 7, 2)
    assert plan_of(30, feature_views=["b", "a"]).chunk_count == 5
    assert plan_of(2, chunk="1d").chunk_count == 2
    assert plan_of(2, step="6h").window_count == 8
    assert plan_of(1, older_windows="skip").chunk_count == 1
    assert plan_of(30, command_mode="cli") is None
    assert plan_of(30, feature_views=["a"], version="v2") is None
    with pytest.raises(FeastDagError, match="need the runner"):
        plan_of(30, command_mode="cli", chunk="1d")


def test_what_is_new_is_one_chunk_and_plain_feast_and_versions_have_no_plan() -> None:
    end = datetime(2026, 1, 2, tzinfo=UTC)
    operator = FeastMaterializeIncrementalOperator(task_id="t", end=end, feature_views=["b", "a"])
    plan = operator.load_plan(None, "runner", {})
    assert (plan.chunk_count, plan.to_dict()["until"], plan.views) == (1, end.isoformat(), ("b", "a"))
    assert operator.load_plan(None, "cli", {}) is None
    versioned = FeastMaterializeIncrementalOperator(task_id="t", end=end, feature_views=["a"], version="v2")
    assert versioned.load_plan(None, "runner", {}) is None


@pytest.mark.parametrize("name", ["chunk", "step"])
def test_lengths_are_checked_when_the_dag_is_parsed(name: str) -> None:
    with pytest.raises(FeastDagError, match=f"{name}='soon' is not a duration"):
        FeastMaterializeOperator(task_id="t", **{name: "soon"})


def test_gaps_are_told_by_default_and_of_a_version_nothing_is_known() -> None:
    def policy(**options: Any) -> str:
        found: str = make(FeastMaterializeIncrementalOperator, **options).gap_policy
        return found

    assert policy() == "report"
    assert policy(gaps="fill") == "fill"
    assert policy(feature_views=["a"], version="v2") == "ignore"
    assert make(FeastMaterializeOperator).gap_policy == "ignore"
    rendered = make(FeastMaterializeIncrementalOperator, end=D2, gaps="{{ params.gaps }}")
    rendered.gaps = "close"
    with pytest.raises(FeastDagError, match="gaps='close'"):
        rendered.feast_command({})


@pytest.mark.parametrize(
    ("arguments", "context", "expected"),
    [
        ({"start": D1, "end": D3, "lookback": None}, {}, (D1, D3)),
        ({"end": D3, "lookback": "1d"}, {}, (D2, D3)),
        ({"lookback": "2d"}, {"data_interval_start": D2, "data_interval_end": D3}, (D1, D3)),
        ({"lookback": "1d"}, {"logical_date": D2}, (D1, D2)),
        ({"start": D1, "lookback": None}, {"data_interval_start": D2, "data_interval_end": D3}, (D1, D3)),
        (
            {"lookback": None},
            {"dag": SimpleNamespace(start_date=D1), "data_interval_start": D2, "data_interval_end": D3},
            (D1, D3),
        ),
        ({"lookback": None, "start_date": D1, "end": D2}, {}, (D1, D2)),
    ],
)
def test_the_range_of_a_repair_ends_where_the_run_does_unless_it_is_given(
    arguments: dict[str, Any], context: dict[str, Any], expected: tuple[datetime, datetime]
) -> None:
    command, window = make(FeastRepairOperator, **arguments).feast_command(context)
    assert window == expected
    start, end = (moment.isoformat() for moment in expected)
    assert command.argv == ["repair", "--start", start, "--end", end, "--step", "86400"]


@pytest.mark.parametrize(
    ("operator", "more"),
    [
        (FeastMaterializeOperator, {"start": D1}),
        (FeastMaterializeOperator, {"lookback": "1d"}),
        (FeastMaterializeIncrementalOperator, {}),
        (FeastRepairOperator, {}),
    ],
)
def test_what_is_to_come_is_not_loaded_unless_that_is_allowed(operator: Any, more: dict[str, Any]) -> None:
    """What arrives later would count as loaded."""
    now = datetime.now(UTC)
    soon = now + timedelta(hours=1)
    with pytest.raises(FeastDagError, match="in the future") as caught:
        make(operator, end=soon, **more).feast_command({})
    assert "allow_future=True" in str(caught.value)
    make(operator, end=now, **more).feast_command({})
    make(operator, end=soon, allow_future=True, **more).feast_command({})


@pytest.mark.parametrize(
    ("operator", "more"),
    [
        (FeastMaterializeOperator, {}),
        (FeastMaterializeIncrementalOperator, {}),
        (FeastRepairOperator, {}),
    ],
)
@pytest.mark.parametrize("kind", [pytest.param("partition", marks=needs_partitions), "interval"])
def test_a_run_that_starts_before_its_window_is_over_is_told_how_to_start_later(
    operator: Any, more: dict[str, Any], kind: str
) -> None:
    """A partition timetable without run_offset starts a run at the beginning of its partition: nothing is there yet."""
    now = datetime.now(UTC)

    def context(end: datetime) -> dict[str, Any]:
        if kind == "interval":
            return {"data_interval_start": end - DAY, "data_interval_end": end}
        daily = CronPartitionTimetable(f"{end.minute} {end.hour} * * *", timezone="UTC")
        return {"partition_date": end - DAY, "dag": SimpleNamespace(timetable=daily)}

    soon = (now + timedelta(hours=2)).replace(second=0, microsecond=0)
    with pytest.raises(FeastDagError, match=r"this run's window ends at .* in the future") as caught:
        make(operator, **more).feast_command(context(soon))
    assert "run_offset=-1" in caught.value.remedy
    assert "allow_future=True" in caught.value.remedy
    make(operator, allow_future=True, **more).feast_command(context(soon))
    make(operator, **more).feast_command(context(soon - timedelta(hours=3)))


@pytest.mark.parametrize("operator", [FeastMaterializeOperator, FeastMaterializeIncrementalOperator])
def test_a_run_may_start_a_moment_before_its_interval_is_over(operator: Any) -> None:
    """The clocks of a scheduler and of a worker differ a little."""
    end = datetime.now(UTC) + timedelta(seconds=30)
    make(operator).feast_command({"data_interval_start": end - DAY, "data_interval_end": end})


def test_a_repair_of_a_dag_without_a_beginning_names_the_cure() -> None:
    repair = make(FeastRepairOperator, lookback=None)
    with pytest.raises(FeastDagError, match="its DAG has no start_date") as caught:
        repair.feast_command({"dag": SimpleNamespace(start_date=None), "logical_date": D2})
    assert "lookback='30d'" in caught.value.remedy


def test_a_repair_of_all_that_the_schedule_covers_says_which_range_that_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    log = SimpleNamespace(info=lambda text, *values: said.append(text % values))
    monkeypatch.setattr(FeastRepairOperator, "log", log)
    repair = make(FeastRepairOperator, lookback=None)
    repair.feast_command({"dag": SimpleNamespace(start_date=D1), "logical_date": D2})
    (line,) = said
    assert line.startswith(f"The range of this repair is {Window(D1, D2)}: it begins with the DAG")


def test_a_repair_without_an_end_is_refused() -> None:
    with pytest.raises(FeastDagError, match="no time that could be the end"):
        make(FeastRepairOperator).feast_command({})


@pytest.mark.parametrize(("given", "found"), [(True, True), ("True", True), ("false", False), ("", False)])
def test_a_dry_run_may_come_from_a_form(given: Any, found: bool) -> None:
    operator = make(
        FeastRepairOperator, end=D3, dry_run="{{ params.dry_run }}", step="6h", feature_views=["a"]
    )
    operator.plan_only = given
    command, _ = operator.feast_command({})
    assert ("--dry-run" in command.argv) is command.only_reads is found
    assert command.argv[-2:] == ["--view", "a"]
    assert command.argv[command.argv.index("--step") + 1] == "21600"
    assert callable(operator.dry_run), "Airflow's own, of every operator"
