"""Whatever an author gives: a clear error that names it, or it is harmless. Longer: `make fuzz N=5000`."""

from __future__ import annotations

import json
import posixpath
import re
import subprocess
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from job_plans import STORE, make_context, make_plan

from airflow_provider_feast.cli.manifests_command import rendered
from airflow_provider_feast.jobs import yaml_text
from airflow_provider_feast.jobs.builder import build_final_job
from airflow_provider_feast.jobs.definitions import definitions_part
from airflow_provider_feast.jobs.manifest import build_job
from airflow_provider_feast.jobs.sources import resolve
from airflow_provider_feast.model.command import FeastCommand
from airflow_provider_feast.model.egress import read_egress
from airflow_provider_feast.model.errors import FeastConfigurationError, FeastDagError, FeastError
from airflow_provider_feast.model.fields import FIELDS
from airflow_provider_feast.model.identity import read_identity
from airflow_provider_feast.model.manifests import Installation, read_account, read_amounts, read_dns
from airflow_provider_feast.model.manifests import documents as documents_of
from airflow_provider_feast.model.security import PROFILES, loosened
from airflow_provider_feast.model.settings import FeastSettings, read_settings
from airflow_provider_feast.model.sources import (
    ConfigMapConfiguration,
    ConfigMapDefinitions,
    FeatureStoreConfiguration,
    GitDefinitions,
    ImageDefinitions,
    SecretConfiguration,
    SecretRef,
    VolumeDefinitions,
    check_key,
    check_object_name,
    check_path,
    check_subdirectory,
    merge_patch,
    read_configuration,
    read_definitions,
    read_patch,
)
from airflow_provider_feast.runner import output, patching
from airflow_provider_feast.sandbox.pods.env import expand

