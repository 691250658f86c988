"""`python -m airflow_provider_feast.sandbox demo`: the quickstart DAG in a real Airflow, on the sandbox or a cluster."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow_provider_feast.sandbox.demo_world import CONN_ID, DemoError, World, check, jobs, prepare, remove

DAG_ID = "feast_quickstart"
SANDBOX_IMAGE = "feast-sandbox:local"
_OURS = "airflow.task.operators.airflow_provider_feast"
_ROOT = Path(__file__).resolve().parents[1]


def main(argv: list[str]) -> int:
    """Run the demo; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m airflow_provider_feast.sandbox demo", description=__doc__
    )
    parser.add_argument("--ui", action="store_true", help="leave `airflow standalone` up, DAGs unpaused")
    parser.add_argument(
        "--home", type=Path, default=Path(".demo"), help="directory for Airflow's files and logs"
    )
    parser.add_argument("--port", type=int, default=8080, help="with --ui: the port of Airflow's pages")
    options = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    home: Path = options.home.absolute()
    try:
        with _world(home) as world:
            return _ui(world, home, options.port) if options.ui else _demo(world, home)
    except DemoError as error:
        print(f"\nThe demo stopped: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _say(text: str) -> None:
    print(f"[demo {time.strftime('%H:%M:%S')}] {text}", flush=True)


@contextmanager
def _world(home: Path) -> Iterator[World]:
    from kubernetes import config

    home.mkdir(parents=True, exist_ok=True)
    namespace = os.environ.get("FEAST_DEMO_NAMESPACE", "feast-demo")
    if path := os.environ.get("KUBECONFIG"):
        image = os.environ.get("FEAST_DEMO_IMAGE") or os.environ.get("FEAST_TEST_IMAGE")
        if not image:
            raise DemoError(
                "KUBECONFIG is set, so this would run on that cluster, but FEAST_DEMO_IMAGE is not: set it to an image "
                "with Feast (e.g. quay.io/feastdev/feature-server:0.67.0), or unset KUBECONFIG for the sandbox"
            )
        client = config.new_client_from_config(path)
        data = f"/feast/data/{namespace}-{uuid.uuid4().hex[:8]}"
        world = World(client, namespace, image, Path(path).absolute(), True, data)
        _say(f"Using the cluster of {path}, namespace {namespace}, image {image}")
        try:
            yield world
        finally:
            _say(f"Removing the namespace {namespace}")
            remove(world)
        return
    from airflow_provider_feast.sandbox import Sandbox

    directory = home / "sandbox"
    shutil.rmtree(directory, ignore_errors=True)
    with Sandbox({SANDBOX_IMAGE: sys.prefix}, directory=directory) as sandbox:
        _say(f"The sandbox is up: a small Kubernetes API at {sandbox.url}; its pods are local processes")
        client = config.new_client_from_config(str(sandbox.kubeconfig))
        yield World(client, namespace, SANDBOX_IMAGE, sandbox.kubeconfig, False)


def _environment(world: World, home: Path) -> dict[str, str]:
    dags = home / "dags"
    for old in (dags, home / "airflow"):  # the cluster is new each time, so is Airflow
        shutil.rmtree(old, ignore_errors=True)
    dags.mkdir(parents=True)
    examples = _ROOT.parent / "example_dags"
    if not (examples / f"{DAG_ID}.py").exists():
        raise DemoError(
            f"{examples} does not exist: run the demo in a checkout of the repository, with `make demo`"
        )
    for example in examples.glob("*.py"):
        shutil.copy(example, dags)
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW_")},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
        "AIRFLOW_HOME": str(home / "airflow"),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "5",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        f"AIRFLOW_CONN_{CONN_ID.upper()}": world.connection,
        "KUBECONFIG": str(world.kubeconfig),
    }


