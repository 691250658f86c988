"""Which resources the API serves, and what is known of each."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from airflow_provider_feast.sandbox.shapes import Obj

READ_WRITE = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
READ_ONLY = ("get", "list", "watch")
CREATE_ONLY = ("create",)


@dataclass(frozen=True)
class Resource:
    """One kind of object: its names, its scope and its verbs."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = READ_WRITE
    has_status: bool = False
    singular: str = ""
    schema: Obj | None = field(default=None, hash=False, compare=False)
    custom: bool = False
    columns: tuple[Obj, ...] = field(default=(), hash=False, compare=False)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def key(self) -> tuple[str, str]:
        """What the store files its objects under: the version does not matter there."""
        return (self.group, self.plural)

    @property
    def create_on_update(self) -> bool:
        """Whether a PUT makes an object that is not there (AllowCreateOnUpdate of its strategy)."""
        return self.key in {LEASES.key, EVENTS.key} or self.group == ROLES.group

    @property
    def unconditional_update(self) -> bool:
        """Whether a PUT may leave out the resourceVersion (AllowUnconditionalUpdate of its strategy)."""
        return not self.custom and self.key not in {LEASES.key, CRDS.key}

    @property
    def has_generation(self) -> bool:
        """Whether `metadata.generation` counts changes of the spec."""
        return self.custom or self.kind in {"Job", "Pod"}


NAMESPACES = Resource("", "v1", "namespaces", "Namespace", False, ("ns",), has_status=True)
PODS = Resource("", "v1", "pods", "Pod", True, ("po",), ("all",), has_status=True)
CONFIGMAPS = Resource("", "v1", "configmaps", "ConfigMap", True, ("cm",))
SECRETS = Resource("", "v1", "secrets", "Secret")
SERVICEACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount", True, ("sa",))
EVENTS = Resource("", "v1", "events", "Event", True, ("ev",))
CLAIMS = Resource(
    "", "v1", "persistentvolumeclaims", "PersistentVolumeClaim", True, ("pvc",), has_status=True
)
QUOTAS = Resource("", "v1", "resourcequotas", "ResourceQuota", True, ("quota",), has_status=True)
LIMITRANGES = Resource("", "v1", "limitranges", "LimitRange", True, ("limits",))
NETWORKPOLICIES = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy", True, ("netpol",))
NODES = Resource("", "v1", "nodes", "Node", False, ("no",), verbs=READ_ONLY, has_status=True)
JOBS = Resource("batch", "v1", "jobs", "Job", True, (), ("all",), has_status=True)
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
STORAGECLASSES = Resource("storage.k8s.io", "v1", "storageclasses", "StorageClass", False, ("sc",))
PRIORITYCLASSES = Resource("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", False, ("pc",))
ROLES = Resource("rbac.authorization.k8s.io", "v1", "roles", "Role")
ROLEBINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")
CLUSTERROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", False)
CLUSTERROLEBINDINGS = Resource(
    "rbac.authorization.k8s.io", "v1", "clusterrolebindings", "ClusterRoleBinding", False
)
CRDS = Resource(
    "apiextensions.k8s.io",
    "v1",
    "customresourcedefinitions",
    "CustomResourceDefinition",
    False,
    ("crd", "crds"),
    ("api-extensions",),
    has_status=True,
)
ACCESS_REVIEWS = tuple(
    Resource("authorization.k8s.io", "v1", plural, kind, namespaced, verbs=CREATE_ONLY)
    for plural, kind, namespaced in (
        ("selfsubjectaccessreviews", "SelfSubjectAccessReview", False),
        ("subjectaccessreviews", "SubjectAccessReview", False),
        ("selfsubjectrulesreviews", "SelfSubjectRulesReview", False),
        ("localsubjectaccessreviews", "LocalSubjectAccessReview", True),
    )
)
SELF_REVIEW = Resource(
    "authentication.k8s.io", "v1", "selfsubjectreviews", "SelfSubjectReview", False, verbs=CREATE_ONLY
)

# In the order in which a real server lists its groups.
BUILT_IN = (
    NAMESPACES,
    PODS,
    CONFIGMAPS,
    SECRETS,
    SERVICEACCOUNTS,
    EVENTS,
    CLAIMS,
    QUOTAS,
    LIMITRANGES,
    NODES,
    SELF_REVIEW,
    *ACCESS_REVIEWS,
    JOBS,
    NETWORKPOLICIES,
    ROLES,
    ROLEBINDINGS,
    CLUSTERROLES,
    CLUSTERROLEBINDINGS,
    STORAGECLASSES,
    CRDS,
    PRIORITYCLASSES,
    LEASES,
)

# Real API groups whose resources the sandbox does not serve: their paths answer 501, not 404.
UNSERVED_GROUPS = frozenset(
    {
        "admissionregistration.k8s.io",
        "apiregistration.k8s.io",
        "apps",
        "autoscaling",
        "certificates.k8s.io",
        "discovery.k8s.io",
        "events.k8s.io",
        "flowcontrol.apiserver.k8s.io",
        "metrics.k8s.io",
        "node.k8s.io",
        "policy",
        "resource.k8s.io",
    }
)
UNSERVED_PLURALS = frozenset(
    {
        ("", "services"),
        ("", "endpoints"),
        ("", "persistentvolumes"),
        ("", "replicationcontrollers"),
        ("", "podtemplates"),
        ("", "componentstatuses"),
        ("batch", "cronjobs"),
        ("authentication.k8s.io", "tokenreviews"),
        ("networking.k8s.io", "ingresses"),
        ("networking.k8s.io", "ingressclasses"),
        ("networking.k8s.io", "ipaddresses"),
        ("networking.k8s.io", "servicecidrs"),
    }
)


class Registry:
    """The served resources: the built-in ones, and those that CRDs add."""

    def __init__(self) -> None:
        self._by_path: dict[tuple[str, str, str], Resource] = {}
        for resource in BUILT_IN:
            self.add(resource)

    def add(self, resource: Resource) -> None:
        self._by_path[(resource.group, resource.version, resource.plural)] = resource

    def remove(self, group: str, plural: str) -> None:
        for path in [p for p in self._by_path if (p[0], p[2]) == (group, plural)]:
            del self._by_path[path]

    def find(self, group: str, version: str, plural: str) -> Resource | None:
        return self._by_path.get((group, version, plural))

    def of_kind(self, api_version: str, kind: str) -> Resource | None:
        for resource in self._by_path.values():
            if resource.kind == kind and resource.api_version == api_version:
                return resource
        return None

    def of_key(self, key: tuple[str, str]) -> Resource | None:
        for resource in self._by_path.values():
            if resource.key == key:
                return resource
        return None

    def versions(self, group: str) -> list[str]:
        return list(dict.fromkeys(r.version for r in self._by_path.values() if r.group == group))

    def groups(self) -> list[str]:
        return list(dict.fromkeys(r.group for r in self._by_path.values() if r.group))

    def __iter__(self) -> Iterator[Resource]:
        return iter(list(self._by_path.values()))
