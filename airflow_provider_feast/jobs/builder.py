"""Turn a plan into the final Job: our manifest, through KubernetesJobOperator, finished by our rules.

KubernetesJobOperator is builder and toolbox here: its ``build_job_request_obj`` applies any of its keywords
(``pod_options``) and the cluster's ``pod_mutation_hook``. It also renames,
relabels and overrides, which :func:`finalize` undoes.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from typing import Any

from airflow.providers.cncf.kubernetes.operators.job import KubernetesJobOperator
from airflow.providers.common.compat.sdk import AirflowException
from kubernetes.client import ApiClient, Configuration
from kubernetes.client import models as k8s

from airflow_provider_feast.jobs.manifest import CONTAINER, JobPlan, build_job
from airflow_provider_feast.jobs.masking import tell_secrets
from airflow_provider_feast.model import naming
from airflow_provider_feast.model.errors import FeastDagError
from airflow_provider_feast.model.merge import merge
from airflow_provider_feast.model.names import check_plain
from airflow_provider_feast.model.security import api_token, loosened, profile_named
from airflow_provider_feast.model.shape import check_shape

JOB_LEVEL_OPTIONS = {
    "backoff_limit": "backoffLimit",
    "ttl_seconds_after_finished": "ttlSecondsAfterFinished",
    "active_deadline_seconds": "activeDeadlineSeconds",
}
"""pod_options that belong to the Job, and the field of its spec each one sets."""

_QUIET = logging.getLogger(f"{__name__}.operator")
_QUIET.setLevel(logging.WARNING)

_REFUSED_OPTIONS = {
    **dict.fromkeys(
        ("name", "random_name_suffix", "namespace"), "the provider names the Job; use namespace="
    ),
    **dict.fromkeys(("full_pod_spec", "full_job_spec", "job_template_file"), "use job_overrides="),
    **dict.fromkeys(("cmds", "arguments"), "use command="),
    "image": "use image=",
    "labels": "use job_overrides= for labels of your own",
    **dict.fromkeys(("base_container_name", "task_id"), "the provider sets it"),
    **dict.fromkeys(
        ("completions", "completion_mode", "parallelism", "suspend", "selector", "manual_selector"),
        "one Job runs one command in one pod",
    ),
    **dict.fromkeys(
        ("deferrable", "wait_until_job_complete", "do_xcom_push", "get_logs", "on_finish_action", "durable"),
        "the provider waits, logs and cleans up itself",
    ),
    **dict.fromkeys(
        ("kubernetes_conn_id", "in_cluster", "config_file", "cluster_context"),
        "use the feast connection's fields",
    ),
}


_LOG = logging.getLogger(__name__)


_MODELS = {"volumes": k8s.V1Volume, "volume_mounts": k8s.V1VolumeMount, "ports": k8s.V1ContainerPort}
_SOURCES = "definitions_volume, pod_options, job_overrides, or the cluster's pod_mutation_hook"
"""Where the parts of a pod come from that are not the provider's own."""

_LABELS_OF_A_TRY = frozenset({"try_number", "airflow_version"})


class _JobBuilder(KubernetesJobOperator):
    """KubernetesJobOperator as a builder: its ``execute`` is never called."""

    BASE_CONTAINER_NAME = CONTAINER
    log: Any = _QUIET  # "Building job job-feast-…" names a Job that never exists


def check_pod_options(options: Mapping[str, Any]) -> None:
    """Refuse KubernetesJobOperator keywords that would take the Job out of our hands.

    :raises FeastDagError: naming the keyword and what to use instead.
    """
    for name in options:
        if name in _REFUSED_OPTIONS:
            raise FeastDagError(f"pod_options sets {name!r}, which is refused", remedy=_REFUSED_OPTIONS[name])


def build_final_job(plan: JobPlan, hook: Any, context: Any) -> dict[str, Any]:
    """The Job as it will be sent.

    :param hook: the ``KubernetesHook`` of the cluster.
    :param context: the task's context (KubernetesJobOperator labels the pod from it).
    :raises FeastDagError: for options or overrides that are refused or loosen the security profile.
    """
    wanted = build_job(plan)
    built = _through_operator(wanted, plan, hook, context)
    job = finalize(built, wanted, plan.settings.pod_options)
    overrides = dict(plan.settings.job_overrides)
    if overrides:
        job = merge(job, overrides)
    check_plain(job, "the Job")
    check_shape(job, _SOURCES, whole=True)
    job = tell_secrets(job, CONTAINER)
    _check_security(job, plan)
    job["metadata"].setdefault("annotations", {})[naming.A_MANIFEST_DIGEST] = manifest_digest(job)
    return job


