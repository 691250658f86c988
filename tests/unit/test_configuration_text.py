"""feature_store.yaml resolved: read within bounds, patched, written without changing what variables become."""

from __future__ import annotations

from typing import Any

import pytest
from job_plans import STORE
from kubernetes.client import V1EnvVar

from airflow_provider_feast.jobs import yaml_text
from airflow_provider_feast.jobs.sources import resolve
from airflow_provider_feast.model.errors import (
    FeastConfigurationError,
    FeastDagError,
    FeastError,
    MissingObjectError,
)
from airflow_provider_feast.model.feature_store import read_state
from airflow_provider_feast.model.settings import FeastSettings, read_settings
from airflow_provider_feast.model.sources import (
    ConfigMapConfiguration,
    FeatureStoreConfiguration,
    InlineConfiguration,
    SecretConfiguration,
    merge_patch,
)

TEXT = "project: demo\nprovider: local\nregistry: r.db\n"


class Cluster:
    """ConfigMaps and FeatureStores by namespace and name."""

    def __init__(self, objects: dict[tuple[str, str, str], Any], namespace: str = "features") -> None:
        self.objects, self.namespace = objects, namespace

    def of_namespace(self, namespace: str) -> Cluster:
        return Cluster(self.objects, namespace)

    def read_config_map(self, name: str) -> Any:
        return self.objects.get(("configmaps", self.namespace, name))

    api_client = None

    def call(self, verb: str, resource: str, method: Any, *place: str) -> Any:
        """A custom resource."""
        _, _, namespace, plural, name = place
        assert (verb, resource, method.__name__) == ("get", plural, "get_namespaced_custom_object")
        if (plural, namespace, name) not in self.objects:
            raise MissingObjectError(f'featurestores.feast.dev "{name}" not found')
        return self.objects[plural, namespace, name]


def config_map(text: str) -> dict[str, Any]:
    return {"data": {"feature_store.yaml": text}}


def resolved(extra: dict[str, Any], objects: dict[tuple[str, str, str], Any] | None = None) -> Any:
    return resolve(read_settings("feast_x", extra), Cluster(objects or {}))  # type: ignore[arg-type]


# --- patches -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "patch", "result"),
    [  # the examples of RFC 7386
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [1, 2]}, {"a": [3]}, {"a": [3]}),
        ({}, {"a": {"b": {"c": None}}}, {"a": {"b": {}}}),
        ("text", {"a": 1}, {"a": 1}),
    ],
)
def test_a_patch_merges_mappings_and_replaces_all_else(base: Any, patch: Any, result: Any) -> None:
    before = repr((base, patch))
    assert merge_patch(base, patch) == result
    assert repr((base, patch)) == before


def test_the_operators_patch_comes_after_the_connections() -> None:
    settings = read_settings(
        "feast_x", {"configuration": TEXT, "configuration_patch": {"a": 1, "b": {"c": 1}}}
    )
    found = resolve(settings.override(configuration_patch={"a": None, "b": {"d": 2}}), None)  # type: ignore[arg-type]
    content = yaml_text.load(found.files["feature_store.yaml"], "it")
    assert "a" not in content
    assert content["b"] == {"c": 1, "d": 2}
    assert found.settings.configuration_patch == ()


def test_a_patch_over_a_config_map_makes_one_for_the_job_and_without_it_none() -> None:
    objects = {("configmaps", "features", "feast"): config_map(TEXT)}
    plain = resolved({"config_map": "feast"}, objects)
    assert plain.files == {}
    assert plain.settings.configuration == ConfigMapConfiguration("feast")
    patched = resolved({"config_map": "feast", "configuration_patch": {"project": "other"}}, objects)
    assert patched.files["feature_store.yaml"].startswith("project: other\n")
    assert isinstance(patched.settings.configuration, InlineConfiguration)
    assert "" != plain.digest != patched.digest != ""
    with pytest.raises(
        MissingObjectError, match=r"'gone', which should hold feature_store.yaml, does not exist"
    ):
        resolved({"config_map": "gone", "configuration_patch": {"project": "other"}}, objects)


def test_a_patch_over_a_secret_goes_to_the_pod() -> None:
    extra = {"config_secret": "feast", "configuration_patch": {"project": "ö"}}
    found = resolved(extra)
    assert found.files == {"configuration_patch.json": '[{"project": "ö"}]'}
    assert found.settings.configuration == SecretConfiguration("feast")
    assert found.digest != resolved({"config_secret": "feast"}).digest
    with pytest.raises(FeastDagError, match="command_mode='cli'"):
        resolved({**extra, "command_mode": "cli"})


def test_a_patch_may_not_take_away_what_every_configuration_needs() -> None:
    with pytest.raises(FeastConfigurationError, match="lacks registry"):
        resolved({"configuration": TEXT, "configuration_patch": {"registry": None}})


