"""The Feast operator's ``FeatureStore`` resource (feast.dev/v1, v1alpha1): what its status says. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from airflow_provider_feast.model.errors import FeatureStoreNotReadyError, MissingObjectError

GROUP = "feast.dev"
PLURAL = "featurestores"
VERSIONS = ("v1", "v1alpha1")
"""Newest first; a cluster may serve either or both."""

_VERSION = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?(?:[-.+].*)?")


SERVER_IMAGE = "quay.io/feastdev/feature-server"
"""The image that the operator runs; its tags are Feast's versions."""

_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")


class FeatureStoreState(NamedTuple):
    """What a FeatureStore's status says.

    :param phase: ``Ready``, ``Pending``, ``Failed``, or "" before the operator has looked at it.
    :param failing: its conditions that are not met, each ``Type (Reason): message``.
    :param feast_version: of its servers, or "".
    :param client_config_map: the ConfigMap with a client's feature_store.yaml, in its namespace, or "" as long as the
        operator has not made it.
    """

    name: str
    namespace: str
    phase: str
    failing: tuple[str, ...]
    feast_version: str = ""
    client_config_map: str = ""

    @property
    def service_account(self) -> str:
        """The account of its servers."""
        return f"feast-{self.name}"

    @property
    def image(self) -> str:
        """The feature-server image of its version, or "" where its status names none."""
        version = self.feast_version.removeprefix("v")
        return f"{SERVER_IMAGE}:{version}" if _TAG.fullmatch(version) else ""

    @property
    def ready(self) -> bool:
        """Whether it can be used."""
        return self.phase == "Ready"

    @property
    def failed(self) -> bool:
        """Whether the operator gave up on it for now."""
        return self.phase == "Failed"

    @property
    def words(self) -> str:
        """Its phase and what keeps it from being ready."""
        phase = self.phase or "not yet looked at by the Feast operator"
        return f"the FeatureStore {self.name!r} is {phase}" + (
            f": {'; '.join(self.failing)}" if self.failing and not self.ready else ""
        )

    def error(self) -> FeatureStoreNotReadyError:
        """The exception that says why it is not ready."""
        return FeatureStoreNotReadyError(
            self.words,
            where=f"namespace {self.namespace!r}",
            remedy=f"kubectl -n {self.namespace} describe {PLURAL} {self.name} shows more; correct what the condition "
            "names, or wait for it with FeatureStoreReadySensor",
        )


def read_state(resource: Mapping[str, Any]) -> FeatureStoreState:
    """The state of a FeatureStore.

    :param resource: as the API's JSON.
    """
    metadata, status = resource.get("metadata") or {}, resource.get("status") or {}
    failing = [
        f"{entry.get('type')} ({entry.get('reason') or 'no reason'}): {entry.get('message') or 'no message'}"
        for entry in status.get("conditions") or ()
        if entry.get("status") != "True"
    ]
    return FeatureStoreState(
        str(metadata.get("name", "")),
        str(metadata.get("namespace", "")),
        str(status.get("phase") or ""),
        tuple(failing),
        str(status.get("feastVersion") or ""),
        str(status.get("clientConfigMap") or ""),
    )


def missing(name: str, namespace: str) -> MissingObjectError:
    """There is no such FeatureStore."""
    return MissingObjectError(
        f"the FeatureStore {name!r} does not exist",
        where=f"namespace {namespace!r}",
        remedy=f"kubectl -n {namespace} get {PLURAL} lists those that do; correct the name, or create it",
    )


def no_operator(namespace: str) -> MissingObjectError:
    """The cluster does not know FeatureStore resources."""
    return MissingObjectError(
        f"the cluster does not know {PLURAL}.{GROUP} (versions {', '.join(VERSIONS)}): the Feast operator is not "
        "installed there",
        where=f"namespace {namespace!r}",
        remedy="install the Feast operator, or correct kubernetes_conn_id if this is the wrong cluster",
    )


def image_tag(image: str) -> str:
    """The tag of an image, or "" where it has none or is pinned by its digest alone."""
    name = image.partition("@")[0].rpartition("/")[2]
    return name.partition(":")[2]


def versions_differ(image: str, feast_version: str) -> bool | None:
    """Whether an image's tag names another release (major or minor) than a FeatureStore runs.

    :returns: ``None`` where one of them names no release.
    """
    ours, theirs = _VERSION.fullmatch(image_tag(image)), _VERSION.fullmatch(feast_version)
    if ours is None or theirs is None:
        return None
    return ours.group(1, 2) != theirs.group(1, 2)
