"""Install, upgrade, uninstall and run on a real API server with its own role checks.

Rendering cannot show that a token survives an upgrade, that the server takes every object, or that an account
may do what its program does. Pods do not run here; the two programs run as processes instead, each with a
token of the account that the chart made for it, so a missing right is a refusal in its log.
"""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import yaml

from e2e.cluster.controlplane import ControlPlane
from tests.charts.combinations import COMBINATIONS
from tests.charts.installing import CRD, Installation
from tests.charts.rendering import CHART, Object, Refused, render
from tests.charts.test_objects import FOREIGN_KINDS
from tests.ports import free_port

FLEET = {
    "apiVersion": "serving.torpor.dev/v1alpha1",
    "kind": "InferenceService",
    "metadata": {"name": "llm"},
    "spec": {"model": {"uri": "hf://simulated/llm"}, "engine": {"type": "Simulated"}},
}


@pytest.fixture(scope="module")
def first(server: ControlPlane, http: httpx.Client) -> Installation:
    """One release for all tests: each installs what it wants over what it finds, as administrators do."""
    return Installation(server, http, "torpor", "one")


def until(what: str, probe: Callable[[], object], program: "Program", seconds: float = 180) -> None:
    """Poll until `probe` gives something true; at the deadline fail with `what` and the program's log."""
    deadline = time.monotonic() + seconds
    while not probe():
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}\n{program.said()}"
        time.sleep(0.2)


def test_the_server_takes_every_object_of_every_combination(
    server: ControlPlane, http: httpx.Client, tmp_path: Path
) -> None:
    distinct: dict[str, Object] = {}
    for values in COMBINATIONS.values():
        for item in render(values):
            if item["kind"] not in FOREIGN_KINDS:
                unlabelled = item | {"metadata": item["metadata"] | {"labels": {}}, "data": None}
                distinct[json.dumps(unlabelled, sort_keys=True)] = item
    assert len(distinct) > 80
    for namespace in {item["metadata"].get("namespace", "default") for item in distinct.values()}:
        # Pods need their account, which a controller makes elsewhere.
        for path, name in (("namespaces", namespace), (f"namespaces/{namespace}/serviceaccounts", "default")):
            made = http.post(f"/api/v1/{path}", json={"metadata": {"name": name}})
            assert made.status_code in (201, 409), made.text
    manifests = tmp_path / "all.yaml"
    manifests.write_text(yaml.safe_dump_all(distinct.values()))
    told = server.kubectl(
        "apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", str(manifests)
    )
    assert told.count("serverside-applied") == len(distinct)


def test_an_upgrade_keeps_the_token_and_brings_the_definition(first: Installation) -> None:
    first.install({"crds.annotations": {"generation": "old"}})
    token = first.token()
    assert len(token) == 64
    first.install({"crds.annotations": {"generation": "new"}, "gateway.replicaCount": 3})
    assert first.token() == token
    assert first.get("deployments", "torpor-gateway")["spec"]["replicas"] == 3
    assert first.get("customresourcedefinitions", CRD)["metadata"]["annotations"]["generation"] == "new"
    first.install({"demandToken.key": "other"})  # there is no token under that key to keep: one is made
    assert first.get("secrets", "torpor-demand-token")["data"]["other"]


def test_uninstalling_leaves_the_definition_and_the_fleets_and_nothing_else(first: Installation) -> None:
    first.install()
    first.send("POST", "inferenceservices", FLEET)
    first.uninstall()
    assert first.objects() == {f"CustomResourceDefinition/{CRD}"}
    # Deletion takes its time, so that something is still there does not tell that it stays.
    assert "deletionTimestamp" not in first.get("customresourcedefinitions", CRD)["metadata"]
    assert "deletionTimestamp" not in first.get("inferenceservices", "llm")["metadata"]
    first.install()  # the same release takes the definition back
    assert len(first.objects()) > 10


def test_two_installations_live_side_by_side(server: ControlPlane, first: Installation) -> None:
    for namespace in ("day", "night"):
        first.http.post("/api/v1/namespaces", json={"metadata": {"name": namespace}}).raise_for_status()
    first.install({"watchNamespaces": ["day"]})
    second = Installation(server, first.http, "night", "two")
    with pytest.raises(Refused, match=CRD):
        second.install({"watchNamespaces": ["night"]})
    before = first.objects()
    second.install({"watchNamespaces": ["night"], "crds.install": False})
    assert first.objects() == before
    assert second.token() != first.token()
    assert second.may("night-torpor-operator", "patch", "deployments.apps", "night")
    assert not second.may("night-torpor-operator", "patch", "deployments.apps", "day")
    assert not first.may("torpor-operator", "patch", "deployments.apps", "night")
    assert not first.may("torpor-gateway", "list", "inferenceservices.serving.torpor.dev", "night")
    second.uninstall()
    assert first.objects() == before
    assert second.objects() == set()


