"""What Airflow learns of this provider without importing it (entry point ``apache_airflow_provider``)."""

from __future__ import annotations

from typing import Any


def get_provider_info() -> dict[str, Any]:
    """The provider's metadata, as ``airflow/provider_info.schema.json`` describes it."""
    from airflow_provider_feast import __version__
    from airflow_provider_feast.model.fields import FIELDS

    name = "Feast"
    return {
        "package-name": "airflow-provider-feast",
        "name": name,
        "description": "Run Feast commands as Kubernetes Jobs.",
        "versions": [__version__],
        "integrations": [
            {"integration-name": name, "external-doc-url": "https://docs.feast.dev/", "tags": ["software"]}
        ],
        "operators": [
            {
                "integration-name": name,
                "python-modules": [
                    "airflow_provider_feast.operators.feast",
                    "airflow_provider_feast.operators.preflight",
                ],
            }
        ],
        "sensors": [
            {
                "integration-name": name,
                "python-modules": [
                    "airflow_provider_feast.sensors.feast",
                    "airflow_provider_feast.sensors.feature_store",
                    "airflow_provider_feast.sensors.materialized",
                ],
            }
        ],
        "hooks": [{"integration-name": name, "python-modules": ["airflow_provider_feast.hooks.feast"]}],
        "triggers": [
            {
                "integration-name": name,
                "python-modules": [
                    "airflow_provider_feast.triggers.feast",
                    "airflow_provider_feast.triggers.feature_store",
                    "airflow_provider_feast.triggers.pause",
                ],
            }
        ],
        "cli": ["airflow_provider_feast.cli.definition.get_feast_cli_commands"],
        "connection-types": [
            {
                "connection-type": "feast",
                "hook-class-name": "airflow_provider_feast.hooks.feast.FeastHook",
                "hook-name": name,
                "ui-field-behaviour": {
                    "hidden-fields": ["host", "schema", "login", "password", "port", "extra"],
                    "relabeling": {},
                },
                "conn-fields": {
                    field.name: {
                        "label": field.label,
                        "schema": field.schema,
                        "description": field.description,
                    }
                    for field in FIELDS
                },
            }
        ],
    }
