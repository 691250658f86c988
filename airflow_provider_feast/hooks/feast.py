"""FeastHook: a `feast` connection and what operators, sensors and people need of its cluster."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from airflow.providers.cncf.kubernetes.hooks.kubernetes import KubernetesHook
from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook, mask_secret

from airflow_provider_feast.jobs.api import ClusterApi
from airflow_provider_feast.jobs.async_api import AsyncApi
from airflow_provider_feast.jobs.client import async_configuration
from airflow_provider_feast.jobs.diagnose import diagnose
from airflow_provider_feast.jobs.here import READ_SECONDS, read_logs_here, watch_here
from airflow_provider_feast.jobs.log_positions import Positions
from airflow_provider_feast.jobs.logs import Say
from airflow_provider_feast.jobs.preflight import Preflight
from airflow_provider_feast.jobs.reviews import read_feature_store
from airflow_provider_feast.jobs.sources import Resolved, config_map_text, require_image, resolve
from airflow_provider_feast.jobs.submit import delete_and_wait
from airflow_provider_feast.jobs.watch import Target, WatchOptions
from airflow_provider_feast.model import plain_secrets
from airflow_provider_feast.model.errors import FeastConfigurationError, FeastError
from airflow_provider_feast.model.feature_store import FeatureStoreState, read_state
from airflow_provider_feast.model.fields import NAMES_OF_OBJECTS
from airflow_provider_feast.model.lock import LockRequest
from airflow_provider_feast.model.outcome import Outcome
from airflow_provider_feast.model.settings import FeastSettings, read_settings
from airflow_provider_feast.model.sources import (
    CONFIG_KEY,
    ConfigMapConfiguration,
    FeatureStoreConfiguration,
    InlineConfiguration,
)

_IN_CLUSTER_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class FeastHook(BaseHook):
    """One feature store: its `feast` connection, and the cluster its commands run on.

    :param feast_conn_id: the connection.
    :param overrides: fields of :class:`~airflow_provider_feast.model.settings.FeastSettings` to use instead of the
        connection's; ``None`` means the connection's.
    """

    conn_name_attr: ClassVar[str] = "feast_conn_id"
    default_conn_name: ClassVar[str] = "feast_default"
    conn_type: ClassVar[str] = "feast"
    hook_name: ClassVar[str] = "Feast"

    def __init__(self, feast_conn_id: str = default_conn_name, **overrides: Any) -> None:
        super().__init__()
        self.feast_conn_id = feast_conn_id
        self._overrides = overrides

    @cached_property
    def settings(self) -> FeastSettings:
        """The connection's fields with the overrides.

        :raises FeastConfigurationError: when the connection does not exist, is of another type, or is wrong.
        """
        try:
            connection = self.get_connection(self.feast_conn_id)
        except AirflowNotFoundException as error:
            raise FeastConfigurationError(
                f"the connection {self.feast_conn_id!r} does not exist",
                remedy="create it under Admin → Connections with the type Feast, or with "
                f"`airflow connections add {self.feast_conn_id} --conn-type feast --conn-extra '{{…}}'`",
            ) from error
        if connection.conn_type != self.conn_type:
            raise FeastConfigurationError(
                f"the connection {self.feast_conn_id!r} is of type {connection.conn_type!r}, not 'feast'",
                remedy="give feast_conn_id= the name of a connection of the type Feast",
            )
        extra = self._extra(connection.extra)
        found = read_settings(self.feast_conn_id, extra).override(**self._overrides)
        for name in plain_secrets.in_environment(found.env):
            mask_secret(str(found.env[name]))
        for text in (*found.env.values(), found.http_proxy, found.https_proxy):
            for password in plain_secrets.passwords_in(text) if isinstance(text, str) else ():
                mask_secret(password)
        return found

    def _extra(self, text: str | None) -> dict[str, Any]:
        """The connection's fields. Not ``extra_dejson``: it reads a typing error as "nothing is set", and masks names.

        Airflow takes what is called ``service_account`` or ``…secret…`` for a secret and replaces it wherever it
        occurs in a log: a service account named `feast` would turn every "feast" into "***". Names of Secrets are no
        secrets either, wherever a manifest or a reference has them.
        """
        try:
            extra = json.loads(text) if text else {}
        except (ValueError, RecursionError) as error:
            raise FeastConfigurationError(
                f"the field Extra is not JSON: {error}",
                where=f"connection {self.feast_conn_id!r}",
                remedy=f"correct it under Admin → Connections → {self.feast_conn_id}",
            ) from error
        if not isinstance(extra, dict):
            raise FeastConfigurationError(
                "the field Extra is not a JSON object",
                where=f"connection {self.feast_conn_id!r}",
                remedy=f"correct it under Admin → Connections → {self.feast_conn_id}",
            )
        mask_secret({name: value for name, value in extra.items() if name not in NAMES_OF_OBJECTS})
        return extra

    @cached_property
    def kubernetes(self) -> KubernetesHook:
        """The hook of the cluster."""
        return KubernetesHook(conn_id=self.settings.kubernetes_conn_id)

    @cached_property
    def namespace(self) -> str:
        """Where the Jobs run: the setting, the FeatureStore's, the Kubernetes connection's, the worker's own, or
        ``default``."""
        source = self.settings.configuration
        named = source.namespace if isinstance(source, FeatureStoreConfiguration) else ""
        found = self.settings.namespace or named or self._of_cluster(self.kubernetes.get_namespace)
        if not found and _IN_CLUSTER_NAMESPACE.exists():
            found = _IN_CLUSTER_NAMESPACE.read_text().strip()
        return found or "default"

    @cached_property
    def api_client(self) -> Any:
        """The synchronous client.

        :raises FeastConfigurationError: when the Kubernetes connection leads nowhere.
        """
        return self._of_cluster(self.kubernetes.get_conn)

    @cached_property
    def cluster(self) -> ClusterApi:
        """Requests to the cluster, in the Jobs' namespace."""
        return ClusterApi(self.api_client, self.namespace, self.settings.api_outage_tolerance_seconds)

    def _of_cluster(self, ask: Callable[[], Any]) -> Any:
        from kubernetes.config import ConfigException

        conn_id = self.settings.kubernetes_conn_id
        try:
            return ask()
        except AirflowNotFoundException as error:
            raise FeastConfigurationError(
                f"the Kubernetes connection {conn_id!r} does not exist",
                where=f"connection {self.feast_conn_id!r}, field kubernetes_conn_id",
                remedy="create it under Admin → Connections with the type Kubernetes Cluster Connection",
            ) from error
        except ConfigException as error:
            raise FeastConfigurationError(
                f"the Kubernetes connection {conn_id!r} leads to no cluster: {error}",
                where=f"connection {conn_id!r}",
                remedy="set in_cluster where Airflow runs in the cluster, or a kubeconfig in the connection",
            ) from error

    @cached_property
    def resolved(self) -> Resolved:
        """The configuration as a Job needs it: found, patched and checked.

        It takes requests only where a ``FeatureStore``, or a ConfigMap with a patch, is named.

        :raises FeastError: when it cannot be, naming what is missing or wrong.
        """
        found = resolve(self.settings, self.cluster)
        require_image(found.settings, self._where)
        return found

    @property
    def _where(self) -> str:
        return f"connection {self.feast_conn_id!r}"

    def inline_configuration(self) -> str | None:
        """feature_store.yaml as the Job's own ConfigMap will hold it; ``None`` when the pod takes it from elsewhere.

        :raises FeastError: when it is not YAML, lacks what every one needs, or is too large.
        """
        return self.resolved.files.get(CONFIG_KEY)

    def readable_configuration(self) -> str | None:
        """feature_store.yaml, where Airflow may read it: inline, or in a ConfigMap.

        :raises FeastError: when it should be there and is not.
        """
        source = self.resolved.settings.configuration
        if isinstance(source, ConfigMapConfiguration):
            return config_map_text(self.cluster, source)
        return self.inline_configuration()

    def check_settings(self) -> None:
        """Look at what the connection says, without a request: an image, and a configuration that is one.

        :raises FeastConfigurationError: naming what is missing or wrong.
        """
        settings, where = self.settings, self._where
        if not isinstance(settings.configuration, FeatureStoreConfiguration):
            require_image(settings, where)  # a FeatureStore may name one
        if settings.configuration is None and settings.definitions is None:
            raise FeastConfigurationError(
                "neither a configuration nor definitions are set, so Feast would find no feature_store.yaml",
                where=where,
                remedy="set config_map (or config_secret, configuration, feature_store_resource), or definitions with a "
                "feature_store.yaml beside them",
            )
        if isinstance(settings.configuration, InlineConfiguration):
            _ = self.resolved

    @property
    def preflight(self) -> Preflight:
        """What can be looked at before a Job is made."""
        return Preflight(self)

    def watch(
        self,
        job: dict[str, Any],
        say: Say,
        options: WatchOptions,
        timeout: float | None = None,
        positions: Positions | None = None,
        lock: LockRequest | None = None,
    ) -> Outcome | None:
        """Let a Job run and wait for its end in this process.

        :param job: the Job as the API returned it.
        :param say: takes the lines of its log.
        :param timeout: seconds to wait at most.
        :param positions: filled with how far its pods' logs were read.
        :param lock: the lock that it must hold to run.
        :returns: the final verdict, or ``None`` when the time is up.
        """
        target = Target(self.namespace, job["metadata"]["name"], job["metadata"]["uid"])
        api = self._async_api(options.outage_seconds)
        return watch_here(api, target, say, options, timeout, positions, lock)

    def read_logs(self, job: dict[str, Any], say: Say, positions: Positions) -> None:
        """Read the logs of a Job's pods to their end.

        :param job: the Job; one that is gone has no logs.
        :param say: takes the lines.
        :param positions: how far they were read before.
        :raises FeastError: when Kubernetes refuses.
        """
        api = self._async_api(READ_SECONDS)
        read_logs_here(api, self.namespace, job["metadata"]["uid"], say, positions)

    def _async_api(self, outage_seconds: float) -> AsyncApi:
        """The cluster for an event loop of this process."""
        fresh = iter([async_configuration(self.api_client.configuration)])

        async def connect() -> Any:
            return next(fresh, None) or await asyncio.to_thread(self._connect_anew)

        return AsyncApi(connect, outage_seconds)

    def _connect_anew(self) -> Any:
        """The cluster's address and credentials, read again from the Kubernetes connection."""
        return async_configuration(
            KubernetesHook(conn_id=self.settings.kubernetes_conn_id).get_conn().configuration
        )

    def delete(self, job: dict[str, Any]) -> None:
        """Delete this very Job with its pods, without waiting."""
        self.cluster.delete_job(job["metadata"]["name"], job["metadata"]["uid"])

    def delete_and_wait(self, job: dict[str, Any]) -> None:
        """Delete this very Job with its pods and wait until it is gone."""
        delete_and_wait(self.cluster, job)

    def newest_job(self, name: str | None, labels: dict[str, str]) -> dict[str, Any] | None:
        """A Job by its name, or the newest one that carries labels."""
        if name:
            return self.cluster.read_job(name)
        jobs = self.cluster.list_jobs(",".join(f"{key}={value}" for key, value in labels.items()))
        return max(jobs, key=lambda job: str(job["metadata"].get("creationTimestamp")), default=None)

    def diagnose(self, job: dict[str, Any], patience: float | None = None) -> Outcome:
        """The verdict on a Job at this moment.

        :param patience: seconds that an API server which is away is waited for; ``None`` for the connection's tolerance.
        """
        cluster = self.cluster if patience is None else self.cluster.with_patience(patience)
        pods = cluster.list_pods(job["metadata"]["uid"])
        about = [("Job", job["metadata"]["name"]), *(("Pod", pod["metadata"]["name"]) for pod in pods)]
        events = [event for kind, name in about for event in cluster.list_events(kind, name)]
        return diagnose(job, pods, events)

    def feature_store(self, name: str, namespace: str = "") -> tuple[FeatureStoreState | None, str]:
        """The state of a ``FeatureStore`` resource or ``None``, and the version in which the cluster serves such.

        :param namespace: where it is; "" is the Jobs' one.
        :raises MissingObjectError: when the cluster does not know such resources.
        """
        resource, version = read_feature_store(self.cluster, name, namespace or self.namespace)
        return read_state(resource) if resource else None, version

    def test_connection(self) -> tuple[bool, str]:
        """Reach the cluster and say what is missing (the button in the connection form)."""
        try:
            report = self.preflight.quick(None)
            self.cluster.list_jobs("app.kubernetes.io/name=feast")
        except FeastError as error:
            return False, str(error)
        if problem := report.error():
            return False, str(problem)
        return (
            True,
            f"Namespace {self.namespace!r} answers, and what this feature store's Jobs need is there.",
        )

    @classmethod
    def get_connection_form_widgets(cls) -> dict[str, Any]:
        """The form's fields for Airflow versions that do not read ``conn-fields``."""
        from flask_babel import lazy_gettext
        from wtforms import BooleanField, IntegerField, StringField

        from airflow_provider_feast.model.fields import FIELDS

        kinds = {"integer": IntegerField, "boolean": BooleanField}
        return {
            field.name: kinds.get(field.kind, StringField)(
                lazy_gettext(field.label), description=field.description
            )
            for field in FIELDS
        }

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Which of the standard fields a `feast` connection does not use."""
        return {"hidden_fields": ["host", "schema", "login", "password", "port", "extra"], "relabeling": {}}
