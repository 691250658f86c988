"""Recognise what Feast and its libraries print when they fail, and say which kind of failure it is.

The texts are those of Feast 0.67, taken from real runs; they matter only where the runner gave no kind.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from airflow_provider_feast.jobs.remedies import remedy

CAUSE_LENGTH = 600
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_SECRETS = (
    (re.compile(r"(\w://)\S*@"), r"\1…@"),
    (re.compile(r"\s*\[type=[^\n]*"), ""),
    (re.compile(r"(?i)\b(\w*(?:password|passwd|pwd|secret|token|access_key)\w*['\"]?\s*[=:]\s*)\S+"), r"\1…"),
)
_NOISE = re.compile(r"^\s*(For further information visit|\(Background on this error|\[SQL:|\[parameters:)")
_FRAME = re.compile(r'^\s+File "([^"]+)", line \d+')
_LIBRARY = re.compile(r"(site|dist)-packages|/lib/python3|/bin/|^<|feast_runner\.py$")
_ERROR_LINE = re.compile(r"^(?:Error|(?:[A-Za-z_]\w*\.)*\w*(?:Error|Exception|NotFound)): ")
_CLASS = re.compile(r"^(?:Feast\w*(?:Error|Exception|Name)|Feature\w+|Conflicting\w+|DataSource\w+): ")
"""Feast's exceptions say enough without their class names; those of libraries do not."""

_TAIL_LINES = 15


class Symptom(NamedTuple):
    """What a text says: a kind of :mod:`airflow_provider_feast.model.errors`, a cause and a remedy."""

    kind: str
    cause: str
    remedy: str


class _Rule(NamedTuple):
    kind: str
    pattern: re.Pattern[str]
    says: str = "{error}"
    remedy: str = ""


def _rule(kind: str, pattern: str, says: str = "{error}", then: str = "") -> _Rule:
    return _Rule(kind, re.compile(pattern, re.MULTILINE), says, then)


_FIX_TIMES = "Correct the window in the DAG: ISO 8601 times, the start before the end."
_RETRY_WRITER = "Run the task again, and let only one writer at a time use this registry."
_PATHS = (
    "Paths in feature_store.yaml must lie on a volume that the pod may write (pod_options or job_overrides add "
    "one); only /tmp is writable otherwise, and it ends with the pod."
)

_RULES: tuple[_Rule, ...] = (
    _rule(
        "configuration_invalid",
        r"Can't find feature repo configuration file at (?P<path>\S+?)\.?(?:\s|$)",
        "Feast found no feature_store.yaml at {path}.",
        "Check that the ConfigMap has the key that the connection names (config_map, config_map_key).",
    ),
    _rule("configuration_invalid", r"^yaml\.", "feature_store.yaml is not valid YAML: {error}"),
    _rule(
        "configuration_invalid",
        r"FeastConfigError|validation errors? for \w*Config\b|RepoConfig\(\) argument",
        "feature_store.yaml is refused by Feast: {error}",
    ),
    _rule(
        "configuration_invalid",
        r"FeastProviderNotImplementedError|Fea\w+(?:InvalidName|TypeInvalidError)|FeastRegistryNotSetError"
        r"|FeastInvalid(?:AuthConfigClass|BaseClass)|SnowflakeIncompleteConfig",
        "feature_store.yaml names something Feast does not know: {error}",
    ),
    _rule(
        "configuration_invalid",
        r"Project object name should match|Multiple projects found in the repository"
        r"|Either define Project in repository|Project name should only have",
        "The project in feature_store.yaml and the one in the definitions do not fit: {error}",
        "Give both the same project name (letters, digits and underscores).",
    ),
    _rule(
        "configuration_invalid",
        r"Feast(?:Module|Class)ImportError|FeastExtrasDependencyImportError|^(?:ModuleNotFound|Import)Error",
        "The image lacks something that feature_store.yaml asks for, or a type is misspelt there: {error}",
        "Correct the type in feature_store.yaml, or use an image with that extra (e.g. feast[redis]).",
    ),
    _rule(
        "definitions_invalid",
        r"the 'package' argument is required to perform a relative import",
        "Feast cannot import the definitions through the links of a ConfigMap volume: {error}",
        "Name the ConfigMap as definitions_config_map, so that its files are copied first.",
    ),
    _rule(
        "definitions_invalid",
        r"ConflictingFeatureViewNames|DataSource(?:RepeatNames|NoName)Exception|FeatureNameCollisionError"
        r"|RegistryInferenceFailure|FeatureViewPinConflict|FeatureViewMissingDuringFeatureServiceInference",
        "The definitions are refused by Feast: {error}",
    ),
    _rule(
        "unknown_feature_view",
        r"is not configured (?:to be served online|for write_to_online_store)",
        "{error}",
        "Set online=True in its definition and run apply, or leave the view out.",
    ),
    _rule("unknown_feature_view", r"FeatureView(?:NotFoundException|VersionNotFound)"),
    _rule(
        "unknown_feature_view",
        r"(?:Feature|Label)View \S+ (?:is disabled|cannot be materialized)",
        "{error}",
        "Enable it (`feast feature-views enable NAME`), or leave the view out.",
    ),
    _rule("unknown_feature_view", r"^(?:On demand f|F)eature view \S+ does not exist"),
    _rule(
        "nothing_materialized",
        r"Materializing 0 feature views",
        "Feast found no feature view to materialize.",
    ),
    _rule(
        "usage_error",
        r"^Error: (?:No such (?:command|option)|Missing |Got unexpected|Invalid value|.* (?:is|are) required)",
        "Feast does not understand the command: {error}",
    ),
    _rule(
        "usage_error",
        r"Unknown string format|String does not contain a date|Invalid isoformat string"
        r"|given start_date .* is greater than",
        "Feast does not understand the window: {error}",
        _FIX_TIMES,
    ),
    _rule(
        "out_of_memory", r"^MemoryError\b|std::bad_alloc|malloc of size \d+ failed", "Out of memory: {error}"
    ),
    _rule(
        "start_error",
        r"exec format error",
        "The image is built for another processor than the node's: {error}",
        "Use an image that is built for the nodes' processors.",
    ),
    _rule("out_of_disk", r"No space left on device", "The pod's disk is full: {error}"),
    _rule(
        "start_error",
        r"No usable temporary directory",
        "Feast cannot start without a writable temporary directory, and the pod has none.",
        "Mount an emptyDir at /tmp, as this provider does by itself.",
    ),
    _rule(
        "configuration_invalid",
        r"Read-only file system|\[Errno 13\] Permission denied|unable to open database file"
        r"|attempt to write a readonly database",
        "Feast may not write where feature_store.yaml points: {error}",
        _PATHS,
    ),
    _rule(
        "command_failed",
        r'no such table|relation "[^"]+" does not exist|UndefinedTable|Table \'[^\']+\' doesn\'t exist',
        "A table of the feature store does not exist: {error}",
        "Run `feast apply` on this feature store first.",
    ),
    _rule(
        "command_failed",
        r"IntegrityError|UniqueViolation|database is locked|ConcurrentVersionConflict",
        "Another writer was at the feature store at the same time: {error}",
        _RETRY_WRITER,
    ),
)

