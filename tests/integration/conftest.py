"""One real API server for all integration tests, with Torpor's CRD in it.

etcd and kube-apiserver run as children of the test process, on loopback, in a directory of their own. There
are no controllers: nothing reacts to what a test writes, except what the test starts. Each test gets a
fresh namespace, so tests leave each other alone; nothing is cleaned up because everything goes with the
server.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from torpor.api import constants, crd

from e2e.cluster.controlplane import ControlPlane
from tests.integration.kube import Kube, until

CRD_FILE = Path("crds") / crd.FILE_NAME
CRD_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def control_plane() -> Iterator[ControlPlane]:
    """Start etcd and the API server; `make integration` has built the binaries before."""
    with ControlPlane() as running:
        yield running


@pytest.fixture(scope="session")
def kubeconfig(control_plane: ControlPlane) -> Path:
    """Return the administrator's kubeconfig."""
    return control_plane.kubeconfig


@pytest.fixture(scope="session")
def kube(control_plane: ControlPlane) -> Iterator[Kube]:
    """Connect, install the CRD as committed, and wait until its objects can be made."""
    client = Kube(control_plane.kubeconfig, control_plane.binaries / "torpor-kubernetes")
    try:
        _install_crd(client)
        yield client
    finally:
        client.close()


def _install_crd(client: Kube) -> None:
    manifest = yaml.safe_load(CRD_FILE.read_text())
    answer = client.http.post(CRD_PATH, json=manifest)
    assert answer.status_code == 201, answer.text
    until(lambda: _established(client), f"{constants.CRD_NAME} is Established", 30)
    until(
        lambda: client.http.get(f"/apis/{constants.API_VERSION}/{constants.PLURAL}").status_code == 200,
        "it is served",
    )


def _established(client: Kube) -> bool:
    found = client.http.get(f"{CRD_PATH}/{constants.CRD_NAME}").json()
    conditions = {it["type"]: it for it in (found.get("status") or {}).get("conditions") or []}
    assert conditions.get("NonStructuralSchema", {}).get("status") != "True", conditions
    assert conditions.get("NamesAccepted", {}).get("status") != "False", conditions
    return conditions.get("Established", {}).get("status") == "True"


@pytest.fixture
def namespace(kube: Kube) -> str:
    """Make a namespace for one test."""
    name = f"test-{next(_numbers)}"
    answer = kube.http.post(
        "/api/v1/namespaces", json={"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
    )
    assert answer.status_code == 201, answer.text
    return name
