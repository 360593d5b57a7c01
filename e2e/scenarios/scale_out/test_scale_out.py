"""Each of the two signals adds replicas on its own, and the object says which one did."""

from e2e.support.load import Burst
from e2e.support.watch import Watch, replica_changes

SLOW = ["--startup-seconds=1", "--step-ms=20,0,0,0", "--no-enable-prefix-caching"]


def decisions(watch, name):
    """The decisions that a watch of inferenceservices saw, without repetition."""
    found = []
    for seen in watch.events:
        decision = (seen.object.get("status") or {}).get("decision")
        if seen.name == name and decision and (not found or found[-1] != decision):
            found.append(decision)
    return found


def growth(watch, name):
    """The first decision for more than one replica, with its signals by name."""
    grown = next((d for d in decisions(watch, name) if d["desiredReplicas"] > 1), None)
    assert grown, f"never more than one: {decisions(watch, name)[-3:]}"
    return grown, {signal["name"]: signal for signal in grown["signals"]}


def grow(world, fleet, ns, requests):
    """Send the requests, wait for their end, return what the watches saw."""
    with (
        Watch(world.cluster, "inferenceservices", ns) as services,
        Watch(world.cluster, "deployments", ns) as deployments,
    ):
        requests().end(150).must_be_whole()
    return services, replica_changes(deployments, f"{fleet.name}-engines")


def test_queue_depth_alone_adds_replicas(world, ns, make):
    fleet = make(
        "queue",
        args=[*SLOW, "--max-num-seqs=2"],
        scaling={"minReplicas": 1, "maxReplicas": 3, "signals": {"queueDepth": {"target": 2}}},
    )
    fleet.wait_replicas(1)
    services, steps = grow(
        world, fleet, ns, lambda: Burst(world.gateway, fleet.model, 14, {"max_tokens": 200, "seconds": 120})
    )
    assert max(count for _, count in steps) > 1, steps
    grown, signals = growth(services, "queue")
    assert float(signals["queueDepth"]["value"]) > float(signals["queueDepth"]["target"])
    assert signals["queueDepth"]["rawReplicas"] > 1
    assert signals["kvCacheUtilization"].get("rawReplicas", 0) <= 1, signals
    assert signals["queueDepth"]["rawReplicas"] >= grown["desiredReplicas"], grown


def test_kv_cache_utilization_alone_adds_replicas(world, ns, make):
    fleet = make(
        "cache",
        args=[*SLOW, "--max-num-seqs=64", "--kv-tokens=16000"],
        scaling={
            "minReplicas": 1,
            "maxReplicas": 2,
            "signals": {"queueDepth": {"target": 1000}, "kvCacheUtilization": {"targetPercent": 30}},
        },
    )
    fleet.wait_replicas(1)
    prompt = "word " * 1500
    services, steps = grow(
        world,
        fleet,
        ns,
        lambda: Burst(world.gateway, fleet.model, 6, {"max_tokens": 400, "prompt": prompt, "seconds": 120}),
    )
    assert max(count for _, count in steps) == 2, steps
    grown, signals = growth(services, "cache")
    assert float(signals["kvCacheUtilization"]["value"]) > 30
    assert signals["queueDepth"].get("rawReplicas", 0) <= 1, signals
    assert signals["kvCacheUtilization"]["rawReplicas"] >= grown["desiredReplicas"], grown
