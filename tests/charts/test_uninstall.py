"""An uninstall leaves the definition, the fleets and what belongs to them, and nothing else; then all can go.

There is no operator and no garbage collector here. The first is the case that must work: fleets whose
operator is gone can be deleted, because nothing of Torpor's waits for a finalizer. The second is looked at
instead: a child is the fleet's by an owner reference, which is all that Kubernetes needs.
"""

import itertools
import re
import shlex
from collections.abc import Iterator

import httpx
import pytest
from torpor.api import validation
from torpor.build import BuildSettings, children

from e2e.cluster.controlplane import ControlPlane
from tests.charts.installing import CRD, NAMESPACED, Installation
from tests.charts.living import Identity, forget, kinds, listing, living
from tests.charts.rendering import ROOT, Object
from tests.charts.test_installed import FLEET
from tests.docs.blocks.reading import blocks
from tests.docs.blocks.shell import commands
from tests.integration.kube import until

PAGE = ROOT / "docs" / "operations" / "uninstall.md"
# Made by the server or by whoever made the namespace.
NOT_OURS = {"Event", "Endpoints", "EndpointSlice", "FlowSchema", "IPAddress", "PriorityLevelConfiguration"}
LEASE = "/apis/coordination.k8s.io/v1/namespaces/torpor-system/leases"
EVERYWHERE = {
    ("ServiceAccount", "torpor-system", "default"),
    ("ConfigMap", "torpor-system", "kube-root-ca.crt"),
}
_numbers = itertools.count(1)
CACHED = {"spec": FLEET["spec"] | {"model": {"uri": "hf://simulated/llm", "cache": {"size": "1Gi"}}}}


@pytest.fixture
def others(http: httpx.Client) -> set[Identity]:
    """Return what lies on the server before the release: other tests leave things of their own."""
    return set(all_objects(http))


@pytest.fixture
def release(server: ControlPlane, http: httpx.Client, others: set[Identity]) -> Iterator[Installation]:
    installation = Installation(server, http, "torpor", "torpor-system")
    installation.helm(
        "install", "torpor", str(ROOT / "charts/torpor"), "--create-namespace", "--take-ownership"
    )
    yield installation
    forget(installation)


@pytest.fixture
def models(http: httpx.Client) -> str:
    """Make a namespace for the fleets of one test, and return its name."""
    name = f"models-{next(_numbers)}"
    http.post("/api/v1/namespaces", json={"metadata": {"name": name}}).raise_for_status()
    return name


def all_objects(http: httpx.Client) -> dict[Identity, Object]:
    """Return every object of the server that somebody made."""
    found = {}
    for path, kind in kinds(http):
        if kind not in NOT_OURS:
            for item in listing(http, path):
                found[kind, item["metadata"].get("namespace", ""), item["metadata"]["name"]] = item
    return found


def bring(installation: Installation, models: str) -> dict[Identity, Object]:
    """Make a fleet with its children, as the operator does, and its Lease; return fleet and children."""
    http = installation.http
    made = installation.send("POST", "inferenceservices", FLEET | CACHED, namespace=models).json()
    fleet = validation.check(made).fleet
    assert fleet is not None
    settings = BuildSettings("torpor-system", "torpor-gateway", "engine", "engine")
    found = {("InferenceService", models, "llm"): made}
    for manifest in children(fleet, settings, 1, data={"memory": "{}"}):
        plural = f"{manifest['kind'].lower()}s".replace("policys", "policies")
        group = (NAMESPACED | {"configmaps": "/api/v1", "persistentvolumeclaims": "/api/v1"})[plural]
        answer = http.post(f"{group}/namespaces/{models}/{plural}", json=manifest)
        assert answer.status_code == 201, answer.text
        found[manifest["kind"], models, manifest["metadata"]["name"]] = answer.json()
    lease = {"metadata": {"name": "torpor-operator"}, "spec": {"holderIdentity": "torpor-operator-0"}}
    answer = http.post(LEASE, json=lease)
    assert answer.status_code in (201, 409), answer.text
    return found


