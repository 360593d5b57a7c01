"""Arriving work adds replicas before a queue forms, and the object explains it in sentences."""

import sys

from e2e.support.command import torpor, torpor_json
from e2e.support.load import Load
from e2e.support.waiting import until
from e2e.support.watch import Watch, replica_changes

# A step takes 50 ms and 10 ms for each sequence, so an answer of 20 tokens costs some 220 ms of a replica's
# time, and at 150 ms between tokens a replica carries about three requests a second. The cache is large and a
# thousand may wait: neither the queue nor the cache ever asks for a second one.
ENGINE = ["--startup-seconds=1", "--step-ms=50,10,0,1", "--max-num-seqs=64", "--kv-tokens=1000000"]
CLIENTS = 16


def grown(watch, name):
    """The first decision for more than one replica that a watch of inferenceservices saw."""
    for seen in watch.events:
        decision = (seen.object.get("status") or {}).get("decision")
        if seen.name == name and decision and decision["desiredReplicas"] > 1:
            return decision
    return None


def test_arriving_work_alone_adds_replicas(world, ns, make):
    fleet = make(
        "worker",
        args=ENGINE,
        scaling={
            "minReplicas": 1,
            "maxReplicas": 3,
            "signals": {"queueDepth": {"target": 1000}},
            "objectives": {"interTokenLatencyMilliseconds": 150},
        },
    )
    fleet.wait_replicas(1)
    with (
        Watch(world.cluster, "inferenceservices", ns) as services,
        Watch(world.cluster, "deployments", ns) as deployments,
        Load(world.gateway, fleet.model, clients=CLIENTS, max_tokens=20, pause=0.0) as load,
    ):
        until("the operator asks for a second replica", lambda: grown(services, fleet.name), seconds=120)
        until("another replica answers", lambda: len(fleet.ready_pods()) > 1)
        told = torpor(world.cluster, "explain", fleet.name, "-n", ns)
        load.end().must_be_whole(at_least=CLIENTS)
    assert max(count for _, count in replica_changes(deployments, f"{fleet.name}-engines")) > 1
    decision = grown(services, fleet.name)
    signals = {signal["name"]: signal for signal in decision["signals"]}
    assert signals["workRate"]["rawReplicas"] > 1, decision
    assert signals["queueDepth"].get("rawReplicas", 0) <= 1, decision
    assert signals["kvCacheUtilization"].get("rawReplicas", 0) <= 1, decision
    for word in ("workRate", "queueDepth", "kvCacheUtilization", fleet.name):
        assert word in told, told
    same = torpor_json(world.cluster, "explain", fleet.name, "-n", ns)
    assert same["name"] == fleet.model, same
    print(f"\n{told}", file=sys.stderr)
