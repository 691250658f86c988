"""Containers in namespaces of the kernel: real mount paths, a read-only root, not root."""

from airflow_provider_feast.sandbox.pods.logs import LogFile
from airflow_provider_feast.sandbox.pods.process import Process, ProcessSpec, start_mapped


def available() -> bool:
    """Whether this kernel lets us make user and mount namespaces."""
    return False


async def start(spec: ProcessSpec, log: LogFile) -> Process:
    """Start a container in its own namespaces."""
    return await start_mapped(spec, log)
