"""The full preflight: all that can be known of a feature store's Jobs without running one, check by check."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from airflow_provider_feast.jobs import doubts, reviews, yaml_text
from airflow_provider_feast.jobs.preflight import Preflight, hopeless, no_namespace, unanswered
from airflow_provider_feast.model import podsecurity
from airflow_provider_feast.model.command import FeastCommand
from airflow_provider_feast.model.errors import (
    AdmissionRefusedError,
    FeastError,
    FeatureStoreNotReadyError,
    ForbiddenError,
    MissingObjectError,
)
from airflow_provider_feast.model.feature_store import (
    FeatureStoreState,
    image_tag,
    missing,
    versions_differ,
)
from airflow_provider_feast.model.lock import lock_of
from airflow_provider_feast.model.needs import needs_of
from airflow_provider_feast.model.preflight import (
    Finding,
    Report,
    failed,
    not_checked,
    passed,
    report_of,
    warned,
)
from airflow_provider_feast.model.rights import FEATURE_STORES
from airflow_provider_feast.model.settings import FeastSettings
from airflow_provider_feast.model.sources import (
    ConfigMapConfiguration,
    FeatureStoreConfiguration,
    check_feature_store,
)

if TYPE_CHECKING:
    from airflow_provider_feast.hooks.feast import FeastHook

OLDEST_KUBERNETES = (1, 29)


class Subject(NamedTuple):
    """What is inspected.

    :param hook: the feature store, with the operator's overrides.
    :param build: the very Job that would run.
    :param feature_store: the name of a ``FeatureStore`` resource that it depends on, or "".
    """

    hook: FeastHook
    build: Callable[[], dict[str, Any]]
    feature_store: str = ""


def inspect(subject: Subject) -> Report:
    """Every check, as far as those before it make sense.

    Without a connection, an API server or a namespace the report ends there.
    """
    found: list[Finding] = []
    for stage in (_connection, _api, _namespace):
        found += stage(subject)
        if any(finding.kind for finding in found):
            return report_of(found)
    for check in (_rights, _feature_store, _objects, _configuration, _job):
        try:
            found += check(subject)
        except FeastError as error:  # the API server went away in between
            found.append(failed("API", error))
            break
    return report_of(found)


def deep_refused(settings: FeastSettings, command: str) -> Finding | None:
    """Why a command is not run as a deep check, or ``None``."""
    if command != "configuration" or settings.command_mode != "cli":
        return None
    return not_checked(
        "deep check",
        "`feast configuration` prints the values of Secrets that the configuration refers to, and command_mode='cli' has "
        "no runner that masks them",
        "use --deep version (deep='version'), or command_mode='runner'",
    )


def _connection(subject: Subject) -> Iterator[Finding]:
    try:
        yield from Preflight(subject.hook).settings()
        _ = subject.hook.api_client
    except FeastError as error:
        yield failed("connection", error)


def _api(subject: Subject) -> Iterator[Finding]:
    try:
        version = reviews.server_version(subject.hook.cluster)
    except ForbiddenError as error:
        if getattr(error.__cause__, "status", None) == 401:
            yield failed("API", error)
        else:
            yield not_checked("API", f"it answers, but does not tell its version: {error.what}")
    except FeastError as error:
        yield failed("API", error)
    else:
        words = f"Kubernetes {version[0]}.{version[1]} answers"
        if version >= OLDEST_KUBERNETES:
            yield passed("API", words)
        else:
            yield warned("API", words, f"use {OLDEST_KUBERNETES[0]}.{OLDEST_KUBERNETES[1]} or later")


def _namespace(subject: Subject) -> Iterator[Finding]:
    name = subject.hook.namespace
    try:
        there = subject.hook.cluster.read_namespace() is not None
    except FeastError as error:
        yield _gently("namespace", error)
        return
    if there:
        yield passed("namespace", f"the namespace {name!r} is there")
        return
    yield failed("namespace", no_namespace(subject.hook))


def _rights(subject: Subject) -> Iterator[Finding]:
    hook = subject.hook
    more = [((FEATURE_STORES,), namespace) for _, namespace in _depends_on(subject)]
    lock = lock_of(hook.settings, hook.namespace, FeastCommand("apply"))  # a command that writes
    yield from Preflight(hook).rights(lock, more)


def _objects(subject: Subject) -> Iterator[Finding]:
    hook = subject.hook
    settings = hook.resolved.settings if _resolves(hook) else hook.settings
    if not settings.service_account:
        yield warned(
            "service account",
            f"the pods run as the account `default` of namespace {hook.namespace!r}, which others may share",
            "set service_account in the connection to one of their own; `airflow feast manifests` makes one",
        )
    yield from Preflight(hook).objects(needs_of(settings))


def _configuration(subject: Subject) -> Iterator[Finding]:
    hook = subject.hook
    try:
        text = hook.readable_configuration()
        if text is None:
            yield from _doubts(hook.resolved.warnings)
            yield not_checked("configuration", "feature_store.yaml lies where Airflow does not read it")
            return
        content = check_feature_store(yaml_text.load(text, "feature_store.yaml"), "feature_store.yaml")
    except FeatureStoreNotReadyError:
        return  # said by the check of the feature store
    except MissingObjectError as error:
        if not isinstance(hook.settings.configuration, ConfigMapConfiguration):
            yield failed("configuration", error)  # the other is said by the check of objects
    except FeastError as error:
        if hopeless(error):
            raise
        needless = isinstance(error, ForbiddenError) and _resolves(hook)  # only this check reads it
        yield unanswered("configuration", error) if needless else failed("configuration", error)
    else:
        yield passed(
            "configuration", f"feature_store.yaml is one, of project {str(content.get('project'))!r}"
        )
        settings = hook.resolved.settings
        yield from _doubts([*hook.resolved.warnings, *doubts.of_configuration(settings, content)])


def _doubts(found: Iterable[doubts.Doubt]) -> Iterator[Finding]:
    """As warnings; what both the settings and the configuration give rise to, the report says once."""
    for doubt in found:
        yield warned("configuration", doubt.what, doubt.remedy)


def _feature_store(subject: Subject) -> Iterator[Finding]:
    for name, namespace in _depends_on(subject):
        yield from _state(subject.hook, name, namespace)


def _depends_on(subject: Subject) -> list[tuple[str, str]]:
    """Name and namespace of each ``FeatureStore`` that the Job needs."""
    hook, source = subject.hook, subject.hook.settings.configuration
    found = [(subject.feature_store, hook.namespace)] if subject.feature_store else []
    if isinstance(source, FeatureStoreConfiguration):
        found.append((source.name, source.namespace or hook.namespace))
    return list(dict.fromkeys(found))


def _state(hook: FeastHook, name: str, namespace: str) -> Iterator[Finding]:
    try:
        state, _ = hook.feature_store(name, namespace)
    except MissingObjectError as error:
        yield failed("feature store", error)
        return
    except FeastError as error:
        yield unanswered("feature store", error)
        return
    if state is None:
        yield failed("feature store", missing(name, namespace))
        return
    yield passed("feature store", state.words) if state.ready else failed("feature store", state.error())
    yield _versions(hook.settings.image or state.image, state)


def _versions(image: str, state: FeatureStoreState) -> Finding:
    differ = versions_differ(image, state.feast_version)
    tag, version = image_tag(image) or "none", state.feast_version or "unknown"
    words = f"the image's tag is {tag}, the FeatureStore's Feast {version}"
    if differ is None:
        return not_checked("versions", f"{words}: they cannot be compared")
    if not differ:
        return passed("versions", words)
    return warned("versions", words, f"set image to a feature-server image with the tag {version}")


def _job(subject: Subject) -> Iterator[Finding]:
    """The very Job: against the namespace's Pod Security level, and by a dry run of the server."""
    if not _resolves(subject.hook):
        yield not_checked("dry run", "the Job cannot be built without its configuration")
        return
    try:
        job = subject.build()
    except FeastError as error:
        yield failed("job", error)
        return
    try:
        yield _pod_security(subject, job)
        _, warnings = subject.hook.cluster.try_job(job)
    except AdmissionRefusedError as error:
        yield failed("dry run", error)
        return
    except FeastError as error:
        yield unanswered("dry run", error)
        return
    told = [text for text in warnings if "violate PodSecurity" not in text]
    if told:
        yield warned("dry run", f"the server takes the Job, and warns: {'; '.join(told)}")
    else:
        yield passed("dry run", "the server takes the Job")


