"""N wakes and N scale-downs with traffic on them: nothing is lost, no stream breaks.

The dangerous moment is the one at which a replica is on its way out and a request comes in. So the bursts
here are aimed at it: at the very write that takes the fleet to zero, and at random moments around the end
of its idle time.
"""

import random
import time
from itertools import pairwise

import pytest

from e2e.support.load import Burst, Load, Tally
from e2e.support.waiting import until
from e2e.support.watch import Watch, replica_changes

IDLE = 2


@pytest.mark.timeout(1200)
def test_wakes_and_sleeps_lose_nothing(world, ns, make, rounds, record_property):
    fleet = make("sleeper", args=["--startup-seconds=0.5"], scaling={"idleSeconds": IDLE}, drainSeconds=20)
    outcomes, dice = [], random.Random(20261121)
    with Watch(world.cluster, "deployments", ns) as watch:

        def sleeps() -> int:
            return [count for _, count in replica_changes(watch, "sleeper-engines")][1:].count(0)

        while sleeps() < rounds:
            assert len(outcomes) < 40 * rounds, f"{sleeps()} sleeps after {Tally(outcomes)}"
            before = sleeps()
            outcomes += Burst(world.gateway, fleet.model, 6, {"max_tokens": 30, "seconds": 90}).end().outcomes
            if dice.random() < 0.5:  # the write itself
                until(
                    "the fleet is sent to sleep",
                    lambda before=before: sleeps() > before,
                    every=0.02,
                )
            else:  # somewhere around it, before as well as after
                wanted = time.monotonic() + IDLE + dice.uniform(-0.4, 1.2)
                until("the chosen moment", lambda wanted=wanted: time.monotonic() > wanted, every=0.02)
    tally = Tally(outcomes)
    steps = [count for _, count in replica_changes(watch, "sleeper-engines")]
    wakes = sum(1 for a, b in pairwise(steps) if a == 0 < b)
    record_property("wakes", wakes)
    record_property("sleeps", steps[1:].count(0))
    record_property("tally", str(tally))
    print(f"\n{wakes} wakes, {steps[1:].count(0)} sleeps; {tally}")
    tally.must_be_whole(at_least=6 * rounds)
    assert wakes >= rounds


@pytest.mark.timeout(1200)
def test_scale_downs_under_running_streams_break_none(world, ns, make, rounds, record_property):
    fleet = make(
        "stepper",
        # Answers of 6 to 12 seconds, longer than the pause before SIGTERM: only the drain can save them.
        args=["--startup-seconds=0.5", "--step-ms=60,0,0,0"],
        scaling={"minReplicas": 1, "maxReplicas": 2, "replicas": 2},
    )
    fleet.wait_replicas(2)
    assert fleet.wait("ExternallyScaled")
    with Load(world.gateway, fleet.model, clients=6, max_tokens=200, pause=0.1) as load:
        for _ in range(rounds):
            until("streams are running", lambda: load.running >= 4)
            world.cluster.kubectl("scale", "isvc", fleet.name, "-n", ns, "--replicas=1")
            until("one replica is on its way out", lambda: len(fleet.pods()) == 1)
            world.cluster.kubectl("scale", "isvc", fleet.name, "-n", ns, "--replicas=2")
            fleet.wait_replicas(2)
        tally = load.end()
    record_property("tally", str(tally))
    print(f"\n{rounds} scale-downs; {tally}")
    tally.must_be_whole(at_least=6)
