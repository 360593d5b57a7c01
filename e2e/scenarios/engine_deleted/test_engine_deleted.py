"""One engine pod goes while requests run on it: politely, and by a crash."""

from e2e.support.load import Load
from e2e.support.metrics import metric
from e2e.support.processes import kill_container
from e2e.support.waiting import until

PAIR = {"minReplicas": 2, "maxReplicas": 2}
# Answers of 6 to 12 seconds, longer than the pause before SIGTERM: only the drain can save them.
SLOW = ["--startup-seconds=1", "--step-ms=60,0,0,0"]
STEADY = ["--startup-seconds=1", "--step-ms=10,0,0,0"]
STREAMING, PLAIN = 12, 4  # clients
ENGINE = 8000  # the port with the engine's metrics


def busy(world, fleet, least):
    """Wait until `least` requests run on one of the pods; returns it."""

    def check():
        for pod in fleet.ready_pods():
            if (metric(world.cluster, pod, ENGINE, "vllm:num_requests_running") or 0) >= least:
                return pod
        return None

    return until(f"{least} requests run on one pod", check)


def test_a_deleted_pod_finishes_what_it_runs(world, ns, make):
    fleet = make("pair", args=SLOW, scaling=PAIR)
    fleet.wait_replicas(2)
    with Load(world.gateway, fleet.model, clients=8, max_tokens=200, pause=0.05) as load:
        victim = busy(world, fleet, 3)["metadata"]["name"]
        world.cluster.delete("pods", victim, ns)
        until(f"{victim} is replaced", lambda: victim not in [p["metadata"]["name"] for p in fleet.pods()])
        fleet.wait_replicas(2)
        tally = load.end()
    tally.must_be_whole(at_least=8)


def test_a_killed_engine_ends_its_streams_with_an_error_and_loses_no_other_request(world, make):
    fleet = make("fragile", args=STEADY, scaling=PAIR)
    fleet.wait_replicas(2)
    common = {"max_tokens": 300, "pause": 0.05}
    with (
        Load(world.gateway, fleet.model, clients=STREAMING, stream=True, **common) as streams,
        Load(world.gateway, fleet.model, clients=PLAIN, stream=False, **common) as plain,
    ):
        # More than there are clients that do not stream, so at least one stream is cut.
        kill_container(world.cluster, busy(world, fleet, PLAIN + 2), "engine")
        until("a stream has ended badly", lambda: streams.tally.lost)
        until("the others go on", lambda: streams.tally.counts["answered"] >= STREAMING)
        until("all of them", lambda: plain.tally.counts["answered"] >= PLAIN)
        fleet.wait_replicas(2)
        told, whole = streams.end(), plain.end()
    # What was already flowing cannot be saved, but its end is told; what had not begun goes to the other pod.
    silent = [o.detail for o in told.lost if not o.detail.startswith("error event")]
    assert not silent, f"{told}: {silent}"
    assert len(told.lost) <= STREAMING, str(told)
    whole.must_be_whole(at_least=PLAIN, refusals=True)