def test_quotes_around_a_variable_stay_because_a_number_in_them_must_stay_text() -> None:
    text = f"{TEXT}a: '${{PASSWORD}}'\nb: \"${{X}}'\\n\"\nc: ${{PORT}}\nd: |\n  ${{KEY}}\ne: 'x'\n"
    written = yaml_text.dump(yaml_text.load(text, "it"), "it")
    assert "a: '${PASSWORD}'" in written
    assert "b: \"${X}'" in written
    assert "c: ${PORT}\n" in written
    assert "d: |\n  ${KEY}" in written
    assert yaml_text.load(written, "it") == yaml_text.load(text, "it")


# --- bounds --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: [", "is not YAML: "),
        ("a: b: c", "line 1, column"),
        ("\x00", "is not YAML"),
        ("\ud800", "is not proper Unicode"),
        ("a: &a [*a]", "inside itself"),
        ("a: *b", "inside itself or before it is there"),
        ("- x\n" * 20_001, "more than 20000 values"),
        ("[" * 51 + "]" * 51, "nested deeper than 50"),
        ("x" * 1_000_001, "has 1000001 bytes; a ConfigMap holds 1000000"),
        (
            "a: &a [1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c]\n"
            "e: &e [*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e]",
            "with its aliases",
        ),
        ("!!python/object/apply:os.system ['id']", "is not YAML"),
    ],
)
def test_what_no_configuration_looks_like_is_refused(text: str, says: str) -> None:
    with pytest.raises(FeastConfigurationError) as caught:
        yaml_text.load(text, "the configuration")
    assert says in str(caught.value)


def test_an_error_in_yaml_does_not_quote_the_line() -> None:
    with pytest.raises(FeastConfigurationError) as caught:
        resolved({"configuration": "project: demo\n password: 'hunter2"})
    shown = caught.value
    assert "hunter2" not in str(shown) + repr(shown.__cause__)


def test_aliases_are_written_out() -> None:
    assert yaml_text.dump(yaml_text.load("a: &x {b: 1}\nc: *x", "it"), "it") == "a:\n  b: 1\nc:\n  b: 1\n"


# --- warnings -------------------------------------------------------------------------------------------


def test_secrets_in_plain_text_are_named_and_not_quoted() -> None:
    store = {**STORE, "online_store": {"type": "redis", "password": "hunter2!", "token": "${TOKEN}"}}
    found = resolved({"configuration": store, "env": {"DB_PASSWORD": "hunter2!"}})
    assert len(found.warnings) == 2
    assert "DB_PASSWORD" in found.warnings[0].what
    assert "online_store.password" in found.warnings[1].what
    assert "hunter2" not in "".join(map(str, found.warnings))


def test_passwords_inside_of_addresses_are_named_and_not_quoted() -> None:
    store = {
        **STORE,
        "registry": {"registry_type": "sql", "path": "postgresql://feast:hunter2@db/feast"},
        "online_store": {"hosts": [{"address": "a:1"}, {"address": "redis://:hunter2@b:1"}]},
        "offline_store": {"path": "postgresql://feast:${PASSWORD}@db/feast"},
    }
    proxy = "http://u:hunter2@proxy.example.com:3128"
    found = [str(doubt) for doubt in resolved({"configuration": store, "https_proxy": proxy}).warnings]
    assert len(found) == 3
    assert "https_proxy holds a password in plain text" in found[0]
    assert "the configuration holds registry.path in plain text" in found[1]
    assert "the configuration holds online_store.hosts[1].address in plain text" in found[2]
    assert "hunter2" not in "".join(found)


@pytest.mark.parametrize(
    ("extra", "field"),
    [
        ({"pod_options": {"env_vars": {"DB_PASSWORD": "hunter2!"}}}, "pod_options"),
        ({"pod_options": {"env_vars": [{"name": "DB_PASSWORD", "value": "hunter2!"}]}}, "pod_options"),
        ({"pod_options": {"env_vars": [V1EnvVar(name="DB_PASSWORD", value="hunter2!")]}}, "pod_options"),
        (
            {
                "job_overrides": {
                    "spec": {
                        "template": {
                            "spec": {
                                "containers": [
                                    {"name": "feast", "env": [{"name": "DB_PASSWORD", "value": "hunter2!"}]}
                                ]
                            }
                        }
                    }
                }
            },
            "job_overrides",
        ),
    ],
)
def test_secrets_in_plain_text_of_a_pod_s_own_options_are_named(extra: dict[str, Any], field: str) -> None:
    (doubt,) = resolved(extra).warnings
    assert doubt.what.startswith(f"{field} sets DB_PASSWORD in plain text")
    assert "hunter2" not in str(doubt)