def _demo(world: World, home: Path) -> int:
    began = time.monotonic()
    end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    start = end - timedelta(days=1)
    _say("Making the namespace, a volume, the feature definitions and feature_store.yaml")
    prepare(world, end, _say)
    environment = _environment(world, home)
    _say("Preparing Airflow's database")
    _run(["airflow", "db", "migrate"], environment, home / "airflow-db.log")
    _say(f"Running the DAG {DAG_ID} for {start.date()}: apply, load, wait, read")
    _run(["airflow", "dags", "test", DAG_ID, end.isoformat()], environment, home / "dag-run.log", show=True)
    _say("Reading the online store back, beside what the parquet files say it must hold")
    print(check(world, start, end), flush=True)
    _summary(world, home, time.monotonic() - began)
    return 0


def _run(argv: list[str], environment: dict[str, str], log: Path, *, show: bool = False) -> None:
    """Run a command; its output goes to a file, and what matters of it to the screen."""
    with (
        log.open("w", encoding="utf-8") as file,
        subprocess.Popen(
            argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process,
    ):
        for line in process.stdout or ():
            file.write(line)
            if show and _OURS in line and "Building" not in line:
                print(f"    {_short(line)}", flush=True)
    state = log.read_text(encoding="utf-8")
    if process.returncode or ("dags" in argv and "state=failed" in state):
        raise DemoError(f"`{' '.join(argv)}` failed; its output is in {log}:\n{state[-3000:]}")


def _short(line: str) -> str:
    """A log line without its time stamp, level and logger, cut to the width of a terminal."""
    text = line.split("] ", 1)[-1].split(f"[{_OURS}", 1)[0].rstrip()
    return text if len(text) <= 150 else text[:149] + "…"


def _summary(world: World, home: Path, seconds: float) -> None:
    rows = jobs(world)
    width = max(len(name) for _, name, _ in rows)
    print(f"\n{len(rows)} Jobs ran in {seconds:.0f} s:")
    for component, name, took in rows:
        print(f"  {component:<22} {name:<{width}} {took:6.1f} s")
    print(f"\nLogs: {home / 'dag-run.log'} (the DAG run), {home / 'airflow-db.log'}")
    print(
        "Next: `make ui` opens Airflow with this DAG; the README shows how to run it on your own cluster.",
        flush=True,
    )


def _ui(world: World, home: Path, port: int) -> int:
    end = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    prepare(world, end, _say)
    address = f"http://localhost:{port}"
    environment = _environment(world, home) | {
        "AIRFLOW__API__PORT": str(port),
        "AIRFLOW__API__BASE_URL": address,
    }
    log, mark = home / "standalone.log", home / "ui.pid"
    mark.write_text(str(os.getpid()))
    _say(f"Starting Airflow (its output goes to {log})")
    with log.open("w", encoding="utf-8") as file:
        process = subprocess.Popen(
            ["airflow", "standalone"],
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _until_ready(process, address, log)
        _say(
            f"Airflow is ready: http://localhost:{port}/dags/{DAG_ID} (no password). Ctrl-C, or `make ui-stop`, stops it."
        )
        return process.wait()
    finally:
        _stop(process)
        mark.unlink(missing_ok=True)


def _until_ready(process: subprocess.Popen[Any], address: str, log: Path) -> None:
    """Wait for Airflow's API, then unpause the DAG: a run that starts before the API is up fails at once."""
    import httpx

    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise DemoError(f"`airflow standalone` ended at once; see {log}")
        try:
            token = httpx.get(f"{address}/auth/token", timeout=10).json()["access_token"]
            answer = httpx.patch(
                f"{address}/api/v2/dags/{DAG_ID}",
                json={"is_paused": False},
                headers={"Authorization": f"Bearer {token}"},
                timeout=10,
            )
            if answer.status_code == 200:
                return
        except (httpx.HTTPError, ValueError, KeyError) as error:
            waiting_for = repr(error)
        else:
            waiting_for = answer.text
        time.sleep(0.5)
    raise DemoError(f"Airflow was not ready after 240 s ({waiting_for}); see {log}")


def _stop(process: subprocess.Popen[Any]) -> None:
    for number, patience in ((signal.SIGINT, 20), (signal.SIGTERM, 10), (signal.SIGKILL, 5)):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
