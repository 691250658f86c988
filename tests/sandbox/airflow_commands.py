"""Runs commands of `airflow` in one process, one JSON list a line of stdin: its imports cost seconds each time."""

import json
import sys

from airflow.cli import cli_parser

parser = cli_parser.get_parser()
for line in sys.stdin:
    arguments = parser.parse_args(json.loads(line))
    arguments.func(arguments)
