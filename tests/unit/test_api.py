"""What a refused request means: the error, its remedy, and what is retried."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from kubernetes.client import ApiException
from urllib3.exceptions import MaxRetryError

from airflow_provider_feast.jobs.api import TRANSIENT, ClusterApi, explain, status_message
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


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"kind": "Status", "message": "jobs is forbidden"}', "jobs is forbidden"),
        (b'{"message": "from bytes"}', "from bytes"),
        ('{"kind": "Status"}', '{"kind": "Status"}'),
        ("upstream connect error", "upstream connect error"),
        ("[1]", "[1]"),
        (None, ""),
        (b"\xff", "\ufffd"),
        ("x" * 900, "x" * 500),
    ],
)
def test_the_message_of_an_answer(body: Any, message: str) -> None:
    assert status_message(body) == message


@pytest.mark.parametrize(
    ("status", "message", "error", "remedy"),
    [
        (401, "Unauthorized", ForbiddenError, "renew the token"),
        (403, "jobs.batch is forbidden", ForbiddenError, 'apiGroups: ["batch"], resources: ["jobs"]'),
        (403, "exceeded quota: q, requested: count/jobs=1", QuotaExceededError, "wait until other Jobs"),
        (
            403,
            "ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no",
            AdmissionRefusedError,
            "correct",
        ),
        (
            403,
            "unable to create new content in namespace x because it is being terminated",
            AdmissionRefusedError,
            "",
        ),
        (403, "failed quota: q: must specify limits.memory for: main", AdmissionRefusedError, "correct"),
        (403, "insufficient quota to consume: count/jobs.batch", AdmissionRefusedError, "correct"),
        (403, "status unknown for quota: q, resources: count/jobs.batch", AdmissionUnansweredError, "quota"),
        (
            409,
            'Operation cannot be fulfilled on resourcequotas "q": the object has been modified',
            AdmissionUnansweredError,
            "run the task again",
        ),
        (
            500,
            'Internal error occurred: failed calling webhook "w"',
            AdmissionUnansweredError,
            "webhook's owner",
        ),
        (403, "admission webhook denied the request", AdmissionRefusedError, "correct the field"),
        (404, 'namespaces "x" not found', MissingObjectError, "create it"),
        (400, "unknown field", AdmissionRefusedError, "correct the field"),
        (422, "Job is invalid", AdmissionRefusedError, "correct the field"),
        (None, "no route to host", ApiUnavailableError, "can be run again"),
        *((status, "busy", ApiUnavailableError, "can be run again") for status in sorted(TRANSIENT)),
        (418, "teapot", FeastClusterError, ""),
    ],
)
def test_a_refusal_is_explained(
    status: int | None, message: str, error: type[FeastError], remedy: str
) -> None:
    found = explain(status, message, "create", "jobs", "features")
    assert type(found) is error
    assert message in found.what
    assert found.where == "create jobs in namespace 'features'"
    assert remedy in found.remedy


def test_the_rule_for_pods_names_the_core_group() -> None:
    assert 'apiGroups: [""], resources: ["pods/log"]' in explain(403, "no", "get", "pods/log", "ns").remedy


class Answers:
    """A request that answers one thing after the other."""

    def __init__(self, *answers: Any) -> None:
        self.answers, self.asked = list(answers), 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(data=answer if isinstance(answer, bytes) else json.dumps(answer).encode())


def refusal(status: int) -> ApiException:
    return ApiException(status=status, reason="said so")


def api(retry_seconds: float = 30.0) -> ClusterApi:
    return ClusterApi(None, "features", retry_seconds)


@pytest.mark.parametrize("trouble", [refusal(429), refusal(503), MaxRetryError(None, "/", None)])  # type: ignore[arg-type]
def test_a_short_outage_is_waited_out(trouble: Exception) -> None:
    request = Answers(trouble, {"kind": "Job"})
    assert api().call("get", "jobs", request) == {"kind": "Job"}
    assert request.asked == 2


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 410, 422])
def test_what_will_not_change_by_asking_again_is_asked_once(status: int) -> None:
    request = Answers(refusal(status))
    with pytest.raises(FeastError):
        api().call("get", "jobs", request)
    assert request.asked == 1


@pytest.mark.parametrize("trouble", [refusal(500), MaxRetryError(None, "/", None)])  # type: ignore[arg-type]
def test_a_long_outage_is_an_error_that_can_be_tried_again(trouble: Exception) -> None:
    with pytest.raises(ApiUnavailableError) as caught:
        api(retry_seconds=0).call("get", "jobs", Answers(trouble))
    assert caught.value.retryable
    assert caught.value.__cause__ is trouble


@pytest.mark.parametrize("page", [b"<html>Please log in</html>", b"[]"])
def test_a_page_of_a_proxy_is_no_answer(page: bytes) -> None:
    request = Answers(page, {"kind": "Job"})
    assert api().call("get", "jobs", request) == {"kind": "Job"}
    assert request.asked == 2
    with pytest.raises(ApiUnavailableError, match="did not answer: an answer that is no JSON"):
        api(retry_seconds=0).call("get", "jobs", Answers(page))


def test_a_status_that_belongs_to_normal_life_is_none() -> None:
    assert api().call("get", "jobs", Answers(refusal(404)), expected=(404,)) is None


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "not found"),
        (409, "Precondition failed: UID in precondition: 1, UID in object meta: 2"),
        (422, 'Job.batch "load" is invalid: metadata.uid: Invalid value: "1": field is immutable'),
    ],
)
def test_a_patch_leaves_a_later_job_of_the_same_name_alone(
    monkeypatch: pytest.MonkeyPatch, status: int, message: str
) -> None:
    refused = refusal(status)
    refused.body = json.dumps({"message": message})
    monkeypatch.setattr("kubernetes.client.BatchV1Api.patch_namespaced_job", Answers(refused))
    assert api().patch_job("load", {"metadata": {"uid": "1"}}) is None


def test_a_patch_that_is_refused_for_another_reason_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    refused = refusal(422)
    refused.body = json.dumps({"message": "spec.template: field is immutable"})
    monkeypatch.setattr("kubernetes.client.BatchV1Api.patch_namespaced_job", Answers(refused))
    with pytest.raises(AdmissionRefusedError, match="template"):
        api().patch_job("load", {"metadata": {"uid": "1"}})
