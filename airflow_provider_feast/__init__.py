"""Run Feast commands from Apache Airflow as Kubernetes Jobs."""

__version__ = "0.1.0"
