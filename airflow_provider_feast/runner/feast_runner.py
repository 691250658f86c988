"""The one file that runs beside Feast inside a container: signals, progress, masking, and the result.

``run`` executes the Feast command line in this process (same arguments, same exit code, same output);
``copy`` makes a real copy of mounted definitions, ``git-access`` brings a Secret into the forms that git reads.
Only the standard library and Feast (with its PyYAML) are imported, and Python 3.9 is enough. Exit codes: 0 done,
1 Feast failed, 2 Feast usage error, 64 wrong call of this file, 65 nothing materialized, 66 unusable configuration,
67 definitions cannot be copied or fetched, 130/143 interrupted.
"""

# Python 3.9 has neither datetime.UTC nor zip(strict=); os.path keeps the start short; Feast is imported late.
# ruff: noqa: B905, UP017, UP035, PTH100, PTH103, PTH110, PTH112, PTH113, PTH118, PTH120, PTH123, PTH208

from __future__ import annotations

import argparse
import atexit
import base64
import collections
import contextlib
import functools
import hashlib
import importlib.metadata
import io
import json
import os
import re
import shutil
import signal
import stat
import sys
import threading
import time
import traceback
import urllib.parse
from datetime import datetime, timezone
from types import FrameType
from typing import Any, Callable, Iterable, Iterator, NoReturn

SCHEMA = 1
DEFAULT_TERMINATION_LOG = "/dev/termination-log"
DEFAULT_MESSAGE_BYTES = 2048
STOP_SECONDS = 20.0
PROGRESS_SECONDS = 5.0
LAST_WORDS_SECONDS = 2.0
MIN_SECRET = 6
MIN_MESSAGE = 160
USAGE, NOTHING, CONFIGURATION, COPY = 64, 65, 66, 67
MATERIALIZE = ("materialize", "materialize-incremental")


