"""Feast's own words, as its command line really prints them, are put down to the right kind."""

from __future__ import annotations

import pytest

from airflow_provider_feast.jobs.feast_texts import CAUSE_LENGTH, error_text, recognise
from airflow_provider_feast.model.errors import ERRORS

LIB = "/opt/feast/lib/python3.11/site-packages"


def traceback(*files: str, error: str) -> str:
    frames = "".join(f'  File "{name}", line 7, in f\n    call()\n    ^^^^^^\n' for name in files)
    return f"Traceback (most recent call last):\n{frames}{error}\n"


CLI = f"{LIB}/feast/cli/cli.py"
IMPORTLIB = "<frozen importlib._bootstrap>"
REGISTRY = f"{LIB}/feast/infra/registry/sql.py"
ONLINE = f"{LIB}/feast/infra/online_stores/postgres_online_store/postgres.py"
PYDANTIC = """feast.repo_config.FeastConfigError: 2 validation errors for RepoConfig
path
  Input should be a valid string [type=string_type, input_value='hunter2', input_type=int]
    For further information visit https://errors.pydantic.dev/2.14/v/string_type
wat
  Extra inputs are not permitted [type=extra_forbidden, input_value=1, input_type=int]
at /feast/config/feature_store.yaml"""
SCANNER = """yaml.scanner.ScannerError: mapping values are not allowed here
  in "<unicode string>", line 2, column 10:
     password: hunter2: [x
             ^"""
GRPC = """grpc._channel._InactiveRpcError: <_InactiveRpcError of RPC that terminated with:
\tstatus = StatusCode.UNAVAILABLE
\tdetails = "failed to connect to all addresses; last error: Connection refused"
>"""

