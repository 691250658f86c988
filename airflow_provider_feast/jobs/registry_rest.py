"""Ask Feast's registry REST server what is loaded.

Only the list of all feature views is asked for: a request for a single one makes the server write a record of the visit
into the registry (Feast 0.67, ``rest_registry_server.py``), which can destroy a registry file that is being written.
"""

from __future__ import annotations

import requests

from airflow_provider_feast.model.errors import (
    FeastConfigurationError,
    FeastError,
    RegistryRefusedError,
    RegistryUnreachableError,
)
from airflow_provider_feast.model.registry import Records, RestAddress, record_of_rest

SECONDS = (10.0, 60.0)
"""How long to connect, and to wait for an answer."""

INSTEAD = "leave registry_rest_url empty to have a Job ask the registry itself"


def ask_rest(address: RestAddress, project: str) -> Records:
    """The feature views of a project.

    :raises FeastError: when the server does not answer, refuses, or is none.
    """
    url, where = f"{address.base}/feature_views", f"{address.base}, project {project!r}"
    asked = {"project": project, "allow_cache": "false"}
    try:
        answer = requests.get(url, params=asked, timeout=SECONDS, allow_redirects=False)
    except requests.RequestException as error:
        raise RegistryUnreachableError(
            f"the registry's REST server does not answer: {error}",
            where=where,
            remedy=f"see that workers of Airflow reach registry_rest_url, or {INSTEAD}",
        ) from error
    if answer.status_code != requests.codes.ok:
        raise _refusal(answer, where)
    try:
        records = [record_of_rest(view) for view in answer.json()["featureViews"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise FeastConfigurationError(
            f"what answers is not Feast's registry REST server: {answer.text[:200]!r}",
            where=where,
            remedy=f"correct registry_rest_url, or {INSTEAD}",
        ) from error
    return {record.name: record for record in records}


def _refusal(answer: requests.Response, where: str) -> FeastError:
    said = f"the registry's REST server answered {answer.status_code}: {answer.text[:300]}"
    if answer.status_code in (401, 403):
        return RegistryRefusedError(
            said, where=where, remedy=f"it wants credentials, which is not supported; {INSTEAD}"
        )
    if answer.status_code >= 500 or answer.status_code == 429:
        return RegistryUnreachableError(
            said, where=where, remedy=f"look at that server's log and run the task again, or {INSTEAD}"
        )
    return FeastConfigurationError(said, where=where, remedy=f"correct registry_rest_url, or {INSTEAD}")
