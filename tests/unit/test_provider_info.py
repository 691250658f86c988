"""What Airflow learns of the provider: valid metadata, and a connection type with a form."""

from __future__ import annotations

import importlib
import json
import sys
from importlib.metadata import entry_points
from importlib.resources import files
from types import SimpleNamespace
from typing import Any

import jsonschema
import pytest
from airflow.api_fastapi.core_api.services.ui.connections import HookMetaService
from airflow.providers_manager import ProvidersManager

import airflow_provider_feast
from airflow_provider_feast.get_provider_info import get_provider_info
from airflow_provider_feast.hooks.feast import FeastHook
from airflow_provider_feast.model.fields import FIELD_NAMES, FIELDS


@pytest.mark.parametrize("schema", ["provider_info.schema.json", "provider.yaml.schema.json"])
def test_the_metadata_says_what_airflows_schema_allows(schema: str) -> None:
    body: dict[str, Any] = json.loads(files("airflow").joinpath(schema).read_text(encoding="utf-8"))
    if schema == "provider.yaml.schema.json":  # that one is for providers in Airflow's own repository
        body = {"properties": body["properties"], "definitions": body.get("definitions", {})}
    jsonschema.validate(get_provider_info(), body)


def test_the_entry_point_leads_to_the_metadata() -> None:
    (entry,) = (
        entry
        for entry in entry_points(group="apache_airflow_provider")
        if entry.value.startswith("airflow_provider_feast")
    )
    assert entry.load()() == get_provider_info()
    assert get_provider_info()["versions"] == [airflow_provider_feast.__version__]


@pytest.mark.parametrize("kind", ["operators", "sensors", "hooks", "triggers"])
def test_every_module_that_the_metadata_names_exists(kind: str) -> None:
    for entry in get_provider_info()[kind]:
        for name in entry["python-modules"]:
            assert importlib.import_module(name).__doc__


def test_airflow_shows_the_connection_type_with_every_field_of_the_form() -> None:
    """As the API server tells its pages: from the metadata, or (Airflow 3.1) from the hook."""
    manager = ProvidersManager()
    assert manager.providers["airflow-provider-feast"].version == airflow_provider_feast.__version__
    (form,) = (form for form in HookMetaService.hook_meta_data() if form.connection_type == "feast")
    assert form.hook_name == "Feast"
    assert form.hook_class_name == "airflow_provider_feast.hooks.feast.FeastHook"
    assert set(form.extra_fields or ()) == FIELD_NAMES
    standard = form.standard_fields.model_dump() if form.standard_fields else {}
    hidden = {name for name, field in standard.items() if field and field["hidden"]}
    wanted = set(FeastHook.get_ui_field_behaviour()["hidden_fields"])
    assert hidden == wanted - {"schema", "extra"} | {"url_schema"}


def test_both_ways_to_describe_the_form_agree() -> None:
    (connection,) = get_provider_info()["connection-types"]
    assert list(connection["conn-fields"]) == [field.name for field in FIELDS]
    behaviour = connection["ui-field-behaviour"]
    assert behaviour["hidden-fields"] == FeastHook.get_ui_field_behaviour()["hidden_fields"]


def test_airflows_that_ask_the_hook_for_its_form_get_the_same_fields(monkeypatch: pytest.MonkeyPatch) -> None:
    """Airflow's API server stands in for these two packages, too, when they are not installed."""

    def widget(label: str, description: str) -> str:
        return f"{label}: {description}"

    kinds = dict.fromkeys(("BooleanField", "IntegerField", "StringField"), widget)
    monkeypatch.setitem(sys.modules, "flask_babel", SimpleNamespace(lazy_gettext=str))
    monkeypatch.setitem(sys.modules, "wtforms", SimpleNamespace(**kinds))
    widgets = FeastHook.get_connection_form_widgets()
    assert widgets == {field.name: f"{field.label}: {field.description}" for field in FIELDS}


def test_the_secrets_of_no_field_need_hiding() -> None:
    """Credentials belong into Secrets of the cluster; a field that asked for one would be shown in the form."""
    assert not [name for name in FIELD_NAMES if "password" in name or "token" in name]
