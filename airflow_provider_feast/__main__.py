"""``python -m airflow_provider_feast jobs list``: the commands of ``airflow feast`` for every version of Airflow.

Provider commands came with Airflow 3.2. The arguments are the same.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import redirect_stdout
from typing import Any


def add_commands(parser: argparse.ArgumentParser, commands: Any) -> None:
    """Give a parser a subcommand for each of Airflow's command definitions."""
    from airflow.cli.cli_config import GroupCommand

    choices = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in commands:
        child = choices.add_parser(
            command.name, help=command.help, description=command.description or command.help
        )
        if isinstance(command, GroupCommand):
            add_commands(child, command.subcommands)
            continue
        for arg in command.args:
            arg.add_to_parser(child)
        child.set_defaults(func=command.func, subcommand=command.name)


def main(argv: list[str]) -> None:
    """Run one command; it ends the process with its exit code."""
    with redirect_stdout(sys.stderr):  # where Airflow's log goes then: what a command prints may be JSON
        from airflow_provider_feast.cli.definition import get_feast_cli_commands

    parser = argparse.ArgumentParser(prog="python -m airflow_provider_feast")
    (feast,) = get_feast_cli_commands()
    add_commands(parser, feast.subcommands)
    args = parser.parse_args(argv)
    args.func(args)


if __name__ == "__main__":
    main(sys.argv[1:])
