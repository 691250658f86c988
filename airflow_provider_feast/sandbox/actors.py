"""Who writes to the store: the user of the request that is served, or the component whose work runs."""

from contextvars import ContextVar

JOB_CONTROLLER = "system:serviceaccount:kube-system:job-controller"
GARBAGE_COLLECTOR = "system:serviceaccount:kube-system:generic-garbage-collector"
NAMESPACE_CONTROLLER = "system:serviceaccount:kube-system:namespace-controller"
QUOTA_CONTROLLER = "system:serviceaccount:kube-system:resourcequota-controller"
SCHEDULER = "system:kube-scheduler"
KUBELET = "system:node:sandbox"
FAULT = "sandbox-fault"
START = "system:apiserver"

# Every task and every callback of the event loop has a copy of its own.
_actor: ContextVar[str] = ContextVar("actor", default=START)


def current() -> str:
    """The name that the audit log gives to whoever writes now."""
    return _actor.get()


def act_as(name: str) -> None:
    """From here on this task (or callback) writes under a name."""
    _actor.set(name)
