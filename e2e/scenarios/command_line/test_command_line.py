"""What people type is done by a real operator, and what they read is what the pods and gateways say."""

from e2e.support.command import kubectl_torpor, torpor, torpor_json, until_interrupted
from e2e.support.load import Load
from e2e.support.waiting import until

# Ten tokens a second for each stream, four clients: some forty tokens a second, whatever else this host does.
ENGINE = ["--startup-seconds=2", "--step-ms=100,0,0,0", "--max-num-seqs=8"]
AWAKE = {"minReplicas": 0, "maxReplicas": 1, "idleSeconds": 600}
CLIENTS = 4


def test_a_fleet_is_woken_measured_restarted_and_sent_to_sleep_by_hand(world, ns, make):
    cluster = world.cluster
    fleet = make("hand", args=ENGINE, scaling=AWAKE)
    fleet.wait_asleep()
    told = kubectl_torpor(cluster, "status", "-n", ns)
    assert told.split("\n")[1].split()[:4] == [ns, "hand", "Asleep", "0/0"], told

    refused = torpor(cluster, "wake", "hand", "-n", ns, code=2)  # nobody to ask, and no --yes
    assert fleet.replicas() == 0, refused
    torpor(cluster, "wake", "hand", "-n", ns, "--yes", "--wait")
    told = torpor(cluster, "logs", "hand", "-n", ns, "--follow", "--launcher", "--timeout", "120")
    assert "[torpor] ready:" in told.partition("\nPHASE")[0], told
    fleet.wait("Ready", reason="Serving")
    first = {pod["metadata"]["uid"] for pod in fleet.pods()}

    url = f"http://{world.gateway.host}:{world.gateway.port}"
    measured = measure(cluster, url, fleet.model)
    assert (measured["answered"], measured["failures"]) == (8, {}), measured
    gap = measured["interTokenLatencyMilliseconds"]["p50"]
    assert gap >= 95, measured  # the engine's step is 100 ms: what is shown is its time and not ours

    with Load(world.gateway, fleet.model, clients=CLIENTS, max_tokens=10, pause=0.0) as load:
        until("some answers were completed", lambda: len(load.outcomes) >= CLIENTS)
        seen = until("tokens per second are shown", lambda: speed(cluster, ns))
        assert seen["replicas"]["ready"] == 1, seen
        watched(cluster, ns)
        torpor(cluster, "restart", "hand", "-n", ns, "--yes", "--wait")
        until(
            "every pod is another one",
            lambda: (
                (now := {pod["metadata"]["uid"] for pod in fleet.ready_pods()}) and not now & first and now
            ),
        )
        load.end().must_be_whole(at_least=CLIENTS)

    torpor(cluster, "sleep", "hand", "-n", ns, "--yes", "--wait")
    fleet.wait_asleep()
    line = torpor_json(cluster, "status", "hand", "-n", ns)
    assert line["replicas"]["desired"] == 0, line
    assert line["saved"]["gpuSecondsUsed"] > 0, line
    assert {item["name"]: item["state"] for item in line["requests"]} == dict.fromkeys(
        ("wake", "restart", "sleep"), "Done"
    ), line


def measure(cluster, url, model):
    """Eight streams, as `torpor bench` sees them."""
    options = ("--requests", "8", "--concurrency", "2", "--max-tokens", "10", "--prompt-words", "20")
    return torpor_json(cluster, "bench", model, "--url", url, *options)


def speed(cluster, ns):
    """The fleet's line once it shows tokens per second."""
    (line,) = torpor_json(cluster, "status", "--live", "-n", ns)["fleets"]
    return line if line["outputTokensPerSecond"] else None


def watched(cluster, ns):
    """`--watch` shows the page again and again; Ctrl-C ends it without a word."""
    watch = ("status", "--watch", "--interval", "1", "-n", ns)
    told, errors, code = until_interrupted(cluster, *watch, begins=ns, times=3)
    assert told.count("NAMESPACE") >= 3, told
    assert (errors, code) == ("", 130), (errors, code)