KNOWN = [
    *(
        "",
        " ",
        "\n",
        "\x00",
        "\ud800",
        "a\nb",
        "-",
        "--",
        "--upload-pack=touch /tmp/x",
        "-c core.sshCommand=x",
    ),
    *("../../etc/passwd", "/etc/passwd", "a/../..", "..", ".", "a/./b", "a//b", "/", "//", "sub/.git/hooks"),
    *(
        "$(id)",
        "$$(HOME)",
        "${HOME}",
        "`id`",
        "; rm -rf /",
        "| cat",
        "&& true",
        "'",
        '"',
        "\\",
        "%s",
        "{{ x }}",
    ),
    *("ext::sh -c id", "file:///etc", "https://u:p@h/x", "ssh://-oProxyCommand=id/x", "git@-h:x", "a@b:-x"),
    *(
        "имя",
        "名前",
        "é",
        "a\u202eb",
        "\u2028",
        "🪣",
        "a" * 254,
        "a" * 70_000,
        "a" * 1_100_000,
        "x=y",
        "A" * 63,
    ),
    *("main", "refs/heads/main", "v1.2", "HEAD", "feature_store.yaml", "features/production", "/app/repo"),
    *("https://git.example.com/a.git", "git@git.example.com:a/b.git", "ssh://git@h:22/a", "0" * 40, "+main"),
    *(
        "a:b",
        "^main",
        "main~1",
        "@{-1}",
        "a.lock",
        "true",
        "1e999",
        "0x1F",
        "null",
        "~",
        "=",
        "<<",
        "&a *a",
        "!!x",
    ),
]
text = st.one_of(st.sampled_from(KNOWN), st.text(max_size=40), st.text(st.characters(), max_size=5))
scalar = st.one_of(
    text, st.none(), st.booleans(), st.integers(), st.floats(), st.binary(max_size=3), st.just(object)
)
plain = st.recursive(
    st.one_of(text, st.none(), st.booleans(), st.integers(-(2**62), 2**62), st.floats(allow_nan=False)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
anything = st.recursive(
    scalar,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(scalar, inner, max_size=3),
    max_leaves=8,
)


def explained(error: FeastError) -> None:
    """What every refusal has: what is wrong, of a length that can be read, and what to do."""
    assert error.what
    assert error.remedy
    assert len(str(error)) < 13_000
    str(error).encode()  # it can be logged


def final(job: dict[str, Any]) -> list[dict[str, Any]]:
    """All containers of a Job that the API could be sent."""
    json.dumps(job, allow_nan=False).encode()
    spec = job["spec"]["template"]["spec"]
    return [*spec.get("initContainers", ()), *spec["containers"]]


# --- commands ----------------------------------------------------------------------------------------


@given(st.lists(scalar, max_size=4))
@example(["apply", "$(id)", "a\nb", "; rm -rf /", "--upload-pack=x"])
def test_an_argument_is_refused_or_reaches_feast_as_one_argument(arguments: list[Any]) -> None:
    try:
        command = FeastCommand.read(["apply", *arguments])
    except FeastDagError as error:
        return explained(error)
    (container,) = final(build_job(make_plan(command)))
    given_argv = container["command"][container["command"].index("--") + 1 :]
    assert [expand(part, {"id": "x", "HOME": "/root"}) for part in given_argv] == ["apply", *arguments]
    assert all(len(part.encode()) < 128 * 1024 for part in given_argv)
    return None


@given(anything)
def test_what_is_no_command_is_refused(value: Any) -> None:
    try:
        command = FeastCommand.read(value)
    except FeastDagError as error:
        return explained(error)
    assert re.fullmatch(r"[a-z][a-z0-9_-]*", command.subcommand)
    return None


# --- names, keys, paths --------------------------------------------------------------------------------


@given(st.one_of(scalar, text))
def test_names_keys_and_paths_are_refused_or_safe(value: Any) -> None:
    checks = {
        check_object_name: r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?",
        check_key: r"[-._a-zA-Z0-9]{1,253}",
        check_path: r"/[^\x00\n]+",
        check_subdirectory: r"[^\x00\n]*",
    }
    for check, pattern in checks.items():
        try:
            found = check(value, "field")
        except FeastDagError as error:
            explained(error)
            continue
        assert re.fullmatch(pattern, found)
        assert ".." not in found.split("/")
        if check is check_subdirectory:
            assert posixpath.normpath(posixpath.join("/top", found)).startswith("/top")
            assert not found.startswith("/")


# --- definitions ---------------------------------------------------------------------------------------


@given(text, text, text, st.sampled_from(["", "git-secret", "No Name"]), text)
@example("https://git.example.com/a.git", "--upload-pack=touch", "", "", "")
@example("git@git.example.com:a.git", "main", "a/b", "git-secret", "")
def test_git_gets_an_address_and_a_ref_and_never_an_option(
    url: str, ref: str, subdirectory: str, secret: str, image: str
) -> None:
    try:
        source = read_definitions(GitDefinitions(url, ref, subdirectory, secret, image))
    except FeastDagError as error:
        return explained(error)
    assert isinstance(source, GitDefinitions)
    part = definitions_part(FeastSettings("x", definitions=source))
    assert all(step.command[0] in ("git", "python3") for step in part.steps)
    (fetch,) = (step.command for step in part.steps if "fetch" in step.command)
    assert fetch[fetch.index("--") + 1 :] == [source.url, source.ref] == [url, ref or "HEAD"]
    assert not source.url.startswith("-")
    assert not source.ref.startswith(("-", "+"))
    assert ":" not in source.ref
    assert source.scheme in ("https", "http", "ssh", "file")
    assert posixpath.normpath(part.repo).startswith(part.checkout)
    return None


@settings(max_examples=max(40, settings().max_examples // 4))
@example("@")
@example("a/.b")
@example("a.lock/b")
@given(st.one_of(text, st.from_regex(r"[a-zA-Z0-9./_@{}~^-]{1,12}", fullmatch=True)))
def test_a_ref_that_is_taken_is_one_that_git_takes(ref: str) -> None:
    try:
        read_definitions(GitDefinitions("https://git.example.com/a.git", ref))
    except FeastDagError as error:
        return explained(error)
    assume(ref)
    assert subprocess.run(["git", "check-ref-format", "--allow-onelevel", ref], check=False).returncode == 0
    return None


@given(st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=8, max_size=20))
def test_credentials_in_an_address_are_refused_and_not_repeated(secret: str) -> None:
    secret = f"zq{secret}"  # no word of a message
    for url in (
        f"https://{secret}@git.example.com/a.git",
        f"https://user:{secret}@git.example.com/a.git",
        f"https://git.example.com/a.git?private_token={secret}",
        f"ssh://git:{secret}@git.example.com/a.git",
        f"https://user:{secret}@[bad/a.git",
        f"https://git.example.com:{secret}/a.git",
    ):
        with pytest.raises(FeastDagError) as caught:
            read_definitions(GitDefinitions(url))
        assert secret not in str(caught.value)


@given(anything, text, st.one_of(scalar, st.booleans()))
def test_definitions_of_any_kind_are_refused_or_become_a_locked_down_pod(
    value: Any, where: str, copy: Any
) -> None:
    sources = (
        *(value, ImageDefinitions(value, copy), ConfigMapDefinitions(value)),
        *(VolumeDefinitions(value, where, copy), VolumeDefinitions({"csi": value}, where, True)),
    )
    for source in sources:
        try:
            checked = read_definitions(source)
        except FeastDagError as error:
            explained(error)
            continue
        final(build_job(make_plan()._replace(settings=FeastSettings("x", definitions=checked, image="i"))))


# --- environment -----------------------------------------------------------------------------------------


@given(
    st.dictionaries(
        st.one_of(text, scalar), st.one_of(anything, st.builds(SecretRef, text, text)), max_size=3
    )
)
def test_a_variable_is_refused_or_holds_exactly_what_was_given(env: dict[Any, Any]) -> None:
    try:
        plan = make_plan(env=env)
    except FeastConfigurationError as error:
        return explained(error)
    (container,) = final(build_job(plan))
    made = {item["name"]: item for item in container["env"]}
    for name, value in env.items():
        if isinstance(value, str):
            assert expand(made[name]["value"], {"id": "x", "HOME": "/root"}) == value
            assert len(value.encode()) < 128 * 1024
        elif isinstance(value, SecretRef):
            assert made[name]["valueFrom"]["secretKeyRef"] == {"name": value.name, "key": value.key}
    return None


# --- configuration ---------------------------------------------------------------------------------------


@given(anything, text, text)
def test_a_configuration_of_any_kind_is_refused_or_named(value: Any, name: str, key: str) -> None:
    sources = (ConfigMapConfiguration(name, key), SecretConfiguration(name, key))
    for source in (value, *sources, FeatureStoreConfiguration(name, key)):
        try:
            read_configuration(source)
        except FeastError as error:
            explained(error)


@given(plain, plain)
@example("\x85", "a\u2028'${X}")
def test_a_mapping_is_refused_or_written_as_yaml_that_means_the_same(value: Any, patch: Any) -> None:
    content = {**STORE, "more": value}
    try:
        made = FeastSettings("x").override(configuration=content, configuration_patch={"patched": patch})
        found = resolve(made, None)  # type: ignore[arg-type]  # nothing is asked of a cluster
    except FeastError as error:
        return explained(error)
    assert yaml.safe_load(found.files["feature_store.yaml"]) == merge_patch(content, {"patched": patch})
    return None


@given(anything)
def test_a_patch_is_refused_or_plain(value: Any) -> None:
    try:
        json.dumps(read_patch(value)).encode()
    except FeastDagError as error:
        explained(error)


@given(plain, plain)
@example({"a": "'${X}\x85"}, {"b": "\u2029"})
def test_airflow_and_the_runner_merge_alike(base: Any, patch: Any) -> None:
    assume(not isinstance(base, list) or base)
    assert patching.merge_patch(base, patch) == merge_patch(base, patch)
    try:
        text = yaml_text.dump(base, "it")
        here = yaml_text.dump(merge_patch(yaml_text.load(text, "it"), patch), "it")
    except FeastConfigurationError:
        return
    assert patching.patched(text, [patch], "it") == here


def bomb(width: int, depth: int) -> str:
    """YAML that is small to read and huge to expand."""
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, depth)]
    return "\n".join(lines)


YAML = st.one_of(
    text,
    st.text("&*!|>%@`-?:,[]{}#'\"\n \tab0", max_size=60),
    st.builds(bomb, st.integers(1, 12), st.integers(1, 12)),
    st.builds(
        lambda mark, count: mark * count,
        st.sampled_from(["[", "{a: ", "- ", "? ", "!!x "]),
        st.integers(0, 4000),
    ),
)


@settings(deadline=timedelta(seconds=10))
@given(YAML)
@example(bomb(10, 12))
@example("&a [*a]")
@example("a: &a\n  b: *a\n")
@example("[" * 100_000)
@example("{a: " * 100_000)
@example("- x\n" * 30_000)
@example("x: 1\n" * 250_000)
@example("{{x: 1}: 2}")
@example("!!python/object/apply:os.system ['id']")
@example("<<: 5")
@example("2026-13-45: x")
@example("a: 0o9\nb: 1_000_:\nc: 2001-99-99")
def test_yaml_is_refused_or_of_a_size_that_can_be_handled(given_text: str) -> None:
    try:
        content = yaml_text.load(given_text, "the configuration")
    except FeastConfigurationError as error:
        return explained(error)
    assert len(json.dumps(content, default=str, skipkeys=True)) < 12_000_000
    return None


# --- everything a connection can say ----------------------------------------------------------------------


@given(
    st.dictionaries(st.sampled_from([field.name for field in FIELDS]), st.one_of(text, anything), max_size=3)
)
def test_a_connection_is_refused_or_makes_a_job_as_locked_down_as_its_profile(extra: dict[str, Any]) -> None:
    try:
        plan = make_plan(**{"image": "feast:1", **extra})
    except FeastConfigurationError as error:
        return explained(error)
    job = build_job(plan)
    for container in final(job):
        assert all(isinstance(part, str) for part in container["command"])
    profile = PROFILES[plan.settings.security_profile]
    found = loosened(job["spec"]["template"]["spec"], profile)
    assert not found or "definitions_volume" in extra  # the builder refuses these, see test_builder
    return None


@example({"feature_store": "\ud800"})
@example({"https_proxy": "\x00"})
@given(st.dictionaries(st.sampled_from(FeastSettings._fields), st.one_of(text, anything), max_size=2))
def test_an_operator_is_refused_or_makes_a_job(values: dict[str, Any]) -> None:
    try:
        made = read_settings("feast_x", {"image": "feast:1"}).override(**values)
    except FeastError as error:
        return explained(error)
    final(build_job(make_plan()._replace(settings=made)))
    return None


INSIDE_A_JOB = [
    path.split(".")
    for path in (
        *("metadata", "metadata.labels", "metadata.annotations", "metadata.annotations.x", "spec"),
        *(
            "spec.podFailurePolicy",
            "spec.template",
            "spec.template.metadata.annotations",
            "spec.template.spec",
        ),
        *("pod", "pod.volumes", "pod.containers", "pod.initContainers", "pod.securityContext"),
        *("pod.securityContext.sysctls", "pod.securityContext.seccompProfile", "volume", "volume.emptyDir"),
        *("volume.secret", "volume.projected", "volume.projected.sources", "feast", "feast.command"),
        *("feast.env", "feast.envFrom", "feast.volumeMounts", "feast.ports", "feast.securityContext"),
        *("feast.securityContext.capabilities", "feast.livenessProbe", "feast.lifecycle.preStop"),
    )
]
"""Fields of a Job; a path begins at the Job, the pod's spec, a volume of it, or the container."""


def at_place(path: list[str], value: Any) -> dict[str, Any]:
    """A part of a Job with a value at a place."""
    if not path:
        return value
    if path[0] == "pod":
        return {"spec": {"template": {"spec": at_place(path[1:], value)}}}
    if path[0] in ("volume", "feast"):
        inner = at_place(path[1:], value)
        item = {"name": "feast", **inner} if isinstance(inner, dict) else inner
        return at_place(["pod", "volumes" if path[0] == "volume" else "containers"], [item])
    return {path[0]: at_place(path[1:], value)}


INLINE = {"config_map": "", "configuration": STORE}
OPTIONS = (
    *(
        "annotations",
        "env_vars",
        "env_from",
        "secrets",
        "volumes",
        "volume_mounts",
        "ports",
        "init_containers",
    ),
    *("security_context", "container_security_context", "container_resources", "affinity", "tolerations"),
    *("node_selector", "image_pull_secrets", "host_aliases", "hostnetwork", "backoff_limit", "dns_config"),
)


@given(
    st.lists(st.tuples(st.sampled_from(INSIDE_A_JOB), plain), max_size=2),
    st.dictionaries(st.sampled_from(OPTIONS), plain, max_size=1),
)
@example([(["feast", "securityContext"], "x")], {})
@example([(["pod", "containers"], None)], {})
@example([(["feast", "volumeMounts"], [{"mountPath": "/x"}])], {})
@example([(["metadata", "annotations"], "x")], {})
@example([], {"secrets": "x"})
@example([], {"node_selector": float("inf")})
@example([(["feast", "volumeMounts"], "x"), (["feast", "env"], 5)], {})
@example([(["pod", "containers"], 5)], {"env_vars": 5})
def test_a_part_of_a_job_is_refused_or_makes_a_job_that_is_one(
    parts: list[tuple[list[str], Any]], options: dict[str, Any]
) -> None:
    hook = SimpleNamespace(is_in_cluster=False, get_namespace=lambda: None)
    for overrides in [at_place(path, value) for path, value in parts] or [{}]:
        try:
            plan = make_plan(job_overrides=overrides, pod_options=options, **INLINE)
            resolve(plan.settings, None)  # type: ignore[arg-type]  # nothing is asked of a cluster
            job = build_final_job(plan, hook, make_context())
        except FeastError as error:
            explained(error)
            continue
        assert "feast" in [container["name"] for container in final(job)]
        assert loosened(job["spec"]["template"]["spec"], PROFILES["restricted"]) == []


# --- masking -----------------------------------------------------------------------------------------------


@given(
    st.text(
        st.characters(min_codepoint=33, exclude_categories=["Cs", "Zl", "Zp", "Cc"]), min_size=6, max_size=30
    ),
    st.lists(st.integers(1, 40), max_size=6),
)
def test_a_secret_is_never_written_however_it_is_cut_into_writes(secret: str, cuts: list[int]) -> None:
    written: list[bytes] = []

    class Lines(output.PlainLines):
        def line(self, line: bytes) -> None:
            written.append(line)

    mask = output.Mask()
    mask.add([secret])
    stream = Lines(1, mask)
    data = f"before {secret} {secret!r} {json.dumps(secret)} after{'.' * 70_000}{secret}\n".encode()
    for cut in cuts:
        stream.write(data[:cut])
        data = data[cut:]
    stream.write(data)
    stream.drain()
    assert secret.encode() not in b"\n".join(written)
    assert b"***" in b"\n".join(written)


# --- what a platform team installs ------------------------------------------------------------------------

targets = st.one_of(
    text,
    st.builds("{}:{}".format, text, st.one_of(text, st.integers(-1, 70_000))),
    st.sampled_from(
        ["h:\u00b2", "h:" + "1" * 5_000, "[::1]:0", "10.0.0.0/33:1", "1.2.3.4:65536", "[fe80::1%eth0]:1"]
    ),
)


@given(targets, targets, targets, targets, text)
def test_an_installation_is_refused_or_is_yaml_of_what_was_asked(
    egress: str, account: str, dns: str, amount: str, store_name: str
) -> None:
    try:
        wanted = Installation(
            feature_store=store_name,
            airflow=(read_account(account),),
            egress=(read_egress(egress),),
            dns=read_dns(dns),
            quota=read_amounts([amount.replace(":", "=")], "quota"),
        )
        shown = rendered(wanted)
    except FeastDagError as error:
        explained(error)
        return
    documents = list(yaml.safe_load_all(shown))
    assert all(part["kind"] and part["metadata"]["name"] for part in documents)
    assert 0 < wanted.egress[0].port < 65536


@given(text)
@example("a\n---\napiVersion: v1\nkind: Evil\nmetadata: {name: x}")
@example("a\u2028b")
@example("\ud800")
def test_a_name_of_a_feature_store_is_refused_or_changes_names_and_labels_only(name: str) -> None:
    egress = (read_egress("redis.data.svc:6379"),)
    kinds = [part.manifest["kind"] for part in documents_of(Installation(egress=egress))]
    try:
        shown = rendered(Installation(feature_store=name, egress=egress))
    except FeastDagError as error:
        explained(error)
        return
    assert [part["kind"] for part in yaml.safe_load_all(shown)] == kinds


@given(targets, st.sampled_from([read_egress, read_account, read_dns, read_identity]))
def test_each_part_of_an_installation_is_refused_or_read(given_text: str, read: Any) -> None:
    try:
        read(given_text)
    except FeastDagError as error:
        explained(error)
