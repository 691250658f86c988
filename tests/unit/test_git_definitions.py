"""Git as a source of definitions: which addresses and refs can work, and what git's words mean."""

from __future__ import annotations

import pytest

from airflow_provider_feast.jobs.definitions import definitions_part
from airflow_provider_feast.jobs.git_texts import git_problem
from airflow_provider_feast.model.errors import ERRORS, FeastDagError
from airflow_provider_feast.model.settings import FeastSettings, read_settings
from airflow_provider_feast.model.sources import (
    GitDefinitions,
    ImageDefinitions,
    VolumeDefinitions,
    read_definitions,
)

HTTPS = "https://git.example.com/team/features.git"


@pytest.mark.parametrize(
    ("url", "scheme"),
    [
        (HTTPS, "https"),
        ("https://git.example.com:8443/~team/features", "https"),
        ("https://[2001:db8::1]/features.git", "https"),
        ("http://git.internal/features.git", "http"),
        ("file:///mirror/features.git", "file"),
    ],
)
def test_addresses_that_work_without_a_secret(url: str, scheme: str) -> None:
    source = read_definitions(GitDefinitions(url))
    assert isinstance(source, GitDefinitions)
    assert (source.url, source.scheme, source.ref) == (url, scheme, "HEAD")


@pytest.mark.parametrize(
    "url", ["ssh://git@git.example.com:2222/features.git", "git@git.example.com:features.git"]
)
def test_ssh_needs_a_secret(url: str) -> None:
    with pytest.raises(FeastDagError, match="uses SSH without a secret"):
        read_definitions(GitDefinitions(url))
    source = read_definitions(GitDefinitions(url, secret="key"))
    assert isinstance(source, GitDefinitions)
    assert source.ssh


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "is not a repository's address"),
        ("features.git", "is none of"),
        ("/srv/features.git", "is none of"),
        ("ext::sh -c id", "is not a repository's address"),
        ("ext::sh", "is none of"),
        ("git://git.example.com/a.git", "is none of"),
        ("--upload-pack=id", "is not a repository's address"),
        ("https://git.example.com", "is none of"),
        ("https:///a.git", "has no host"),
        ("https://-oProxyCommand=id/a.git", "has no host"),
        ("ssh://-oProxyCommand=id/a.git", "has no host"),
        ("ssh://-x@git.example.com/a.git", "holds credentials"),
        ("git@-oProxyCommand=id:a.git", "is none of"),
        ("https://git.example.com:port/a.git", "is not a repository's address"),
        ("https://user:pass@git.example.com/a.git", "holds credentials"),
        ("https://token@git.example.com/a.git", "holds credentials"),
        ("https://git.example.com/a.git?token=x", "holds credentials or a query"),
        ("file://host/a.git", "names a host"),
        ("https://git.example.com/a\n.git", "is not a repository's address"),
    ],
)
def test_addresses_that_are_refused(url: str, says: str) -> None:
    with pytest.raises(FeastDagError) as caught:
        read_definitions(GitDefinitions(url, secret="s"))
    assert says in str(caught.value)
    assert "pass@" not in str(caught.value)


@pytest.mark.parametrize(
    "ref", ["main", "feature/x", "v1.2", "0" * 40, "refs/heads/main", "a@b", "имя", "v1+2"]
)
def test_refs_that_work(ref: str) -> None:
    source = read_definitions(GitDefinitions(HTTPS, ref))
    assert isinstance(source, GitDefinitions)
    assert source.ref == ref


@pytest.mark.parametrize(
    "ref",
    [
        "-x",
        "--upload-pack=id",
        "+main",
        "^main",
        "main:other",
        "a b",
        "a..b",
        "@{-1}",
        "main~1",
        "a.lock",
        "a/",
        "/a",
    ],
)
def test_refs_that_are_refused(ref: str) -> None:
    with pytest.raises(FeastDagError, match="is not a branch, a tag or a commit"):
        read_definitions(GitDefinitions(HTTPS, ref))


