"""Who a request comes from, and what RBAC lets them do."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from airflow_provider_feast.sandbox import clock, resources, status
from airflow_provider_feast.sandbox.roles import ADMIN_GROUP, KNOWN, UNKNOWN
from airflow_provider_feast.sandbox.shapes import Obj
from airflow_provider_feast.sandbox.store import Store


@dataclass(frozen=True)
class User:
    """An authenticated caller."""

    name: str
    groups: tuple[str, ...]
    uid: str = ""

    @property
    def is_admin(self) -> bool:
        return ADMIN_GROUP in self.groups


ANONYMOUS = User("system:anonymous", (UNKNOWN,))
ADMIN = User("sandbox-admin", (ADMIN_GROUP, KNOWN))


@dataclass(frozen=True)
class Attributes:
    """What somebody wants to do."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    path: str = ""


class Tokens:
    """Bearer tokens: the admin's, and those of service accounts."""

    def __init__(self, store: Store, admin: str) -> None:
        self._store = store
        self._admin = admin
        self._accounts: dict[str, tuple[str, str, str, datetime]] = {}

    def issue(self, account: Obj, seconds: float) -> tuple[str, datetime]:
        """A new token of a service account, and when it ends; it dies with the account, too."""
        token = f"sa-{secrets.token_urlsafe(24)}"
        meta = account["metadata"]
        ends = clock.now() + timedelta(seconds=seconds)
        self._accounts[token] = (meta["namespace"], meta["name"], meta["uid"], ends)
        return token, ends

    def user(self, header: str | None) -> User:
        """The caller behind an Authorization header; 401 for a bad token."""
        if not header:
            return ANONYMOUS
        kind, _, token = header.partition(" ")
        if kind.lower() != "bearer":
            raise status.unauthorized()
        if secrets.compare_digest(token.encode(), self._admin.encode()):
            return ADMIN
        namespace, name, uid, ends = self._accounts.get(token, ("", "", "", clock.now()))
        found = self._store.get(resources.SERVICEACCOUNTS.key, namespace, name)
        if found is None or found["metadata"]["uid"] != uid or ends <= clock.now():
            raise status.unauthorized()
        return service_account(namespace, name, uid)


def service_account(namespace: str, name: str, uid: str = "") -> User:
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", KNOWN)
    return User(f"system:serviceaccount:{namespace}:{name}", groups, uid)


class Authorizer:
    """Evaluates Roles and ClusterRoles through their bindings."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def allows(self, user: User, wanted: Attributes) -> bool:
        if user.is_admin:
            return True
        if wanted.path:
            return self._allows_path(user, wanted)
        return any(_grants(rule, wanted) for rule in self.rules(user, wanted.namespace))

    def _allows_path(self, user: User, wanted: Attributes) -> bool:
        return any(
            {wanted.verb, "*"} & set(rule.get("verbs") or ())
            and any(_path_matches(pattern, wanted.path) for pattern in rule.get("nonResourceURLs") or ())
            for rule in self.rules(user, "")
        )

    def require(self, user: User, wanted: Attributes) -> None:
        """403, worded as the real server words it."""
        if self.allows(user, wanted):
            return
        if wanted.path:
            message = f'forbidden: User "{user.name}" cannot {wanted.verb} path "{wanted.path}"'
            raise status.ApiError(403, "Forbidden", message, {})
        resource = f"{wanted.resource}/{wanted.subresource}" if wanted.subresource else wanted.resource
        scope = f'in the namespace "{wanted.namespace}"' if wanted.namespace else "at the cluster scope"
        why = (
            f'User "{user.name}" cannot {wanted.verb} resource "{resource}" '
            f'in API group "{wanted.group}" {scope}'
        )
        raise status.forbidden(wanted.group, wanted.resource, wanted.name, why)

    def rules(self, user: User, namespace: str) -> Iterator[Obj]:
        """The rules that apply to a user in a namespace ("" is the cluster scope)."""
        for binding in self._store.objects(resources.CLUSTERROLEBINDINGS.key):
            if _is_subject(user, binding, ""):
                yield from self._role(binding["roleRef"], "")
        if not namespace:
            return
        for binding in self._store.objects(resources.ROLEBINDINGS.key, namespace):
            if _is_subject(user, binding, namespace):
                yield from self._role(binding["roleRef"], namespace)

    def _role(self, reference: Obj, namespace: str) -> list[Obj]:
        if reference["kind"] == "ClusterRole":
            found = self._store.get(resources.CLUSTERROLES.key, "", reference["name"])
        else:
            found = self._store.get(resources.ROLES.key, namespace, reference["name"])
        return (found or {}).get("rules") or []


def _is_subject(user: User, binding: Obj, namespace: str) -> bool:
    for subject in binding.get("subjects") or ():
        if subject["kind"] == "User" and subject["name"] == user.name:
            return True
        if subject["kind"] == "Group" and subject["name"] in user.groups:
            return True
        if subject["kind"] == "ServiceAccount":
            account = service_account(subject.get("namespace") or namespace, subject["name"])
            if account.name == user.name:
                return True
    return False


def _path_matches(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern


def _grants(rule: Obj, wanted: Attributes) -> bool:
    verbs, groups = rule.get("verbs") or (), rule.get("apiGroups") or ()
    if not {wanted.verb, "*"} & set(verbs) or not {wanted.group, "*"} & set(groups):
        return False
    full = f"{wanted.resource}/{wanted.subresource}" if wanted.subresource else wanted.resource
    patterns = {full, "*"} | ({f"*/{wanted.subresource}"} if wanted.subresource else set())
    if not patterns & set(rule.get("resources") or ()):
        return False
    names = rule.get("resourceNames") or ()
    return not names or wanted.name in names