class Failure(Exception):  # noqa: N818  (not every one is an error: nothing to do)
    """The command cannot go on; ``code``, ``kind`` and the message say why."""

    def __init__(self, code: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.code, self.kind = code, kind


class Interrupted(BaseException):
    """The process was asked to stop. A BaseException, so that no ``except Exception`` swallows it."""


def utc_now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def one_line(text: str) -> str:
    return " ".join(text.split())


def shortened(line: str, limit: int = 900) -> str:
    """A line that is not too long; what must be masked is masked before: half a secret matches nothing."""
    return line if len(line) <= limit else line[: limit - 1] + "…"


# --- the configuration ------------------------------------------------------------------------------

_COMMENT = re.compile(
    r"""((?:(?<![^\s\[{,:-])"(?:\\.|[^"\\])*"|(?<![^\s\[{,:-])'[^']*'|[^#\n]|(?<=\S)#)*)[^\n]*"""
)
_VARIABLE = re.compile(r"\$(?:(\w+)|\{([^}]*)\})", re.ASCII)
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def without_comments(text: str) -> str:
    """``text`` without YAML comments: a ``#`` that begins a word outside quotes, to the end of the line."""
    return "\n".join(_COMMENT.sub(r"\1", line, count=1) for line in text.split("\n"))


def variables(text: str) -> list[str]:
    """The environment variables that ``os.path.expandvars`` would look up in a configuration, in order."""
    found = (match[1] or match[2] or "" for match in _VARIABLE.finditer(without_comments(text)))
    return list(dict.fromkeys(name for name in found if _NAME.fullmatch(name)))


def read_configuration(path: str) -> str:
    """The text of ``feature_store.yaml``. Raises Failure when it is missing or unreadable."""
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        why = "does not exist"
    except (OSError, UnicodeDecodeError) as error:
        why = f"cannot be read ({type(error).__name__})"
    raise Failure(CONFIGURATION, "configuration_invalid", f"the configuration file {path} {why}")


def check_variables(text: str, path: str) -> None:
    """Raises Failure, naming them, when variables of the configuration are not in the environment."""
    missing = [name for name in variables(text) if name not in os.environ]
    if missing:
        raise Failure(
            CONFIGURATION,
            "unexpanded_variables",
            f"{path} uses environment variables that are not set in this container: {', '.join(missing)}",
        )


# --- a configuration that is patched here, because only the pod may read it -----------------------------


def merge_patch(base: Any, patch: Any) -> Any:
    """Merge as RFC 7386 says: mappings deeply, ``None`` removes, all else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(base) if isinstance(base, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def parse_yaml(text: str, path: str, loader: Any = None) -> Any:
    """The content of a configuration. Raises Failure without a line of it: the parser would print lines."""
    import yaml

    try:
        return yaml.load(text, Loader=loader or yaml.SafeLoader)  # noqa: S506  (a SafeLoader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or type(error).__name__
        raise Failure(
            CONFIGURATION, "configuration_invalid", f"{path} is not YAML: {problem}{place}"
        ) from None


def patched(text: str, patches: list[Any], path: str) -> str:
    """A configuration with patches merged over it. Quotes around variables stay: a number in them must stay text."""
    import yaml

    class Quoted(str):
        style = ""

    class Loader(yaml.SafeLoader):
        pass

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def construct(loader: Any, node: Any) -> str:
        value = str(loader.construct_scalar(node))
        if not node.style or "$" not in value:
            return value
        quoted = Quoted(value)
        quoted.style = node.style
        return quoted

    def represent(dumper: Any, value: str) -> Any:
        style = '"' if set("\x85\u2028\u2029").intersection(value) else getattr(value, "style", None)
        return dumper.represent_scalar("tag:yaml.org,2002:str", str(value), style=style)

    Loader.add_constructor("tag:yaml.org,2002:str", construct)
    for kind in (str, Quoted):  # PyYAML would fold what YAML takes for line ends, unless it is escaped
        Dumper.add_representer(kind, represent)
    content = parse_yaml(text, path, Loader)
    for patch in patches:
        content = merge_patch(content, patch)
    dumped: str = yaml.dump(content, Dumper=Dumper, sort_keys=False, allow_unicode=True)
    return dumped


def write_private(path: str, text: str) -> None:
    """Write a file that only this user may read."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)


# --- what must not be printed ---------------------------------------------------------------------------

_SECRET_NAME = re.compile(
    r"passw|passphrase|secret|token|credential|api_?key|access_?key|private_?key|account_?key|conn(ection)?_?str",
    re.I,
)
_NO_SECRET = re.compile(r"_(file|path|dir|uri_prefix)$", re.I)
_PUBLIC_KEYS = ("project", "provider", "type", "registry_type", "registry_store_type")
_PART = re.compile(r"(?:password|passwd|pwd|secret|token|key)=([^\s;,&]+)", re.I)


def secrets_of(text: str) -> list[str]:
    """The values of the variables that a configuration uses."""
    return [os.environ.get(name, "") for name in variables(text)]


def secret_variables(names: list[str]) -> list[str]:
    """The values of variables that come from Secrets, or are called like secrets."""
    told = [os.environ.get(name, "") for name in names]
    guessed = [
        value
        for name, value in os.environ.items()
        if _SECRET_NAME.search(name) and not _NO_SECRET.search(name)
    ]
    return told + guessed


def secret_files(places: list[str]) -> list[str]:
    """The values of mounted Secrets: directories, or single files."""
    found = []
    for place in places:
        names = os.listdir(place) if os.path.isdir(place) else [""]
        for path in (os.path.join(place, name).rstrip(os.sep) for name in names):
            if os.path.isfile(path):
                with open(path, encoding="utf-8", errors="surrogateescape") as file:
                    found.append(file.read())
    return found


def secrets_in(content: Any, key: str = "") -> Iterator[str]:
    """The values of a configuration that lies in a Secret, but for what every error message needs."""
    if isinstance(content, dict):
        for name, value in content.items():
            yield from secrets_in(value, str(name))
    elif isinstance(content, list):
        for value in content:
            yield from secrets_in(value, key)
    elif isinstance(content, str) and key not in _PUBLIC_KEYS:
        yield content
        yield os.path.expandvars(content)
    elif isinstance(content, (int, float)) and _SECRET_NAME.search(key):
        yield str(content)


def forms(value: str) -> Iterator[str]:
    """A secret as it may show up: whole, line by line, its parts, and as URL, Python, JSON and base64 spell it."""
    lines = {value, value.strip(), one_line(value), *value.splitlines()}
    lines |= {match[1] for match in _PART.finditer(value)}
    with contextlib.suppress(ValueError):
        password = urllib.parse.urlsplit(value).password or ""
        lines |= {password, urllib.parse.unquote(password)}
    for line in (line for line in lines if len(line) >= MIN_SECRET):
        yield from (line, urllib.parse.quote(line, safe=""), urllib.parse.quote_plus(line))
        yield from (repr(line)[1:-1], json.dumps(line)[1:-1], json.dumps(line, ensure_ascii=False)[1:-1])
        yield base64.b64encode(line.encode("utf-8", "surrogateescape")).decode().rstrip("=")


# --- output: whole lines, plain text, masked ----------------------------------------------------------

_ANSI = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_]|[ -/]+[0-~])")


_INPUT = re.compile(rb"input_value=.*?, input_type=")


class Mask:
    """Replaces secrets by ``***``. What is shorter than MIN_SECRET is no secret: it would be in every other word."""

    def __init__(self) -> None:
        self._secrets: set[bytes] = set()
        self._pattern: re.Pattern[bytes] | None = None
        self.longest = 0

    def add(self, values: Iterable[str]) -> None:
        """Mask these values from now on, in all forms that they may have."""
        spelled = (form.encode("utf-8", "surrogateescape") for value in values for form in forms(value))
        self._secrets |= set(spelled)
        ordered = sorted(self._secrets, key=len, reverse=True)
        self._pattern = re.compile(b"|".join(map(re.escape, ordered))) if ordered else None
        self.longest = len(ordered[0]) if ordered else 0

    def bytes(self, data: bytes) -> bytes:
        if not self._pattern:
            return data
        shown = _INPUT.sub(
            b"input_value=***, input_type=", data
        )  # pydantic cuts it: half a secret matches nothing
        return self._pattern.sub(b"***", shown)

    def value(self, value: Any) -> Any:
        """``value`` (a JSON value) with every string in it masked."""
        if isinstance(value, str):
            masked = self.bytes(value.encode("utf-8", "surrogateescape"))
            return masked.decode("utf-8", "replace")
        if isinstance(value, (list, tuple)):
            return [self.value(item) for item in value]
        if isinstance(value, dict):
            return {self.value(key): self.value(item) for key, item in value.items()}
        return value


