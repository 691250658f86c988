"""Why a command failed: the kind and one line, from the exception and its causes."""

from __future__ import annotations

import os
import re
import traceback

from airflow_provider_feast.runner.basics import one_line

_CONFIGURATION_ERRORS = {
    "FeastConfigError",
    "FeastProviderNotImplementedError",
    "FeastRegistryNotSetError",
    "FeastRegistryTypeInvalidError",
    "FeastFeatureServerTypeInvalidError",
    "FeastModuleImportError",
    "FeastClassImportError",
    "FeastExtrasDependencyImportError",
    "FeastOfflineStoreInvalidName",
    "FeastOnlineStoreInvalidName",
    "FeastInvalidAuthConfigClass",
    "FeastInvalidBaseClass",
    "YAMLError",
}
_CONNECTION_ERRORS = {
    "builtins": {"ConnectionError", "TimeoutError"},
    "socket": {"gaierror", "timeout"},
    "ssl": {"SSLError"},
    "sqlalchemy": {"OperationalError", "InterfaceError"},
    "psycopg": {"OperationalError", "InterfaceError"},
    "psycopg_pool": {"PoolTimeout"},
    "psycopg2": {"OperationalError", "InterfaceError"},
    "pymysql": {"OperationalError", "InterfaceError"},
    "redis": {"ConnectionError", "TimeoutError", "AuthenticationError", "NoPermissionError"},
    "rediscluster": {"RedisClusterException"},
    "botocore": {"NoCredentialsError", "PartialCredentialsError", "HTTPClientError", "TokenRetrievalError"},
    "requests": {"ConnectionError", "Timeout"},
    "urllib3": {"HTTPError"},
    "google": {"GoogleAuthError", "Forbidden", "Unauthorized", "ServiceUnavailable"},
    "azure": {"ClientAuthenticationError", "ServiceRequestError"},
    "pymongo": {"ConnectionFailure"},
    "cassandra": {"NoHostAvailable"},
    "feast": {"S3RegistryBucketNotExist", "S3RegistryBucketForbiddenAccess", "RedshiftCredentialsError"},
}
_REFUSED_CODES = re.compile(
    r"denied|forbidden|unauthori|invalidaccesskey|signature|token|unrecognizedclient|nosuchbucket|40[13]",
    re.I,
)
_SQLITE_BAD_FILE = re.compile(r"unable to open|readonly|disk i/o|not a database|locked", re.I)


def chain(error: BaseException) -> list[BaseException]:
    """An exception and what caused it, outermost first."""
    found: list[BaseException] = []
    step: BaseException | None = error
    while step is not None and step not in found:
        found.append(step)
        step = step.__cause__ or step.__context__
    return found


def described(error: BaseException) -> str:
    text = re.split(r"\n?\[SQL:|\(Background on this error", str(error))[0]
    if not text.strip() and error.__traceback__:
        place = frames(error)[-1]
        text = f"(no message) at {place.filename}, line {place.lineno}"
    return one_line(f"{type(error).__name__}: {text}")


def frames(error: BaseException) -> list[traceback.FrameSummary]:
    return list(traceback.extract_tb(error.__traceback__))


def definitions_failure(errors: list[BaseException], repo: str) -> str:
    """Where and why the repository's Python files could not be imported, or ""."""
    root = os.path.realpath(repo) + os.sep
    for error in errors:
        steps = frames(error)
        if not any(step.name == "parse_repo" and "feast" in step.filename for step in steps):
            continue
        places = [
            (step.filename, step.lineno) for step in steps if os.path.realpath(step.filename).startswith(root)
        ]
        if isinstance(error, SyntaxError) and error.filename:
            places.append((error.filename, error.lineno))
        if places:
            file, line = places[-1]
            return f"{os.path.relpath(os.path.realpath(file), root)}, line {line}: {described(error)}"
        if any(step.name == "import_module" for step in steps):
            return f"the definitions in {repo} cannot be imported: {described(error)}"
    return ""


def is_connection_error(error: BaseException) -> bool:
    """Whether a server could not be reached or refused the credentials, by the names of the classes."""
    response = getattr(error, "response", None)
    if type(error).__module__.startswith("botocore") and isinstance(response, dict):
        return bool(_REFUSED_CODES.search(str(response.get("Error", {}).get("Code", ""))))
    if any(cls.__name__ == "RpcError" for cls in type(error).__mro__) and callable(
        getattr(error, "code", None)
    ):
        status = str(error.code())  # type: ignore[attr-defined]
        return status.rpartition(".")[2] in (
            "UNAVAILABLE",
            "UNAUTHENTICATED",
            "PERMISSION_DENIED",
            "DEADLINE_EXCEEDED",
        )
    if "sqlite3" in f"{type(error).__module__} {error}":
        return type(error).__name__ in ("OperationalError", "DatabaseError") and bool(
            _SQLITE_BAD_FILE.search(str(error))
        )
    return any(
        cls.__name__ in _CONNECTION_ERRORS.get(cls.__module__.split(".")[0], ())
        for cls in type(error).__mro__
    )


def of_registry(errors: list[BaseException]) -> bool:
    """Whether the innermost part of Feast that was at work is the registry."""
    for error in errors:
        if type(error).__name__.startswith("S3Registry"):
            return True
        parts = [
            step.filename.replace(os.sep, "/") for step in frames(error) if "/feast/infra/" in step.filename
        ]
        parts = [part for part in parts if "/registry/" in part or "_stores/" in part]
        if parts:
            return "/registry/" in parts[-1]
    return False


def classify(error: BaseException, repo: str) -> tuple[str, str]:  # noqa: PLR0911  (one return a kind)
    """The kind and the one-line reason of a failed command, from the exception and its causes."""
    errors = chain(error)
    names = [{cls.__name__ for cls in type(step).__mro__} for step in errors]
    for step, classes in zip(errors, names):
        if "MemoryError" in classes:
            return "out_of_memory", described(step)
    where = definitions_failure(errors, repo)
    if where:
        return "definitions_invalid", where
    for step, classes in zip(errors, names):
        if "FeatureViewNotFoundException" in classes:
            return "unknown_feature_view", described(step)
        if "ValueError" in classes and re.search(
            r"not configured to be served online|is disabled|cannot be materialized", str(step)
        ):
            return "unknown_feature_view", described(step)
        if classes & _CONFIGURATION_ERRORS:
            return "configuration_invalid", described(step)
        if "ValidationError" in classes and type(step).__module__.startswith("pydantic"):
            return "configuration_invalid", described(step)
        if is_connection_error(step):
            return ("registry_unreachable" if of_registry(errors) else "store_unreachable"), described(step)
    return "command_failed", described(error)
