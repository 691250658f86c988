"""The runner's pure parts: configuration, output, result, classification, copying. No Feast."""

from __future__ import annotations

import argparse
import ast
import base64
import html
import importlib.util
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_provider_feast.model.errors import ERRORS
from airflow_provider_feast.model.plain_secrets import SECRET_NAME
from airflow_provider_feast.model.result import RESULT_SCHEMA, CommandResult
from airflow_provider_feast.runner import basics
from airflow_provider_feast.runner.assemble import MODULES, assemble, assembled


def loaded() -> Any:
    """What the container runs, as a module: all parts in one file."""
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "feast_runner.py"
        file.write_text(assembled(), encoding="utf-8")
        spec = importlib.util.spec_from_file_location("assembled_runner", file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return module


runner = loaded()


@pytest.fixture(autouse=True)
def its_file(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--version`` hashes the file that runs."""
    file = tmp_path_factory.mktemp("runner") / "feast_runner.py"
    file.write_text(assembled(), encoding="utf-8")
    monkeypatch.setattr(runner, "__file__", str(file))


# --- configuration ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a: $FIRST\nb: ${SECOND}/x", ["FIRST", "SECOND"]),
        ("# $COMMENTED\na: x # ${COMMENTED}", []),
        ("a: 'x # $QUOTED' # $NOT", ["QUOTED"]),
        ('a: "x # $QUOTED" # $NOT', ["QUOTED"]),
        ("a: it's # $NOT", []),
        ("a: x#$PART", ["PART"]),
        ("a: $5 ${6} ${A-B} $", []),
        ("a: $SAME ${SAME}", ["SAME"]),
    ],
)
def test_variables_are_those_that_expandvars_looks_up_outside_comments(text: str, names: list[str]) -> None:
    assert runner.variables(text) == names


def test_missing_variables_are_all_named_and_no_value_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERE", "a-secret-value")
    with pytest.raises(runner.Failure, match="GONE, LOST") as caught:
        runner.check_variables("a: $GONE/${HERE}\nb: ${LOST}", "/feast/config/feature_store.yaml")
    assert (caught.value.code, caught.value.kind) == (66, "unexpanded_variables")
    assert "a-secret-value" not in str(caught.value)


def test_a_missing_configuration_says_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(runner.Failure, match=r"nowhere\.yaml does not exist") as caught:
        runner.read_configuration(str(tmp_path / "nowhere.yaml"))
    assert (caught.value.code, caught.value.kind) == (66, "configuration_invalid")


def run_options(tmp_path: Path, *options: str) -> argparse.Namespace:
    return runner.parse(["run", "--repo", str(tmp_path), *options, "--", "apply"])


def test_a_patched_configuration_is_for_this_user_only_and_keeps_its_references(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD", "123456")
    (tmp_path / "feature_store.yaml").write_text("project: demo\npassword: '${PASSWORD}'\nold: 1\n")
    (tmp_path / "patch.json").write_text('[{"old": null}, {"user": "${USER_NAME}"}]')
    paths = ("--patch", str(tmp_path / "patch.json"), "--merged", str(tmp_path / "merged.yaml"))
    options = run_options(tmp_path, *paths)
    with pytest.raises(runner.Failure, match="USER_NAME"):
        runner.prepare_configuration(options, runner.Output())
    monkeypatch.setenv("USER_NAME", "reader")
    runner.prepare_configuration(options, runner.Output())
    merged = tmp_path / "merged.yaml"
    assert options.config == str(merged)
    assert merged.read_text() == "project: demo\npassword: '${PASSWORD}'\nuser: ${USER_NAME}\n"
    assert merged.stat().st_mode & 0o777 == 0o600


def test_a_value_that_breaks_the_yaml_is_not_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", "hunter2: {broken")
    (tmp_path / "feature_store.yaml").write_text("project: demo\nstore: ${PASSWORD}\n")
    with pytest.raises(runner.Failure, match=r"is not YAML: .*, line 2") as caught:
        runner.prepare_configuration(run_options(tmp_path), runner.Output())
    assert "hunter2" not in str(caught.value)


def test_without_any_configuration_there_is_nothing_to_check(tmp_path: Path) -> None:
    runner.prepare_configuration(run_options(tmp_path), runner.Output())


# --- what must not be printed ---------------------------------------------------------------------------


def masked(*values: str) -> runner.Mask:
    mask = runner.Mask()
    mask.add(values)
    return mask


def test_of_a_configuration_in_a_secret_all_is_masked_but_project_provider_and_types() -> None:
    content = {
        "project": "demo-project",
        "provider": "localhost",
        "registry": {"registry_type": "sqlalchemy", "path": "postgresql://u:s3cret-pass@h/db"},
        "online_store": {"type": "redis.long", "hosts": ["first-host", "second-host"], "password": 12345678},
        "port": 54321098,
    }
    mask = masked(*runner.secrets_in(content))
    said = (
        b"demo-project localhost sqlalchemy redis.long first-host second-host 12345678 54321098 s3cret-pass"
    )
    assert mask.bytes(said) == b"demo-project localhost sqlalchemy redis.long *** *** *** 54321098 ***"


def test_parts_of_connection_strings_are_masked_by_themselves() -> None:
    mask = masked("redis.example:6379,password=s3cret-one,ssl=true", "mysql://u:s3cret%2Ftwo@h/db")
    assert (
        mask.bytes(b"auth s3cret-one; s3cret/two; s3cret%2Ftwo; ssl=true") == b"auth ***; ***; ***; ssl=true"
    )


@pytest.mark.parametrize(
    "secret", ["it's a: secret # yes", "'quoted' pass: word", "päss'wörd: €x", 'a&b<c>"d-secret']
)
@pytest.mark.parametrize(
    "spell",
    [
        yaml.safe_dump,
        lambda text: yaml.safe_dump([text], allow_unicode=True),
        lambda text: yaml.safe_dump(text, default_style='"'),
        lambda text: "where password = '{}'".format(text.replace("'", "''")),
        lambda text: f"<Message>{html.escape(text)}</Message>",
        lambda text: f"<Message>{html.escape(text, quote=False)}</Message>",
        ascii,
    ],
    ids=["yaml", "yaml-unicode", "yaml-quoted", "sql", "html", "xml", "ascii"],
)
def test_a_secret_is_masked_as_yaml_sql_and_markup_spell_it(secret: str, spell: Any) -> None:
    said = masked(secret).bytes(spell(secret).encode()).decode()
    assert "***" in said
    assert not any(part in said for part in ("secret", "quoted", "pass:", "rd: "))


def test_secrets_inside_of_json_are_masked_by_themselves() -> None:
    account = {
        "type": "service_account",
        "private_key": "-----BEGIN PRIVATE KEY-----\nbGluZS1vbmU\n-----END PRIVATE KEY-----\n",
        "token_uri": "https://oauth2.example.com/token",
        "accounts": [{"client_secret": "s3cret-inside", "name": "somebody"}],
    }
    mask = masked(json.dumps(account))
    said = (
        b"type service_account key bGluZS1vbmU of somebody s3cret-inside at https://oauth2.example.com/token"
    )
    assert (
        mask.bytes(said)
        == b"type service_account key *** of somebody *** at https://oauth2.example.com/token"
    )
    assert masked("{not json: s3cret}").bytes(b"{not json: s3cret}") == b"***"


def test_pydantic_s_cut_values_are_masked_because_half_a_secret_matches_nothing() -> None:
    line = b"[type=string_type, input_value={'path': 'long-sec...word'}, input_type=dict]"
    assert (
        masked("long-secret-password").bytes(line) == b"[type=string_type, input_value=***, input_type=dict]"
    )
    assert masked("short").bytes(line) == line


def test_a_secret_at_the_place_where_a_message_is_cut_is_masked_first(tmp_path: Path) -> None:
    report = runner.Report(str(tmp_path / "log"), 4096, masked("long secret  with blanks"))
    report.end("failed", 1, "command_failed", f"{'x ' * 440}long secret with blanks and more{' y' * 500}")
    assert "long secret" not in (tmp_path / "log").read_text()
    assert "x *** and" in (tmp_path / "log").read_text()


def test_airflow_and_the_runner_take_the_same_names_for_those_of_secrets() -> None:
    assert runner._SECRET_NAME.pattern == SECRET_NAME.pattern
    assert runner._SECRET_NAME.flags == SECRET_NAME.flags


def test_variables_that_are_called_like_secrets_are_masked_and_paths_are_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STORE_PASSWORD", "guessed-value")
    monkeypatch.setenv("TOKEN_FILE", "/var/run/token")
    monkeypatch.setenv("PLAIN", "told-value")
    mask = masked(*runner.secret_variables(["PLAIN", "NOT_SET"]))
    assert mask.bytes(b"guessed-value /var/run/token told-value") == b"*** /var/run/token ***"


def test_values_of_mounted_secrets_are_masked_directories_and_single_files(tmp_path: Path) -> None:
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "key").write_text("-----BEGIN KEY-----\nbGluZS1vbmU\n-----END KEY-----\n")
    (tmp_path / "key").symlink_to("..data/key")
    (tmp_path / "single").write_text("single-file-value\n")
    places = [str(tmp_path), str(tmp_path / "single"), str(tmp_path / "nowhere")]
    mask = masked(*runner.secret_files(places))
    assert mask.bytes(b"a bGluZS1vbmU b single-file-value") == b"a *** b ***"


def test_values_in_directories_of_a_mounted_secret_are_masked(tmp_path: Path) -> None:
    (tmp_path / "..data" / "deep").mkdir(parents=True)
    (tmp_path / "..data" / "deep" / "key").write_text("deep-file-value")
    (tmp_path / "deep").symlink_to("..data/deep")
    mask = masked(*runner.secret_files([str(tmp_path)]))
    assert mask.bytes(b"a deep-file-value") == b"a ***"


@pytest.mark.parametrize("size", [40, 1_000_000])
def test_a_secret_that_is_no_text_is_masked_and_stops_nothing(tmp_path: Path, size: int) -> None:
    """A keystore, a keytab, a password in another encoding."""
    content = bytes(range(128, 256)) * (size // 128 + 1)
    (tmp_path / "store.jks").write_bytes(content)
    mask = masked(*runner.secret_files([str(tmp_path)]))
    assert mask.bytes(b"is " + base64.b64encode(content) + b" here") in (
        b"is *** here",
        b"is ***= here",
        b"is ***== here",
    )
    assert masked("s\udce4cret-\udcff").bytes(b"is s\xe4cret-\xff") == b"is ***"


def test_certificates_are_no_secrets_but_the_key_beside_them_is(tmp_path: Path) -> None:
    certificate = "-----BEGIN CERTIFICATE-----\npublic-line\n-----END CERTIFICATE-----\n"
    key = "-----BEGIN PRIVATE KEY-----\nsecret-line\n-----END PRIVATE KEY-----\n"
    (tmp_path / "tls.pem").write_text(certificate + key + certificate)
    mask = masked(*runner.secret_files([str(tmp_path)]))
    assert mask.bytes(b"public-line secret-line") == b"public-line ***"
    assert len(masked(certificate * 5000)._secrets) == 0


def test_of_a_large_secret_each_line_is_masked() -> None:
    mask = masked("\n".join(f"secret-line-{number:06}" for number in range(2000)))
    assert mask.bytes(b"a secret-line-001234 b") == b"a *** b"
    assert mask.longest < 60_000


# --- output -------------------------------------------------------------------------------------------


class Pipe:
    """A PlainLines with a readable other end and a clock that the test moves."""

    def __init__(self) -> None:
        self._read, write = os.pipe()
        os.set_blocking(self._read, False)
        self.now = 0.0
        self.mask = runner.Mask()
        self.stream = runner.PlainLines(write, self.mask, lambda: self.now)

    def said(self) -> str:
        try:
            return os.read(self._read, 1 << 20).decode()
        except BlockingIOError:
            return ""


@pytest.fixture
def pipe() -> Pipe:
    return Pipe()


def test_escape_sequences_are_removed_even_when_they_come_in_two_writes(pipe: Pipe) -> None:
    pipe.stream.write(b"\x1b[1m\x1b[")
    pipe.stream.write(b"32mdriver\x1b[0m: \x1b]8;;http://x\x07link\x1b]8;;\x07\n")
    assert pipe.said() == "driver: link\n"


def test_a_progress_bar_becomes_a_line_every_few_seconds_and_its_last_state(pipe: Pipe) -> None:
    for step in range(101):
        pipe.now = step / 10
        pipe.stream.write(f"\r{step:3d}%|##| {step}/100".encode())
    pipe.stream.write(b"\ndone\n")
    assert [line.split("|")[0].strip() for line in pipe.said().splitlines()] == ["0%", "50%", "100%", "done"]


def test_a_secret_is_masked_even_when_it_comes_in_two_writes(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PASSWORD", "p@ss/word")
    monkeypatch.setenv("SHORT", "abc")
    pipe.mask.add(runner.secrets_of("a: ${PASSWORD}\nb: $SHORT"))
    pipe.stream.write(b"postgres://u:p@ss")
    pipe.stream.write(b"/word@db abc\npostgres://u:p%40ss%2Fword@db\n")
    assert pipe.said() == "postgres://u:***@db abc\npostgres://u:***@db\n"
    assert pipe.mask.value({"argv": ["x", "p@ss/word"]}) == {"argv": ["x", "***"]}


def test_a_line_without_an_end_is_written_at_the_end(pipe: Pipe) -> None:
    pipe.stream.write(b"last words\x1b[0m")
    assert pipe.said() == ""
    pipe.stream.drain()
    assert pipe.said() == "last words\n"


# --- result -------------------------------------------------------------------------------------------


def test_the_result_stays_valid_json_within_its_budget_with_500_views(tmp_path: Path) -> None:
    log = tmp_path / "log"
    report = runner.Report(str(log), 2048, runner.Mask())
    for number in range(500):
        report.add(f"feature_view_{number}", number, 0.5)
        assert len(log.read_bytes()) <= 2048
    report.end("failed", 1, "command_failed", "wörd " * 400)
    text = log.read_text()
    result = CommandResult.parse(text)
    assert result is not None
    assert len(text.encode()) <= 2048
    assert list(json.loads(text))[:2] == ["v", "verdict"]
    assert result.views_omitted == 500 - len(result.views) > 400
    assert len(result.views) > 5
    assert result.message.startswith("wörd wörd")
    assert result.message.endswith("…")


def test_a_message_is_cut_before_a_view_is_left_out(tmp_path: Path) -> None:
    log = tmp_path / "log"
    report = runner.Report(str(log), 1024, runner.Mask())
    for number in range(8):
        report.add(f"view_{number}", None, 1.0)
    report.end("failed", 1, "command_failed", "x" * 5000)
    result = CommandResult.parse(log.read_text())
    assert result is not None
    assert (len(result.views), result.views_omitted) == (8, 0)
    assert len(log.read_bytes()) <= 1024


def test_a_shorter_result_replaces_a_longer_one_completely(tmp_path: Path) -> None:
    log = tmp_path / "log"
    report = runner.Report(str(log), 2048, runner.Mask())
    report.end("failed", 1, "command_failed", "a long message " * 20)
    report.end("succeeded", 0)
    assert json.loads(log.read_text())["verdict"] == "succeeded"


def test_windows_of_one_view_are_summed_and_an_unknown_number_stays_unknown() -> None:
    report = runner.Report("", 2048, runner.Mask())
    for rows in (2, 3):
        report.add("known", rows, 1.0)
    for rows in (2, None, 3):
        report.add("unknown", rows, 1.0)
    assert report.body["views"]["known"] == {"rows": 5, "seconds": 2.0, "windows": 2}
    assert report.body["views"]["unknown"]["rows"] is None
    assert runner.SCHEMA == RESULT_SCHEMA


# --- classification -----------------------------------------------------------------------------------


def made(module: str, name: str, text: str, *bases: type[BaseException]) -> BaseException:
    return type(name, bases or (Exception,), {"__module__": module})(text)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (
            made("feast.errors", "FeatureViewNotFoundException", "Feature view x does not exist"),
            "unknown_feature_view",
        ),
        (ValueError("FeatureView x is not configured to be served online."), "unknown_feature_view"),
        (
            made("yaml.scanner", "ScannerError", "bad", type("YAMLError", (Exception,), {})),
            "configuration_invalid",
        ),
        (made("feast.errors", "FeastProviderNotImplementedError", "Provider 'x'"), "configuration_invalid"),
        (
            made("sqlalchemy.exc", "OperationalError", "connection refused\n[SQL: SELECT 1]"),
            "store_unreachable",
        ),
        (made("psycopg", "OperationalError", "password authentication failed"), "store_unreachable"),
        (made("redis.exceptions", "AuthenticationError", "WRONGPASS"), "store_unreachable"),
        (ConnectionRefusedError(111, "Connection refused"), "store_unreachable"),
        (made("feast.errors", "S3RegistryBucketForbiddenAccess", "bucket"), "registry_unreachable"),
        (made("sqlite3", "OperationalError", "unable to open database file"), "store_unreachable"),
        (made("sqlite3", "OperationalError", "no such table: demo_x"), "command_failed"),
        (MemoryError(), "out_of_memory"),
        (KeyError("x"), "command_failed"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_failure_gets_the_kind_of_its_exception(error: BaseException, kind: str) -> None:
    found, message = runner.classify(error, "/repo")
    assert (found, "\n" in message, "SQL" in message) == (kind, False, False)
    assert kind in ERRORS


def test_the_cause_of_a_failure_counts_too() -> None:
    outer = RuntimeError("materialization failed")
    outer.__cause__ = made("redis.exceptions", "ConnectionError", "Error 111 connecting to redis:6379")
    assert runner.classify(outer, "/repo") == (
        "store_unreachable",
        "ConnectionError: Error 111 connecting to redis:6379",
    )


# --- copy and the command line ------------------------------------------------------------------------


def test_a_config_map_volume_is_copied_as_plain_files(tmp_path: Path) -> None:
    volume, target = tmp_path / "volume", tmp_path / "repo"
    (volume / "..2026" / "sub").mkdir(parents=True)
    (volume / "..2026" / "views.py").write_text("x = 1")
    (volume / "..2026" / "sub" / "more.py").write_text("y = 1")
    (volume / "..data").symlink_to("..2026")
    (volume / "views.py").symlink_to("..data/views.py")
    (volume / "sub").symlink_to("..data/sub")
    target.mkdir()
    for _again in range(2):
        assert runner.main(["copy", str(volume), str(target)]) == 0
    found = sorted(path for path in target.rglob("*") if path.is_file())
    assert [str(path.relative_to(target)) for path in found] == ["sub/more.py", "views.py"]
    assert not any(path.is_symlink() for path in target.rglob("*"))


@pytest.mark.parametrize("trouble", ["missing", "empty", "inside", "loop"])
def test_a_copy_that_cannot_work_exits_67_and_says_why(
    tmp_path: Path, trouble: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source, target, log = tmp_path / "source", tmp_path / "target", tmp_path / "log"
    log.touch()
    if trouble != "missing":
        source.mkdir()
    if trouble == "inside":
        target = source / "target"
    if trouble in ("inside", "loop"):
        (source / "views.py").touch()
    if trouble == "loop":
        (source / "self").symlink_to(source)
    assert runner.main(["copy", "--termination-log", str(log), str(source), str(target)]) == 67
    assert "definitions cannot be copied" in capsys.readouterr().err
    result = CommandResult.parse(log.read_text())
    assert result is not None
    assert (result.exit_code, result.kind) == (67, "definitions_invalid")


# --- git ------------------------------------------------------------------------------------------------


def access(tmp_path: Path, url: str, **files: str) -> tuple[int, Path]:
    secret, target = tmp_path / "secret", tmp_path / "target"
    for directory in (secret, target):
        directory.mkdir()
    for name, text in files.items():
        (secret / name.replace("__", "-")).write_text(text)
    (tmp_path / "log").touch()
    log = ["--termination-log", str(tmp_path / "log")]
    return runner.main(["git-access", *log, url, str(secret), str(target)]), target


@pytest.mark.parametrize(
    ("files", "line"),
    [
        ({"token": "a/b@c:d\n"}, "https://git:a%2Fb%40c%3Ad@git.example.com:8443\n"),
        ({"username": "me\n", "password": "pw"}, "https://me:pw@git.example.com:8443\n"),
    ],
)
def test_a_token_becomes_a_line_that_git_reads_for_this_host_only(
    tmp_path: Path, files: dict[str, str], line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    code, target = access(tmp_path, "https://git.example.com:8443/a.git", **files)
    assert code == 0
    assert (target / "credentials").read_text() == line
    assert (target / "credentials").stat().st_mode & 0o777 == 0o600
    assert "".join(capfd.readouterr()) == ""


def test_a_key_is_usable_by_openssh_and_the_user_has_a_name(tmp_path: Path) -> None:
    files = {"ssh__privatekey": "KEY", "known_hosts": "git.example.com ssh-ed25519 AAAA"}
    code, target = access(tmp_path, "git@git.example.com:a.git", **files)
    assert code == 0
    assert (target / "key").read_text() == "KEY\n"
    assert (target / "key").stat().st_mode & 0o777 == 0o600
    assert f"feast:x:{os.getuid()}:{os.getgid()}:" in (target / "passwd").read_text()
    command = ["ssh", "-F", str(target / "ssh_config"), "-G", "git@git.example.com"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert f"identityfile {target}/key" in shown
    assert f"userknownhostsfile {target}/known_hosts" in shown
    assert {"stricthostkeychecking true", "batchmode yes", "identitiesonly yes"} <= set(shown)


@pytest.mark.parametrize(
    ("url", "files", "says"),
    [
        ("https://h/a.git", {}, "no key token or password; it has: nothing"),
        ("git@h:a.git", {"ssh__privatekey": "k"}, "no key known_hosts; it has: ssh-privatekey"),
        ("git@h:a.git", {"known_hosts": "h"}, "no key ssh-privatekey or identity; it has: known_hosts"),
    ],
)
def test_a_secret_that_lacks_a_key_exits_67_with_the_names_it_has(
    tmp_path: Path, url: str, files: dict[str, str], says: str
) -> None:
    code, _ = access(tmp_path, url, **files)
    result = CommandResult.parse((tmp_path / "log").read_text())
    assert result is not None
    assert (code, result.kind) == (67, "definitions_invalid")
    assert says in result.message


def test_the_commit_of_a_working_tree(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    for head, commit in ((f"{'ab' * 20}\n", "ab" * 20), ("ref: refs/heads/main\n", "")):
        (tmp_path / ".git" / "HEAD").write_text(head)
        assert runner.commit_of(str(tmp_path)) == commit
    with pytest.raises(runner.Failure, match="no Git working tree"):
        runner.commit_of(str(tmp_path / "elsewhere"))


@pytest.mark.parametrize("argv", [[], ["run"], ["run", "--repo", "/r"], ["copy", "/only-one"], ["walk"]])
def test_a_wrong_call_exits_64(argv: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        runner.main(argv)
    assert caught.value.code == 64


@pytest.mark.parametrize("subcommand", ["apply", "plan"])
def test_apply_without_definitions_is_refused(tmp_path: Path, subcommand: str) -> None:
    with pytest.raises(runner.Failure, match="no Python file"):
        runner.prepare_repo(str(tmp_path), subcommand)
    with pytest.raises(runner.Failure, match="does not exist"):
        runner.prepare_repo(str(tmp_path / "gone"), subcommand)
    with pytest.raises(runner.Failure, match="has no directory gone"):
        runner.prepare_repo(str(tmp_path / "gone"), "materialize", str(tmp_path))
    runner.prepare_repo(str(tmp_path / "new"), "materialize")
    assert (tmp_path / "new").is_dir()


def test_the_file_is_small_and_old_python_understands_it() -> None:
    text = assembled()
    ast.parse(text, feature_version=(3, 9))
    assert len(text.encode()) < 1 << 20


def test_one_name_in_two_modules_cannot_become_one_file() -> None:
    with pytest.raises(ValueError, match="LIMIT is defined in a and in b"):
        assemble([("a", '"""A."""\nLIMIT = 1\n'), ("b", '"""B."""\nLIMIT: int = 2\n')])
    with pytest.raises(ValueError, match="renames"):
        assemble([("b", '"""B."""\nfrom airflow_provider_feast.runner.a import LIMIT as TOP\n')])


def test_every_module_of_the_runner_is_in_the_file() -> None:
    there = {path.stem for path in Path(basics.__file__).parent.glob("*.py")}
    assert there - {"__init__", "assemble"} == set(MODULES)
    assert "airflow_provider_feast" not in assembled()
