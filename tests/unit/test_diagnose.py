"""The verdict on every situation that was recorded from a real cluster."""

from __future__ import annotations

import copy
import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_feast.jobs.diagnose import diagnose
from airflow_provider_feast.model.errors import ERRORS
from airflow_provider_feast.model.outcome import JobState, Outcome

DATA = Path(__file__).parent.parent / "data"
RECORDINGS = {
    path.stem: json.loads(path.read_text()) for path in sorted((DATA / "recordings").glob("*.json"))
}
GOLDEN = DATA / "diagnoses.json"

WAITS, STUCK = True, False

# scenario: state, kind, whether waiting can help, words of the cause, words of the remedy
VERDICTS: dict[str, tuple[str, str, bool, tuple[str, ...], tuple[str, ...]]] = {
    "backoff_limit_2": ("failed", "command_failed", STUCK, ("All 3 tries", "exit code 1"), ("task log",)),
    "command_failed_exit_1": ("failed", "command_failed", STUCK, ("exit code 1",), ("task log",)),
    "command_not_found": (
        "failed",
        "start_error",
        STUCK,
        ("/no/such/binary", "busybox:1.38"),
        ("image", "python"),
    ),
    "deadline_exceeded": (
        "failed",
        "deadline_exceeded",
        STUCK,
        ("5 s", "activeDeadlineSeconds"),
        ("deadline_seconds",),
    ),
    "fallback_to_logs": (
        "failed",
        "configuration_invalid",
        STUCK,
        ("no feature_store.yaml", "/nope.yaml"),
        ("ConfigMap", "config_map_key"),
    ),
    "image_not_found": (
        "starting",
        "image_unavailable",
        WAITS,
        ("quay.invalid/feastdev/feature-server:9.9.9", "no such host"),
        ("registry's host name",),
    ),
    "indexed_ok": ("succeeded", "", STUCK, (), ()),
    "indexed_one_fails": ("failed", "command_failed", STUCK, ("index 1", "exit code 1"), ("task log",)),
    "init_container_failed": (
        "failed",
        "command_failed",
        STUCK,
        ("Init container git", "128", "fatal: repository not found"),
        ("prepares",),
    ),
    "missing_configmap_key_volume": (
        "starting",
        "missing_object",
        STUCK,
        ("ConfigMap have", "no key nokey"),
        ("Add the key nokey", "config_map_key"),
    ),
    "missing_configmap_volume": (
        "starting",
        "missing_object",
        WAITS,
        ("ConfigMap absent", "feast-rec"),
        ("Create the ConfigMap absent",),
    ),
    "missing_env_configmap": ("starting", "missing_object", STUCK, ("ConfigMap absent",), ("Create",)),
    "missing_env_secret_key": (
        "starting",
        "missing_object",
        STUCK,
        ("Secret absent",),
        ("Create the Secret",),
    ),
    "missing_service_account": (
        "starting",
        "missing_object",
        STUCK,
        ("ServiceAccount absent", "feast-rec"),
        ("kubectl create serviceaccount absent -n feast-rec", "service_account"),
    ),
    "no_writable_tmp": (
        "failed",
        "start_error",
        STUCK,
        ("writable temporary directory",),
        ("emptyDir at /tmp",),
    ),
    "oom_killed": ("failed", "out_of_memory", STUCK, ("100Mi", "OOMKilled"), ("memory_limit",)),
    "pod_evicted_and_replaced": ("succeeded", "", STUCK, (), ()),
    "pod_evicted_not_yet_replaced": (
        "running",
        "disrupted",
        WAITS,
        ("evicted", "EvictionByEvictionAPI"),
        ("again",),
    ),
    "pod_failure_policy_fail_job": (
        "failed",
        "usage_error",
        STUCK,
        ("exit code 2",),
        ("command in the DAG",),
    ),
    "quota_exceeded": (
        "starting",
        "admission_refused",
        WAITS,
        ("ResourceQuota q", "feast-quota", "pods=1"),
        ("quota raised",),
    ),
    "restricted_denied": (
        "starting",
        "admission_refused",
        STUCK,
        ("restricted:latest", "allowPrivilegeEscalation", "seccompProfile"),
        ("security profile",),
    ),
    "run_as_root_refused": (
        "starting",
        "start_error",
        STUCK,
        ("run as root", "busybox:1.38"),
        ("run_as_user",),
    ),
    "succeeded": ("succeeded", "", STUCK, (), ()),
    "suspended": ("suspended", "", STUCK, (), ()),
    "unschedulable_memory": (
        "starting",
        "unschedulable",
        WAITS,
        ("0/1 nodes are available: 1 Insufficient memory", "900Gi"),
        ("memory_request",),
    ),
    "unschedulable_selector": (
        "starting",
        "unschedulable",
        WAITS,
        ("didn't match Pod's node affinity/selector", "disk=none"),
        ("node selector",),
    ),
    "usage_error_exit_2": ("failed", "usage_error", STUCK, ("exit code 2",), ("--help",)),
}


def verdict(recording: dict[str, Any]) -> Outcome:
    return diagnose(recording["job"], recording["pods"], recording["events"])


