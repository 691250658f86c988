"""What to do about each kind of failure, where nothing more exact is known."""

from __future__ import annotations

REMEDIES: dict[str, str] = {
    "command_failed": "Read Feast's last lines in the task log.",
    "job_failed": "Read the pods' last lines in the task log, and `kubectl describe job`.",
    "usage_error": "Correct the command in the DAG; `feast COMMAND --help` lists what it takes.",
    "configuration_invalid": "Correct feature_store.yaml, which the connection or the operator names.",
    "unexpanded_variables": "Give the pod the variables: `env` or `env_from` in the connection.",
    "definitions_invalid": "Correct the feature repository; `feast plan` on a laptop shows the same error.",
    "deletions_refused": "Put the objects back into the definitions, or allow it with allow_deletions=True.",
    "older_window": "Set older_windows= to 'guard', or to 'extend', 'skip' or 'overwrite' where the message names why "
    "'guard' cannot work.",
    "unknown_feature_view": "Check the name with `feast feature-views list`; a new view needs `feast apply` first.",
    "nothing_materialized": "Check that `feast apply` ran on this feature store and that the views are online; "
    "if nothing to do is fine, set allow_empty=True.",
    "registry_unreachable": "Check the registry's address and credentials in feature_store.yaml, and that pods of "
    "the namespace can reach it (DNS, network policy).",
    "store_unreachable": "Check the store's address and credentials in feature_store.yaml, and that pods of the "
    "namespace can reach it (DNS, network policy).",
    "registry_refused": "Correct the registry's credentials in feature_store.yaml, or the Secret that `env_from` in the "
    "connection takes them from, and see that this account may write the registry.",
    "store_refused": "Correct the store's credentials in feature_store.yaml, or the Secret that `env_from` in the "
    "connection takes them from, and see that this account may write the store.",
    "out_of_memory": "Raise memory_limit in the connection or on the operator.",
    "killed": "Run the task again. If it happens again:",
    "definitions_unreachable": "Run the task again when that server answers; see that pods of the namespace can reach it "
    "(DNS, network policy), or do not ask it while the definitions are imported.",
    "out_of_disk": "Raise tmp_size in the connection or on the operator.",
    "deadline_exceeded": "Raise deadline_seconds in the connection or on the operator, or do less in one run.",
    "disrupted": "Run the task again; nothing has to be changed.",
    "interrupted": "Run the task again; nothing has to be changed.",
    "job_deleted": "Run the task again. If it happens again, find out who deletes Jobs in this namespace.",
    "start_error": "Check that the image has Python and Feast and suits the command; `image` and `python` are "
    "fields of the connection.",
}
"""The next step for each kind; names of fields are those of the connection and the operators."""


def remedy(kind: str) -> str:
    """The next step for a kind of failure."""
    return REMEDIES.get(kind, REMEDIES["command_failed"])
