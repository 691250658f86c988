"""pytest fixture `feast_sandbox`: one sandbox for the session (for each worker of pytest-xdist).

`FEAST_SANDBOX_ISOLATION=0` maps paths even where the kernel permits namespaces. The image `feast-sandbox:local`
is the running Python environment. Back-off delays are a twentieth of a cluster's.
"""

from collections.abc import Iterator

import pytest

from airflow_provider_feast.sandbox.handle import Sandbox

TIME_SCALE = 0.05


@pytest.fixture(scope="session")
def feast_sandbox() -> Iterator[Sandbox]:
    """A running sandbox; tests keep apart by namespaces."""
    with Sandbox(time_scale=TIME_SCALE) as sandbox:
        yield sandbox
