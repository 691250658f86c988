"""The fields of a `feast` connection: one table for the form, for reading it, and for the docs."""

from __future__ import annotations

from typing import Any, NamedTuple

from airflow_provider_feast.model.definitions import GIT_IMAGE


class Field(NamedTuple):
    """One field of the connection's form (a key of its ``extra``).

    :param kind: ``string``, ``integer``, ``boolean``, ``json`` (an object) or ``text`` (several lines).
    :param choices: the only values allowed, if there are such.
    """

    name: str
    label: str
    description: str
    kind: str = "string"
    choices: tuple[str, ...] = ()

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON schema Airflow's form takes."""
        kind = self.kind if self.kind in ("integer", "boolean") else "string"
        schema: dict[str, Any] = {"type": [kind, "null"]}
        if self.choices:
            schema["enum"] = [*self.choices, None]
        if self.kind in ("json", "text"):
            schema["format"] = "multiline"
        return schema


FIELDS: tuple[Field, ...] = (
    Field(
        "kubernetes_conn_id",
        "Kubernetes connection",
        "Connection of the cluster. Default kubernetes_default.",
    ),
    Field(
        "namespace", "Namespace", "Where the Jobs run. Default: the Kubernetes connection's, else `default`."
    ),
    Field("feature_store", "Feature store", "Name on labels. Default: the connection id without `feast_`."),
    Field(
        "image",
        "Image",
        "Image with Python and Feast, e.g. quay.io/feastdev/feature-server:0.67.0 or a digest.",
    ),
    Field("image_pull_policy", "Pull policy", "When to pull.", choices=("IfNotPresent", "Always", "Never")),
    Field("image_pull_secrets", "Pull secrets", "Names of Secrets in the namespace, separated by commas."),
    Field("python", "Python in the image", "Interpreter that has Feast. Default python3."),
    Field("config_map", "Configuration: ConfigMap", "ConfigMap that holds feature_store.yaml."),
    Field("config_map_key", "Configuration: key", "Its key. Default feature_store.yaml."),
    Field(
        "config_secret", "Configuration: Secret", "Secret that holds feature_store.yaml; only pods read it."
    ),
    Field("config_secret_key", "Configuration: key in the Secret", "Its key. Default feature_store.yaml."),
    Field(
        "configuration", "Configuration: inline", "feature_store.yaml itself, instead of a ConfigMap.", "text"
    ),
    Field(
        "feature_store_resource",
        "Configuration: FeatureStore",
        "FeatureStore of the Feast operator (NAME or NAMESPACE/NAME) whose client configuration is used.",
    ),
    Field(
        "configuration_patch",
        "Configuration: patch",
        "JSON object that is merged over feature_store.yaml; null removes a key.",
        "json",
    ),
    Field(
        "definitions_path",
        "Definitions: path",
        "Feature repository in the image, e.g. /opt/app/feature_repo.",
    ),
    Field(
        "definitions_config_map", "Definitions: ConfigMap", "ConfigMap whose keys are the repository's files."
    ),
    Field(
        "definitions_git_url",
        "Definitions: Git",
        "Repository, e.g. https://git.example.com/team/features.git, without credentials.",
    ),
    Field("definitions_git_ref", "Definitions: ref", "Branch, tag or whole commit id. Default HEAD."),
    Field(
        "definitions_git_secret",
        "Definitions: Git Secret",
        "Secret with token (or username, password), or ssh-privatekey and known_hosts.",
    ),
    Field(
        "definitions_git_image",
        "Definitions: Git image",
        f"Image with git, and ssh where that is used. Default {GIT_IMAGE}.",
    ),
    Field("definitions_claim", "Definitions: claim", "PersistentVolumeClaim that holds the repository."),
    Field(
        "definitions_volume",
        "Definitions: volume",
        'JSON object: any volume as in a pod\'s manifest, without its name, e.g. {"csi": {"driver": "…"}}.',
        "json",
    ),
    Field(
        "definitions_subdirectory",
        "Definitions: directory",
        "Where in the Git repository or on the volume the feature repository is.",
    ),
    Field(
        "definitions_copy",
        "Definitions: copy",
        "Copy from path or volume to a writable place first. Default: yes for a volume, no for a path.",
        "boolean",
    ),
    Field("service_account", "Service account", "For the pods. Default: the namespace's `default`."),
    Field(
        "security_profile",
        "Security profile",
        "How locked down the pods are. Default restricted.",
        choices=("restricted", "arbitrary-uid", "writable-root", "baseline", "privileged"),
    ),
    Field(
        "kubernetes_api_access",
        "Kubernetes API access",
        "Mount the service account's token into the pods. Default no: Feast seldom needs it.",
        "boolean",
    ),
    Field(
        "run_as_user",
        "User id",
        "For profiles that fix one. Default 1001 (the feature-server image).",
        "integer",
    ),
    Field(
        "deadline_seconds",
        "Deadline (s)",
        "A Job is stopped after this many seconds. Default 21600.",
        "integer",
    ),
    Field(
        "backoff_limit",
        "Retries in the Job",
        "Pod failures a Job bears. Default 0: Airflow retries.",
        "integer",
    ),
    Field("ttl_seconds", "Keep (s)", "A finished Job is kept this long. Default 86400.", "integer"),
    Field(
        "ttl_on_failure_seconds",
        "Keep failed (s)",
        "A failed Job is kept this long. Default 604800.",
        "integer",
    ),
    Field(
        "startup_timeout_seconds", "Start-up (s)", "How long a pod may take to start. Default 600.", "integer"
    ),
    Field("cpu_request", "CPU request", "Kubernetes quantity. Default 500m."),
    Field("cpu_limit", "CPU limit", "Kubernetes quantity. Default 2."),
    Field("memory_request", "Memory request", "Kubernetes quantity. Default 512Mi."),
    Field("memory_limit", "Memory limit", "Kubernetes quantity. Default 2Gi."),
    Field("tmp_size", "Size of /tmp", "Limit of the writable /tmp. Default 1Gi."),
    Field(
        "env",
        "Environment",
        'JSON object: {"AWS_REGION": "eu-west-1", "PASSWORD": {"secret": "NAME", "key": "KEY"}}.',
        "json",
    ),
    Field(
        "env_from",
        "Environment from",
        "ConfigMaps and Secrets: `configmap/a, secret/b`, separated by commas.",
    ),
    Field("http_proxy", "HTTP proxy", "Sets HTTP_PROXY and http_proxy."),
    Field("https_proxy", "HTTPS proxy", "Sets HTTPS_PROXY and https_proxy."),
    Field("no_proxy", "No proxy", "Sets NO_PROXY and no_proxy."),
    Field("ca_bundle_config_map", "CA bundle: ConfigMap", "ConfigMap with a PEM bundle to trust."),
    Field("ca_bundle_key", "CA bundle: key", "Its key. Default ca-bundle.crt."),
    Field(
        "istio_injection",
        "Istio sidecar",
        "Let Istio inject its sidecar. Default no: it keeps Jobs alive.",
        "boolean",
    ),
    Field("lookback", "Lookback", "Window of runs without a data interval, e.g. 1d, 26h, 90m."),
    Field("command_mode", "Command mode", "runner (default) or plain Feast CLI.", choices=("runner", "cli")),
    Field("fast_start", "Fast start", "Skip typeguard's checks while Feast loads. Default yes.", "boolean"),
    Field(
        "concurrency",
        "Registry writers",
        "Who may write at once: one per `registry` (files), per `view` (SQL), or `none` (no lock). Default registry.",
        choices=("registry", "view", "none"),
    ),
    Field(
        "lock_name",
        "Lock: Lease",
        "Lease that guards the registry; the same for all connections to it. Default feast-<feature store>.",
    ),
    Field("lock_namespace", "Lock: namespace", "Namespace of that Lease. Default: that of the Jobs."),
    Field(
        "lock_timeout_seconds",
        "Lock timeout (s)",
        "How long a Job waits for other writers of its registry. Default 21600.",
        "integer",
    ),
    Field(
        "api_outage_tolerance_seconds",
        "API outage (s)",
        "How long the Kubernetes API may be away before a task gives up. Default 600.",
        "integer",
    ),
    Field(
        "defer_after_seconds",
        "Defer after (s)",
        "How long a deferrable task watches in its worker before it defers; 0: not at all. Default 10.",
        "integer",
    ),
    Field(
        "registry_rest_url",
        "Registry REST server",
        "Of `feast serve_registry --rest-api`, e.g. http://feast-registry:6572?project=shop; sensors ask it instead of "
        "starting a Job.",
    ),
    Field("deployment_id", "Airflow deployment", "Tells two Airflows apart that share a namespace."),
    Field("pod_options", "Pod options", "JSON object of KubernetesJobOperator keywords.", "json"),
    Field("job_overrides", "Job overrides", "JSON object: a partial Job, merged last.", "json"),
)
"""Every field, in the order of the form."""

FIELD_NAMES = frozenset(field.name for field in FIELDS)

NAMES_OF_OBJECTS = frozenset(
    field.name
    for field in FIELDS
    if "secret" in field.name
    or field.name in ("service_account", "env", "env_from", "job_overrides", "definitions_volume")
)
"""Fields that hold names of objects where Airflow would see secrets, by the names of fields or of keys in them."""