class PlainLines(io.RawIOBase):
    """A byte stream that passes whole lines on, without escape sequences and secrets.

    A progress bar (``\\r``) becomes a line of its own, at most one every PROGRESS_SECONDS. A stream ``beside`` another
    one writes to the same place: their lines do not mix.
    """

    def __init__(
        self,
        fd: int,
        mask: Mask,
        clock: Callable[[], float] = time.monotonic,
        beside: PlainLines | None = None,
    ) -> None:
        self._fd, self._mask, self._clock = fd, mask, clock
        self._number = fd
        self._buffer = b""
        self._shown: bytes | None = None
        self._shown_at = float("-inf")
        self._lock: Any = beside._lock if beside else threading.RLock()
        self.tail: collections.deque[str] = beside.tail if beside else collections.deque(maxlen=40)

    def move(self, fd: int) -> None:
        """Write to another descriptor; programs that ask for this stream's one are still told the old."""
        self._fd = fd

    def renew_lock(self) -> None:
        """In a new process: a thread that is not there may have held it."""
        self._lock = threading.RLock()

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def isatty(self) -> bool:
        return False

    def write(self, data: Any) -> int:
        with self._lock:
            self._buffer = (self._buffer + bytes(data)).replace(b"\r\n", b"\n")
            *lines, self._buffer = self._buffer.split(b"\n")
            for line in lines:
                self._finish(line)
            self._progress()
            if len(self._buffer) > 65536 + self._mask.longest:
                whole, keep = self._mask.bytes(self._buffer), max(1024, self._mask.longest)
                head, self._buffer = whole[:-keep], whole[-keep:]
                self._emit(head)
        return len(data)

    def _finish(self, line: bytes) -> None:
        last = next((part for part in reversed(line.split(b"\r")) if part.strip()), b"")
        if b"\r" in line or self._shown is not None:
            if last and last != self._shown:
                self._emit(last)
        else:
            self._emit(line)
        self._shown = None

    def _progress(self) -> None:
        head, mark, last = self._buffer.rpartition(b"\r")
        if not mark:
            return
        current = last if last.strip() else head.rpartition(b"\r")[2]
        self._buffer = b"\r" + current if not last.strip() else mark + last
        now = self._clock()
        if current.strip() and current != self._shown and now - self._shown_at >= PROGRESS_SECONDS:
            self._emit(current)
            self._shown, self._shown_at = current, now

    def _emit(self, line: bytes) -> None:
        plain = self._mask.bytes(_ANSI.sub(b"", line))
        if plain.strip():
            self.tail.append(plain.decode("utf-8", "replace").strip())
        self.line(plain)

    def line(self, line: bytes) -> None:
        """Write one line as it is."""
        with self._lock:
            rest = line + b"\n"
            while rest:
                rest = rest[os.write(self._fd, rest) :]

    def drain(self) -> None:
        """Write what has no line end yet."""
        with self._lock:
            rest, self._buffer = self._buffer, b""
            if _ANSI.sub(b"", rest).strip():
                self._finish(rest)


class Output:
    """Standard output and error of the process, and the machine events between them."""

    def __init__(self) -> None:
        self.mask = Mask()
        self.out, self.err = PlainLines(1, self.mask), PlainLines(2, self.mask)
        self._pumps: list[threading.Thread] = []

    def install(self) -> None:
        for name, stream in (("stdout", self.out), ("stderr", self.err)):
            text: Any = io.TextIOWrapper(stream, "utf-8", "backslashreplace", write_through=True)
            setattr(sys, name, text)
        atexit.register(self.drain)
        os.register_at_fork(after_in_child=self._after_fork)

    def capture(self) -> None:
        """From now on mask what C code and child processes write, too: they know the descriptors only.

        Their words are passed on by a thread, so the very last ones are lost when this process is killed. That is why
        it is done only where there is something to mask.
        """
        for number, stream in ((1, self.out), (2, self.err)):
            saved = os.dup(number)
            read, write = os.pipe()
            stream.move(saved)
            os.dup2(write, number)
            os.close(write)
            raw = PlainLines(saved, self.mask, beside=stream)
            thread = threading.Thread(
                target=self._pump, args=(read, raw), daemon=True, name="feast-runner-output"
            )
            thread.start()
            self._pumps.append(thread)
        atexit.register(self._end_capture)

    @staticmethod
    def _pump(read: int, raw: PlainLines) -> None:
        while data := os.read(read, 65536):
            raw.write(data)
        raw.drain()

    def _end_capture(self) -> None:
        """Pass on what is still on its way; a child process that goes on is not waited for."""
        self.drain()
        null = os.open(os.devnull, os.O_WRONLY)
        for number in (1, 2):
            os.dup2(null, number)
        for thread in self._pumps:
            thread.join(LAST_WORDS_SECONDS)

    def _after_fork(self) -> None:
        for stream in (self.out, self.err):
            stream.renew_lock()

    def drain(self) -> None:
        for stream in (self.out, self.err):
            stream.drain()

    def event(self, name: str, **fields: Any) -> None:
        body = self.mask.value({"feast_event": name, "time": utc_now(), **fields})
        self.out.line(json.dumps(body, ensure_ascii=False, default=str).encode("utf-8", "replace"))

    def last_line(self) -> str:
        """What Feast said last: on standard error, else on standard output."""
        self.drain()
        return (self.err.tail or self.out.tail or [""])[-1]


