"""CustomResourceDefinitions: serves the kinds they declare, and checks objects against their schemas."""

from typing import Any

from airflow_provider_feast.sandbox import clock, resources, status
from airflow_provider_feast.sandbox.admission.decode import IGNORE, STRICT
from airflow_provider_feast.sandbox.api import Api, Options
from airflow_provider_feast.sandbox.controllers import bounds
from airflow_provider_feast.sandbox.resources import Resource
from airflow_provider_feast.sandbox.shapes import Obj
from airflow_provider_feast.sandbox.status import Cause
from airflow_provider_feast.sandbox.store import Change

_META = frozenset({"apiVersion", "kind", "metadata"})
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
}


class CustomResources:
    """Adds and removes resources as their definitions come and go."""

    def __init__(self, api: Api) -> None:
        self._api = api
        api.custom_rules = self.check
        api.store.listen(self._changed)

    def _changed(self, change: Change) -> None:
        if change.key != resources.CRDS.key:
            return
        spec = change.obj["spec"]
        names = spec["names"]
        if change.type == "DELETED":
            for obj in self._api.store.objects((spec["group"], names["plural"])):
                self._api.store.remove((spec["group"], names["plural"]), obj)
            self._api.registry.remove(spec["group"], names["plural"])
            return
        self._api.registry.remove(spec["group"], names["plural"])
        for version in spec["versions"]:
            if version.get("served"):
                self._api.registry.add(_resource(spec, version))
        if change.type == "ADDED":
            self._api.modify(resources.CRDS, "", change.name, _establish)

    def check(self, resource: Resource, obj: Obj, options: Options) -> None:
        """Prune, default and validate an object of a custom resource."""
        if resource == resources.CRDS:
            _check_definition(obj)
            if _has_rules(obj):
                options.warnings.append("the sandbox does not evaluate x-kubernetes-validations (CEL)")
        if not resource.custom or resource.schema is None:
            return
        unknown: list[str] = []
        causes: list[Cause] = []
        for key, value in obj.items():
            known = (resource.schema.get("properties") or {}).get(key)
            if key not in _META and known is not None:
                _Check(unknown, causes).value(known, value, key)
        if unknown and options.field_validation == STRICT:
            listed = ", ".join(unknown)
            raise status.bad_request(
                f'{resource.kind} in version "{resource.version}" cannot be handled as a {resource.kind}: '
                f"strict decoding error: {listed}"
            )
        if options.field_validation != IGNORE:
            options.warnings += unknown
        for name in resource.schema.get("required") or ():
            if name not in obj:
                causes.append(status.required(name))
        if causes:
            raise status.invalid(resource.group, resource.kind, obj["metadata"].get("name", ""), causes)


class _Check:
    """A walk over a structural schema: prunes unknown fields, fills defaults, collects what is wrong."""

    def __init__(self, unknown: list[str], causes: list[Cause]) -> None:
        self._unknown = unknown
        self._causes = causes

    def value(self, schema: Obj, value: Any, path: str) -> None:
        kind = schema.get("type")
        if schema.get("x-kubernetes-int-or-string") or (value is None and schema.get("nullable")):
            return
        if kind in _TYPES and (
            not isinstance(value, _TYPES[kind]) or (isinstance(value, bool) != (kind == "boolean"))
        ):
            got = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer"}
            name = got.get(type(value), "number")
            message = f'Invalid value: "{name}": {path} in body must be of type {kind}: "{name}"'
            self._causes.append(Cause("FieldValueTypeInvalid", message, path))
        elif kind == "object":
            self._object(schema, value, path)
        elif kind == "array":
            for at, item in enumerate(value):
                self.value(schema.get("items") or {}, item, f"{path}[{at}]")
            self._causes += bounds.of_list(schema, value, path)
        else:
            self._causes += bounds.of_scalar(schema, value, path)

    def _object(self, schema: Obj, value: Obj, path: str) -> None:
        known = schema.get("properties")
        extra = schema.get("additionalProperties")
        for name in schema.get("required") or ():
            if name not in value:
                self._causes.append(status.required(f"{path}.{name}"))
        for name, inner in (known or {}).items():
            if name not in value and "default" in inner:
                value[name] = inner["default"]
        for name in list(value):
            if known and name in known:
                self.value(known[name], value[name], f"{path}.{name}")
            elif isinstance(extra, dict):
                self.value(extra, value[name], f"{path}.{name}")
            elif known is not None and not extra and not schema.get("x-kubernetes-preserve-unknown-fields"):
                self._unknown.append(f'unknown field "{path}.{name}"')
                del value[name]


def _resource(spec: Obj, version: Obj) -> Resource:
    names = spec["names"]
    return Resource(
        group=spec["group"],
        version=version["name"],
        plural=names["plural"],
        kind=names["kind"],
        namespaced=spec["scope"] == "Namespaced",
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        has_status="status" in (version.get("subresources") or {}),
        singular=names.get("singular") or names["kind"].lower(),
        schema=(version.get("schema") or {}).get("openAPIV3Schema"),
        custom=True,
        columns=tuple(version.get("additionalPrinterColumns") or ()),
    )


def _check_definition(crd: Obj) -> None:
    spec = crd.get("spec") or {}
    causes = [
        status.required(f"spec.{key}") for key in ("group", "names", "scope", "versions") if not spec.get(key)
    ]
    if not causes:
        wanted = f"{spec['names']['plural']}.{spec['group']}"
        name = crd["metadata"].get("name", "")
        if name != wanted:
            causes.append(status.wrong("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    if causes:
        raise status.invalid(
            "apiextensions.k8s.io", "CustomResourceDefinition", crd["metadata"].get("name", ""), causes
        )


def _has_rules(value: Any) -> bool:
    if isinstance(value, dict):
        return "x-kubernetes-validations" in value or any(map(_has_rules, value.values()))
    return isinstance(value, list) and any(map(_has_rules, value))


def _establish(crd: Obj) -> None:
    moment = clock.stamp()
    names = ("NamesAccepted", "NoConflicts", "no conflicts found")
    established = ("Established", "InitialNamesAccepted", "the initial names have been accepted")
    crd["status"] = {
        "conditions": [
            {
                "type": kind,
                "status": "True",
                "lastTransitionTime": moment,
                "reason": reason,
                "message": message,
            }
            for kind, reason, message in (names, established)
        ],
        "acceptedNames": crd["spec"]["names"],
        "storedVersions": [v["name"] for v in crd["spec"]["versions"] if v.get("storage")],
    }