_REFUSED = re.compile(
    r"password authentication failed|Access ?Denied|Forbidden|Unauthorized|WRONGPASS|NOAUTH|AuthenticationError"
    r"|NoCredentials|CredentialsError|LoginError|InvalidAccessKeyId|SignatureDoesNotMatch|ExpiredToken"
    r"|UNAUTHENTICATED|PERMISSION_DENIED|FeastPermissionError|permission denied|Access denied for user"
    r"|[Aa]uthentication ?[Ff]ailed|AuthorizationFail|UnrecognizedClientException|Incorrect username or password"
    r"|invalid_grant|RefreshError|DefaultCredentialsError"
    r"|no pg_hba\.conf entry|role \"[^\"]+\" does not exist",
)
_EXPIRED = re.compile(r"[Ee]xpired")
"""Credentials that the next pod may get anew (a service account's, a cloud's)."""

_UNREACHABLE = re.compile(
    r"OperationalError|InterfaceError|redis\.exceptions\.|Connect\w*Error|Connection refused|ConnectTimeout"
    r"|NoHostAvailable|ServerSelectionTimeoutError|gaierror|Name or service not known|name resolution"
    r"|StatusCode\.(?:UNAVAILABLE|DEADLINE_EXCEEDED)|MaxRetryError|\bTimeoutError|ServiceUnavailable"
    r"|S3RegistryBucketNotExist|NoSuchBucket|[Nn]o route to host",
)
_AWAY = re.compile(
    r"[Cc]onnection (?:refused|reset|timed out|aborted)|[Tt]imed out|Timeout(?:Error|Exception|Expired)\b"
    r"|ConnectTimeout|ReadTimeout|gaierror|Name or service not known|name resolution|[Nn]o route to host"
    r"|[Nn]etwork is unreachable|Max retries exceeded|StatusCode\.(?:UNAVAILABLE|DEADLINE_EXCEEDED)|NoHostAvailable"
    r"|ServerSelectionTimeoutError|database system is (?:starting up|shutting down)"
)
"""A server that does not answer now, as libraries say it; refused credentials are none of it."""

_REGISTRY = re.compile(r"Registry|registry|^sqlalchemy\.|^grpc\.")
_IN_REGISTRY = re.compile(r"/infra/registry/")
_IN_STORE = re.compile(r"/infra/(?:online_stores|offline_stores|materialization|compute_engines)/")


