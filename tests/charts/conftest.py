"""A real API server for the tests that install the chart. It starts when the first of them asks for it."""

from collections.abc import Iterator

import pytest

from e2e.cluster.controlplane import ControlPlane


@pytest.fixture(scope="session")
def server() -> Iterator[ControlPlane]:
    """Run etcd and the API server with its own role checks, and without controllers: no pod ever starts."""
    with ControlPlane() as running:
        yield running
