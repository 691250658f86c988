"""Build a Job's manifest: model values in, a plain dict out. No cluster, no clock, no randomness."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from airflow_provider_feast import __version__
from airflow_provider_feast.model import naming
from airflow_provider_feast.model.command import MATERIALIZE, FeastCommand
from airflow_provider_feast.model.lock import LockRequest
from airflow_provider_feast.model.security import (
    container_security_context,
    pod_security_context,
    profile_named,
)
from airflow_provider_feast.model.settings import FeastSettings
from airflow_provider_feast.model.sources import (
    ConfigMapConfiguration,
    ConfigMapDefinitions,
    ImageDefinitions,
)

CONTAINER = "feast"
COPY_CONTAINER = "definitions"
RUNNER_KEY = "feast_runner.py"
RUNNER = f"/feast/runner/{RUNNER_KEY}"
CONFIG_FILE = "/feast/config/feature_store.yaml"
DEFINITIONS_DIR = "/feast/definitions"
REPO_DIR = "/feast/repo"
CA_DIR = "/feast/ca"
NO_REPO_DIR = "/tmp/feast-repo"  # noqa: S108 (the pod's own emptyDir)
GRACE_SECONDS = 60
"""``terminationGracePeriodSeconds``: time to stop cleanly and heal the registry's state."""

MESSAGE_BUDGET = 12 * 1024
"""Bytes of termination messages that a pod may have in all (measured on 1.36)."""

MESSAGE_BYTES = 2048


USAGE_EXITS = (2, 64, 65, 66, 67)
"""Exit codes that every further pod would end with, too: Feast's usage error (2), and the runner's: a command line it
does not understand (64), nothing to materialize (65), a configuration (66) or definitions (67) that cannot be used."""

COPY_EXITS = (64, 67)
"""The same of the init container that copies the definitions."""


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