@pytest.mark.parametrize("path", ["..", "a/../../b", "/etc", "a/.git", "a\nb"])
def test_directories_that_are_refused(path: str) -> None:
    for source in (GitDefinitions(HTTPS, subdirectory=path), VolumeDefinitions("claim", path)):
        with pytest.raises(FeastDagError, match="is not a directory inside the repository"):
            read_definitions(source)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (GitDefinitions("http://git.internal/a.git", secret="token"), "http:// would not keep it"),
        (GitDefinitions(HTTPS, image="a b"), "has blanks in it"),
        (GitDefinitions(HTTPS, secret="Not A Name"), "definitions.secret='Not A Name'"),
        (VolumeDefinitions({}), "definitions.volume is not one volume"),
        (VolumeDefinitions({"csi": {}, "nfs": {}}), "is not one volume"),
        (VolumeDefinitions({"csi": "x"}), "is not one volume"),
        (VolumeDefinitions("Claim"), "definitions.volume='Claim'"),
        (VolumeDefinitions("claim", copy="yes"), "definitions.copy='yes' is neither"),  # type: ignore[arg-type]
        (ImageDefinitions("/repo", copy=1), "definitions.copy=1 is neither"),  # type: ignore[arg-type]
    ],
)
def test_sources_that_are_refused(source: object, says: str) -> None:
    with pytest.raises(FeastDagError) as caught:
        read_definitions(source)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("extra", "source"),
    [
        ({"definitions_git_url": HTTPS}, GitDefinitions(HTTPS)),
        (
            {
                "definitions_git_url": HTTPS,
                "definitions_git_ref": "main",
                "definitions_git_secret": "token",
                "definitions_git_image": "git:1",
                "definitions_subdirectory": "a/b/",
            },
            GitDefinitions(HTTPS, "main", "a/b", "token", "git:1"),
        ),
        (
            {"definitions_claim": "features", "definitions_subdirectory": "a"},
            VolumeDefinitions({"persistentVolumeClaim": {"claimName": "features"}}, "a"),
        ),
        (
            {"definitions_volume": '{"name": "x", "nfs": {"server": "s"}}', "definitions_copy": "no"},
            VolumeDefinitions({"nfs": {"server": "s"}}, copy=False),
        ),
        ({"definitions_path": "/repo", "definitions_copy": True}, ImageDefinitions("/repo", copy=True)),
    ],
)
def test_the_connections_fields_name_the_same_sources(extra: dict[str, object], source: object) -> None:
    assert read_settings("feast_x", extra).definitions == source


def test_only_the_fetch_sees_the_secret_and_the_network() -> None:
    source = GitDefinitions(HTTPS, secret="token")
    part = definitions_part(FeastSettings("x", definitions=source, https_proxy="http://proxy"))
    having = {step.name for step in part.steps if any(m["name"] == "feast-git" for m in step.mounts)}
    assert having == {"definitions-access", "definitions-fetch"}
    assert [step.name for step in part.steps if "HTTPS_PROXY" in step.env] == ["definitions-fetch"]
    assert [mount["name"] for mount in part.mounts] == ["feast-source"]


@pytest.mark.parametrize(
    ("said", "kind", "then"),
    [
        ("fatal: couldn't find remote ref x", "definitions_invalid", "Correct the ref"),
        (
            "error: Server does not allow request for unadvertised object 0",
            "definitions_invalid",
            "all 40 digits",
        ),
        ("fatal: Authentication failed for 'https://h/a.git/'", "definitions_refused", "Renew the token"),
        (
            "fatal: could not read Username for 'https://h': terminal prompts disabled",
            "definitions_refused",
            "Secret",
        ),
        ("git@h: Permission denied (publickey).\nfatal: Could not read", "definitions_refused", "key"),
        (
            "Host key verification failed.\nfatal: Could not read from remote",
            "definitions_invalid",
            "known_hosts",
        ),
        ("fatal: unable to access: Could not resolve host: h", "definitions_unreachable", "DNS"),
        (
            "ssh: connect to host h port 22: Connection refused",
            "definitions_unreachable",
            "reach the Git server",
        ),
        (
            "fatal: unable to access: The requested URL returned error: 503",
            "definitions_unreachable",
            "reach",
        ),
        ("fatal: unable to access: SSL certificate problem: self-signed", "definitions_invalid", "ca_bundle"),
        ("remote: Repository not found.\nfatal: repository 'x' not found", "definitions_invalid", "address"),
        ("fatal: something new", "definitions_invalid", "read what git says"),
        ("", "definitions_invalid", "read what git says"),
    ],
)
def test_what_git_says_becomes_a_kind_and_a_cure(said: str, kind: str, then: str) -> None:
    problem = git_problem("definitions-fetch", 128, said)
    assert problem.kind == kind
    assert kind in ERRORS
    assert then.lower() in problem.remedy.lower()
    assert problem.cause.startswith("The definitions could not be fetched from Git (exit code 128)")


def test_only_gits_own_complaints_are_quoted_and_no_credentials() -> None:
    said = "Initialized empty\nhint: use main\nremote: no such thing\nfatal: unable to access 'https://u:pw@h/a/': no\n"
    cause = git_problem("definitions-fetch", 128, said).cause
    assert "hint" not in cause
    assert "Initialized" not in cause
    assert "remote: no such thing" in cause
    assert "pw" not in cause
