"""Requests to the Kubernetes API from a worker: plain dicts out, retried where safe, errors explained."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import tenacity
from kubernetes.client import ApiException, BatchV1Api, CoreV1Api
from urllib3.exceptions import HTTPError

from airflow_provider_feast.jobs.answers import OddAnswerError, json_object
from airflow_provider_feast.model.errors import (
    AdmissionRefusedError,
    AdmissionUnansweredError,
    ApiUnavailableError,
    FeastClusterError,
    FeastError,
    ForbiddenError,
    MissingObjectError,
    QuotaExceededError,
)
from airflow_provider_feast.model.rights import Right, group_of

TRANSIENT = frozenset({429, 500, 502, 503, 504})
"""Statuses after which the same request may be sent again."""

RETRY_SECONDS = 600.0
"""How long a worker's request is retried while the API server is away, unless the connection says otherwise."""


def delete_options(uid: str, version: str | None = None) -> dict[str, Any]:
    """How every Job is deleted: this very one, no later one of its name, together with its pods.

    :param version: only if its ``resourceVersion`` is still this one.
    """
    conditions = {"uid": uid} | ({"resourceVersion": version} if version else {})
    return {"propagationPolicy": "Foreground", "preconditions": conditions}


def pods_selector(job_uid: str) -> str:
    """The label selector of a Job's pods."""
    return f"batch.kubernetes.io/controller-uid={job_uid}"


def of_another(refused: FeastError) -> bool:
    """Whether a patch with ``metadata.uid`` was refused because a later object has the name now.

    Kubernetes answers 409 where it takes the uid for a precondition, and 422 where it validates that a uid never changes.
    """
    return isinstance(refused, AdmissionRefusedError) and "metadata.uid" in refused.what


def status_message(body: Any) -> str:
    """The message of a Kubernetes ``Status`` object, or the body's start.

    :param body: what the API answered, text or bytes.
    """
    text = body.decode(errors="replace") if isinstance(body, bytes) else str(body or "")
    try:
        status = json.loads(text)
    except ValueError:
        return text[:500]
    return str(status.get("message") or text[:500]) if isinstance(status, dict) else text[:500]


def warning_text(header: str) -> str:
    """What a ``Warning`` header of the API server says: ``299 - "text"``."""
    match = re.fullmatch(r'\d{3} \S+ "(.*)"', header)
    return re.sub(r"\\(.)", r"\1", match.group(1)) if match else header


_ADMISSION = re.compile(
    r"exceeded quota|failed quota|insufficient quota|status unknown for quota|admission webhook|denied (?:the )?request"
    r"|violates PodSecurity|being terminated|security context constraint|(?:max|min)imum \S+ usage per"
)
"""A 403 that is no missing right: admission refused what was asked for."""

_QUOTA_NOT_CHECKED = re.compile(r"Operation cannot be fulfilled on resourcequotas|status unknown for quota")
"""A 409 or 403 about no object of ours: others used the same quota at this moment, or it was made just now."""


def passing(status: int | None, message: str) -> bool:
    """Whether the same request may be sent again after such an answer.

    The quota plugin (``admission/plugin/resourcequota`` of the API server) gives up after three conflicts over a quota's
    status and answers with them, so not every 409 to a create means that the name is taken.
    """
    return status in TRANSIENT or (status in (403, 409) and bool(_QUOTA_NOT_CHECKED.search(message)))


def explain(status: int | None, message: str, verb: str, resource: str, namespace: str) -> FeastError:
    """The error that says what a refused request means.

    :param status: the HTTP status, or ``None`` when there was no answer.
    :param message: the server's own words.
    :param verb: the RBAC verb, e.g. ``create``.
    :param resource: the RBAC resource, e.g. ``jobs`` or ``pods/log``.
    """
    where = f"{verb} {resource} in namespace {namespace!r}"
    if status == 401:
        return ForbiddenError(
            f"Kubernetes does not accept Airflow's credentials: {message}",
            where=where,
            remedy="renew the token or certificate of the Kubernetes connection",
        )
    if status == 403 and not _ADMISSION.search(message):
        rule = Right(group_of(resource), resource, verb, "", True).rule
        return ForbiddenError(
            f"Airflow may not {verb} {resource}: {message}",
            where=where,
            remedy=f"give Airflow's account a Role in namespace {namespace!r} with the rule {rule}",
        )
    if status == 404:
        return MissingObjectError(message, where=where, remedy="create it, or correct the name")
    unanswered = "failed calling webhook" in message or _QUOTA_NOT_CHECKED.search(message)
    if status in (400, 403, 422) or unanswered:
        return _refused(message, where)
    if status is None or status in TRANSIENT:
        return ApiUnavailableError(
            f"the Kubernetes API did not answer: {message}",
            where=where,
            remedy="see whether the cluster can be reached from this worker; the task can be run again",
        )
    return FeastClusterError(f"Kubernetes answered {status}: {message}", where=where)


