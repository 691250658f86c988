"""Build a Job's manifest: model values in, a plain dict out. No cluster, no clock, no randomness."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterable
from typing import Any, NamedTuple

from airflow_provider_feast import __version__
from airflow_provider_feast.jobs.chunks import ChunkedLoad, job_counts, load_annotations
from airflow_provider_feast.jobs.definitions import DefinitionsPart, InitStep, definitions_part, mount
from airflow_provider_feast.jobs.environment import (
    environment,
    environment_from,
    escape,
    variable,
)
from airflow_provider_feast.jobs.invocation import feast_command
from airflow_provider_feast.jobs.masking import tell_secrets
from airflow_provider_feast.jobs.paths import (
    CA_DIR,
    CONFIG_FILE,
    MERGED_DIR,
    PATCH_DIR,
    RUNNER,
    TMP,
)
from airflow_provider_feast.model import naming
from airflow_provider_feast.model.command import FeastCommand
from airflow_provider_feast.model.lock import LockRequest
from airflow_provider_feast.model.security import (
    container_security_context,
    pod_security_context,
    profile_named,
)
from airflow_provider_feast.model.settings import FeastSettings
from airflow_provider_feast.model.sources import (
    CONFIG_KEY,
    ConfigMapConfiguration,
    SecretConfiguration,
)

CONTAINER = "feast"
GRACE_SECONDS = 60
"""``terminationGracePeriodSeconds``: time to stop cleanly and heal the registry's state."""

MESSAGE_BUDGET = 12 * 1024
"""Bytes of termination messages that a pod may have in all (measured on 1.36)."""

MESSAGE_BYTES = 2048
_NOTED_BYTES = 64 * 1024


USAGE_EXITS = (2, 64, 65, 66, 67, 68)
"""Exit codes that every further pod would end with, too: Feast's usage error (2), and the runner's: a command line it
does not understand (64), nothing to materialize (65), a configuration (66) or definitions (67) that cannot be used,
something it refuses to do (68)."""


class JobPlan(NamedTuple):
    """All that a Job's manifest is made of.

    :param name: the Job's name.
    :param key: the task it belongs to.
    :param epoch: see :func:`~airflow_provider_feast.model.naming.epoch_of`.
    :param try_number: the task's try, for people who read the Job.
    :param command: what Feast shall do.
    :param settings: the feature store's settings with the operator's overrides.
    :param namespace: where the Job runs.
    :param runner: the name of the ConfigMap that holds the runner.
    :param config_digest: what tells one configuration from another, or "".
    :param allow_empty: whether a materialization of no feature view is a success.
    :param window: the window as text, or "".
    :param lock: the lock it must hold, or ``None``.
    :param older_windows: what a materialization does with rows older than what is online.
    :param load: the chunks of a plan, which make it an Indexed Job, or ``None``.
    :param allow_deletions: whether ``apply`` may delete what the definitions lack, or which objects of it.
    :param gaps: what ``materialize-incremental`` does with what it would pass over.
    """

    name: str
    key: naming.TaskKey
    epoch: str
    try_number: int
    command: FeastCommand
    settings: FeastSettings
    namespace: str
    runner: str
    config_digest: str = ""
    allow_empty: bool = False
    window: str = ""
    lock: LockRequest | None = None
    older_windows: str = "overwrite"
    load: ChunkedLoad | None = None
    allow_deletions: bool | tuple[str, ...] = False
    gaps: str = "ignore"


def build_job(plan: JobPlan) -> dict[str, Any]:
    """The Job that runs a plan's command, born suspended.

    :returns: a ``batch/v1`` Job as the API takes it.
    """
    settings = plan.settings
    labels = naming.job_labels(plan.command.subcommand, plan.key, plan.epoch, settings.feature_store)
    job = {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": plan.name,
            "namespace": plan.namespace,
            "labels": labels,
            "annotations": _annotations(plan),
        },
        "spec": {
            "suspend": True,
            **job_counts(plan.load, settings.backoff_limit),
            "activeDeadlineSeconds": settings.deadline_seconds,
            "ttlSecondsAfterFinished": max(settings.ttl_seconds, settings.ttl_on_failure_seconds),
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": list(_failure_rules(plan))},
            "template": {
                "metadata": {"labels": labels, "annotations": _pod_annotations(settings)},
                "spec": _pod_spec(plan),
            },
        },
    }
    return tell_secrets(job, CONTAINER)


