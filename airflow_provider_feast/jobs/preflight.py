"""The preflight: look before a Job is made whether it can work. Every check is one function that says what it found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from airflow_provider_feast.jobs import reviews
from airflow_provider_feast.model.errors import (
    ApiUnavailableError,
    FeastError,
    ForbiddenError,
    MissingObjectError,
)
from airflow_provider_feast.model.lock import LockRequest
from airflow_provider_feast.model.needs import CONFIG_MAP, SECRET, SERVICE_ACCOUNT, Need, needs_of
from airflow_provider_feast.model.preflight import (
    Finding,
    Report,
    Status,
    failed,
    not_checked,
    passed,
    report_of,
    warned,
)
from airflow_provider_feast.model.rights import LOCK, RUN, Right, granted, rights_of

if TYPE_CHECKING:
    from airflow_provider_feast.hooks.feast import FeastHook

QUICK_OBJECTS = 6
"""How many objects a quick preflight looks for: with the two for rights, 8 requests when all is well."""

WHOLE_ROLE = "`airflow feast manifests` prints the whole Role"


class Preflight:
    """Checks of one feature store.

    :param hook: the feature store, with the operator's overrides.
    """

    def __init__(self, hook: FeastHook) -> None:
        self._hook = hook
        self._namespace_there: bool | None = None

    def quick(self, lock: LockRequest | None) -> Report:
        """What every operator looks at before it makes a Job: at most 8 requests when all is well, usually 4.

        :param lock: the lock that the Job needs.
        :raises ApiUnavailableError: when the API server does not answer.
        """
        settings = [*self.settings()]
        found = [*settings, *self.rights_at_a_glance(lock)]
        if report_of(settings).failed:  # then the configuration cannot be found either, for the same reason
            return report_of(found)
        try:
            needs = needs_of(self._hook.resolved.settings)
        except FeastError as error:
            return report_of([*found, failed("configuration", error)])
        found += self.objects(needs[:QUICK_OBJECTS])
        return report_of([*found, *(unseen(need) for need in needs[QUICK_OBJECTS:])])

    # --- checks -------------------------------------------------------------------------------------

    def settings(self) -> Iterator[Finding]:
        """What the connection says: an image, a configuration that is one. No request."""
        try:
            self._hook.check_settings()
        except FeastError as error:
            yield failed("connection", error)
            return
        yield passed("connection", f"the connection {self._hook.feast_conn_id!r} is complete")

    def rights_at_a_glance(self, lock: LockRequest | None) -> Iterator[Finding]:
        """Every verb that a Job needs, by one request for each namespace; what seems to lack is asked for by itself."""
        for part, namespace in self._places(lock):
            try:
                rules, complete = reviews.own_rules(self._hook.cluster, namespace)
                missing = [right for right in rights_of(part) if not granted(rules, right)]
                if missing and not complete:
                    names = ", ".join(map(str, missing))
                    yield not_checked(
                        "rights", f"the cluster does not list all rights; perhaps missing: {names}"
                    )
                    continue
                yield from self._missing(missing, namespace)
            except FeastError as error:
                yield unanswered("rights", error)

    def rights(
        self, lock: LockRequest | None, more: Iterable[tuple[tuple[str, ...], str]] = ()
    ) -> Iterator[Finding]:
        """Every verb, each by a request of its own: the answer that counts.

        :param more: further parts of :mod:`~airflow_provider_feast.model.rights`, and the namespace of each.
        """
        for part, namespace in [*self._places(lock), *more]:
            try:
                yield from self._missing(rights_of(part), namespace)
            except FeastError as error:
                yield unanswered("rights", error)

    def _places(self, lock: LockRequest | None) -> list[tuple[tuple[str, ...], str]]:
        ours = self._hook.namespace
        if lock is None:
            return [((RUN,), ours)]
        return (
            [((RUN, LOCK), ours)] if lock.namespace == ours else [((RUN,), ours), ((LOCK,), lock.namespace)]
        )

    def _missing(self, candidates: list[Right], namespace: str) -> Iterator[Finding]:
        cluster = self._hook.cluster
        missing = [right for right in candidates if not reviews.may(cluster, right, namespace)]
        if not missing:
            yield passed("rights", f"Airflow may do all it needs in namespace {namespace!r}")
            return
        account = reviews.own_name(cluster)
        who = f"Airflow's account {account}" if account else "Airflow's account"
        for needed in (True, False):
            lacking = [right for right in missing if right.needed is needed]
            if not lacking:
                continue
            names = "; ".join(f"{right} (to {right.why})" for right in lacking)
            rules = ", ".join(right.rule for right in lacking)
            remedy = f"give it a Role in namespace {namespace!r} with {rules}; {WHOLE_ROLE}"
            what = f"{who} may not: {names}"
            where = f"namespace {namespace!r}"
            if needed:
                yield failed("rights", ForbiddenError(what, where=where, remedy=remedy))
            else:
                yield warned("rights", what, remedy)

    def objects(self, needs: Iterable[Need]) -> Iterator[Finding]:
        """Whether what the pods refer to is there."""
        for need in needs:
            yield self.object(need)

    def object(self, need: Need) -> Finding:
        """Whether one object is there, and has its key."""
        if need.kind not in (CONFIG_MAP, SERVICE_ACCOUNT):
            return unseen(need)
        cluster = self._hook.cluster
        try:
            read = cluster.read_config_map if need.kind == CONFIG_MAP else cluster.read_service_account
            found = read(need.name)
        except FeastError as error:
            return unanswered(need.check, error)
        if found is None:
            return failed(need.check, self._absent(need))
        keys = sorted({**(found.get("data") or {}), **(found.get("binaryData") or {})})
        if need.key is not None and need.key not in keys:
            what = f"the {need.kind} {need.name!r} has no key {need.key!r}; it has {', '.join(keys) or 'none at all'}"
            remedy = f"correct the key in the connection, or add it to the {need.kind}"
            return failed(need.check, MissingObjectError(what, where=self._where, remedy=remedy))
        return passed(need.check, f"the {need.kind} {need.name!r} is there")

    @property
    def _where(self) -> str:
        return f"namespace {self._hook.namespace!r}, connection {self._hook.feast_conn_id!r}"

    def _absent(self, need: Need) -> MissingObjectError:
        namespace = self._hook.namespace
        if not self.namespace_there():
            return no_namespace(self._hook)
        files = " --from-file=…" if need.kind == CONFIG_MAP else ""
        return MissingObjectError(
            f"the {need.kind} {need.name!r}, which {need.purpose}, does not exist",
            where=self._where,
            remedy=f"kubectl -n {namespace} create {need.kind.lower()} {need.name}{files} makes it, or correct the name",
        )

    def namespace_there(self) -> bool:
        """Whether the namespace exists; where Airflow may not ask, it is taken to."""
        if self._namespace_there is None:
            try:
                self._namespace_there = self._hook.cluster.read_namespace() is not None
            except ForbiddenError:
                self._namespace_there = True
        return self._namespace_there


def look_first(hook: FeastHook, lock: LockRequest | None, log: Any) -> None:
    """The quick preflight, told in a task's log.

    :raises FeastError: what would make the Job fail.
    """
    report = hook.preflight.quick(lock)
    for finding in report.of(Status.WARN):
        log.warning("Preflight, %s: %s. What to do: %s", finding.check, finding.what, finding.remedy)
    for finding in report.of(Status.NOT_CHECKED):
        log.info("Preflight, %s: %s.", finding.check, finding.what)
    if problem := report.error():
        raise problem
    log.info("Preflight: %s.", report.summary())


def no_namespace(hook: FeastHook) -> MissingObjectError:
    """The namespace is not there."""
    return MissingObjectError(
        f"the namespace {hook.namespace!r} does not exist",
        where=f"connection {hook.feast_conn_id!r}",
        remedy=f"kubectl create namespace {hook.namespace} makes it (`airflow feast manifests` prints one with all that "
        "belongs to it), or correct the field `namespace`",
    )


def unseen(need: Need) -> Finding:
    """An object that is not looked for."""
    return not_checked(
        need.check,
        f"the {need.kind} {need.name!r}, which {need.purpose}, is not looked at"
        + (" (Airflow reads no Secrets)" if need.kind == SECRET else "")
        + "; if it is missing, the task fails with its name",
    )


def unanswered(check: str, error: FeastError) -> Finding:
    """A check that the API server did not let us make.

    :raises FeastError: when nothing will work: no answer, or credentials that are not accepted.
    """
    if hopeless(error):
        raise error
    return not_checked(check, error.what, error.remedy)


def hopeless(error: FeastError) -> bool:
    """Whether nothing else will be answered either: nobody answers, or the credentials are not accepted."""
    return isinstance(error, ApiUnavailableError) or getattr(error.__cause__, "status", None) == 401
