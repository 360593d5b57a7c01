"""The binary that carries the judges."""

import pytest

from e2e.cluster.build import build


@pytest.fixture(scope="session")
def binary():
    """Return the program; `make integration` has built it before."""
    return build() / "torpor-kubernetes"
