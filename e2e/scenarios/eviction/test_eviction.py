"""A node is drained: the fleet's pods are evicted one after the other under traffic, never faster than it can
bear."""

import pytest

from e2e.support.kube import ApiError
from e2e.support.load import Load
from e2e.support.waiting import until


@pytest.fixture
def node(world):
    name = world.cluster.list("nodes")[0]["metadata"]["name"]
    yield name
    world.cluster.patch("nodes", name, {"spec": {"unschedulable": None}})


def evict(world, ns: str, name: str) -> bool:
    """Ask for the eviction of a pod; False if the disruption budget says not now."""
    wish = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name, "namespace": ns}}
    try:
        world.cluster.request("POST", world.cluster.path("pods", ns, name) + "/eviction", wish)
    except ApiError as error:
        if error.status != 429:
            raise
        return False
    return True


@pytest.mark.alone
def test_evictions_on_a_cordoned_node_lose_nothing(world, ns, make, node):
    fleet = make(
        "pair",
        args=["--startup-seconds=1", "--step-ms=10,0,0,0"],
        scaling={"minReplicas": 2, "maxReplicas": 2},
    )
    fleet.wait_replicas(2)
    first, second = sorted(pod["metadata"]["name"] for pod in fleet.pods())
    with Load(world.gateway, fleet.model, clients=6, max_tokens=150, pause=0.1) as load:
        until("requests run", lambda: load.running >= 4)
        world.cluster.patch("nodes", node, {"spec": {"unschedulable": True}})
        assert evict(world, ns, first)
        until(
            "the evicted pod is on its way out",
            lambda: first not in [p["metadata"]["name"] for p in fleet.pods()],
        )
        # Its replacement finds no node, so the budget protects the one that is left, and the object says why.
        assert not evict(world, ns, second)
        fleet.wait("PodsScheduled", "False")
        assert not evict(world, ns, second)
        world.cluster.patch("nodes", node, {"spec": {"unschedulable": None}})
        fleet.wait_replicas(2)
        until("the second may go now", lambda: evict(world, ns, second))
        until(
            "the second is on its way out",
            lambda: second not in [p["metadata"]["name"] for p in fleet.pods()],
        )
        fleet.wait_replicas(2)
        tally = load.end()
    tally.must_be_whole(at_least=6)
