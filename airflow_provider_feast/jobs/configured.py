"""The feature_store.yaml that a feature store's Jobs will use, as far as Airflow may read it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_provider_feast.jobs import yaml_text
from airflow_provider_feast.model.errors import FeastConfigurationError, FeastDagError

if TYPE_CHECKING:
    from airflow_provider_feast.hooks.feast import FeastHook


def configured_project(hook: FeastHook) -> str:
    """The project of a feature store.

    :raises FeastError: when it cannot be read from here.
    """
    text = hook.readable_configuration()
    if not text:
        raise FeastConfigurationError(
            "the project cannot be confirmed: feature_store.yaml lies in the image or in a Secret, where Airflow "
            "does not read it",
            remedy="give the configuration as a ConfigMap or inline",
        )
    content = yaml_text.load(text, "the configuration")
    if not isinstance(content, dict):
        raise FeastConfigurationError("feature_store.yaml is not a mapping", remedy="correct it")
    return str(content.get("project"))


def confirm_project(hook: FeastHook, project: str) -> None:
    """Compare a project's name with the configuration's.

    :raises FeastDagError: when they differ, or the configuration cannot be read from here.
    """
    found = configured_project(hook)
    if found != project:
        raise FeastDagError(
            f"confirm={project!r}, but the project in feature_store.yaml is {found!r}: nothing was torn down",
            remedy="check feast_conn_id=, then give confirm= the project that shall be deleted",
        )