@pytest.mark.parametrize(
    "extra",
    [
        {"config_secret": "s"},
        {"env_from": "configmap/c, secret/s"},
        {"env": {"A": {"secret": "s", "key": "k"}}},
    ],
)
def test_plain_feast_masks_nothing_and_that_is_told(extra: dict[str, Any]) -> None:
    assert resolved(extra).warnings == ()
    (doubt,) = resolved({**extra, "command_mode": "cli"}).warnings
    assert "values of Secrets are not masked" in doubt.what
    assert resolved({"command_mode": "cli", "env_from": "configmap/c"}).warnings == ()


KUBERNETES_AUTH = TEXT + "auth: {type: kubernetes}\n"


@pytest.mark.parametrize(
    ("extra", "warned"),
    [
        ({"configuration": KUBERNETES_AUTH}, True),
        ({"feature_store_resource": "shop"}, True),
        ({"feature_store_resource": "stores/shop", "namespace": "features"}, True),
        ({"configuration": KUBERNETES_AUTH, "kubernetes_api_access": True}, False),
        ({"configuration": KUBERNETES_AUTH, "env": {"LOCAL_K8S_TOKEN": {"secret": "t", "key": "k"}}}, False),
        ({"configuration": TEXT + "auth: {type: no_auth}\n"}, False),
        ({"configuration": TEXT + "auth: {type: oidc}\n"}, True),
        ({"configuration": TEXT + "auth: {type: oidc, token_env_var: T}\n"}, False),
        ({"configuration": TEXT + "auth: {type: oidc, client_secret: '${S}'}\n"}, False),
        ({"configuration": TEXT + "auth: {type: oidc}\n", "env": {"FEAST_OIDC_TOKEN": "${T}"}}, False),
        ({"configuration": TEXT + "auth: none\n"}, False),
    ],
)
def test_a_configuration_that_wants_a_token_says_so_where_pods_have_none(
    extra: dict[str, Any], warned: bool
) -> None:
    objects = {
        (kind, place, name): made
        for place in ("features", "stores")
        for kind, name, made in (
            ("featurestores", "shop", feature_store(place)),
            ("configmaps", "feast-shop-client", config_map(KUBERNETES_AUTH)),
        )
    }
    found = [doubt for doubt in resolved(extra, objects).warnings if "kubernetes_api_access" in doubt.remedy]
    assert len(found) == warned


TLS = (
    TEXT
    + "online_store: {type: remote, path: https://feast-shop-online.features.svc:443, cert: /tls/online/tls.crt}\n"
)
ON_OPENSHIFT = {"ca_bundle_config_map": "feast-shop-client-ca", "ca_bundle_key": "service-ca.crt"}
TRUSTED = {"configuration_patch": {"online_store": {"cert": "/feast/ca/ca-bundle.crt"}}}


@pytest.mark.parametrize(
    ("extra", "warned"),
    [
        ({}, True),
        (ON_OPENSHIFT, True),
        ({**ON_OPENSHIFT, **TRUSTED}, False),
        ({"pod_options": {"volume_mounts": [{"name": "tls", "mountPath": "/tls/online"}]}}, False),
        ({"pod_options": {"volume_mounts": [{"name": "tls", "mountPath": "/tls/registry"}]}}, True),
        (
            {
                "job_overrides": {
                    "spec": {
                        "template": {
                            "spec": {
                                "containers": [
                                    {"name": "feast", "volumeMounts": [{"mountPath": "/tls/online"}]}
                                ]
                            }
                        }
                    }
                }
            },
            False,
        ),
    ],
)
def test_a_certificate_that_only_the_operators_own_pods_have_is_named(
    extra: dict[str, Any], warned: bool
) -> None:
    objects = {
        ("featurestores", "features", "shop"): feature_store(),
        ("configmaps", "features", "feast-shop-client"): config_map(TLS),
    }
    found = [
        d for d in resolved({"feature_store_resource": "shop", **extra}, objects).warnings if "cert" in d.what
    ]
    assert len(found) == warned
    for doubt in found:
        assert "/tls/online/tls.crt (online_store.cert)" in doubt.what
        assert "feast-shop-client-ca" in doubt.remedy
        assert '{"online_store": {"cert": "/feast/ca/ca-bundle.crt"}}' in doubt.remedy


def test_of_open_data_hub_the_bundle_is_named() -> None:
    text = TEXT.replace(
        "registry: r.db", "registry: {path: r, cert: /etc/pki/tls/custom-certs/ca-bundle.crt}"
    )
    objects = {
        ("featurestores", "features", "shop"): feature_store(),
        ("configmaps", "features", "feast-shop-client"): config_map(text),
    }
    (doubt,) = resolved({"feature_store_resource": "shop"}, objects).warnings
    assert "ca_bundle_config_map (here odh-trusted-ca-bundle)" in doubt.remedy


# --- FeatureStore ---------------------------------------------------------------------------------------