def build_job(plan: JobPlan) -> dict[str, Any]:
    """The Job that runs a plan's command, born suspended.

    :returns: a ``batch/v1`` Job as the API takes it.
    """
    settings = plan.settings
    labels = naming.job_labels(plan.command.subcommand, plan.key, plan.epoch, settings.feature_store)
    return {
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
            "parallelism": 1,
            "completions": 1,
            "backoffLimit": settings.backoff_limit,
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


def _failure_rules(plan: JobPlan) -> Iterable[dict[str, Any]]:
    """Which pod failures do not count against the back-off limit, and which fail the Job at once.

    A pod that was merely deleted (exit code 143 without a disruption) counts: were it ignored, a command that something
    ends again and again would run for ever.
    """
    yield {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    yield _fail_on(CONTAINER, USAGE_EXITS)
    if isinstance(plan.settings.definitions, ConfigMapDefinitions):
        yield _fail_on(COPY_CONTAINER, COPY_EXITS)


def _fail_on(container: str, codes: Iterable[int]) -> dict[str, Any]:
    exits = {"containerName": container, "operator": "In", "values": list(codes)}
    return {"action": "FailJob", "onExitCodes": exits}


def config_map_name(plan: JobPlan) -> str:
    """The ConfigMap that holds the configuration: the given one, or the Job's own."""
    source = plan.settings.configuration
    return source.name if isinstance(source, ConfigMapConfiguration) else plan.name


def _annotations(plan: JobPlan) -> dict[str, str]:
    found = {
        naming.A_INSTANCE: json.dumps(plan.key._asdict()),
        naming.A_RUN: plan.key.run_id,
        naming.A_TRY: str(plan.try_number),
        naming.A_COMMAND: json.dumps(plan.command.argv),
        naming.A_CONFIG_DIGEST: plan.config_digest,
        naming.A_VERSION: __version__,
        naming.A_WINDOW: plan.window,
        naming.A_SECURITY: plan.settings.security_profile,
        naming.A_LOCK: f"{plan.lock.namespace}/{plan.lock.name}" if plan.lock else "",
        naming.A_LOCK_VIEWS: ",".join(plan.lock.views) if plan.lock else "",
    }
    return {key: value for key, value in found.items() if value}


def _pod_annotations(settings: FeastSettings) -> dict[str, str]:
    return {} if settings.istio_injection else {"sidecar.istio.io/inject": "false"}


def _pod_spec(plan: JobPlan) -> dict[str, Any]:
    settings = plan.settings
    profile = profile_named(settings.security_profile)
    copies = isinstance(settings.definitions, ConfigMapDefinitions)
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "automountServiceAccountToken": settings.kubernetes_api_access,
        "enableServiceLinks": False,
        "securityContext": pod_security_context(profile, settings.run_as_user),
        "containers": [_feast_container(plan, containers=2 if copies else 1)],
        "volumes": list(_volumes(plan)),
    }
    if copies:
        spec["initContainers"] = [_copy_container(plan)]
    if settings.service_account:
        spec["serviceAccountName"] = settings.service_account
    if settings.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    return spec


def _container(plan: JobPlan, name: str, command: list[str]) -> dict[str, Any]:
    settings = plan.settings
    container: dict[str, Any] = {
        "name": name,
        "image": settings.image,
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


def escape(text: str) -> str:
    """Text that Kubernetes hands over as it is: it would expand ``$(NAME)`` in command and args."""
    return text.replace("$", "$$")


def _feast_container(plan: JobPlan, containers: int) -> dict[str, Any]:
    container = _container(
        plan, CONTAINER, feast_command(plan, min(MESSAGE_BYTES, MESSAGE_BUDGET // containers))
    )
    container["env"] = list(_environment(plan.settings))
    if plan.settings.env_from:
        container["envFrom"] = [_env_from(source) for source in plan.settings.env_from]
    container["volumeMounts"] = [
        {"name": volume["name"], "mountPath": _MOUNTS[volume["name"]]}
        | ({"readOnly": True} if "configMap" in volume else {})
        for volume in _volumes(plan)
        if volume["name"] != "feast-definitions"
    ]
    return container


def _copy_container(plan: JobPlan) -> dict[str, Any]:
    container = _container(
        plan, COPY_CONTAINER, [plan.settings.python, RUNNER, "copy", DEFINITIONS_DIR, REPO_DIR]
    )
    container["volumeMounts"] = [
        {"name": "feast-runner", "mountPath": _MOUNTS["feast-runner"], "readOnly": True},
        {"name": "feast-definitions", "mountPath": DEFINITIONS_DIR, "readOnly": True},
        {"name": "feast-repo", "mountPath": REPO_DIR},
        {"name": "tmp", "mountPath": _MOUNTS["tmp"]},
    ]
    return container


def feast_command(plan: JobPlan, message_bytes: int) -> list[str]:
    """What the container executes: the runner with Feast's argv, or plain ``feast``."""
    settings = plan.settings
    config = [CONFIG_FILE] if settings.configuration is not None else []
    if settings.command_mode == "cli":
        repo = ["-c", repo_directory(settings)] if settings.definitions is not None else ["-c", "/tmp"]  # noqa: S108
        return ["feast", *repo, *(["-f", *config] if config else []), *plan.command.argv]
    options = ["--repo", repo_directory(settings), *(["--config", *config] if config else [])]
    options += ["--termination-log", "/dev/termination-log", "--message-bytes", str(message_bytes)]
    if plan.allow_empty and plan.command.subcommand in MATERIALIZE:
        options.append("--allow-empty")
    if not settings.fast_start:
        options.append("--slow-start")
    return [settings.python, RUNNER, "run", *options, "--", *plan.command.argv]


def repo_directory(settings: FeastSettings) -> str:
    """Where Feast finds the repository: in the image, in the copy, or an empty directory."""
    if isinstance(settings.definitions, ImageDefinitions):
        return settings.definitions.path
    return REPO_DIR if settings.definitions is not None else NO_REPO_DIR


_MOUNTS = {
    "tmp": "/tmp",  # noqa: S108 (the pod's own emptyDir)
    "feast-runner": "/feast/runner",
    "feast-config": "/feast/config",
    "feast-definitions": DEFINITIONS_DIR,
    "feast-repo": REPO_DIR,
    "feast-ca": CA_DIR,
}


def _volumes(plan: JobPlan) -> Iterable[dict[str, Any]]:
    settings = plan.settings
    yield {"name": "tmp", "emptyDir": {"sizeLimit": settings.tmp_size}}
    if settings.command_mode != "cli" or isinstance(settings.definitions, ConfigMapDefinitions):
        yield {"name": "feast-runner", "configMap": {"name": plan.runner}}
    if settings.configuration is not None:
        source = settings.configuration
        key = source.key if isinstance(source, ConfigMapConfiguration) else "feature_store.yaml"
        items = [{"key": key, "path": "feature_store.yaml"}]
        yield {"name": "feast-config", "configMap": {"name": config_map_name(plan), "items": items}}
    if isinstance(settings.definitions, ConfigMapDefinitions):
        yield {"name": "feast-definitions", "configMap": {"name": settings.definitions.name}}
        yield {"name": "feast-repo", "emptyDir": {"sizeLimit": settings.tmp_size}}
    if settings.ca_bundle_config_map:
        items = [{"key": settings.ca_bundle_key, "path": "ca-bundle.crt"}]
        yield {"name": "feast-ca", "configMap": {"name": settings.ca_bundle_config_map, "items": items}}


def _environment(settings: FeastSettings) -> Iterable[dict[str, str]]:
    found = {"PYTHONUNBUFFERED": "1", "HOME": "/tmp"}  # noqa: S108
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        if value := getattr(settings, name):
            found |= {name: value, name.upper(): value}
    if settings.ca_bundle_config_map:
        bundle = f"{CA_DIR}/ca-bundle.crt"
        found |= dict.fromkeys(
            ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE"), bundle
        )
    for name, value in (found | dict(settings.env)).items():
        yield {"name": name, "value": escape(value)}


def _env_from(source: str) -> dict[str, Any]:
    kind, _, name = source.partition("/")
    return {"configMapRef" if kind == "configmap" else "secretRef": {"name": name}}