CASES: dict[str, tuple[str, str, str]] = {
    "missing configuration": (
        "Can't find feature repo configuration file at /feast/config/x.yaml. Make sure you're running feast from an "
        "initialized feast repository.\n",
        "configuration_invalid",
        "/feast/config/x.yaml.",
    ),
    "bad YAML": (
        traceback(CLI, f"{LIB}/yaml/scanner.py", error=SCANNER),
        "configuration_invalid",
        "line 2, column 10",
    ),
    "bad values": (
        traceback(CLI, f"{LIB}/feast/repo_config.py", error=PYDANTIC),
        "configuration_invalid",
        "path Input should be a valid string wat Extra inputs are not permitted",
    ),
    "unknown provider": (
        traceback(
            CLI, error="feast.errors.FeastProviderNotImplementedError: Provider 'nosuch' is not implemented"
        ),
        "configuration_invalid",
        "'nosuch'",
    ),
    "unknown store": (
        traceback(
            CLI, error="feast.errors.FeastOnlineStoreInvalidName: Online Store Class 'nosuch' should end …"
        ),
        "configuration_invalid",
        "'nosuch'",
    ),
    "image without the extra": (
        traceback(
            CLI,
            f"{LIB}/feast/importer.py",
            error="feast.errors.FeastModuleImportError: Could not import module 'feast.infra.online_stores.redis' while "
            "attempting to load class 'RedisOnlineStoreConfig'",
        ),
        "configuration_invalid",
        "image lacks",
    ),
    "image without the driver": (
        traceback(
            CLI, REGISTRY, f"{LIB}/sqlalchemy/x.py", error="ModuleNotFoundError: No module named 'psycopg'"
        ),
        "configuration_invalid",
        "psycopg",
    ),
    "project mismatch": (
        "Project object name should match with the project name defined in feature_store.yaml\n",
        "configuration_invalid",
        "project",
    ),
    "definitions that import what is not there": (
        traceback(CLI, IMPORTLIB, "/feast/repo/d.py", error="ModuleNotFoundError: No module named 'nosuch'"),
        "definitions_invalid",
        "No module named 'nosuch'",
    ),
    "definitions with a mistake that Feast finds": (
        traceback(CLI, IMPORTLIB, "/feast/repo/d.py", f"{LIB}/feast/entity.py", error="TypeError: no name"),
        "definitions_invalid",
        "no name",
    ),
    "definitions that ask a database which is down": (
        traceback(
            CLI,
            IMPORTLIB,
            "/feast/repo/d.py",
            f"{LIB}/psycopg/connection.py",
            error="psycopg.OperationalError: connection failed: connection to server at 10.0.0.1, port 5432 failed: "
            "Connection refused",
        ),
        "definitions_unreachable",
        "Connection refused",
    ),
    "definitions that ask a server which does not answer in time": (
        traceback(
            CLI,
            IMPORTLIB,
            "/feast/repo/d.py",
            f"{LIB}/requests/adapters.py",
            error="requests.exceptions.ReadTimeout: HTTPConnectionPool(host='catalog', port=80): Read timed out.",
        ),
        "definitions_unreachable",
        "Read timed out",
    ),
    "definitions whose password is refused": (
        traceback(
            CLI,
            IMPORTLIB,
            "/feast/repo/d.py",
            f"{LIB}/psycopg/connection.py",
            error='psycopg.OperationalError: password authentication failed for user "u"',
        ),
        "definitions_invalid",
        "password authentication failed",
    ),
    "definitions with a mistake of their own about a connection": (
        traceback(CLI, IMPORTLIB, "/feast/repo/d.py", error="ValueError: no Timeout given"),
        "definitions_invalid",
        "no Timeout given",
    ),
    "definitions through a ConfigMap's links": (
        traceback(
            CLI,
            "/usr/lib/python3.11/importlib/__init__.py",
            error="TypeError: the 'package' argument is required to perform a relative import for '..data.d'",
        ),
        "definitions_invalid",
        "links of a ConfigMap",
    ),
    "two views of one name": (
        traceback(
            CLI,
            error="feast.errors.ConflictingFeatureViewNames: Multiple FeatureViews with name 'stats' found.",
        ),
        "definitions_invalid",
        "'stats'",
    ),
    "unknown view": (
        traceback(
            CLI,
            f"{LIB}/feast/infra/registry/proto_registry_utils.py",
            error="feast.errors.FeatureViewNotFoundException: Feature view nosuch does not exist in project p",
        ),
        "unknown_feature_view",
        "Feature view nosuch does not exist in project p",
    ),
    "unknown view, said on stdout": (
        "Feature view nosuch does not exist in project p\n",
        "unknown_feature_view",
        "nosuch",
    ),
    "offline view": (
        traceback(CLI, error="ValueError: FeatureView stats is not configured to be served online."),
        "unknown_feature_view",
        "stats",
    ),
    "disabled view": (
        traceback(CLI, error="ValueError: FeatureView stats is disabled. Enable it first."),
        "unknown_feature_view",
        "disabled",
    ),
    "nothing to do": (
        "Materializing \x1b[1m\x1b[32m0\x1b[0m feature views from \x1b[1m2026-01-01\x1b[0m\n",
        "nothing_materialized",
        "no feature view",
    ),
    "unknown command": (
        "Usage: feast [OPTIONS] COMMAND [ARGS]...\nTry 'feast --help' for help.\n\n"
        "Error: No such command 'materialise'. Did you mean 'materialize'?\n",
        "usage_error",
        "materialise",
    ),
    "missing argument": (
        "Usage: feast materialize [OPTIONS] [START_TS] [END_TS]\n\n"
        "Error: START_TS and END_TS are required unless --disable-event-timestamp is used\n",
        "usage_error",
        "START_TS",
    ),
    "bad time": (
        traceback(CLI, error="dateutil.parser._parser.ParserError: Unknown string format: yesterday"),
        "usage_error",
        "yesterday",
    ),
    "start after end": (
        traceback(
            CLI,
            error="ValueError: The given start_date 2026-01-03 is greater than the given end_date 2026-01-02.",
        ),
        "usage_error",
        "2026-01-03",
    ),
    "SQL registry down": (
        traceback(
            CLI,
            REGISTRY,
            error="sqlalchemy.exc.OperationalError: (psycopg.OperationalError) connection failed: Connection refused\n"
            "(Background on this error at: https://sqlalche.me/e/20/e3q8)",
        ),
        "registry_unreachable",
        "cannot be reached",
    ),
    "SQL registry, wrong password": (
        traceback(
            CLI,
            REGISTRY,
            error='sqlalchemy.exc.OperationalError: (psycopg.Error) password authentication failed for user "u"',
        ),
        "registry_refused",
        "refused the credentials",
    ),
    "registry server down": (
        traceback(CLI, f"{LIB}/grpc/_channel.py", error=GRPC),
        "registry_unreachable",
        "refused",
    ),
    "registry bucket": (
        traceback(
            CLI,
            error="feast.errors.S3RegistryBucketForbiddenAccess: S3 bucket b for the Feast registry can't be accessed",
        ),
        "registry_refused",
        "refused the credentials",
    ),
    "online store down": (
        traceback(CLI, ONLINE, error="psycopg.OperationalError: connection failed: Connection refused"),
        "store_unreachable",
        "Connection refused",
    ),
    "redis down": (
        traceback(
            CLI, error="redis.exceptions.ConnectionError: Error 111 connecting to r:6379. Connection refused."
        ),
        "store_unreachable",
        "r:6379",
    ),
    "redis password": (
        traceback(
            CLI, error="redis.exceptions.AuthenticationError: WRONGPASS invalid username-password pair"
        ),
        "store_refused",
        "refused the credentials",
    ),
    "DynamoDB, wrong key": (
        traceback(
            CLI,
            error="botocore.exceptions.ClientError: An error occurred (UnrecognizedClientException) when calling the "
            "DescribeTable operation: The security token included in the request is invalid.",
        ),
        "store_refused",
        "UnrecognizedClientException",
    ),
    "S3, expired token": (
        traceback(
            CLI,
            REGISTRY,
            error="botocore.exceptions.ClientError: An error occurred (ExpiredToken) when calling GetObject: "
            "The provided token has expired.",
        ),
        "registry_unreachable",
        "ExpiredToken",
    ),
    "BigQuery, no account": (
        traceback(
            CLI,
            error="google.auth.exceptions.DefaultCredentialsError: Your default credentials were not found.",
        ),
        "store_refused",
        "default credentials",
    ),
    "Snowflake, wrong password": (
        traceback(
            CLI,
            ONLINE,
            error="snowflake.connector.errors.DatabaseError: 250001 (08001): Failed to connect to DB: Incorrect username "
            "or password was specified.",
        ),
        "store_refused",
        "Incorrect username",
    ),
    "MongoDB, wrong password": (
        traceback(CLI, ONLINE, error="pymongo.errors.OperationFailure: Authentication failed., code: 18"),
        "store_refused",
        "Authentication failed",
    ),
    "tables never made": (
        traceback(CLI, ONLINE, error="sqlite3.OperationalError: no such table: p_stats"),
        "command_failed",
        "p_stats",
    ),
    "two writers": (
        traceback(CLI, REGISTRY, error="sqlalchemy.exc.IntegrityError: (x.UniqueViolation) duplicate key"),
        "command_failed",
        "Another writer",
    ),
    "read-only registry path": (
        traceback(CLI, error="OSError: [Errno 30] Read-only file system: '/opt/app/registry.db'"),
        "configuration_invalid",
        "/opt/app/registry.db",
    ),
    "full disk": (traceback(CLI, error="OSError: [Errno 28] No space left on device"), "out_of_disk", "full"),
    "Python's own memory error": (traceback(CLI, error="MemoryError"), "out_of_memory", "Out of memory"),
}


