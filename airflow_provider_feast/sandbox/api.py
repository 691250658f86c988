"""The verbs of the API on the store: create, read, update, patch. HTTP and controllers both use them."""

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from airflow_provider_feast.sandbox import clock, patch, resources, status
from airflow_provider_feast.sandbox.admission import decode, defaults, unsupported, validation
from airflow_provider_feast.sandbox.admission.plugins import Admission, pod_status
from airflow_provider_feast.sandbox.resources import Registry, Resource
from airflow_provider_feast.sandbox.shapes import Obj, clone
from airflow_provider_feast.sandbox.store import Store

_SUFFIX = "bcdfghjklmnpqrstvwxz2456789"
_GENERATE_LIMIT = 58
_IDENTITY = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")


def random_suffix(length: int = 5) -> str:
    return "".join(random.choices(_SUFFIX, k=length))  # noqa: S311 - names, not secrets


@dataclass
class Options:
    """Query parameters of a write, and the warnings it collects for the client."""

    dry_run: bool = False
    field_validation: str = decode.WARN
    warnings: list[str] = field(default_factory=list)


class Api:
    """What kube-apiserver does between HTTP and etcd."""

    def __init__(self, store: Store, registry: Registry) -> None:
        self.store = store
        self.registry = registry
        self.custom_rules: Callable[[Resource, Obj, Options], None] = lambda resource, obj, options: None

    def get(self, resource: Resource, namespace: str, name: str) -> Obj:
        """Read one object; 404 when it is absent."""
        found = self.store.get(resource.key, namespace, name)
        if found is None:
            raise status.not_found(resource.group, resource.plural, name)
        return found

    def has(self, resource: Resource, namespace: str, name: str) -> bool:
        return self.store.get(resource.key, namespace, name) is not None

    def create(self, resource: Resource, namespace: str, body: Obj, options: Options | None = None) -> Obj:
        """Decode, default, admit, validate and store a new object."""
        options = options or Options()
        obj, warnings = decode.decode(resource, body, options.field_validation)
        options.warnings += warnings
        return self.admit(resource, namespace, obj, options)

    def admit(self, resource: Resource, namespace: str, obj: Obj, options: Options | None = None) -> Obj:
        """As `create`, for an object that needs no decoding (the controllers' way in)."""
        options = options or Options()
        meta = obj["metadata"] = dict(obj.get("metadata") or {})
        self._new_metadata(resource, namespace, meta)
        obj.setdefault("apiVersion", resource.api_version)
        obj.setdefault("kind", resource.kind)
        _require_spec(resource, obj)
        if resource.has_status and not resource.custom:
            obj["status"] = {}
        admission = Admission(self.store, random_suffix())
        defaults.apply(resource.kind if not resource.custom else "", obj)
        if resource == resources.PODS:
            admission.before_name(resource, obj)
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = meta["generateName"][:_GENERATE_LIMIT] + random_suffix()
        self._identify(resource, obj)
        self.custom_rules(resource, obj, options)
        causes = validation.create(resource, obj)
        if causes:
            raise status.invalid(resource.group, resource.kind, meta.get("name", ""), causes)
        if resource == resources.JOBS:
            defaults.job_labels(obj)
        options.warnings += admission.after_name(resource, obj)
        unsupported.refuse(resource, obj)  # last: what a cluster refuses is refused in its words
        if self.store.get(resource.key, meta.get("namespace", ""), meta["name"]) is not None:
            raise status.already_exists(resource.group, resource.plural, meta["name"])
        return obj if options.dry_run else self.store.put(resource.key, obj)

    def _new_metadata(self, resource: Resource, namespace: str, meta: Obj) -> None:
        if meta.pop("resourceVersion", None):
            raise status.bad_request("resourceVersion should not be set on objects to be created")
        for key in (*_IDENTITY, "managedFields", "selfLink"):
            meta.pop(key, None)
        if not resource.namespaced:
            meta.pop("namespace", None)
            return
        if meta.get("namespace", namespace) != namespace:
            raise status.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        meta["namespace"] = namespace
        found = self.store.get(resources.NAMESPACES.key, "", namespace)
        if found is None:
            raise status.not_found("", "namespaces", namespace)
        if found["metadata"].get("deletionTimestamp"):
            raise _terminating(resource, meta.get("name", ""), namespace)

    def _identify(self, resource: Resource, obj: Obj) -> None:
        meta = obj["metadata"]
        meta["uid"] = str(uuid.uuid4())
        if resource.has_generation:
            meta["generation"] = 1
        meta["creationTimestamp"] = clock.stamp()
        if resource == resources.JOBS and meta.get("name"):
            defaults.job_identity(obj)
        elif resource == resources.PODS:
            obj["status"] = pod_status(obj["spec"])
        elif resource == resources.NAMESPACES:
            obj["status"] = {"phase": "Active"}

    def update(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        body: Obj,
        options: Options | None = None,
        subresource: str = "",
    ) -> Obj:
        """Replace an object (or only its status); some kinds are created where there is none."""
        options = options or Options()
        if resource.create_on_update and not subresource and not self.has(resource, namespace, name):
            return self.create(resource, namespace, _named(body, name), options)
        before = self.get(resource, namespace, name)
        if not resource.unconditional_update and not (body.get("metadata") or {}).get("resourceVersion"):
            cause = status.wrong("metadata.resourceVersion", 0, "must be specified for an update")
            raise status.invalid(resource.group, resource.plural, name, [cause])
        after, warnings = decode.decode(resource, clone(body), options.field_validation)
        options.warnings += warnings
        return self._replace(resource, before, after, options, subresource)

    def patch(
        self,
        resource: Resource,
        namespace: str,
        name: str,
        change: tuple[str, Any],
        options: Options | None = None,
        subresource: str = "",
    ) -> Obj:
        """Change an object by a patch: `change` is its media type and its body."""
        options = options or Options()
        before = self.get(resource, namespace, name)
        media_type, body = change
        if media_type == patch.JSON_PATCH:
            patched = patch.json_patch(before, body)
        elif media_type == patch.MERGE_PATCH or (media_type == patch.STRATEGIC_PATCH and not resource.custom):
            if not isinstance(body, dict):
                raise status.bad_request("the patch must be an object of JSON")
            join = patch.merge if media_type == patch.MERGE_PATCH else patch.strategic
            patched = join(before, body)
        else:
            raise status.unsupported_media_type(media_type)
        after, warnings = decode.decode(resource, clone(patched), options.field_validation)
        options.warnings += warnings
        return self._replace(resource, before, after, options, subresource)

    def modify(
        self, resource: Resource, namespace: str, name: str, change: Callable[[Obj], None]
    ) -> Obj | None:
        """A controller's write: change a copy in place and store it; `None` when the object is gone."""
        before = self.store.get(resource.key, namespace, name)
        if before is None:
            return None
        after = clone(before)
        change(after)
        return self.commit(resource, before, after)

    def _replace(
        self, resource: Resource, before: Obj, after: Obj, options: Options, subresource: str
    ) -> Obj:
        meta = before["metadata"]
        given = after.setdefault("metadata", {})
        if given.get("name", meta["name"]) != meta["name"]:
            why = f"the name of the object ({given['name']}) does not match the name on the URL ({meta['name']})"
            raise status.bad_request(why)
        if given.get("uid", meta["uid"]) != meta["uid"]:
            where = "/".join(filter(None, (resource.plural, meta.get("namespace"), meta["name"])))
            why = (
                f"StorageError: invalid object, Code: 4, Key: /registry/{where}, ResourceVersion: 0, "
                f"AdditionalErrorMsg: Precondition failed: UID in precondition: {given['uid']}, "
                f"UID in object meta: {meta['uid']}"
            )
            raise status.conflict(resource.group, resource.plural, meta["name"], why)
        if given.get("resourceVersion", meta["resourceVersion"]) != meta["resourceVersion"]:
            raise status.conflict(resource.group, resource.plural, meta["name"])
        after = _keep(resource, before, after, subresource)
        if not subresource:
            defaults.apply(resource.kind if not resource.custom else "", after)
            if resource == resources.JOBS:
                defaults.job_labels(after)
            self.custom_rules(resource, after, options)
        causes = validation.update(resource, before, after)
        if causes:
            raise status.invalid(resource.group, resource.kind, meta["name"], causes)
        return after if options.dry_run else self.commit(resource, before, after)

    def commit(self, resource: Resource, before: Obj, after: Obj) -> Obj:
        """Store a new version; count the generation (a binding is none); finish a deletion whose finalizers are gone."""
        meta = after["metadata"]
        if not meta.get("finalizers"):
            meta.pop("finalizers", None)
        if before == after:
            return before
        bound = (
            resource == resources.PODS
            and not before["spec"].get("nodeName")
            and after["spec"].get("nodeName")
        )
        if resource.has_generation and not bound and _desired(before) != _desired(after):
            meta["generation"] = before["metadata"].get("generation", 0) + 1
        if meta.get("deletionTimestamp") and not _held(resource, after):
            # The last event shows the finalizers whose removal ended the object, as a cluster's does.
            held = before["metadata"].get("finalizers")
            return self.store.remove(
                resource.key, {**after, "metadata": meta | ({"finalizers": held} if held else {})}
            )
        return self.store.put(resource.key, after)


