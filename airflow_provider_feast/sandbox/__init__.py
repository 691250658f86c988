"""A small Kubernetes API on loopback, for a laptop and for tests. Not a cluster."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_provider_feast.sandbox.handle import Sandbox, SandboxError

__all__ = ["Sandbox", "SandboxError"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from airflow_provider_feast.sandbox import handle

        return getattr(handle, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
