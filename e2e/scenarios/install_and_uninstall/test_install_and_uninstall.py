"""A helm install brings everything, `helm test` gets a token from it, and helm uninstall leaves the fleets
and nothing else."""

import subprocess

import pytest

from e2e.support import install
from e2e.support.chat import chat_now
from e2e.support.kube import ApiError
from e2e.support.waiting import until

CLUSTER_SCOPED = ("clusterroles", "clusterrolebindings")
NAMESPACED = (
    "deployments", "replicasets", "pods", "services", "configmaps", "secrets", "serviceaccounts", "roles",
    "rolebindings", "poddisruptionbudgets", "networkpolicies", "leases",
)  # fmt: skip
# Kubernetes puts these into every namespace.
EVERYBODYS = {"kube-root-ca.crt", "default"}


def leftovers(world) -> list[str]:
    """What of the release is still in the cluster, the CustomResourceDefinition excepted."""
    found = [
        f"{kind}/{item['metadata']['name']}"
        for kind in NAMESPACED
        for item in world.cluster.list(kind, install.NAMESPACE)
        if item["metadata"]["name"] not in EVERYBODYS
    ]
    for kind in CLUSTER_SCOPED:
        ours = world.cluster.list(kind, labelSelector=f"app.kubernetes.io/instance={install.RELEASE}")
        found += [f"{kind}/{item['metadata']['name']}" for item in ours]
    return found


def test_helm_test_gets_a_token_from_a_simulated_fleet(world):
    told = install.helm(
        world.machine,
        "test",
        install.RELEASE,
        "-n",
        install.NAMESPACE,
        "--logs",
        "--timeout",
        "4m",
    )
    assert "Phase:          Succeeded" in told, told


@pytest.mark.alone
def test_uninstall_leaves_the_fleets_running_and_nothing_else_and_install_takes_them_back(world, ns, make):
    fleet = make("survivor", scaling={"minReplicas": 1})
    fleet.wait_replicas(1)
    before = [pod["metadata"]["uid"] for pod in fleet.pods()]
    install.uninstall(world.machine)

    def clean() -> bool:
        assert not leftovers(world), leftovers(world)
        return True

    until("nothing of the release is left", clean)
    assert world.cluster.get("customresourcedefinitions", "inferenceservices.serving.torpor.dev")
    assert [pod["metadata"]["uid"] for pod in fleet.ready_pods()] == before

    doomed = world.open_namespace("doomed")
    world.make(doomed, "orphan", wait=False)
    world.close_namespace(doomed)

    def gone() -> bool:
        try:
            world.cluster.get("namespaces", doomed)
        except ApiError as error:
            return error.status == 404
        return False

    until("a namespace with a fleet goes although nobody serves it", gone)

    install.install(world.machine)
    gateway = install.gateway_address(world.cluster)
    fleet.wait("Ready", reason="Serving")
    assert chat_now(gateway, fleet.model).kind == "answered"
    assert [pod["metadata"]["uid"] for pod in fleet.pods()] == before, "a new install restarted an engine"


def test_the_chart_refuses_a_value_it_does_not_know(world):
    with pytest.raises(subprocess.CalledProcessError) as refusal:
        install.helm(world.machine, "template", str(install.CHART), "--set", "operater.replicaCount=3")
    assert "operater" in refusal.value.stderr