def test_an_uninstall_leaves_the_fleets_which_can_go_without_an_operator(
    release: Installation, http: httpx.Client, models: str, others: set[Identity]
) -> None:
    released = set(living(release))
    before = all_objects(http)
    kept = bring(release, models)
    assert {"Deployment", "PersistentVolumeClaim", "ConfigMap"} <= {kind for kind, _, _ in kept}
    put_to_sleep(release, models)
    told = release.uninstall()
    assert CRD in told  # Helm says what it kept
    after = all_objects(http)
    # Of the release the definition alone; of all else everything, the fleet with its children too.
    expected = before.keys() - released | {("CustomResourceDefinition", "", CRD)} | kept.keys()
    secrets = {name for name in before if name[1] == release.namespace and "helm.release" in name[2]}
    assert after.keys() == expected - secrets
    for name in kept:
        assert "deletionTimestamp" not in after[name]["metadata"]
        assert after[name]["metadata"]["uid"] == kept[name]["metadata"]["uid"]
    assert http.get(f"{LEASE}/torpor-operator").status_code == 404

    fleets, _, definition, _ = removal()
    for words in (fleets, definition):
        release.server.kubectl(*words[1:], "--timeout=120s")
    check_gone(release, kept, models, others)


def put_to_sleep(release: Installation, models: str) -> None:
    """Run the page's command that asks every fleet to sleep, and wait until this one is asked."""
    text = PAGE.read_text().partition("## Remove Torpor and keep the fleets\n")[2]
    (command,) = re.findall(r"\$ kubectl (annotate .*)", text)
    now = "2026-11-22T20:00:00Z"
    release.server.kubectl(*shlex.split(re.sub(r"\$\(date [^)]*\)", now, command)))

    def asked() -> bool:
        fleet = release.get("inferenceservices", "llm", namespace=models)
        return bool(fleet["metadata"].get("annotations", {}).get("serving.torpor.dev/sleep-at") == now)

    until(asked, "the fleet is asked to sleep")


def removal() -> list[list[str]]:
    """Return the words of the page's commands that remove everything."""
    section = PAGE.read_text().partition("## Remove everything\n")[2].partition("\n## ")[0]
    (block,) = (one for one in blocks(PAGE) if one.text in section and "customresourcedefinition" in one.text)
    steps = [shlex.split(command) for command, _ in commands(block.text)]
    assert [words[:3] for words in steps] == [
        ["kubectl", "delete", "inferenceservices"], ["helm", "uninstall", "torpor"],
        ["kubectl", "delete", "customresourcedefinition"], ["kubectl", "delete", "namespace"],
    ]  # fmt: skip
    return steps


def check_gone(
    release: Installation, kept: dict[Identity, Object], models: str, others: set[Identity]
) -> None:
    """Fail where something is left but the namespaces, and children, which he takes who collects garbage."""
    left = all_objects(release.http)
    theirs = {name for name in kept if name[0] != "InferenceService"}
    assert {name for name in left if name[1] == models and name[0] != "ServiceAccount"} == theirs
    assert {name for name in left if name[1] == release.namespace} <= EVERYWHERE
    assert {name[0] for name in left.keys() - others if not name[1] and "torpor" in name[2]} <= {"Namespace"}


def test_the_commands_of_the_page_remove_everything(
    release: Installation, models: str, others: set[Identity]
) -> None:
    kept = bring(release, models)
    for name, item in kept.items():
        # The server guards every claim until no pod uses it; nothing here adds to that.
        guards = set(item["metadata"].get("finalizers", ())) - {"kubernetes.io/pvc-protection"}
        assert not guards, name
        if name[0] != "InferenceService":
            (owner,) = item["metadata"]["ownerReferences"]
            assert (owner["kind"], owner["name"], owner["controller"]) == ("InferenceService", "llm", True)
            assert owner["uid"] == kept["InferenceService", models, "llm"]["metadata"]["uid"]
    for tool, *words in removal()[:-1]:  # nobody here would end a namespace
        if tool == "helm":
            release.helm(*words)
        else:
            release.server.kubectl(*words, "--timeout=120s")
    check_gone(release, kept, models, others)