def _named(body: Obj, name: str) -> Obj:
    """A body of a PUT that creates: the name on the URL is its name."""
    meta = dict(body.get("metadata") or {})
    if meta.setdefault("name", name) != name:
        why = f"the name of the object ({meta['name']}) does not match the name on the URL ({name})"
        raise status.bad_request(why)
    meta.pop("resourceVersion", None)
    return {**body, "metadata": meta}


def _held(resource: Resource, obj: Obj) -> bool:
    """Whether an object that is being deleted must stay a while."""
    meta = obj["metadata"]
    if meta.get("finalizers") or (resource == resources.NAMESPACES and obj["spec"].get("finalizers")):
        return True
    return resource == resources.PODS and bool(meta.get("deletionGracePeriodSeconds"))


def _desired(obj: Obj) -> Obj:
    return {key: value for key, value in obj.items() if key not in {"metadata", "status"}}


def _require_spec(resource: Resource, obj: Obj) -> None:
    """Kinds whose spec the defaults look into: absent parts become empty, validation names them."""
    if resource == resources.JOBS:
        template = obj.setdefault("spec", {}).setdefault("template", {})
        template.setdefault("metadata", {})
        template.setdefault("spec", {}).setdefault("containers", [])
    elif resource == resources.PODS:
        obj.setdefault("spec", {}).setdefault("containers", [])
    elif resource in (resources.CLAIMS, resources.QUOTAS):
        obj.setdefault("spec", {})


def _keep(resource: Resource, before: Obj, after: Obj, subresource: str) -> Obj:
    """What a write may not touch stays as it was: identity, and status or everything but status."""
    if subresource == "status":
        result = {**before, "status": after.get("status") or {}}
        kept = {"labels", "annotations", "finalizers", "ownerReferences"}
        given = {key: value for key, value in after["metadata"].items() if key in kept}
        result["metadata"] = {**{k: v for k, v in before["metadata"].items() if k not in kept}, **given}
        return result
    result = dict(after)
    if resource.has_status and "status" in before:
        result["status"] = before["status"]
    meta = dict(after["metadata"])
    meta.pop("managedFields", None)
    for key in (*_IDENTITY, "namespace", "name", "generateName", "resourceVersion"):
        if key in before["metadata"]:
            meta[key] = before["metadata"][key]
        else:
            meta.pop(key, None)
    result["metadata"] = meta
    return result


def _terminating(resource: Resource, name: str, namespace: str) -> status.ApiError:
    why = f"unable to create new content in namespace {namespace} because it is being terminated"
    message = f"namespace {namespace} is being terminated"
    cause = status.Cause("NamespaceTerminating", message, "metadata.namespace")
    return status.forbidden(resource.group, resource.plural, name, why, [cause])
