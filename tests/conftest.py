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

import hypothesis

from airflow_provider_feast.sandbox.pytest_plugin import feast_sandbox

# A busy machine is no failure, and a run is the same for everybody; longer and other ones are made on request.
examples = int(os.environ.get("FEAST_FUZZ_EXAMPLES") or 0)
hypothesis.settings.register_profile(
    "tests",
    deadline=None,
    derandomize=not examples,
    max_examples=examples or 100,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("tests")

__all__ = ["feast_sandbox"]