def _failure_rules(plan: JobPlan) -> Iterable[dict[str, Any]]:
    """Which pod failures do not count against the back-off limit, and which fail the Job at once.

    A pod that was merely deleted (exit code 143 without a disruption) counts: were it ignored, a command that something
    ends again and again would run for ever.
    """
    yield {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    yield _fail_on(CONTAINER, USAGE_EXITS)
    for step in definitions_part(plan.settings).steps:
        if step.fails_job:
            yield _fail_on(step.name, step.fails_job)


def _fail_on(container: str, codes: Iterable[int]) -> dict[str, Any]:
    exits = {"containerName": container, "operator": "In", "values": list(codes)}
    return {"action": "FailJob", "onExitCodes": exits}


def config_map_name(plan: JobPlan) -> str:
    """The ConfigMap that holds the configuration: the given one, or the Job's own."""
    source = plan.settings.configuration
    return source.name if isinstance(source, ConfigMapConfiguration) else plan.name


def _noted(argv: list[str]) -> str:
    """A command for people who read the Job; all annotations of an object may have 256 KiB."""
    text = json.dumps(argv, ensure_ascii=False)
    return text if len(text.encode()) <= _NOTED_BYTES else json.dumps([argv[0], "…"], ensure_ascii=False)


def _annotations(plan: JobPlan) -> dict[str, str]:
    found = {
        naming.A_INSTANCE: json.dumps(plan.key._asdict()),
        naming.A_RUN: plan.key.run_id,
        naming.A_TRY: str(plan.try_number),
        naming.A_COMMAND: _noted(plan.command.argv),
        naming.A_CONFIG_DIGEST: plan.config_digest,
        naming.A_VERSION: __version__,
        naming.A_WINDOW: plan.window,
        naming.A_SECURITY: plan.settings.security_profile,
        naming.A_LOCK: f"{plan.lock.namespace}/{plan.lock.name}" if plan.lock else "",
        naming.A_LOCK_VIEWS: ",".join(plan.lock.views) if plan.lock else "",
        **load_annotations(plan.load),
    }
    return {key: value for key, value in found.items() if value}


def _pod_annotations(settings: FeastSettings) -> dict[str, str]:
    return {} if settings.istio_injection else {"sidecar.istio.io/inject": "false"}


def _pod_spec(plan: JobPlan) -> dict[str, Any]:
    settings = plan.settings
    profile = profile_named(settings.security_profile)
    part = definitions_part(settings)
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "automountServiceAccountToken": settings.kubernetes_api_access,
        "enableServiceLinks": False,
        "securityContext": pod_security_context(profile, settings.run_as_user),
        "containers": [_feast_container(plan, part)],
        "volumes": [*_volumes(plan, part), *part.volumes],
    }
    if part.steps:
        spec["initContainers"] = [_init_container(plan, step) for step in part.steps]
    if settings.service_account:
        spec["serviceAccountName"] = settings.service_account
    if settings.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    return spec


def _container(plan: JobPlan, name: str, command: list[str], image: str = "") -> dict[str, Any]:
    settings = plan.settings
    container: dict[str, Any] = {
        "name": name,
        "image": image or settings.image,
        "command": [escape(part) for part in command],
        "workingDir": "/tmp",  # noqa: S108 (the pod's own emptyDir)
        "securityContext": container_security_context(profile_named(settings.security_profile)),
        "resources": {
            "requests": {"cpu": settings.cpu_request, "memory": settings.memory_request},
            "limits": {"cpu": settings.cpu_limit, "memory": settings.memory_limit},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    if settings.image_pull_policy:
        container["imagePullPolicy"] = settings.image_pull_policy
    return container


def _feast_container(plan: JobPlan, part: DefinitionsPart) -> dict[str, Any]:
    settings = plan.settings
    message_bytes = min(MESSAGE_BYTES, MESSAGE_BUDGET // (1 + len(part.steps)))
    container = _container(plan, CONTAINER, feast_command(plan, part, message_bytes))
    container["env"] = environment(settings)
    container["envFrom"] = list(environment_from(settings))
    mounts = [
        mount(volume["name"], _MOUNTS[volume["name"]], read_only="emptyDir" not in volume)
        for volume in _volumes(plan, part)
    ]
    container["volumeMounts"] = [*mounts, *part.mounts]
    return container


def _init_container(plan: JobPlan, step: InitStep) -> dict[str, Any]:
    container = _container(plan, step.name, step.command, step.image)
    if step.env:
        container["env"] = [variable(name, value) for name, value in step.env.items()]
    container["volumeMounts"] = [*step.mounts, mount("tmp", TMP)]
    return container


_MOUNTS = {
    "tmp": TMP,
    "feast-runner": posixpath.dirname(RUNNER),
    "feast-config": posixpath.dirname(CONFIG_FILE),
    "feast-patch": PATCH_DIR,
    "feast-merged": MERGED_DIR,
    "feast-ca": CA_DIR,
}


def _volumes(plan: JobPlan, part: DefinitionsPart) -> Iterable[dict[str, Any]]:
    """The volumes of the main container, but for the definitions'."""
    settings = plan.settings
    runs = settings.command_mode != "cli"
    yield {"name": "tmp", "emptyDir": {"sizeLimit": settings.tmp_size}}
    if runs or any(RUNNER in step.command for step in part.steps):
        yield {"name": "feast-runner", "configMap": {"name": plan.runner}}
    if settings.configuration is not None:
        yield _config_volume(plan)
    if settings.configuration_patch and runs:
        yield {"name": "feast-patch", "configMap": {"name": plan.name}}
        yield {"name": "feast-merged", "emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}}
    if settings.ca_bundle_config_map:
        items = [{"key": settings.ca_bundle_key, "path": "ca-bundle.crt"}]
        yield {"name": "feast-ca", "configMap": {"name": settings.ca_bundle_config_map, "items": items}}


def _config_volume(plan: JobPlan) -> dict[str, Any]:
    source = plan.settings.configuration
    if isinstance(source, SecretConfiguration):
        items = [{"key": source.key, "path": CONFIG_KEY}]
        return {"name": "feast-config", "secret": {"secretName": source.name, "items": items}}
    key = source.key if isinstance(source, ConfigMapConfiguration) else CONFIG_KEY
    items = [{"key": key, "path": CONFIG_KEY}]
    return {"name": "feast-config", "configMap": {"name": config_map_name(plan), "items": items}}
