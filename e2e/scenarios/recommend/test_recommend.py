"""A fleet that is only watched: it says what it would do, does nothing, and does it when it is told to."""

from e2e.support.chat import chat_now
from e2e.support.load import Load
from e2e.support.waiting import until
from e2e.support.watch import Watch, replica_changes

SLOW = ["--startup-seconds=1", "--step-ms=20,0,0,0", "--no-enable-prefix-caching", "--max-num-seqs=2"]


def recommended(fleet):
    """The decision, once it recommends more than holds."""
    decision = fleet.status().get("decision") or {}
    assert decision.get("recommendedReplicas", 0) > decision.get("desiredReplicas", 0), decision
    return decision


def test_under_load_it_says_what_it_would_do_and_does_it_when_told_to(world, ns, make):
    fleet = make(
        "advised",
        args=SLOW,
        scaling={
            "mode": "Recommend",
            "minReplicas": 1,
            "maxReplicas": 3,
            "signals": {"queueDepth": {"target": 2}},
        },
    )
    fleet.wait_replicas(1)  # a new fleet starts with minReplicas in every mode
    assert fleet.wait("ScalingActive", "False", "Recommend")
    with Watch(world.cluster, "deployments", ns) as deployments:
        with Load(world.gateway, fleet.model, clients=16, max_tokens=200) as load:
            told = until("a larger number is recommended", lambda: recommended(fleet))
            signals = {signal["name"]: signal for signal in told["signals"]}
            assert signals["queueDepth"]["rawReplicas"] > 1, told
            assert (told["mode"], told["reason"], told["desiredReplicas"]) == ("Recommend", "Recommend", 1)
            assert told["clamps"][-1]["name"] == "Recommend", told
            assert {count for _, count in replica_changes(deployments, f"{fleet.name}-engines")} == {1}

            fleet.patch(scaling={"mode": "Auto"})
            until("the recommended number", lambda: (fleet.replicas() or 0) > 1)
        load.tally.must_be_whole()
    assert max(count for _, count in replica_changes(deployments, f"{fleet.name}-engines")) > 1


def test_at_zero_a_request_is_refused_at_once_and_woken_for_in_auto(world, make):
    fleet = make("frozen", wait=False, scaling={"mode": "Recommend", "idleSeconds": 300})
    unready = fleet.wait("Ready", "False", "Recommend")
    assert "requests are refused" in unready["message"]
    for stream in (True, False):  # held, the one would get 200 and comments, the other no answer in this time
        refused = chat_now(world.gateway, fleet.model, stream=stream, seconds=20)
        assert refused.kind == "refused", refused
        assert (refused.status, refused.error["code"]) == (503, "Recommend")
        assert "spec.scaling.mode is Recommend" in str(refused.error["message"])

    def asked_again():  # a leader that has just taken over has seen none of the requests before
        assert chat_now(world.gateway, fleet.model).kind == "refused"
        return recommended(fleet)

    told = until("the wake is recommended", asked_again)
    assert told["recommendedReplicas"] == 1
    assert fleet.replicas() == 0
    assert not fleet.pods(terminating=True)

    fleet.patch(scaling={"mode": "Auto"})
    fleet.wait("Ready", reason="Asleep")
    assert fleet.replicas() == 0, "what was refused before wakes nobody"
    assert chat_now(world.gateway, fleet.model, seconds=90).kind == "answered"
    fleet.wait_replicas(1)
