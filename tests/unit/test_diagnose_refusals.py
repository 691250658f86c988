"""What policy engines and image registries say, each in its own words: the verdict on it.

Worded after the sources of the admission plugins, containerd and CRI-O, and after people's reports of OpenShift, GKE,
EKS, Kyverno and Gatekeeper; only ``tests/data/recordings`` was recorded.
"""

from __future__ import annotations

import pytest
from job_objects import (
    IMAGE,
    container,
    creation,
    event,
    job,
    pod,
    startup,
    waits,
)

from airflow_provider_feast.jobs.diagnose import diagnose

MENDS, STUCK = True, False


# --- admission -----------------------------------------------------------------------------------

REFUSALS: dict[str, tuple[str, str, bool, str, str]] = {
    "Gatekeeper": (
        'admission webhook "validation.gatekeeper.sh" denied the request: [require-team-label] you must provide labels',
        "admission_refused",
        STUCK,
        "validation.gatekeeper.sh refuses the pod in namespace ns: [require-team-label]",
        "owner of that rule",
    ),
    "Kyverno": (
        'admission webhook "validate.kyverno.svc-fail" denied the request: \n\nresource Pod/ns/x was blocked due to the '
        "following policies \n\ndisallow-latest-tag:\n  validate-image-tag: 'validation error: tag required'",
        "admission_refused",
        STUCK,
        "validate-image-tag: 'validation error: tag required'",
        "owner of that rule",
    ),
    "a webhook without a word": (
        'admission webhook "pods.example" denied the request without explanation',
        "admission_refused",
        STUCK,
        "pods.example refuses the pod",
        "owner of that rule",
    ),
    "GKE Autopilot": (
        'admission webhook "warden-validating.common-webhooks.networking.gke.io" denied the request: GKE Warden rejected '
        "the request because it violates one or more constraints.",
        "admission_refused",
        STUCK,
        "GKE Warden rejected",
        "owner of that rule",
    ),
    "a ValidatingAdmissionPolicy": (
        "pods \"x\" is forbidden: ValidatingAdmissionPolicy 'images' with binding 'images-b' denied request: only from "
        "registry.example",
        "admission_refused",
        STUCK,
        "policy images refuses the pod in namespace ns: only from registry.example",
        "owner of that rule",
    ),
    "OpenShift": (
        'pods "x" is forbidden: unable to validate against any security context constraint: [provider "anyuid": '
        'Forbidden: not usable by user or serviceaccount, provider "restricted-v2": .spec.securityContext.fsGroup: '
        "Invalid value: []int64{1001}: 1001 is not an allowed group]",
        "admission_refused",
        STUCK,
        "1001 is not an allowed group",
        "arbitrary-uid",
    ),
    "a LimitRange's minimum": (
        'pods "x" is forbidden: minimum memory usage per Container is 1Gi, but request is 512Mi',
        "admission_refused",
        STUCK,
        "LimitRange in namespace ns",
        "memory_request",
    ),
    "a LimitRange's ratio": (
        'pods "x" is forbidden: memory max limit to request ratio per Container is 2, but provided ratio is 4.000000',
        "admission_refused",
        STUCK,
        "ratio is 4.000000",
        "memory_limit",
    ),
    "a LimitRange's default below the request": (
        'Pod "x" is invalid: spec.containers[0].resources.requests: Invalid value: "512Mi": must be less than or equal '
        "to memory limit of 256Mi",
        "admission_refused",
        STUCK,
        "memory limit of 256Mi",
        "limits",
    ),
    "a quota in use": (
        'pods "x" is forbidden: exceeded quota: q, requested: limits.memory=2Gi, used: limits.memory=7Gi, limited: '
        "limits.memory=8Gi",
        "quota_exceeded",
        MENDS,
        "q in namespace ns is used up",
        "Wait for other pods",
    ),
    "a quota that is too small": (
        'pods "x" is forbidden: exceeded quota: q, requested: limits.cpu=2500m,limits.memory=64Gi, used: limits.cpu=0,'
        "limits.memory=0, limited: limits.cpu=4,limits.memory=8192Mi",
        "admission_refused",
        MENDS,
        "asks for more limits.memory than the whole ResourceQuota q",
        "Ask for less",
    ),
    "a quota for priorities": (
        'pods "x" is forbidden: insufficient quota to match these scopes: [{PriorityClass In [high]}]',
        "admission_refused",
        STUCK,
        "PriorityClass In [high]",
        "priorityClassName",
    ),
    "a quota that changed meanwhile": (
        'Operation cannot be fulfilled on resourcequotas "q": the object has been modified; please apply your changes to '
        "the latest version and try again",
        "admission_unanswered",
        MENDS,
        "does not answer",
        "goes on",
    ),
    "a priority that a class forbids": (
        'pods "x" is forbidden: the integer value of priority (1000) must not be provided in pod spec; priority '
        "admission controller computed 0 from the given PriorityClass name",
        "admission_refused",
        STUCK,
        "must not be provided",
        "pod_options",
    ),
    "an unknown RuntimeClass": (
        'pods "x" is forbidden: pod rejected: RuntimeClass "gvisor" not found',
        "missing_object",
        STUCK,
        "gvisor",
        "runtimeClassName",
    ),
    "a ServiceAccount that is looked up": (
        'pods "x" is forbidden: error looking up service account ns/loader: serviceaccount "loader" not found',
        "missing_object",
        STUCK,
        "ServiceAccount loader does not exist in namespace ns",
        "kubectl create serviceaccount loader -n ns",
    ),
    "a webhook without endpoints": (
        'Internal error occurred: failed calling webhook "mutate.kyverno.svc-fail": failed to call webhook: Post '
        '"https://kyverno-svc.kyverno.svc:443/mutate/fail": no endpoints available for service "kyverno-svc"',
        "admission_unanswered",
        MENDS,
        "no endpoints available",
        "webhook's owner",
    ),
    "etcd": ("etcdserver: request timed out", "admission_unanswered", MENDS, "etcdserver", "goes on"),
    "a namespace that goes away": (
        'pods "x" is forbidden: unable to create new content in namespace ns because it is being terminated',
        "admission_refused",
        STUCK,
        "being terminated",
        "Change what the message names",
    ),
    "a namespace that has gone": (
        'namespaces "ns" not found',
        "missing_object",
        STUCK,
        "The namespace ns does not exist",
        "Create the namespace",
    ),
    "anything else": ("the moon is full", "admission_refused", MENDS, "the moon is full", "administrators"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refused_pod_is_explained_in_the_words_of_who_refused_it(case: str) -> None:
    message, kind, can_mend, cause, advice = REFUSALS[case]
    problem = creation(message)
    assert (problem.kind, problem.can_mend) == (kind, can_mend)
    assert cause in problem.cause
    assert advice in problem.remedy


def test_what_the_api_put_together_of_many_refusals_is_read_like_one() -> None:
    said = '(combined from similar events): Error creating: pods "x" is forbidden: exceeded quota: q, requested: pods=1'
    outcome = diagnose(job(), [], [event("load", "FailedCreate", said, kind="Job")])
    assert outcome.problem is not None
    assert outcome.problem.kind == "quota_exceeded"


# --- images --------------------------------------------------------------------------------------

RESOLVE = f'rpc error: code = Unknown desc = failed to pull and unpack image "{IMAGE}": failed to resolve reference '
PULLS: dict[str, tuple[str, str, str, bool, str]] = {
    "Docker Hub, private or absent": (
        "ErrImagePull",
        f'{RESOLVE}"{IMAGE}": pull access denied, repository does not exist or may require authorization: server '
        "message: insufficient_scope: authorization failed",
        "image_unavailable",
        MENDS,
        "image_pull_secrets",
    ),
    "ECR": (
        "ErrImagePull",
        f'{RESOLVE}"{IMAGE}": pulling from host 1.dkr.ecr.eu-west-1.amazonaws.com failed with status code [manifests 1]: '
        "403 Forbidden",
        "image_unavailable",
        MENDS,
        "image_pull_secrets",
    ),
    "Artifact Registry": (
        "ErrImagePull",
        f'{RESOLVE}"{IMAGE}": failed to authorize: failed to fetch oauth token: unexpected status from GET request: 403 '
        "Forbidden",
        "image_unavailable",
        MENDS,
        "image_pull_secrets",
    ),
    "CRI-O, no such tag": (
        "ErrImagePull",
        "reading manifest 9.9.9 in quay.io/feastdev/feature-server: manifest unknown",
        "image_unavailable",
        MENDS,
        "name and tag",
    ),
    "CRI-O, a short name": (
        "ImageInspectError",
        'Failed to inspect image "feast:1": rpc error: code = Unknown desc = short-name "feast:1" did not resolve to an '
        "alias and no unqualified-search registries are defined",
        "image_unavailable",
        MENDS,
        "with its registry",
    ),
    "a signature policy": (
        "SignatureValidationFailed",
        f"image pull failed for {IMAGE} because the signature validation failed: A signature was required, but no "
        "signature exists",
        "image_unavailable",
        MENDS,
        "signed image",
    ),
    "a digest with 401 in it": (
        "ErrImagePull",
        "failed to resolve image: registry.example/feast@sha256:4010aa403: not found",
        "image_unavailable",
        MENDS,
        "name and tag",
    ),
    "an image called denied": (
        "ErrImagePull",
        f"{IMAGE}: not found",
        "image_unavailable",
        MENDS,
        "name and tag",
    ),
    "upper case": (
        "InvalidImageName",
        'Failed to apply default image tag "Feast:1": couldn\'t parse image name "Feast:1": invalid reference format: '
        "repository name (library/Feast) must be lowercase",
        "image_unavailable",
        STUCK,
        "NAME:TAG",
    ),
    "another spelling of an invalid name": (
        "ErrImagePull",
        "rpc error: code = InvalidArgument desc = failed to parse image: invalid reference format",
        "image_unavailable",
        STUCK,
        "NAME:TAG",
    ),
    "never pulled": (
        "ErrImageNeverPull",
        f'Container image "{IMAGE}" is not present with pull policy of Never',
        "image_unavailable",
        MENDS,
        "image_pull_policy",
    ),
    "a certificate": (
        "ErrImagePull",
        f'{RESOLVE}"{IMAGE}": failed to do request: tls: failed to verify certificate: x509: certificate signed by '
        "unknown authority",
        "image_unavailable",
        MENDS,
        "trust the registry",
    ),
    "a plain-text registry": (
        "ErrImagePull",
        f'{RESOLVE}"{IMAGE}": http: server gave HTTP response to HTTPS client',
        "image_unavailable",
        MENDS,
        "trust the registry",
    ),
    "a registry that times out": (
        "ErrImagePull",
        f'{RESOLVE}"{IMAGE}": failed to do request: Head "https://registry.example/v2": net/http: TLS handshake timeout',
        "image_registry_unreachable",
        MENDS,
        "firewall",
    ),
    "a registry in trouble": (
        "ErrImagePull",
        f'{RESOLVE}"{IMAGE}": unexpected status from HEAD request: 503 Service Unavailable',
        "image_registry_unreachable",
        MENDS,
        "nodes reach it",
    ),
    "a limit": (
        "ErrImagePull",
        "429 Too Many Requests - Server message: toomanyrequests: You have reached your pull rate limit",
        "image_registry_unreachable",
        MENDS,
        "mirror",
    ),
    "a full node": (
        "ErrImagePull",
        "failed to extract layer sha256:ab: write /usr/lib/x.so: no space left on device",
        "image_registry_unreachable",
        MENDS,
        "disk is full",
    ),
    "no answer at all": (
        "RegistryUnavailable",
        "",
        "image_registry_unreachable",
        MENDS,
        "nodes reach it",
    ),
}


@pytest.mark.parametrize("case", PULLS)
def test_an_image_that_cannot_be_had_is_told_apart_by_what_to_do(case: str) -> None:
    reason, message, kind, can_mend, advice = PULLS[case]
    problem = startup(pod("load-aaaaa", "Pending", container(waits(reason, message))))
    assert problem is not None
    assert (problem.kind, problem.can_mend) == (kind, can_mend)
    assert advice in problem.remedy
    assert "rpc error" not in problem.cause


def test_a_pull_secret_that_does_not_exist_is_named_beside_the_refused_pull() -> None:
    refused = container(
        waits("ErrImagePull", "unauthorized: access to the requested resource is not authorized")
    )
    warned = event(
        "load-aaaaa",
        "FailedToRetrieveImagePullSecret",
        "Unable to retrieve some image pull secrets (regcred); attempting to pull the image may not succeed.",
    )
    problem = startup(pod("load-aaaaa", "Pending", refused), warned)
    assert problem is not None
    assert "Create the Secret regcred" in problem.remedy


def test_an_invalid_name_that_only_an_event_tells_fails_at_once() -> None:
    creating = pod("load-aaaaa", "Pending", container(waits("ContainerCreating")))
    told = 'Failed to apply default image tag "Feast": couldn\'t parse image name "Feast": invalid reference format'
    problem = startup(creating, event("load-aaaaa", "InspectFailed", told))
    assert problem is not None
    assert (problem.kind, problem.can_mend) == ("image_unavailable", False)