def clean(text: str) -> str:
    """The text without colours, rewritten progress lines, and what looks like a secret."""
    lines = [line.rsplit("\r", 1)[-1] for line in _ANSI.sub("", text).replace("\r\n", "\n").split("\n")]
    joined = "\n".join(lines)
    for pattern, replacement in _SECRETS:
        joined = pattern.sub(replacement, joined)
    return joined


def shorten(text: str, length: int = CAUSE_LENGTH) -> str:
    """The text on one line, cut at the end with an ellipsis if it is too long."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def error_lines(text: str) -> list[str]:
    """The lines of a cleaned log tail that say what went wrong, without the traceback above them."""
    lines = [line for line in text.split("\n") if line.strip()]
    frames = [number for number, line in enumerate(lines) if _FRAME.match(line)]
    if frames:
        rest = lines[frames[-1] + 1 :]
        starts = [number for number, line in enumerate(rest) if not line[0].isspace()]
        return [line for line in rest[starts[0] :] if not _NOISE.match(line)] if starts else []
    for number in range(len(lines) - 1, -1, -1):
        if _ERROR_LINE.match(lines[number]):
            return [line for line in lines[number:] if not _NOISE.match(line)]
    return lines[-1:]


def error_text(text: str) -> str:
    """The error of a log tail on one line, without the exception's module path; "" if there is none."""
    lines = error_lines(clean(text))
    if not lines:
        return ""
    first = re.sub(r"^(?:[A-Za-z_]\w*\.)+(?=_?[A-Z]\w*:? )", "", lines[0]).removeprefix("Error: ")
    if first.startswith("_InactiveRpcError"):
        details = re.search(r'details = "([^"]*)"', "\n".join(lines))
        return shorten(details.group(1) if details else first)
    if lines[0].startswith("yaml."):  # the lines that YAML quotes may hold a password
        lines = [line for line in lines if not line.startswith("    ")]
    return shorten(" ".join([first, *lines[1:]]))


def recognise(text: str) -> Symptom | None:
    """What Feast's own words say, or ``None`` if they are not known.

    :param text: the tail of a log, or an error message.
    """
    cleaned = clean(text)
    lines = error_lines(cleaned)
    if not lines:
        return None
    error, frames = error_text(text), _frames(cleaned)
    if definitions := _definitions(cleaned, frames):
        if _LIBRARY.search(frames[-1]) and (away := definitions_away("\n".join(lines))):
            return away
        then = f"Correct {definitions}; `feast plan` on a laptop shows the same error."
        return Symptom("definitions_invalid", f"The definitions cannot be imported: {error}", then)
    tail = lines if frames else cleaned.split("\n")[-_TAIL_LINES:]
    for rule in _RULES:
        if match := rule.pattern.search("\n".join(tail)):
            cause = rule.says.format(error=_CLASS.sub("", error), **match.groupdict())
            return Symptom(rule.kind, cause, rule.remedy or remedy(rule.kind))
    return _connection("\n".join(lines), error, frames)


def _frames(cleaned: str) -> list[str]:
    """The files of a traceback, outermost first."""
    return [match.group(1) for line in cleaned.split("\n") if (match := _FRAME.match(line))]


def _definitions(cleaned: str, frames: list[str]) -> str:
    """The file of the feature repository whose import failed, or ""."""
    files = [path for path in frames if path.endswith(".py") and not _LIBRARY.search(path)]
    return files[-1].rsplit("/", 1)[-1] if files and "importlib" in cleaned else ""


def _connection(error_tail: str, error: str, frames: list[str]) -> Symptom | None:
    if not (_REFUSED.search(error_tail) or _UNREACHABLE.search(error_tail)):
        return None
    places = [path for path in frames if _IN_REGISTRY.search(path) or _IN_STORE.search(path)]
    registry = _IN_REGISTRY.search(places[-1]) if places else _REGISTRY.search(error_tail)
    return no_access("registry" if registry else "store", error_tail, error)


def definitions_away(said: str) -> Symptom | None:
    """What it means that definitions could not be imported because a server that they ask was away, or ``None``.

    :param said: the error's text.
    """
    if not _AWAY.search(said):
        return None
    kind = "definitions_unreachable"
    cause = f"The definitions cannot be imported: a server that they ask does not answer: {error_text(said)}"
    return Symptom(kind, cause, remedy(kind))


def no_access(what: str, said: str, error: str) -> Symptom:
    """What it means that the registry or a store was not to be had.

    :param what: ``registry`` or ``store``.
    :param said: the text that tells whether the credentials were refused.
    :param error: its essence, for the cause.
    """
    refused = _REFUSED.search(said)
    kind = f"{what}_refused" if refused and not _EXPIRED.search(said) else f"{what}_unreachable"
    how = "refused the credentials" if refused else "cannot be reached"
    return Symptom(kind, f"The {what} {how}: {error}", remedy(kind))