def test_a_definition_that_another_release_left_can_be_taken_over(
    server: ControlPlane, first: Installation
) -> None:
    first.install()
    first.uninstall()
    second = Installation(server, first.http, "torpor", "three")
    with pytest.raises(Refused, match=CRD):
        second.install()
    second.helm("install", "torpor", str(CHART), "--create-namespace", "--take-ownership")
    assert f"CustomResourceDefinition/{CRD}" in second.objects()
    second.uninstall()
    first.helm("install", "torpor", str(CHART), "--take-ownership")
    assert f"CustomResourceDefinition/{CRD}" in first.objects()


def test_users_of_a_namespace_may_use_its_fleets(server: ControlPlane, first: Installation) -> None:
    # The controller that joins aggregated roles is not here; bind the parts that it would join.
    first.install()
    prefix = f"torpor:{first.namespace}:torpor"
    for name in ("view", "edit"):
        server.kubectl(
            "create", "rolebinding", name, "-n", first.namespace, f"--clusterrole={prefix}:{name}",
            f"--serviceaccount={first.namespace}:{name}er",
        )  # fmt: skip
    fleets = "inferenceservices.serving.torpor.dev"
    assert first.may("viewer", "watch", fleets, first.namespace)
    assert not first.may("viewer", "patch", fleets, first.namespace)
    assert first.may("editer", "create", fleets, first.namespace)
    assert first.may("editer", "patch", fleets, first.namespace, "scale")
    assert not first.may("editer", "patch", fleets, first.namespace, "status")


@pytest.mark.parametrize("watched", [[], ["served"]], ids=["everywhere", "one namespace"])
def test_the_programs_work_with_the_rights_of_their_accounts(
    server: ControlPlane, first: Installation, watched: list[str], tmp_path: Path
) -> None:
    namespace = "served" if watched else "anywhere"
    first.http.post("/api/v1/namespaces", json={"metadata": {"name": namespace}}).raise_for_status()
    first.install({"watchNamespaces": watched, "operator.logLevel": "DEBUG"})
    # Whoever held it was killed; waiting until the Lease ends shows nothing here.
    first.send("DELETE", "leases/torpor-operator")
    programs = [Program(first, part, tmp_path) for part in ("torpor", "torpor_gateway")]
    try:
        for program in programs:
            until("ready", program.ready, program)
        first.send("POST", "inferenceservices", FLEET, namespace=namespace)

        def written() -> bool:
            return "Ready" in str(first.get("inferenceservices", "llm", namespace=namespace).get("status"))

        until("the fleet has a status", written, programs[0])
        for kind in ("deployments", "services", "poddisruptionbudgets", "networkpolicies"):
            assert first.get(kind, "llm-engines", namespace=namespace)
        assert first.get("leases", "torpor-operator")["spec"]["holderIdentity"]
    finally:
        for program in programs:
            program.stop()
    for program in programs:
        assert "orbidden" not in program.said(), program.said()
        # The status and not the beginning of a port or the end of a time.
        assert not re.search(r"\s403\b", program.said()), program.said()


class Program:
    """The operator or the gateway as a process, with the variables of its pod and a token of its account."""

    def __init__(self, installation: Installation, module: str, folder: Path) -> None:
        part = "gateway" if module == "torpor_gateway" else "operator"
        deployment = installation.get("deployments", f"torpor-{part}")
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        # The server stores an empty value as none; what comes from a field is the pod's name.
        variables = {
            entry["name"]: f"{part}-0" if "valueFrom" in entry else entry.get("value", "")
            for entry in container["env"]
        }
        token = folder / "token"
        token.write_text("secret")
        self._admin = f"127.0.0.1:{free_port()}"
        kubeconfig = str(installation.kubeconfig_of(f"torpor-{part}", folder))
        variables |= {
            "TORPOR_ADMIN_LISTEN": self._admin,
            "TORPOR_DEMAND_TOKEN_FILE": str(token),
            "KUBECONFIG": kubeconfig,
            "PATH": os.environ["PATH"],
        }
        if part == "gateway":
            variables |= {"TORPOR_LISTEN": "127.0.0.1:0", "TORPOR_DEMAND_LISTEN": "127.0.0.1:0"}
        else:
            variables["TORPOR_KUBECONFIG"] = kubeconfig
        self._log = folder / f"{part}.log"
        with self._log.open("w") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module], env=variables, stdout=output, stderr=output
            )

    def ready(self) -> bool:
        """Say whether the readiness probe would pass. Fails where the process has ended."""
        assert self._process.poll() is None, self.said()
        try:
            return httpx.get(f"http://{self._admin}/readyz", timeout=30, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def said(self) -> str:
        """Return the log so far."""
        return self._log.read_text()

    def stop(self) -> None:
        """End the process at once; how it ends well is another test's subject."""
        self._process.kill()
        self._process.wait()