def _refused(message: str, where: str) -> FeastError:
    if "exceeded quota" in message:
        return QuotaExceededError(
            f"Kubernetes refused the request: {message}",
            where=where,
            remedy="wait until other Jobs have ended, or have the quota raised",
        )
    if _QUOTA_NOT_CHECKED.search(message):
        return AdmissionUnansweredError(
            f"a ResourceQuota could not be checked: {message}",
            where=where,
            remedy="run the task again; if it goes on, have the cluster's administrators look at its quota controller",
        )
    if "failed calling webhook" in message:
        return AdmissionUnansweredError(
            f"an admission check does not answer: {message}",
            where=where,
            remedy="run the task again; if it goes on, have the webhook's owner look at it",
        )
    return AdmissionRefusedError(
        f"Kubernetes refused the request: {message}", where=where, remedy="correct the field that it names"
    )


def _may_retry(error: BaseException) -> bool:
    no_answer = isinstance(error, (HTTPError, OddAnswerError))
    return no_answer or (isinstance(error, ApiException) and _passes(error))


def _passes(error: ApiException) -> bool:
    return passing(error.status, status_message(error.body))


_BACK_OFF = tenacity.wait_random_exponential(multiplier=0.2, max=5)


def _pause(state: tenacity.RetryCallState) -> float:
    """The seconds to wait before the next try: ours, or what the server's ``Retry-After`` asks for."""
    error = state.outcome.exception() if state.outcome else None
    asked = str((getattr(error, "headers", None) or {}).get("Retry-After") or "")
    return max(_BACK_OFF(state), float(asked) if asked.isdigit() else 0.0)


