"""`python -m airflow_provider_feast.sandbox`: start the sandbox, or run one command against it."""

import argparse
import asyncio
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from airflow_provider_feast.sandbox.images import DEFAULT_IMAGE, Image

_NOTICE = (
    "This is the Feast sandbox: a small Kubernetes API whose pods are processes of this machine. It is for a laptop\n"
    "and for tests, not a cluster and not a security boundary."
)
_MAPPED = (
    "Pods have no namespaces of the kernel (it does not let us make them here, or --no-isolation was given): mount\n"
    "paths are mapped in commands, environment and configuration files, the root file system is not read-only, and\n"
    "pods run as you."
)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m airflow_provider_feast.sandbox", description=_NOTICE)
    commands = parser.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="serve until interrupted")
    run = commands.add_parser("run", help="serve while a command runs, with KUBECONFIG set")
    for command in (up, run):
        command.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0 takes a free one")
        command.add_argument(
            "--dir",
            type=Path,
            help="where pods, claims and logs live (default: one in $TMPDIR that goes with the sandbox)",
        )
        command.add_argument(
            "--image",
            action="append",
            default=[],
            metavar="NAME=PREFIX[,/in/image=/local/dir][,VAR=value][,user=N]",
            help=f"map an image to a local runtime (default: {DEFAULT_IMAGE} is this Python environment)",
        )
        command.add_argument("--time-scale", type=float, default=1.0, help="factor of back-off delays")
        command.add_argument(
            "--isolation", action=argparse.BooleanOptionalAction, default=None, help="kernel namespaces"
        )
    up.add_argument("--kubeconfig", type=Path, help="where to write the kubeconfig (default: DIR/kubeconfig)")
    up.add_argument("--with-parent", action="store_true", help=argparse.SUPPRESS)
    up.add_argument("--temporary", action="store_true", help=argparse.SUPPRESS)
    run.add_argument(
        "argv", nargs=argparse.REMAINDER, metavar="COMMAND", help="the command and its arguments"
    )
    commands.add_parser("demo", help="the guided tour", add_help=False)
    return parser


def images(specs: list[str]) -> dict[str, Image]:
    """Read `--image` options."""
    table = {}
    for spec in specs or [f"{DEFAULT_IMAGE}={sys.prefix}"]:
        name, equals, rest = spec.partition("=")
        if not equals or not name:
            raise SystemExit(f"--image {spec!r}: write NAME=PREFIX, e.g. {DEFAULT_IMAGE}={sys.prefix}")
        try:
            table[name] = Image.of(rest)
        except ValueError as error:
            raise SystemExit(f"--image {spec!r}: {error}") from error
    return table


def _up(options: argparse.Namespace) -> int:
    import tempfile

    from airflow_provider_feast.sandbox import server
    from airflow_provider_feast.sandbox.cluster import Cluster, Settings

    directory = (options.dir or Path(tempfile.mkdtemp(prefix="feast-sandbox-"))).absolute()
    kubeconfig = (options.kubeconfig or directory / "kubeconfig").absolute()
    settings = Settings(directory, images(options.image), options.time_scale, options.isolation)

    def say(cluster: Cluster, url: str) -> None:
        print(
            _NOTICE, f"\n\n  export KUBECONFIG={kubeconfig}   # {url}\n  directory: {directory}", flush=True
        )
        if not cluster.isolated:
            print(f"\n{_MAPPED}", flush=True)

    on_ready = server.announce if options.with_parent else say
    try:
        asyncio.run(
            server.serve(settings, options.port, kubeconfig, on_ready=on_ready, parent=options.with_parent)
        )
    finally:
        if options.temporary or options.dir is None:
            shutil.rmtree(directory, ignore_errors=True)
    return 0


def _run(options: argparse.Namespace) -> int:
    from airflow_provider_feast.sandbox.handle import Sandbox

    argv = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
    if not argv:
        raise SystemExit("run needs a command, e.g. `run -- kubectl get pods`")
    mapped = dict(spec.partition("=")[::2] for spec in options.image) or None
    sandbox = Sandbox(
        mapped,
        directory=options.dir,
        port=options.port,
        time_scale=options.time_scale,
        isolation=options.isolation,
    )
    with sandbox:
        if not sandbox.isolated:
            print(_MAPPED, file=sys.stderr)
        return subprocess.run(
            argv, env={**os.environ, "KUBECONFIG": str(sandbox.kubeconfig)}, check=False
        ).returncode


def main(argv: list[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    arguments = sys.argv[1:] if argv is None else argv
    if arguments[:1] == ["demo"]:
        demo = importlib.import_module("airflow_provider_feast.sandbox.demo")
        return int(demo.main(arguments[1:]))
    options = _parser().parse_args(arguments)
    return _up(options) if options.command == "up" else _run(options)


if __name__ == "__main__":
    sys.exit(main())
