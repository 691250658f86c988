"""Pods, nodes, workers and triggerers die at random moments of a long load: no finished chunk runs again.

The seed is in the test's name; FEAST_KILL_RUNS=50 FEAST_KILL_SEED=1 plays fifty others.
"""

from __future__ import annotations

import collections
from collections.abc import Iterator

import pytest
from feast_stores import DEFINITIONS, Repo, Row, online_values, write_rows
from feast_stores import Zygote as FeastZygote
from plan_world import MORE, VIEWS, PlanWorld, days
from task_processes import Play, Story, Zygote, kills, seeds

from airflow_provider_feast.model.plan import Plan
from airflow_provider_feast.model.result import CommandResult, ViewTotals
from airflow_provider_feast.model.windows import parse_duration
from airflow_provider_feast.sandbox import Sandbox

CHUNKS, PER_CHUNK = 3, 3
DAY = 86_400 * 10**6
ROWS = [
    Row(thing, day * DAY + 7 * thing * 10**6, 1000 * day + thing)
    for day in range(CHUNKS * PER_CHUNK)
    for thing in range(20)
    if (day + thing) % 3
]
START, END = days(0, CHUNKS * PER_CHUNK)
STEP = parse_duration("1d", "step")
KILLS, AT_LEAST = 5, 3


@pytest.fixture(scope="module")
def feast() -> Iterator[FeastZygote]:
    found = FeastZygote()
    yield found
    found.stop()


@pytest.fixture(scope="module")
def world(feast: FeastZygote, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlanWorld]:
    with Sandbox(time_scale=0.05) as sandbox:
        made = PlanWorld(sandbox, feast, tmp_path_factory.mktemp("plan"), ROWS)
        yield made
        made.close()


@pytest.fixture(scope="module")
def tasks(world: PlanWorld, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zygote]:
    found = Zygote(tmp_path_factory.mktemp("tasks"), world.connections)
    found.wait()
    yield found
    found.stop()


@pytest.fixture(scope="module")
def undisturbed(
    feast: FeastZygote, tmp_path_factory: pytest.TempPathFactory
) -> tuple[object, dict[str, ViewTotals]]:
    """What is online, and what was written, when nobody dies."""
    home = tmp_path_factory.mktemp("undisturbed")
    repo = Repo(home, feast, str(home / "registry.db"), {"type": "sqlite", "path": str(home / "online.db")})
    write_rows(repo.parquet, ROWS)
    (home / "definitions.py").write_text(DEFINITIONS + MORE)
    assert repo.feast("apply") == 0, repo.log.read_text()
    assert repo.runner("materialize", "--plan", Plan(START, END, STEP, PER_CHUNK).to_json()) == 0
    result = CommandResult.parse((home / "termination-log").read_text())
    assert result is not None
    return online_values(repo), result.views


@pytest.mark.parametrize("seed", seeds())
def test_whoever_dies_no_finished_chunk_runs_again_and_the_end_is_the_same(
    seed: int,
    world: PlanWorld,
    tasks: Zygote,
    undisturbed: tuple[object, dict[str, ViewTotals]],
) -> None:
    world.reset()
    options = {
        "task_id": f"kills-{seed}",
        "start": START.isoformat(),
        "end": END.isoformat(),
        "chunk": f"{PER_CHUNK}d",
        "deferrable": True,
        "log_interval": 0.2,
        "retries": 50,
    }
    story = Play(world, tasks, options, kills(seed, KILLS, CHUNKS * PER_CHUNK * len(VIEWS))).run()
    print("\n".join([f"seed {seed}", *story.told]))
    assert len(story.deaths) >= AT_LEAST, "\n".join(["some may come too late, but not most", *story.told])
    online, written = undisturbed
    assert world.online() == online == world.expected(START, END)
    assert_no_finished_chunk_ran_again(world, f"kills-{seed}", story)
    assert_the_audit_log_agrees(world, f"kills-{seed}")
    views = story.result["views"]
    assert {view: totals["windows"] for view, totals in views.items()} == dict.fromkeys(
        VIEWS, CHUNKS * PER_CHUNK
    )
    assert {view: totals["rows"] for view, totals in views.items()} == world.rows(f"kills-{seed}")
    assert all(totals["rows"] <= written[view].rows for view, totals in views.items()), (
        "rows that are older than what a killed pod had put online are left out"
    )
    assert story.result["chunks"] == {"total": CHUNKS, "done": CHUNKS, "unknown": ""}
    assert {view["state"] for view in world.registry().values()} == {"AVAILABLE_ONLINE"}


def assert_no_finished_chunk_ran_again(world: PlanWorld, task: str, story: Story) -> None:
    """By the pods that there ever were, and by the intervals of the registry."""
    tries = world.tries(world.jobs(task))
    told = "\n".join([*map(str, tries), *story.told])
    done = [one for one in tries if one.phase == "Succeeded"]
    assert sorted(one.chunk for one in done) == list(range(CHUNKS)), told
    for one in done:
        assert not [other for other in tries if other.chunk == one.chunk and other.started > one.ended], told
    count = collections.Counter(one.chunk for one in tries)
    for view in VIEWS:
        loads = collections.Counter(start for start, _ in world.intervals(view))
        for number in range(CHUNKS * PER_CHUNK):
            start = START + number * STEP
            assert 1 <= loads[start] <= count[number // PER_CHUNK], f"{view} {start}\n{told}"


def assert_the_audit_log_agrees(world: PlanWorld, task: str) -> None:
    """No container of a chunk starts after a pod of that chunk succeeded, in whichever Job."""
    told, done = world.audited(task), set[int]()
    for chunk, pod, what in told:
        assert what == "done" or chunk not in done, f"{pod} loads chunk {chunk} again: {told}"
        done |= {chunk} if what == "done" else set()
    assert done == set(range(CHUNKS)), told


def test_the_same_seed_kills_the_same() -> None:
    assert kills(3, 9, 20) == kills(3, 9, 20) != kills(4, 9, 20)
    assert {kill.victim for kill in kills(3, 200, 20)} == {
        "process",
        "out of memory",
        "deletion",
        "eviction",
        "node",
    }