# --- the result: the termination message --------------------------------------------------------------


def fit(body: dict[str, Any], limit: int) -> bytes:
    """``body`` as JSON of at most ``limit`` bytes: the message is cut first, then views are left out."""

    def packed(message: str, count: int) -> bytes:
        views = dict(list(body["views"].items())[:count])
        value = {**body, "message": message, "views": views, "views_omitted": len(body["views"]) - count}
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")

    def largest(high: int, pack: Callable[[int], bytes]) -> int:
        """The largest number from 0 to ``high`` whose JSON fits."""
        low = 0
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if len(pack(middle)) <= limit else (low, middle - 1)
        return low

    def cut(length: int) -> str:
        return message if length >= len(message) else message[:length].rstrip() + "…"

    message: str = body["message"]
    total = len(body["views"])
    if len(packed(cut(MIN_MESSAGE), total)) <= limit:
        return packed(cut(largest(len(message), lambda length: packed(cut(length), total))), total)
    count = largest(total, lambda number: packed(cut(MIN_MESSAGE), number))
    return packed(cut(largest(len(message), lambda length: packed(cut(length), count))), count)


class Report:
    """The result so far, rewritten into the termination log after each step."""

    def __init__(self, path: str, limit: int, mask: Mask) -> None:
        self._path, self._limit, self._mask = path, limit, mask
        self._lock = threading.RLock()
        self._size = 0
        self.body: dict[str, Any] = {
            "v": SCHEMA,
            "verdict": "running",
            "kind": "",
            "message": "",
            "exit_code": None,
            "feast": "",
            "commit": "",
            "started": utc_now(),
            "finished": "",
            "views": {},
            "views_omitted": 0,
        }

    def end(self, verdict: str, code: int, kind: str = "", message: str = "") -> None:
        told = shortened(one_line(self._mask.value(message)))
        self.body.update(verdict=verdict, exit_code=code, kind=kind, message=told, finished=utc_now())
        self.write()

    def add(self, view: str, rows: int | None, seconds: float) -> None:
        """One window of one view is done."""
        seen = self.body["views"].get(view, {"rows": 0, "seconds": 0.0, "windows": 0})
        both = None if rows is None or seen["rows"] is None else seen["rows"] + rows
        total = {"rows": both, "seconds": round(seen["seconds"] + seconds, 3), "windows": seen["windows"] + 1}
        self.body["views"][view] = total
        self.write()

    def write(self) -> None:
        """One write call, padded over what was there: a kill at any moment leaves valid JSON."""
        if not self._path:
            return
        data = fit(self._mask.value(self.body), self._limit)
        with self._lock:
            try:
                fd = os.open(self._path, os.O_WRONLY | os.O_CREAT, 0o644)
                try:
                    os.pwrite(fd, data.ljust(self._size), 0)
                    if stat.S_ISREG(os.fstat(fd).st_mode):
                        os.ftruncate(fd, len(data))
                finally:
                    os.close(fd)
            except OSError as error:
                print(f"feast_runner: cannot write the result to {self._path}: {error}", file=sys.stderr)
                self._path = ""
            self._size = len(data)


# --- signals ------------------------------------------------------------------------------------------


class Stopper:
    """Turns SIGTERM and SIGINT into one Interrupted in the main thread; ends the process when that hangs."""

    def __init__(self, on_give_up: Callable[[int], object], seconds: float) -> None:
        self._on_give_up, self._seconds = on_give_up, seconds
        self._shields = 0
        self._pending = False
        self.signal = 0

    @property
    def exit_code(self) -> int:
        return 128 + self.signal

    def install(self) -> None:
        read, write = os.pipe()
        os.set_blocking(write, False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._handle)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        threading.Thread(target=self._watch, args=(read,), daemon=True, name="feast-runner-stop").start()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self.signal:
            if not self._shields:
                self._give_up(number)
            return
        self.signal = number
        self._pending = bool(self._shields)
        if not self._pending:
            raise Interrupted

    def _watch(self, read: int) -> None:
        """Works although the main thread is stuck in C code: C code writes the wakeup descriptor, too."""
        number = 0
        while number not in (signal.SIGTERM, signal.SIGINT):
            number = os.read(read, 1)[0]
        time.sleep(self._seconds)
        self._give_up(number)

    def _give_up(self, number: int) -> NoReturn:
        self.signal = self.signal or number
        self._on_give_up(self.exit_code)
        os._exit(self.exit_code)

    @contextlib.contextmanager
    def shielded(self) -> Iterator[None]:
        """Delays an interruption: a registry file that is half written would be lost."""
        self._shields += 1
        try:
            yield
        finally:
            self._shields -= 1
        if self._pending and not self._shields:
            self._pending = False
            raise Interrupted


