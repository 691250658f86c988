"""Definitions from Git, from volumes and from images, applied by the real Feast on the sandbox."""

import json
import sys
from collections.abc import Iterator

import pytest
from airflow_helpers import Cluster, DagServer, Run, feast_connection, store
from git_server import GitServer, Origin, git
from ssh_server import SshServer, key_pair

from airflow_provider_feast.sandbox import Sandbox, demo_repo
from airflow_provider_feast.sandbox.demo_world import World, run_job

pytestmark = pytest.mark.xdist_group("airflow-definitions")
TOKEN = "ghp_t0ken/with+odd:characters@"
GIT_STEPS = ["definitions-init", "definitions-fetch", "definitions-checkout"]


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> Origin:
    """The demo's definitions in `features/demo`, and on the branch `broken` none there."""
    made = Origin(tmp_path_factory.mktemp("git"))
    made.commit({"features/demo/definitions.py": demo_repo.definitions_text(), "README.md": "Features\n"})
    return made


@pytest.fixture(scope="module")
def open_server(origin: Origin) -> Iterator[GitServer]:
    server = GitServer(origin.bare.parent)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def private_server(origin: Origin) -> Iterator[GitServer]:
    server = GitServer(origin.bare.parent, TOKEN)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def connections(
    world: World,
    feast_sandbox: Sandbox,
    open_server: GitServer,
    private_server: GitServer,
    cluster: Cluster,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """Connections to both servers, and what they need in the cluster."""
    for name, server in (("open-ca", open_server), ("private-ca", private_server)):
        body = {"metadata": {"name": name}, "data": {"ca-bundle.crt": server.ca}}
        cluster.core.create_namespaced_config_map(cluster.namespace, body)
    for name, data in (
        ("git-token", {"token": f"{TOKEN}\n"}),
        ("git-account", {"username": "git", "password": TOKEN}),
        ("git-wrong", {"token": "wr0ng-token-value"}),
        ("git-empty", {"other": "x"}),
    ):
        body = {"metadata": {"name": name}, "stringData": data}
        cluster.core.create_namespaced_secret(cluster.namespace, body)
    repo = tmp_path_factory.mktemp("linked")
    (repo / "real").mkdir()
    (repo / "real" / "definitions.py").write_text(demo_repo.definitions_text())
    (repo / "repo").mkdir()
    (repo / "repo" / "definitions.py").symlink_to("../real/definitions.py")
    feast_sandbox.add_image("feast-linked:1", f"{sys.prefix},/opt/app={repo}")
    known = json.loads(world.connection)["extra"]
    bare = {key: value for key, value in known.items() if key in ("namespace", "image", "job_overrides")}
    git_fields = {"definitions_git_image": world.image, "definitions_subdirectory": "features/demo"}
    public = {**bare, **git_fields, "definitions_git_url": f"{open_server.url}/features.git"}
    private = {**bare, **git_fields, "definitions_git_url": f"{private_server.url}/features.git"}
    return {
        "feast_bare": feast_connection(**bare),
        "feast_linked": feast_connection(**{**bare, "image": "feast-linked:1"}),
        "feast_git": feast_connection(**public, ca_bundle_config_map="open-ca"),
        "feast_private": feast_connection(
            **private, ca_bundle_config_map="private-ca", definitions_git_secret="git-token"
        ),
    }


def apply(airflow: DagServer, name: str, conn: str, more: str = "") -> Run:
    """Apply with a configuration of its own."""
    return airflow.run(f"""
FeastApplyOperator(task_id="apply", feast_conn_id={conn!r}, configuration={store(name)!r}, {more})
""")


def test_apply_records_the_commit_of_a_branch(airflow: DagServer, cluster: Cluster, origin: Origin) -> None:
    run = apply(airflow, "branch", "feast_git")
    assert run["apply"].state == "success", run["apply"].error
    commit = git("rev-parse", "main", cwd=origin.bare)
    assert run["apply"].xcoms["result"]["commit"] == commit
    assert f"Definitions: commit {commit}" in run["apply"].log
    assert "Created feature view customer_profile" in run["apply"].log
    spec = cluster.job(run["apply"].xcoms["job_name"]).spec.template.spec
    assert [container.name for container in spec.init_containers] == GIT_STEPS
    assert not any("sh" in container.command[0] for container in spec.init_containers)


def test_a_whole_commit_id_and_a_tag_are_refs_too(
    airflow: DagServer, origin: Origin, open_server: GitServer, world: World
) -> None:
    first = git("rev-parse", "main", cwd=origin.bare)
    second = origin.commit({"features/demo/more.py": "MORE = 1\n"}, branch="later")
    git("tag", "--force", "v1.2", second, cwd=origin.work)
    git("push", "--quiet", "--force", str(origin.bare), "v1.2", cwd=origin.work)
    for ref, commit in ((first, first), ("v1.2", second), ("later", second)):
        given = f"GitDefinitions('{open_server.url}/features.git', {ref!r}, 'features/demo', image={world.image!r})"
        run = apply(airflow, "refs", "feast_git", f"definitions={given}")
        assert run["apply"].state == "success", run["apply"].error
        assert run["apply"].xcoms["result"]["commit"] == commit


def test_a_token_opens_a_private_repository_and_shows_up_nowhere(
    airflow: DagServer, cluster: Cluster, private_server: GitServer
) -> None:
    run = apply(airflow, "private", "feast_private")
    assert run["apply"].state == "success", run["apply"].error
    assert private_server.account in private_server.seen
    name = run["apply"].xcoms["job_name"]
    pods = cluster.core.list_namespaced_pod(
        cluster.namespace, label_selector=f"batch.kubernetes.io/job-name={name}"
    ).items
    job = cluster.batch.read_namespaced_job(name, cluster.namespace)
    shown = [run["apply"].log, str(run["apply"].xcoms), str(job), str(pods)]
    for pod in pods:
        for container in (*pod.spec.init_containers, *pod.spec.containers):
            read = cluster.core.read_namespaced_pod_log
            shown.append(read(pod.metadata.name, cluster.namespace, container=container.name))
    for part in (TOKEN, "ghp_t0ken", private_server.account.split()[1]):
        assert part not in "\n".join(shown)


def test_username_and_password_work_as_well(
    airflow: DagServer, private_server: GitServer, world: World
) -> None:
    given = f"GitDefinitions('{private_server.url}/features.git', secret='git-account', image={world.image!r}"
    run = apply(airflow, "account", "feast_private", f"definitions={given}, subdirectory='features/demo')")
    assert run["apply"].state == "success", run["apply"].error


BROKEN = {
    "a token that is refused": (
        "secret='git-wrong'",
        "DefinitionsRefusedError",
        "renew the token or key in the Secret",
    ),
    "a Secret without a token": (
        "secret='git-empty'",
        "DefinitionsError",
        "the Secret for Git has no key token or password; it has: other",
    ),
    "a ref that does not exist": (
        "secret='git-token', ref='no-such-branch'",
        "DefinitionsError",
        "couldn't find remote ref no-such-branch",
    ),
    "a directory that does not exist": (
        "secret='git-token', subdirectory='nowhere'",
        "DefinitionsError",
        "the repository has no directory nowhere",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_git_cannot_fetch_says_why(
    airflow: DagServer, private_server: GitServer, world: World, name: str
) -> None:
    arguments, error, says = BROKEN[name]
    given = f"GitDefinitions('{private_server.url}/features.git', image={world.image!r}, {arguments})"
    run = apply(airflow, "broken", "feast_private", f"definitions={given}")
    assert run["apply"].state == "failed"
    assert run["apply"].error.startswith(error), run["apply"].error
    assert says.lower() in run["apply"].error.lower()
    assert TOKEN not in run["apply"].log + run["apply"].error


def test_a_server_that_is_not_there_is_no_fault_of_the_dag(airflow: DagServer, world: World) -> None:
    given = f"GitDefinitions('https://127.0.0.1:1/features.git', image={world.image!r})"
    run = apply(airflow, "away", "feast_bare", f"definitions={given}")
    assert run["apply"].error.startswith("DefinitionsUnreachableError"), run["apply"].error


@pytest.fixture(scope="module")
def ssh_server(
    cluster: Cluster, origin: Origin, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SshServer]:
    """An SSH server, and Secrets of those that know it, do not know it, or take it for another one."""
    server = SshServer(tmp_path_factory.mktemp("sshd"))
    other = key_pair()
    for name, key, hosts in (
        ("ssh-right", server.private_key, server.known_hosts),
        ("ssh-wrong-key", other[0], server.known_hosts),
        ("ssh-wrong-host", server.private_key, f"[127.0.0.1]:{server.port} {other[1]}\n"),
    ):
        body = {"metadata": {"name": name}, "stringData": {"ssh-privatekey": key, "known_hosts": hosts}}
        cluster.core.create_namespaced_secret(cluster.namespace, body)
    yield server
    server.stop()


def over_ssh(server: SshServer, origin: Origin, world: World, secret: str) -> str:
    return (
        f"definitions=GitDefinitions({server.url(origin.bare)!r}, subdirectory='features/demo', secret={secret!r}, "
        f"image={world.image!r})"
    )


@pytest.mark.parametrize("profile", ["restricted", "arbitrary-uid"])
def test_a_key_opens_a_repository_over_ssh_under_any_user_id(
    airflow: DagServer, world: World, origin: Origin, ssh_server: SshServer, profile: str
) -> None:
    given = over_ssh(ssh_server, origin, world, "ssh-right")
    run = apply(airflow, "ssh", "feast_bare", f"{given}, security_profile={profile!r}")
    assert run["apply"].state == "success", run["apply"].error + ssh_server.log.read_text()
    assert run["apply"].xcoms["result"]["commit"] == git("rev-parse", "main", cwd=origin.bare)
    assert ssh_server.private_key.splitlines()[2] not in run["apply"].log


@pytest.mark.parametrize(
    ("secret", "error", "says"),
    [
        ("ssh-wrong-key", "DefinitionsRefusedError", "Permission denied (publickey"),
        ("ssh-wrong-host", "DefinitionsError", "Host key verification failed"),
    ],
)
def test_a_key_or_a_host_that_is_not_the_right_one_is_refused(
    airflow: DagServer,
    world: World,
    origin: Origin,
    ssh_server: SshServer,
    secret: str,
    error: str,
    says: str,
) -> None:
    run = apply(airflow, "ssh-refused", "feast_bare", over_ssh(ssh_server, origin, world, secret))
    assert run["apply"].error.startswith(f"{error}: "), run["apply"].error
    assert says in run["apply"].error


def test_an_ssh_server_that_is_not_there_is_no_fault_of_the_dag(
    airflow: DagServer, cluster: Cluster, world: World
) -> None:
    secret = {"ssh-privatekey": key_pair()[0], "known_hosts": "[127.0.0.1]:1 ssh-ed25519 AAAA"}
    body = {"metadata": {"name": "ssh-nowhere"}, "stringData": secret}
    cluster.core.create_namespaced_secret(cluster.namespace, body)
    given = (
        f"GitDefinitions('ssh://git@127.0.0.1:1/features.git', secret='ssh-nowhere', image={world.image!r})"
    )
    run = apply(airflow, "ssh-away", "feast_bare", f"definitions={given}")
    assert run["apply"].error.startswith("DefinitionsUnreachableError"), run["apply"].error
    assert "connect to host 127.0.0.1 port 1: Connection refused" in run["apply"].error


@pytest.fixture(scope="module")
def volume(world: World) -> str:
    """A claim with the repository in `repos/plain`, and one made of symbolic links in `repos/linked`."""
    code = f"""
import pathlib
top = pathlib.Path({world.data!r}) / "repos"
for name in ("plain", "linked"):
    (top / name).mkdir(parents=True)
(top / "plain" / "definitions.py").write_text({demo_repo.definitions_text(world.data)!r})
(top / "linked" / "definitions.py").symlink_to("../plain/definitions.py")
"""
    run_job(world, "fill", ["python3", "-c", code])
    return "feast-demo-data"


@pytest.mark.parametrize(("directory", "copy"), [("linked", True), ("plain", False)])
def test_a_volume_is_copied_or_used_where_it_is(
    airflow: DagServer, cluster: Cluster, volume: str, directory: str, copy: bool
) -> None:
    given = f"VolumeDefinitions({volume!r}, 'repos/{directory}', copy={copy})"
    run = apply(airflow, f"volume_{directory}", "feast_bare", f"definitions={given}")
    assert run["apply"].state == "success", run["apply"].error
    assert "Created feature view customer_profile" in run["apply"].log
    spec = cluster.job(run["apply"].xcoms["job_name"]).spec.template.spec
    assert [container.name for container in spec.init_containers or ()] == ["definitions"] * copy
    assert run["apply"].xcoms["result"]["commit"] == ""


def test_links_in_the_image_are_copied_as_files(airflow: DagServer) -> None:
    given = "ImageDefinitions('/opt/app/repo', copy=True)"
    run = apply(airflow, "linked", "feast_linked", f"definitions={given}")
    assert run["apply"].state == "success", run["apply"].error
    assert "Created feature view customer_profile" in run["apply"].log
