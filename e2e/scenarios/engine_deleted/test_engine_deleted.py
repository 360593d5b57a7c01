"""One engine pod goes while requests run on it: politely, and by a crash."""

from e2e.support.load import Load
from e2e.support.processes import kill_container
from e2e.support.waiting import until

PAIR = {"minReplicas": 2, "maxReplicas": 2}
# Answers of 6 to 12 seconds, longer than the pause before SIGTERM: only the drain can save them.
SLOW = ["--startup-seconds=1", "--step-ms=60,0,0,0"]
STEADY = ["--startup-seconds=1", "--step-ms=10,0,0,0"]


def test_a_deleted_pod_finishes_what_it_runs(world, ns, make):
    fleet = make("pair", args=SLOW, scaling=PAIR)
    fleet.wait_replicas(2)
    with Load(world.gateway, fleet.model, clients=8, max_tokens=200, pause=0.05) as load:
        until("requests run on both pods", lambda: load.running >= 6)
        victim = fleet.ready_pods()[0]["metadata"]["name"]
        world.cluster.delete("pods", victim, ns)
        until(f"{victim} is replaced", lambda: victim not in [p["metadata"]["name"] for p in fleet.pods()])
        fleet.wait_replicas(2)
        tally = load.end()
    tally.must_be_whole(at_least=8)


def test_a_killed_engine_ends_its_streams_with_an_error_and_loses_no_other_request(world, make):
    fleet = make("fragile", args=STEADY, scaling=PAIR)
    fleet.wait_replicas(2)
    with Load(world.gateway, fleet.model, clients=8, max_tokens=200, pause=0.05) as load:
        until("requests run on both pods", lambda: load.running >= 6)
        kill_container(world.cluster, fleet.ready_pods()[0], "engine")
        until("a stream has ended badly", lambda: load.tally.lost)
        until("the others go on", lambda: load.tally.counts["answered"] >= 8)
        fleet.wait_replicas(2)
        tally = load.end()
    # What was already flowing cannot be saved, but its end is told; what had not begun goes to the other pod.
    silent = [o.detail for o in tally.lost if not (o.streamed and o.detail.startswith("error event"))]
    assert not silent, f"{tally}: {silent}"
    assert len(tally.lost) <= 8, str(tally)
    assert tally.counts["answered"] >= 8, str(tally)