def test_every_recording_has_an_expected_verdict() -> None:
    assert set(VERDICTS) == set(RECORDINGS)


@pytest.mark.parametrize("scenario", VERDICTS)
def test_a_recorded_situation_gets_its_verdict(scenario: str) -> None:
    state, kind, can_mend, cause, remedy = VERDICTS[scenario]
    outcome = verdict(RECORDINGS[scenario])
    assert outcome.state == JobState(state)
    if not kind:
        assert outcome.problem is None
        return
    assert outcome.problem is not None
    assert outcome.problem.kind == kind
    assert outcome.problem.can_mend is can_mend
    assert [words for words in cause if words not in outcome.problem.cause] == []
    assert [words for words in remedy if words not in outcome.problem.remedy] == []


@pytest.mark.parametrize("scenario", VERDICTS)
def test_every_cause_is_one_line_with_a_known_kind_and_a_remedy(scenario: str) -> None:
    problem = verdict(RECORDINGS[scenario]).problem
    if problem is not None:
        assert problem.kind in ERRORS
        assert problem.cause == " ".join(problem.cause.split())
        assert len(problem.cause) < 1000
        assert problem.remedy


def test_the_wording_of_every_diagnosis_is_as_approved() -> None:
    found: dict[str, Any] = {}
    for scenario, recording in RECORDINGS.items():
        outcome = verdict(recording)
        problem = outcome.problem
        found[scenario] = {"state": outcome.state.value, "pod": outcome.pod} | (
            problem._asdict() if problem else {}
        )
    text = json.dumps(found, indent=2, ensure_ascii=False) + "\n"
    if os.environ.get("REWRITE_GOLDEN") == "1":
        GOLDEN.write_text(text)
    assert GOLDEN.read_text() == text, "run with REWRITE_GOLDEN=1 if the new wording is wanted"


@pytest.mark.parametrize("scenario", VERDICTS)
@pytest.mark.parametrize("seed", range(5))
def test_the_order_of_pods_and_events_does_not_matter(scenario: str, seed: int) -> None:
    recording = copy.deepcopy(RECORDINGS[scenario])
    expected = verdict(recording)
    shuffle = random.Random(seed).shuffle
    shuffle(recording["pods"])
    shuffle(recording["events"])
    for pod in recording["pods"]:
        shuffle(pod["status"].get("conditions", []))
    shuffle(recording["job"]["status"].get("conditions", []))
    assert verdict(recording) == expected


@pytest.mark.parametrize("scenario", VERDICTS)
def test_the_inputs_are_left_as_they_are(scenario: str) -> None:
    recording = copy.deepcopy(RECORDINGS[scenario])
    verdict(recording)
    assert recording == RECORDINGS[scenario]


@pytest.mark.parametrize("scenario", VERDICTS)
def test_a_vanished_job_counts_by_its_last_outcome_else_as_deleted(scenario: str) -> None:
    recording = RECORDINGS[scenario]
    seen = verdict(recording)
    outcome = diagnose(recording["job"], recording["pods"], recording["events"], deleted=True)
    if seen.final:
        assert outcome == seen
    else:
        assert outcome.state == JobState.FAILED
        assert outcome.problem is not None
        assert outcome.problem.kind == "job_deleted"


@pytest.mark.parametrize("scenario", VERDICTS)
def test_a_verdict_survives_the_way_to_the_worker(scenario: str) -> None:
    outcome = verdict(RECORDINGS[scenario])
    assert Outcome.from_dict(json.loads(json.dumps(outcome.to_dict()))) == outcome


def damaged(value: Any, rng: random.Random, rate: float) -> Any:
    """A copy with some keys and items missing, nulled, or emptied, at any depth."""
    if isinstance(value, dict):
        kept = {key: damaged(item, rng, rate) for key, item in value.items() if rng.random() > rate}
        return {key: (None if rng.random() < rate / 2 else item) for key, item in kept.items()}
    if isinstance(value, list):
        items = [damaged(item, rng, rate) for item in value if rng.random() > rate]
        return items[: rng.randint(0, len(items))] if rng.random() < rate else items
    return value[: rng.randint(0, len(value))] if isinstance(value, str) and rng.random() < rate else value


@given(
    scenario=st.sampled_from(sorted(RECORDINGS)),
    rng=st.randoms(use_true_random=False),
    rate=st.sampled_from((0.02, 0.1, 0.3)),
    deleted=st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_whatever_is_missing_there_is_a_verdict(
    scenario: str, rng: random.Random, rate: float, deleted: bool
) -> None:
    recording = RECORDINGS[scenario]
    job, pods, events = (damaged(recording[part], rng, rate) for part in ("job", "pods", "events"))
    outcome = diagnose(job, pods, events, deleted=deleted)
    assert isinstance(outcome, Outcome)
    assert outcome.problem is None or (outcome.problem.kind in ERRORS and outcome.problem.remedy)
    if deleted:
        assert outcome.final


def test_nothing_at_all_is_a_job_that_is_starting() -> None:
    assert diagnose({}, [], []) == Outcome(JobState.STARTING)
