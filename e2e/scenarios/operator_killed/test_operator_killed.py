"""The leading operator is killed in the middle of a wake and of a scale-down: no request notices."""

import pytest

from e2e.support.load import Burst, Load
from e2e.support.processes import kill_container
from e2e.support.waiting import until
from e2e.support.watch import Watch, replica_changes


@pytest.fixture
def kill_leader(own):
    """Kills the leading operator of two."""
    own.install(operators=2)
    return lambda: kill_container(own.cluster, own.leader(), "operator")


@pytest.mark.parametrize("moment", ["before the scale write", "after the scale write"])
def test_a_wake_survives_it(make, own, kill_leader, moment):
    fleet = make("waker", args=["--startup-seconds=2"], scaling={"idleSeconds": 5})
    with Watch(own.cluster, "deployments", own.serves) as watch:
        if moment.startswith("before"):
            kill_leader()
            held = Burst(own.gateway, fleet.model, 6, {"max_tokens": 10})
        else:
            held = Burst(own.gateway, fleet.model, 6, {"max_tokens": 10})
            until("the scale write", lambda: fleet.replicas() == 1, every=0.02)
            kill_leader()
        held.end().must_be_whole(at_least=6)
        # The successor has an empty memory: it may put the fleet to sleep only after a whole idle time of
        # its own.
        fleet.wait_asleep()
    assert [count for _, count in replica_changes(watch, "waker-engines")] == [0, 1, 0]


def test_a_scale_down_survives_it(make, own, kill_leader):
    fleet = make(
        "stepper",
        args=["--startup-seconds=1", "--step-ms=10,0,0,0"],
        scaling={"maxReplicas": 2, "replicas": 2},
    )
    fleet.wait_replicas(2)
    with (
        Watch(own.cluster, "deployments", own.serves) as watch,
        Load(own.gateway, fleet.model, clients=6, max_tokens=200, pause=0.1) as load,
    ):
        until("streams are running", lambda: load.running >= 4)
        own.cluster.kubectl("scale", "isvc", fleet.name, "-n", own.serves, "--replicas=1")
        until("the scale write", lambda: fleet.replicas() == 1, every=0.02)
        kill_leader()
        fleet.wait_replicas(1)
        # The fleet belongs to Torpor again; traffic goes on, so a new leader has no ground to lower it any
        # further.
        fleet.patch(scaling={"replicas": None})
        fleet.wait("ExternallyScaled", "False")
        until("some more traffic", lambda: len(load.outcomes) > 12)
        tally = load.end()
        assert min(count for _, count in replica_changes(watch, "stepper-engines")) == 1
        fleet.wait_asleep()
    tally.must_be_whole(at_least=12)
