"""Fixtures for all tests."""

from airflow_provider_feast.sandbox.pytest_plugin import feast_sandbox

__all__ = ["feast_sandbox"]
