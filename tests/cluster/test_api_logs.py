"""Logs of containers on any Kubernetes: since, tail, limits, long and unfinished lines."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cluster_helpers import Jobs
from kubernetes.client import ApiException

pytestmark = pytest.mark.cluster

SLOW = "import time\nfor n in range(4): print(n, flush=True); time.sleep(1.1)"


def raw(jobs: Jobs, **query: str) -> str:
    """A log by a plain request: the client knows no `sinceTime`."""
    pod = jobs.pods()[0].metadata.name
    found = jobs.cluster.api.call_api(
        f"/api/v1/namespaces/{jobs.namespace}/pods/{pod}/log",
        "GET",
        query_params=list(query.items()),
        auth_settings=["BearerToken"],
        _preload_content=False,
    )
    response = found[0] if isinstance(found, tuple) else found
    return str(response.data.decode())


def stamps(text: str) -> dict[str, datetime]:
    """The time of each line."""
    pairs = (line.split(" ", 1) for line in text.splitlines())
    return {words: datetime.fromisoformat(f"{moment[:26]}+00:00") for moment, words in pairs}


def test_a_log_can_begin_at_a_moment(jobs: Jobs) -> None:
    jobs.run(SLOW)
    told = stamps(raw(jobs, timestamps="true"))
    assert list(told) == ["0", "1", "2", "3"]
    whole = told["2"].replace(microsecond=0)
    assert raw(jobs, sinceTime=f"{whole:%Y-%m-%dT%H:%M:%SZ}") == "2\n3\n"
    assert raw(jobs, sinceTime=f"{whole + timedelta(seconds=1):%Y-%m-%dT%H:%M:%SZ}") == "3\n"
    later = datetime.now(UTC) + timedelta(minutes=1)
    assert raw(jobs, sinceTime=f"{later:%Y-%m-%dT%H:%M:%SZ}") == ""
    assert raw(jobs, sinceSeconds="3600") == "0\n1\n2\n3\n"


def test_a_log_of_part_of_a_second_begins_with_that_second(jobs: Jobs) -> None:
    jobs.run("print('first', flush=True)")
    [moment] = stamps(raw(jobs, timestamps="true")).values()
    late = moment.replace(microsecond=999_999)
    assert raw(jobs, sinceTime=f"{late:%Y-%m-%dT%H:%M:%S.%fZ}") == "first\n"


def test_a_log_can_be_cut_at_both_ends(jobs: Jobs) -> None:
    jobs.run("print('one\\ntwo\\nthree')")
    assert raw(jobs, tailLines="2") == "two\nthree\n"
    assert raw(jobs, tailLines="0") == ""
    assert raw(jobs, limitBytes="5") == "one\nt"
    assert raw(jobs, tailLines="2", limitBytes="4") == "two\n"


def test_a_long_line_stays_one_line(jobs: Jobs) -> None:
    jobs.run("print('x' * 40000); print('end')")
    assert raw(jobs) == "x" * 40000 + "\nend\n"
    assert [len(line.split(" ", 1)[1]) for line in raw(jobs, timestamps="true").splitlines()] == [40000, 3]


def test_a_line_that_was_not_ended_is_there_all_the_same(jobs: Jobs) -> None:
    jobs.run("import os; os.write(1, b'whole\\npart')")
    assert raw(jobs) == "whole\npart"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"tailLines": "-1"}, "tailLines: Invalid value: -1: must be greater than or equal to 0"),
        ({"limitBytes": "0"}, "limitBytes: Invalid value: 0: must be greater than 0"),
        ({"sinceSeconds": "0"}, "sinceSeconds: Invalid value: 0: must be greater than 0"),
        (
            {"sinceSeconds": "5", "sinceTime": "2026-01-01T00:00:00Z"},
            "at most one of `sinceTime` or `sinceSeconds` may be specified",
        ),
    ],
)
def test_options_of_a_log_that_make_no_sense_are_refused(
    jobs: Jobs, query: dict[str, Any], message: str
) -> None:
    jobs.run()
    with pytest.raises(ApiException) as refused:
        raw(jobs, **query)
    status = json.loads(refused.value.body)
    assert (status["code"], status["reason"]) == (422, "Invalid")
    assert message in status["message"]