class ClusterApi:
    """The requests this package makes of one cluster and namespace.

    :param api_client: a ``kubernetes.client.ApiClient``.
    :param namespace: where the Jobs are.
    :param retry_seconds: how long a request is retried while the server is away.
    :raises FeastError: every method raises the error that :func:`explain` gives; those that may meet a 404 or
        409 in normal life return ``None`` for it.
    """

    def __init__(self, api_client: Any, namespace: str, retry_seconds: float = RETRY_SECONDS) -> None:
        self.namespace, self.api_client, self._retry_seconds = namespace, api_client, retry_seconds
        self._core, self._batch = CoreV1Api(api_client), BatchV1Api(api_client)

    def of_namespace(self, namespace: str) -> ClusterApi:
        """The same cluster, in another namespace."""
        if namespace == self.namespace:
            return self
        return ClusterApi(self.api_client, namespace, self._retry_seconds)

    def with_patience(self, seconds: float) -> ClusterApi:
        """The same cluster, where an API server that is away is waited for no longer than this."""
        return ClusterApi(self.api_client, self.namespace, min(seconds, self._retry_seconds))

    def send(
        self,
        verb: str,
        resource: str,
        method: Callable[..., Any],
        *args: Any,
        expected: tuple[int, ...] = (),
        **kwargs: Any,
    ) -> Any:
        """One request; the raw answer, or ``None`` for a status that is expected.

        :param verb: for messages, as ``resource``.
        :param method: of one of the client's APIs, called with ``args`` and ``kwargs``.
        """
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_may_retry),
            wait=_pause,
            stop=tenacity.stop_after_delay(self._retry_seconds),
            reraise=True,
        )
        try:
            return retrying(method, *args, _preload_content=False, _request_timeout=(10, 30), **kwargs)
        except ApiException as error:
            if error.status in expected and not _passes(error):
                return None
            raise explain(error.status, status_message(error.body), verb, resource, self.namespace) from error
        except (HTTPError, OddAnswerError) as error:
            raise explain(None, str(error), verb, resource, self.namespace) from error

    def call(
        self, verb: str, resource: str, method: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> dict[str, Any] | None:
        """As :meth:`send`; the object that is answered. What is no object (a proxy's page, say) is no answer."""

        def asked(*its: Any, **own: Any) -> dict[str, Any]:
            return json_object(method(*its, **own).data)

        body: dict[str, Any] | None = self.send(verb, resource, asked, *args, **kwargs)
        return body

    def _must(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        body = self.call(*args, **kwargs)
        return body if body is not None else {}

    def read_namespace(self) -> dict[str, Any] | None:
        """The namespace, or ``None``."""
        return self.call("get", "namespaces", self._core.read_namespace, self.namespace, expected=(404,))

    def read_service_account(self, name: str) -> dict[str, Any] | None:
        """A ServiceAccount, or ``None``."""
        read = self._core.read_namespaced_service_account
        return self.call("get", "serviceaccounts", read, name, self.namespace, expected=(404,))

    def read_config_map(self, name: str) -> dict[str, Any] | None:
        """A ConfigMap, or ``None``."""
        return self.call(
            "get", "configmaps", self._core.read_namespaced_config_map, name, self.namespace, expected=(404,)
        )

    def create_config_map(self, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """Create a ConfigMap; ``None`` when its name is taken."""
        return self.call(
            "create",
            "configmaps",
            self._core.create_namespaced_config_map,
            self.namespace,
            body,
            expected=(409,),
        )

    def create_job(self, body: Mapping[str, Any]) -> dict[str, Any] | None:
        """Create a Job; ``None`` when its name is taken."""
        create = self._batch.create_namespaced_job
        return self.call(
            "create", "jobs", create, self.namespace, body, field_validation="Strict", expected=(409,)
        )

    def try_job(self, body: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """Have a Job admitted without creating it.

        :returns: the Job as it would be stored, and what the server warns of.
        """
        create = self._batch.create_namespaced_job
        answer = self.send(
            "create", "jobs", create, self.namespace, body, field_validation="Strict", dry_run="All"
        )
        job: dict[str, Any] = json.loads(answer.data)
        return job, [warning_text(header) for header in answer.headers.getlist("Warning")]

    def read_job(self, name: str) -> dict[str, Any] | None:
        """A Job, or ``None``."""
        return self.call(
            "get", "jobs", self._batch.read_namespaced_job, name, self.namespace, expected=(404,)
        )

    def list_jobs(self, selector: str) -> list[dict[str, Any]]:
        """The Jobs that carry labels."""
        body = self._must(
            "list", "jobs", self._batch.list_namespaced_job, self.namespace, label_selector=selector
        )
        return list(body.get("items") or ())

    def patch_job(self, name: str, patch: Mapping[str, Any]) -> dict[str, Any] | None:
        """Merge a patch into a Job; ``None`` when it is gone.

        :param patch: with ``metadata.uid``, a later Job of this name is left alone: ``None`` as well.
        """
        send = self._batch.patch_namespaced_job
        try:
            return self.call("patch", "jobs", send, name, self.namespace, patch, expected=(404, 409))
        except AdmissionRefusedError as refused:
            if of_another(refused):
                return None
            raise

    def delete_job(self, name: str, uid: str) -> dict[str, Any] | None:
        """Delete this very Job (no later one of its name) with its pods; ``None`` when it is gone."""
        options = delete_options(uid)
        delete = self._batch.delete_namespaced_job
        return self.call("delete", "jobs", delete, name, self.namespace, body=options, expected=(404, 409))

    def list_pods(self, job_uid: str) -> list[dict[str, Any]]:
        """The pods of a Job."""
        selector = pods_selector(job_uid)
        body = self._must(
            "list", "pods", self._core.list_namespaced_pod, self.namespace, label_selector=selector
        )
        return list(body.get("items") or ())

    def read_log(self, pod: str, container: str) -> str:
        """All that a container wrote, as far as the node has kept it; "" when the pod is gone."""
        read = self._core.read_namespaced_pod_log
        answer = self.send(
            "get", "pods/log", read, pod, self.namespace, container=container, expected=(400, 404)
        )
        return "" if answer is None else answer.data.decode(errors="replace")

    def list_events(self, kind: str, name: str) -> list[dict[str, Any]]:
        """The Events about one object."""
        selector = f"involvedObject.kind={kind},involvedObject.name={name}"
        body = self._must(
            "list", "events", self._core.list_namespaced_event, self.namespace, field_selector=selector
        )
        return list(body.get("items") or ())