# --- what Feast does, seen from inside ----------------------------------------------------------------


class Watcher:
    """Wraps the methods of Feast that materialize, to see views, rows and seconds. Behaviour stays the same.

    Another version of Feast may lack any of them: then that part is not seen, and nothing else changes.
    """

    def __init__(self, output: Output, report: Report, stopper: Stopper, allow_empty: bool) -> None:
        self._output, self._report, self._stopper = output, report, stopper
        self._allow_empty = allow_empty
        self._states: dict[str, Any] = {}
        self._seen: set[str] = set()
        self.selected: int | None = None
        self.current = ""
        self.rows: collections.Counter[str] = collections.Counter()

    def install(self) -> None:
        from feast import FeatureStore
        from feast.infra.passthrough_provider import PassthroughProvider
        from feast.infra.registry.registry import Registry

        self._wrap(Registry, "commit", self._commit)
        self._wrap(FeatureStore, "_get_feature_views_to_materialize", self._select)
        self._wrap(PassthroughProvider, "materialize_single_feature_view", self._view)
        for name in ("materialize", "materialize_incremental"):
            self._wrap(FeatureStore, name, self._command)

    @staticmethod
    def _wrap(owner: Any, name: str, around: Callable[..., Any]) -> None:
        original = getattr(owner, name, None)
        if original is None:
            return

        @functools.wraps(original)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return around(original, *args, **kwargs)

        setattr(owner, name, wrapper)

    def _commit(self, original: Callable[..., Any], registry: Any, *args: Any, **kwargs: Any) -> Any:
        proto = getattr(registry, "cached_registry_proto", None)
        if self.selected is None and not self._allow_empty and not getattr(proto, "projects", True):
            raise nothing("the registry does not exist yet, or it is empty")
        with self._stopper.shielded():
            return original(registry, *args, **kwargs)

    def _select(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        views = original(*args, **kwargs)
        self.selected = len(views)
        self._states = {view.name: view.state for view in views if hasattr(view, "state")}
        if not views and not self._allow_empty:
            raise nothing("the registry has no feature view that is enabled and online")
        return views

    def _command(self, original: Callable[..., Any], store: Any, *args: Any, **kwargs: Any) -> Any:
        begin = time.monotonic()
        try:
            result = original(store, *args, **kwargs)
        except Interrupted:
            with self._stopper.shielded():
                self._heal(store)
            raise
        for name in sorted(set(self._states) - self._seen):
            self._finished(name, self.rows.get(name), begin, {})
        return result

    def _heal(self, store: Any) -> None:
        """Give back the state that a view had: online reads refuse one that is MATERIALIZING."""
        for name, before in self._states.items():
            view = store.registry.get_any_feature_view(name, store.project)
            if getattr(getattr(view, "state", None), "name", "") != "MATERIALIZING":
                continue
            if before.name == "MATERIALIZING" and name not in self._seen:
                continue
            view.state = type(before).GENERATED if before.name == "MATERIALIZING" else before
            store.registry.apply_feature_view(view, store.project, commit=True)
            print(f"{name}: interrupted; its state is {view.state.name} again")

    def _view(self, original: Callable[..., Any], provider: Any, *args: Any, **kwargs: Any) -> Any:
        names = ("config", "feature_view", "start_date", "end_date")
        given = {**dict(zip(names, args)), **kwargs}
        view = str(getattr(given.get("feature_view"), "name", "unknown"))
        window = {key: getattr(given.get(f"{key}_date"), "isoformat", str)() for key in ("start", "end")}
        local = self._count_rows(provider)
        self.current, before, begin = view, self.rows[view], time.monotonic()
        self._seen.add(view)
        self._output.event("view_started", view=view, **window)
        try:
            result = original(provider, *args, **kwargs)
        except BaseException as error:
            kind = "interrupted" if isinstance(error, Interrupted) else type(error).__name__
            self._output.event("view_failed", view=view, error=kind, **window)
            raise
        rows = self.rows[view] - before
        self._finished(view, rows if local or rows else None, begin, window)
        self.current = ""
        return result

    def _finished(self, view: str, rows: int | None, begin: float, window: dict[str, str]) -> None:
        seconds = round(time.monotonic() - begin, 3)
        self._report.add(view, rows, seconds)
        self._output.event("view_finished", view=view, rows=rows, seconds=seconds, **window)
        counted = (
            "an unknown number of rows (not written by this process)" if rows is None else f"{rows} rows"
        )
        print(f"{view}: {counted} in {seconds:.1f} s")

    def _count_rows(self, provider: Any) -> bool:
        """Count what the online store in use is given; whether all of it comes from this process."""
        store = getattr(provider, "online_store", None)
        owner = next((cls for cls in type(store).__mro__ if "online_write_batch" in vars(cls)), None)
        if owner is None or type(store).__mro__[0] is object:
            return False
        if not hasattr(vars(owner)["online_write_batch"], "__wrapped__"):
            self._wrap(owner, "online_write_batch", self._write)
        return ".compute_engines.local" in type(getattr(provider, "batch_engine", None)).__module__

    def _write(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        given = {**dict(zip(("self", "config", "table", "data"), args)), **kwargs}
        if hasattr(given.get("data"), "__len__"):
            self.rows[str(getattr(given.get("table"), "name", self.current))] += len(given["data"])
        return result


def nothing(why: str) -> Failure:
    return Failure(
        NOTHING,
        "nothing_materialized",
        f"0 feature views were materialized: {why}. Run apply first, or allow it",
    )


# --- why a command failed -----------------------------------------------------------------------------

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
_CLI_REFUSALS = (
    "Can't find feature repo configuration",
    "Project object name should match",
    "No project found in the repository",
    "Multiple projects found",
    "Project name should only have",
)


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


# --- run ----------------------------------------------------------------------------------------------


def fast_start() -> None:
    """Spend no time on typeguard's instrumentation, two thirds of ``import feast``; it changes no result."""
    try:
        import typeguard
    except ImportError:
        return

    def typechecked(target: Any = None, **_options: Any) -> Any:
        return typechecked if target is None else target

    typeguard.typechecked = typechecked


def prepare_repo(path: str, subcommand: str, checkout: str = "") -> None:
    """Make a missing repository directory; refuse ``apply`` without definitions: it would delete all views."""
    needs = subcommand in ("apply", "plan")
    if not os.path.isdir(path):
        if needs or checkout:
            reason = f"the repository has no directory {os.path.relpath(path, checkout)}" if checkout else ""
            reason = reason or f"the repository directory {path} does not exist"
            raise Failure(CONFIGURATION, "definitions_invalid", reason)
        try:
            os.makedirs(path)
        except OSError as error:
            reason = f"the repository directory {path} does not exist and cannot be made ({error.strerror})"
            raise Failure(CONFIGURATION, "configuration_invalid", reason) from error
    if needs:
        files = (name for _, _, names in os.walk(path, followlinks=True) for name in names)
        if not any(name.endswith(".py") and name != "__init__.py" for name in files):
            reason = (
                f"no Python file with definitions in {path}; {subcommand} would delete every feature view"
            )
            raise Failure(CONFIGURATION, "definitions_invalid", reason)


def commit_of(checkout: str) -> str:
    """The commit that a working tree was made from."""
    try:
        with open(os.path.join(checkout, ".git", "HEAD"), encoding="utf-8") as file:
            head = file.read().strip()
    except OSError as error:
        reason = f"there is no Git working tree in {checkout} ({error.strerror})"
        raise Failure(CONFIGURATION, "definitions_invalid", reason) from error
    return head if re.fullmatch(r"[0-9a-f]{40}([0-9a-f]{24})?", head) else ""


def prepare_configuration(options: argparse.Namespace, output: Output) -> None:
    """Learn what must be masked, merge patches, and see that Feast will understand the configuration."""
    output.mask.add(secret_variables(options.secret_variable))
    output.mask.add(secret_files(options.secret_directory))
    path = options.config or os.path.join(options.repo, "feature_store.yaml")
    if not options.config and not options.patch and not os.path.isfile(path):
        return
    text = read_configuration(path)
    output.mask.add(secrets_of(text))
    if options.secret_config:
        output.mask.add(secrets_in(parse_yaml(text, path)))
    if options.patch:
        with open(options.patch, encoding="utf-8") as file:
            text = patched(text, json.load(file), path)
        output.mask.add(secrets_of(text))
        write_private(options.merged, text)
        options.config = options.merged
    check_variables(text, path)
    parse_yaml(os.path.expandvars(text), path)


def load_feast(slow_start: bool) -> Any:
    """Import Feast's command line. Raises Failure when the image has no usable Feast."""
    sys.dont_write_bytecode = True
    if not slow_start:
        fast_start()
    try:
        from feast.cli.cli import cli
    except Exception as error:
        traceback.print_exc()
        reason = f"Feast cannot be imported in this image: {described(error)}"
        raise Failure(CONFIGURATION, "configuration_invalid", reason) from error
    return cli


def feast_version() -> str:
    try:
        return importlib.metadata.version("feast")
    except importlib.metadata.PackageNotFoundError:
        return ""


def call_feast(cli: Any, argv: list[str], repo: str, output: Output) -> None:
    """Run one command as ``feast`` would. Raises Failure with Feast's exit code and our classification."""
    import click

    try:
        code = cli.main(args=argv, prog_name="feast", standalone_mode=False)
        code = code if isinstance(code, int) else 0
    except (Failure, Interrupted):
        raise
    except click.ClickException as error:
        error.show()
        kind = "usage_error" if isinstance(error, click.UsageError) else "command_failed"
        raise Failure(error.exit_code, kind, error.format_message()) from error
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
        if code and not isinstance(error.code, int):
            print(error.code, file=sys.stderr)
    except Exception as error:
        print_traceback(error)
        raise Failure(1, *classify(error, repo)) from error
    if code:
        said = output.last_line()
        refused = any(text in said for text in _CLI_REFUSALS)
        raise Failure(code, "configuration_invalid" if refused else "command_failed", said)


def print_traceback(error: BaseException) -> None:
    """As Python prints it, without the frames of this file."""
    step = error.__traceback__
    while step and step.tb_frame.f_code.co_filename == __file__:
        step = step.tb_next
    traceback.print_exception(type(error), error, step)


def check_materialized(watcher: Watcher, output: Output, report: Report, allow_empty: bool) -> None:
    """Complain about a command that did nothing at all, which Feast calls a success."""
    output.drain()
    said = "\n".join(output.out.tail)
    if watcher.selected is None and "Materializing 0 feature views" in said and not allow_empty:
        raise nothing("Feast found none")
    views = report.body["views"]
    if views and all(total["rows"] == 0 for total in views.values()):
        print(f"WARNING: 0 rows in all {len(views)} feature views: the window holds no data", file=sys.stderr)


def execute(options: argparse.Namespace, output: Output, report: Report, stopper: Stopper) -> None:
    """Everything between the start and the end of a command."""
    argv: list[str] = options.feast
    subcommand = next((word for word in argv if not word.startswith("-")), "")
    prepare_configuration(options, output)
    if output.mask.longest:
        output.capture()
    report.body["feast"] = feast_version()
    if options.checkout:
        report.body["commit"] = commit_of(options.checkout)
        print(f"Definitions: commit {report.body['commit']}")
    output.event("command_started", feast=report.body["feast"], argv=argv, commit=report.body["commit"])
    report.write()
    prepare_repo(options.repo, subcommand, options.checkout)
    cli = load_feast(options.slow_start)
    watcher = Watcher(output, report, stopper, options.allow_empty or subcommand not in MATERIALIZE)
    if subcommand != "version":
        watcher.install()
    configuration = ["-f", options.config] if options.config else []
    call_feast(cli, ["-c", options.repo, *configuration, *argv], options.repo, output)
    if subcommand in MATERIALIZE:
        check_materialized(watcher, output, report, options.allow_empty)


def run(options: argparse.Namespace) -> int:
    """Run one Feast command and leave its result; the exit code."""
    for name in (
        "repo",
        "config",
        "patch",
        "merged",
        "checkout",
        "termination_log",
    ):  # apply changes the working directory
        value = getattr(options, name)
        setattr(options, name, os.path.abspath(value) if value else "")
    output = Output()
    output.install()
    report = Report(options.termination_log, options.message_bytes, output.mask)
    begin = time.monotonic()

    def end(verdict: str, code: int, kind: str = "", message: str = "") -> int:
        output.drain()
        report.end(verdict, code, kind, message)
        seconds = round(time.monotonic() - begin, 3)
        output.event("command_finished", verdict=verdict, kind=kind, exit_code=code, seconds=seconds)
        return code

    def why(code: int) -> str:
        return f"stopped by {signal.Signals(code - 128).name}"

    def give_up(code: int) -> None:  # the main thread may hold the lock of the output: only the report
        report.end("interrupted", code, "interrupted", why(code))

    stopper = Stopper(give_up, options.stop_seconds)
    stopper.install()
    try:
        try:
            execute(options, output, report, stopper)
        except Failure as failure:
            if failure.code not in (1, 2):
                print(f"feast_runner: {failure}", file=sys.stderr)
            return end("failed", failure.code, failure.kind, str(failure))
        return end("succeeded", 0)
    except Interrupted:
        return end("interrupted", stopper.exit_code, "interrupted", why(stopper.exit_code))


# --- copy ---------------------------------------------------------------------------------------------


def copy_tree(source: str, target: str, skip: str = "", above: tuple[str, ...] = ()) -> int:
    """Copy a tree, following symbolic links; the number of files. Not the modes: mounts refuse them."""
    here = os.path.realpath(source)
    if here in above:
        raise OSError(f"{source} is a symbolic link to a directory above it")
    if os.path.join(os.path.realpath(target), "").startswith(os.path.join(here, "")):
        raise OSError("the target lies inside the source")
    names = sorted(os.listdir(source))
    if not names and not above:
        raise OSError("the source is empty")
    os.makedirs(target, exist_ok=True)
    count = 0
    for name in names:
        if skip and name.startswith(skip):
            continue
        origin, goal = os.path.join(source, name), os.path.join(target, name)
        if os.path.isdir(origin):
            count += copy_tree(origin, goal, above=(*above, here))
        else:
            shutil.copyfile(origin, goal)
            count += 1
    return count


def copy(options: argparse.Namespace) -> None:
    """Copy mounted definitions to a writable place."""
    source, target = options.source, options.target
    try:
        count = copy_tree(source, target, skip="..")
    except OSError as error:
        message = f"definitions cannot be copied from {source} to {target}: {error}"
        raise Failure(COPY, "definitions_invalid", message) from error
    print(f"copied {count} files from {source} to {target}", flush=True)


# --- git ------------------------------------------------------------------------------------------------

_SSH_CONFIG = """\
IdentityFile {target}/key
IdentitiesOnly yes
UserKnownHostsFile {target}/known_hosts
GlobalKnownHostsFile /dev/null
StrictHostKeyChecking yes
BatchMode yes
ConnectTimeout 30
"""


def secret_value(directory: str, *keys: str) -> str:
    """The first of these keys that a mounted Secret has. Raises Failure with the names of those it has."""
    for key in keys:
        path = os.path.join(directory, key)
        if os.path.isfile(path):
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                return file.read()
    there = sorted(name for name in os.listdir(directory) if not name.startswith(".."))
    has = ", ".join(there) or "nothing"
    raise Failure(
        COPY, "definitions_invalid", f"the Secret for Git has no key {' or '.join(keys)}; it has: {has}"
    )


def git_access(options: argparse.Namespace) -> None:
    """Write what git and ssh read, for this user only: credentials, or a key, known hosts and a user's name."""
    source, target, parts = options.source, options.target, urllib.parse.urlsplit(options.url)
    if parts.scheme == "https":
        token = secret_value(source, "token", "password").strip()
        user = "git"
        if os.path.isfile(os.path.join(source, "username")):
            user = secret_value(source, "username").strip()
        account = f"{urllib.parse.quote(user, safe='')}:{urllib.parse.quote(token, safe='')}"
        write_private(os.path.join(target, "credentials"), f"https://{account}@{parts.netloc}\n")
        return
    key, hosts = secret_value(source, "ssh-privatekey", "identity"), secret_value(source, "known_hosts")
    write_private(os.path.join(target, "key"), key.rstrip("\n") + "\n")
    write_private(os.path.join(target, "known_hosts"), hosts.rstrip("\n") + "\n")
    write_private(os.path.join(target, "ssh_config"), _SSH_CONFIG.format(target=target))
    user = f"feast:x:{os.getuid()}:{os.getgid()}:feast:/tmp:/sbin/nologin"
    write_private(os.path.join(target, "passwd"), f"root:x:0:0:root:/:/sbin/nologin\n{user}\n")


def prepare_definitions(options: argparse.Namespace, work: Callable[[argparse.Namespace], None]) -> int:
    """Do one part of bringing definitions; the exit code."""
    try:
        work(options)
    except (Failure, OSError) as error:
        print(f"feast_runner: {error}", file=sys.stderr, flush=True)
        log = options.termination_log
        Report(log if os.path.exists(log) else "", DEFAULT_MESSAGE_BYTES, Mask()).end(
            "failed", COPY, "definitions_invalid", str(error)
        )
        return COPY
    return 0


# --- the command line -----------------------------------------------------------------------------------


class Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"feast_runner: {message}\n")


def content_version() -> str:
    with open(__file__, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()[:12]


def parse(argv: list[str]) -> argparse.Namespace:
    """Read our own options; everything behind ``--`` is Feast's."""
    parser = Parser(
        prog="feast_runner.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--version", action="version", version=f"feast_runner schema {SCHEMA} content {content_version()}"
    )
    commands = parser.add_subparsers(dest="command", required=True, parser_class=Parser)
    running = commands.add_parser("run", help="run one Feast command: run … -- materialize …")
    running.add_argument("--repo", required=True, help="the feature repository; made when it is missing")
    running.add_argument("--config", default="", help="feature_store.yaml")
    running.add_argument(
        "--message-bytes", type=int, default=DEFAULT_MESSAGE_BYTES, help="size of the result, in bytes"
    )
    running.add_argument(
        "--stop-seconds", type=float, default=STOP_SECONDS, help="time to stop cleanly after a signal"
    )
    running.add_argument("--allow-empty", action="store_true", help="0 feature views are a success")
    running.add_argument("--slow-start", action="store_true", help="leave typeguard's checks on")
    running.add_argument("--patch", default="", help="JSON list of patches to merge over the configuration")
    running.add_argument("--merged", default="", help="where the patched configuration goes")
    running.add_argument("--secret-config", action="store_true", help="the configuration lies in a Secret")
    for name, what in (("variable", "variable that comes from a Secret"), ("directory", "mounted Secret")):
        running.add_argument(f"--secret-{name}", action="append", default=[], help=f"mask a {what}")
    running.add_argument("--checkout", default="", help="Git working tree whose commit goes into the result")
    access = commands.add_parser("git-access", help="prepare a Secret for git and ssh")
    access.add_argument("url")
    copying = commands.add_parser("copy", help="copy a mounted directory, following its symbolic links")
    for command in (access, copying):
        command.add_argument("source")
        command.add_argument("target")
    for command in (running, access, copying):
        command.add_argument(
            "--termination-log", default=DEFAULT_TERMINATION_LOG, help="where the result goes"
        )
    split = argv.index("--") if "--" in argv else len(argv)
    options = parser.parse_args(argv[:split])
    options.feast = argv[split + 1 :]
    if options.command == "run" and not options.feast:
        parser.error("nothing to run: name the Feast command behind --")
    return options


def main(argv: list[str]) -> int:
    options = parse(argv)
    if options.command == "run":
        return run(options)
    return prepare_definitions(options, copy if options.command == "copy" else git_access)


if __name__ == "__main__":
    here = os.path.dirname(os.path.realpath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.realpath(entry or ".") != here]
    sys.exit(main(sys.argv[1:]))
