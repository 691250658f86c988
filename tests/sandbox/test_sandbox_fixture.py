"""The pytest fixture that the package brings works as its documentation shows."""

import os
import re
import subprocess
import sys
from pathlib import Path

from airflow_provider_feast import sandbox as package
from airflow_provider_feast.sandbox import Sandbox

README = Path(package.__file__).parent / "README.md"
AIRFLOW = Path(sys.executable).parent / "airflow"


def test_the_documented_test_of_a_dag_passes(tmp_path: Path) -> None:
    section = README.read_text().split("## In pytest")[1].split("\n## ")[0]
    dag, test = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "features.py").write_text(dag)
    (tmp_path / "test_features.py").write_text(test)
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("AIRFLOW", "PYTEST"))}
    paths = {"PATH": f"{AIRFLOW.parent}{os.pathsep}{os.environ['PATH']}", "AIRFLOW_HOME": str(tmp_path)}
    env = {**kept, **paths, "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    subprocess.run([AIRFLOW, "db", "migrate"], env=env, check=True, capture_output=True, timeout=300)
    command = [sys.executable, "-m", "pytest", "--rootdir", str(tmp_path), "test_features.py"]
    done = subprocess.run(
        command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_the_fixture_is_a_running_sandbox(feast_sandbox: Sandbox) -> None:
    assert feast_sandbox.url.startswith("http://127.0.0.1:")
    assert feast_sandbox.kubeconfig.is_file()
