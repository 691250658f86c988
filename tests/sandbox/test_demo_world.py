"""The demo touches only what is its own."""

import uuid

import pytest
from kubernetes import client, config

from airflow_provider_feast.sandbox import Sandbox
from airflow_provider_feast.sandbox.demo_repo import moment
from airflow_provider_feast.sandbox.demo_world import DemoError, World, prepare, remove


def _world(sandbox: Sandbox, namespace: str) -> World:
    api = config.new_client_from_config(str(sandbox.kubeconfig))
    return World(api, namespace, "feast-sandbox:local", sandbox.kubeconfig, True)


def test_a_namespace_that_is_not_the_demos_is_refused_and_left_alone(feast_sandbox: Sandbox) -> None:
    name = f"precious-{uuid.uuid4().hex[:8]}"
    world = _world(feast_sandbox, name)
    core = client.CoreV1Api(world.api)
    core.create_namespace({"metadata": {"name": name}})
    with pytest.raises(DemoError, match="FEAST_DEMO_NAMESPACE"):
        prepare(world, moment("2026-01-06T00:00:00+00:00"), lambda line: None)
    remove(world)
    assert core.read_namespace(name).status.phase == "Active"


def test_what_the_demo_made_is_gone_when_it_was_removed(feast_sandbox: Sandbox) -> None:
    name = f"demo-{uuid.uuid4().hex[:8]}"
    world = _world(feast_sandbox, name)
    said: list[str] = []
    prepare(world, moment("2026-01-06T00:00:00+00:00"), said.append)
    assert any("parquet" in line for line in said)
    remove(world)
    with pytest.raises(client.ApiException, match="not found"):
        client.CoreV1Api(world.api).read_namespace(name)