def _resolves(hook: FeastHook) -> bool:
    """Whether the configuration is known; the checks of the configuration and the feature store say why not."""
    try:
        _ = hook.resolved
    except FeastError:
        return False
    return True


def _pod_security(subject: Subject, job: dict[str, Any]) -> Finding:
    name = subject.hook.namespace
    try:
        namespace = subject.hook.cluster.read_namespace()
    except ForbiddenError as error:
        return unanswered("pod security", error)
    level = podsecurity.enforced(namespace or {})
    if not level:
        return not_checked(
            "pod security", f"the namespace {name!r} has no label of its own that enforces a level"
        )
    wrong = podsecurity.violations(job["spec"]["template"]["spec"], level)
    if not wrong:
        return passed("pod security", f"the pods keep to the level {level!r} that the namespace enforces")
    return failed(
        "pod security",
        AdmissionRefusedError(
            f"the namespace enforces the Pod Security level {level!r}, which the pods break: {'; '.join(wrong)}",
            where=f"namespace {name!r}",
            remedy="use the security profile `restricted`, drop what loosens it from pod_options and job_overrides, or "
            "run in a namespace that allows more",
        ),
    )


def _gently(check: str, error: FeastError) -> Finding:
    """As :func:`unanswered`, with what it raises as a finding."""
    try:
        return unanswered(check, error)
    except FeastError as fatal:
        return failed(check, fatal)