@pytest.mark.parametrize("case", CASES)
def test_feasts_words_are_recognised(case: str) -> None:
    text, kind, words = CASES[case]
    symptom = recognise(text)
    assert symptom is not None
    assert symptom.kind == kind
    assert words in symptom.cause
    assert symptom.remedy
    assert kind in ERRORS


@pytest.mark.parametrize("case", CASES)
def test_only_the_end_of_a_log_is_needed(case: str) -> None:
    text, kind, _ = CASES[case]
    symptom = recognise(("2026-01-01 INFO loading\n" * 80 + text)[-max(900, len(text)) :])
    assert symptom is not None
    assert symptom.kind == kind


@pytest.mark.parametrize("case", CASES)
def test_no_secret_of_a_configuration_is_repeated(case: str) -> None:
    symptom = recognise(CASES[case][0])
    assert symptom is not None
    assert "hunter2" not in symptom.cause + symptom.remedy


def test_the_file_of_a_broken_definition_is_named() -> None:
    symptom = recognise(CASES["definitions that import what is not there"][0])
    assert symptom is not None
    assert "d.py" in symptom.remedy


@pytest.mark.parametrize("text", ["", "\n \n", "try\n", traceback(CLI, error="ValueError: something else")])
def test_unknown_words_are_not_guessed_at(text: str) -> None:
    assert recognise(text) is None


def test_the_error_of_a_traceback_is_its_last_exception_without_the_frames() -> None:
    first = traceback(CLI, error="KeyError: 'a'")
    text = f"{first}\nDuring handling of the above exception, another exception occurred:\n\n" + traceback(
        CLI, error="feast.errors.DataSourceNotFoundException: Unable to find table at 't'."
    )
    assert error_text(text) == "DataSourceNotFoundException: Unable to find table at 't'."


def test_a_progress_bar_is_read_at_its_last_state() -> None:
    assert error_text("  0%|  | 0/9\r100%|##| 9/9\nboom\n") == "boom"
    assert error_text("  0%|  | 0/9\r100%|##| 9/9") == "100%|##| 9/9"


def test_a_long_error_is_cut_to_one_line() -> None:
    said = error_text(traceback(CLI, error="ValueError: " + "word\n" * 1000))
    assert len(said) <= CAUSE_LENGTH
    assert said.endswith("…")
    assert "\n" not in said


@pytest.mark.parametrize(
    "said",
    [
        "cannot connect to postgresql+psycopg://user:hunter2@db:5432/feast",
        "cannot connect to redis://:hunt/er2@hunter2@cache:6379",
        "bad value password=hunter2",
        'bad value "aws_secret_access_key": "hunter2"',
    ],
)
def test_what_looks_like_a_secret_is_left_out(said: str) -> None:
    assert "hunter2" not in error_text(f"ValueError: {said}\n")
