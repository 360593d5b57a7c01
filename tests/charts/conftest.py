"""What the tests of a run share: the renderings, and a real API server for those that install the chart.

The server starts when the first of them asks for it.
"""

from collections.abc import Iterator

import httpx
import pytest

from e2e.cluster.controlplane import ControlPlane
from tests.charts.rendering import keep_in
from tests.integration.kube import Kube


@pytest.fixture(scope="session", autouse=True)
def renderings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Share renderings with the other processes of the run: their own folders lie side by side in one."""
    own = tmp_path_factory.getbasetemp()
    keep_in((own.parent if own.name.startswith("popen-") else own) / "renderings")


@pytest.fixture(scope="session")
def server() -> Iterator[ControlPlane]:
    """Run etcd and the API server with its own role checks, and without controllers: no pod ever starts."""
    with ControlPlane() as running:
        yield running


@pytest.fixture(scope="session")
def http(server: ControlPlane) -> Iterator[httpx.Client]:
    """Connect to the server as its administrator."""
    client = Kube(server.kubeconfig, server.binaries / "torpor-kubernetes")
    yield client.http
    client.close()