def feature_store(namespace: str = "features", **status: Any) -> dict[str, Any]:
    found = {"phase": "Ready", "clientConfigMap": "feast-shop-client", "feastVersion": "0.67.0", **status}
    return {"metadata": {"name": "shop", "namespace": namespace}, "status": found}


def test_a_feature_store_fills_in_what_is_not_set() -> None:
    objects = {
        ("featurestores", "features", "shop"): feature_store(),
        ("configmaps", "features", "feast-shop-client"): config_map(TEXT),
    }
    found = resolved({"feature_store_resource": "shop"}, objects).settings
    assert found.configuration == ConfigMapConfiguration("feast-shop-client")
    assert (found.image, found.service_account) == ("quay.io/feastdev/feature-server:0.67.0", "feast-shop")
    own = resolved(
        {"feature_store_resource": "shop", "image": "mine:1", "service_account": "jobs"}, objects
    ).settings
    assert (own.image, own.service_account) == ("mine:1", "jobs")
    patched = resolved({"feature_store_resource": "shop", "configuration_patch": {"project": "x"}}, objects)
    assert patched.files["feature_store.yaml"].startswith("project: x")


def test_of_another_namespace_the_configuration_is_copied_and_the_account_is_not() -> None:
    objects = {
        ("featurestores", "stores", "shop"): feature_store("stores"),
        ("configmaps", "stores", "feast-shop-client"): config_map(TEXT),
    }
    found = resolved({"feature_store_resource": "stores/shop"}, objects)
    assert found.files == {"feature_store.yaml": TEXT}
    assert found.settings.service_account == ""


@pytest.mark.parametrize(
    ("objects", "says"),
    [
        ({}, "the FeatureStore 'shop' does not exist"),
        (
            {("featurestores", "features", "shop"): feature_store(clientConfigMap=None, phase="")},
            "the FeatureStore 'shop' is not yet looked at by the Feast operator",
        ),
        (
            {("featurestores", "features", "shop"): feature_store()},
            "'feast-shop-client', which should hold feature_store.yaml, does not exist",
        ),
    ],
)
def test_a_feature_store_that_cannot_be_used_says_why(objects: Any, says: str) -> None:
    with pytest.raises(FeastError) as caught:
        resolved({"feature_store_resource": "shop"}, objects)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("version", "image"),
    [
        ("0.67.0", "feature-server:0.67.0"),
        ("v0.67.0", "feature-server:0.67.0"),
        ("", ""),
        ("a b", ""),
        (None, ""),
    ],
)
def test_the_image_has_the_version_of_the_feature_store(version: Any, image: str) -> None:
    facts = read_state(feature_store(feastVersion=version))
    assert facts.image.removeprefix("quay.io/feastdev/") == image


@pytest.mark.parametrize(
    ("text", "source"),
    [("shop", FeatureStoreConfiguration("shop")), ("a/shop", FeatureStoreConfiguration("shop", "a"))],
)
def test_a_feature_store_is_named_with_or_without_its_namespace(text: str, source: Any) -> None:
    assert read_settings("feast_x", {"feature_store_resource": text}).configuration == source


@pytest.mark.parametrize("text", ["/shop", "a/b/c", "Shop", "shop/"])
def test_what_cannot_name_one_is_refused(text: str) -> None:
    with pytest.raises(FeastConfigurationError, match="feature_store_resource"):
        read_settings("feast_x", {"feature_store_resource": text})


# --- one source only ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("extra", "says"),
    [
        (
            {"config_secret": "a", "feature_store_resource": "b"},
            "both config_secret and feature_store_resource are set",
        ),
        (
            {"definitions_claim": "a", "definitions_git_url": "https://h/a"},
            "both definitions_git_url and definitions_cla",
        ),
        ({"config_map": "a", "config_secret_key": "k"}, "config_secret_key is set without config_secret"),
        (
            {"definitions_path": "/a", "definitions_subdirectory": "b"},
            "definitions_subdirectory is set without",
        ),
        ({"definitions_git_url": "https://h/a", "definitions_copy": True}, "definitions_copy is set without"),
        ({"definitions_git_ref": "main"}, "definitions_git_ref is set without definitions_git_url"),
        ({"configuration_patch": "[1]"}, "configuration_patch is not a JSON object"),
        ({"definitions_git_url": "https://u:p@h/a"}, "definitions_git_"),
    ],
)
def test_a_field_that_would_be_ignored_is_refused(extra: dict[str, Any], says: str) -> None:
    with pytest.raises(FeastConfigurationError) as caught:
        read_settings("feast_x", extra)
    assert says in str(caught.value)
    assert "Admin → Connections" in str(caught.value)


def test_without_a_configuration_there_is_no_digest() -> None:
    found = resolve(FeastSettings("x"), None)  # type: ignore[arg-type]
    assert (found.digest, found.files, found.warnings) == ("", {}, ())