def _through_operator(wanted: dict[str, Any], plan: JobPlan, hook: Any, context: Any) -> dict[str, Any]:
    client = ApiClient(configuration=Configuration())
    check_pod_options(plan.settings.pod_options)
    options = _as_models(plan.settings.pod_options, client)
    template = wanted["spec"]["template"]
    pod = client._ApiClient__deserialize(
        {"apiVersion": "v1", "kind": "Pod", **copy.deepcopy(template)}, k8s.V1Pod
    )
    try:
        builder = _JobBuilder(
            task_id=plan.key.task_id,
            namespace=plan.namespace,
            name=plan.name,
            image=plan.settings.image,
            random_name_suffix=False,
            full_pod_spec=pod,
            **options,
        )
        builder.hook = hook
        built: dict[str, Any] = client.sanitize_for_serialization(builder.build_job_request_obj(context))
    except (TypeError, ValueError, AttributeError, KeyError, AirflowException) as error:
        if not options:  # then it is the cluster's pod_mutation_hook that speaks
            raise
        raise FeastDagError(
            f"pod_options ({', '.join(map(str, options))}) holds something KubernetesJobOperator does not take: {error}",
            remedy="see the keywords of KubernetesJobOperator",
        ) from error
    return built


def _as_models(options: Mapping[str, Any], client: Any) -> dict[str, Any]:
    """The options with what JSON cannot hold: KubernetesJobOperator takes these lists only as model objects."""
    found = dict(options)
    for name, model in _MODELS.items():
        items = found.get(name) or []
        if not isinstance(items, (list, tuple)) or not all(isinstance(i, (model, Mapping)) for i in items):
            raise FeastDagError(
                f"pod_options: {name} must be a list of mappings or {model.__name__} objects, not {items!r}",
                remedy="write them as in a pod's manifest",
            )
        if items:
            found[name] = [_as_model(name, item, model, client) for item in items]
    return found


def _as_model(name: str, item: Any, model: type, client: Any) -> Any:
    if isinstance(item, model):
        return item
    try:
        return client._ApiClient__deserialize(dict(item), model)
    except ValueError as error:
        raise FeastDagError(
            f"pod_options: {name} holds {item!r}: {error}", remedy="write it as in a pod's manifest"
        ) from error


def finalize(built: dict[str, Any], wanted: dict[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Take the pod from what KubernetesJobOperator built, and all else from what we wanted.

    The labels of an Airflow try and release are dropped: a retry, also one after an upgrade of Airflow, must find that
    its Job does the same; and ``airflow kubernetes cleanup-pods`` deletes finished pods that carry them.

    :param built: KubernetesJobOperator's Job.
    :param wanted: ours.
    :param options: the ``pod_options``; those of the Job itself win over ours.
    """
    job = copy.deepcopy(wanted)
    template, ours = copy.deepcopy(built["spec"]["template"]), wanted["spec"]["template"]
    spec, metadata = template["spec"], template.setdefault("metadata", {})
    for name in ("name", "namespace", "creationTimestamp"):
        metadata.pop(name, None)
    labels = metadata.get("labels") or {}
    theirs = {key: value for key, value in labels.items() if key not in _LABELS_OF_A_TRY}
    metadata["labels"] = {**theirs, **ours["metadata"]["labels"]}
    spec.pop("activeDeadlineSeconds", None)
    spec["restartPolicy"] = "Never"
    policies = {c["name"]: c["terminationMessagePolicy"] for c in ours["spec"]["containers"]}
    for container in spec["containers"]:
        if container["name"] in policies and "termination_message_policy" not in options:
            container["terminationMessagePolicy"] = policies[container["name"]]
    for option, field in JOB_LEVEL_OPTIONS.items():
        if options.get(option) is not None:
            job["spec"][field] = _whole(option, options[option])
    job["spec"]["template"] = template
    return job


def _whole(option: str, value: Any) -> int:
    """A number of pod_options; a template gives it as text."""
    try:
        return int(str(value))
    except ValueError as error:
        raise FeastDagError(
            f"pod_options: {option}={value!r} is not a whole number", remedy="give a number"
        ) from error


def manifest_digest(job: Mapping[str, Any]) -> str:
    """What tells whether two Jobs would do the same: the spec, without what differs between tries.

    An inline configuration lies in a ConfigMap that is named after the Job, so the spec does not show it: its own
    digest counts too.
    """
    metadata = job["metadata"]
    configuration = (metadata.get("annotations") or {}).get(naming.A_CONFIG_DIGEST, "")
    return naming.digest(
        {"spec": job["spec"], "labels": metadata.get("labels"), "configuration": configuration}
    )[:40]


def _check_security(job: dict[str, Any], plan: JobPlan) -> None:
    profile = profile_named(plan.settings.security_profile)
    spec = (job["spec"].get("template") or {}).get("spec") or {}
    if not any(container.get("name") == CONTAINER for container in spec.get("containers") or ()):
        raise FeastDagError(
            f"the Job has no container named {CONTAINER!r} any more",
            remedy="do not remove it in job_overrides",
        )
    if found := loosened(spec, profile):
        raise FeastDagError(
            f"the pod is looser than its security profile {profile.name!r}: {'; '.join(found)}",
            where=_SOURCES,
            remedy="remove what loosens it, or name a looser profile: security_profile='writable-root', "
            "'baseline' or 'privileged'",
        )
    if not plan.settings.kubernetes_api_access and (field := api_token(spec)):
        raise FeastDagError(
            f"the pod would mount a token of its service account: {field}",
            where=_SOURCES,
            remedy="remove it, or set kubernetes_api_access in the connection if Feast needs the Kubernetes API",
        )
