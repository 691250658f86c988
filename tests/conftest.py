"""Fixtures for all tests, and an Airflow home of their own, set before Airflow is imported."""

import atexit
import os
import shutil
import tempfile

if "AIRFLOW_HOME" not in os.environ:  # workers of pytest-xdist inherit the first process's
    home = tempfile.mkdtemp(prefix="feast-tests-airflow-")
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    os.environ["AIRFLOW_HOME"] = home
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")

from airflow_provider_feast.sandbox.pytest_plugin import feast_sandbox

__all__ = ["feast_sandbox"]
