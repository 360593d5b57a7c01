"""A cold start has an account although the leader changed, and a crash has none."""

from dataclasses import replace
from datetime import timedelta

import pytest
from torpor.control.cold_start import ColdStarts, from_status

from tests.unit.control.worlds import NOW, demand, pod, report, stamp, world

PHASES = [{"name": "load", "seconds": 30.5}]


def left_by(*, since, status="False", **more):
    """The status that a leader left, which saw no replica answer `since` so many seconds before NOW."""
    awake = {"type": "Awake", "status": status, "lastTransitionTime": stamp(since)}
    return {"conditions": [{"type": "Ready", "status": "True"}, awake]} | more


def at(seconds, **more):
    """The world so many seconds after NOW."""
    moment = {"now": NOW + timedelta(seconds=seconds), "clock": 1000.0 + seconds}
    return world(replicas=more.pop("replicas", 1), **moment, **more)


def starting(age):
    return pod(age=age)


def answering(age, since):
    """A pod that answers `since` so many seconds before NOW, by the kubelet's word."""
    return replace(pod(ready=True, age=age), ready_since=NOW - timedelta(seconds=since))


def test_a_wake_that_another_leader_began_is_measured_from_its_first_pod():
    cold = from_status(left_by(since=3600))
    cold = cold.seen(at(0, pods=[starting(20), starting(40)]))
    assert cold.last is None
    cold = cold.seen(at(30, pods=[answering(40, 0), starting(20)], seen=demand(pods={"llm-0": report()})))
    assert (cold.last, cold.running_since) == (70.0, None)


@pytest.mark.parametrize(
    ("told", "took"),
    [
        ({"readyAt": NOW.timestamp() - 4.5}, 55.5),
        ({}, 50.0),  # the kubelet's word, in whole seconds and after the probe
        ({"readyAt": None}, 50.0),
        ({"readyAt": "soon"}, 50.0),
        ({"readyAt": NOW.timestamp() + 1e6}, 50.0),
    ],
)
def test_one_that_ended_while_nobody_led_took_until_the_replica_answered(told, took):
    seen = demand(pods={"llm-0": report(phases=PHASES, **told)})
    cold = from_status(left_by(since=3600)).seen(at(0, pods=[answering(60, 10)], seen=seen))
    assert (cold.last, cold.phases) == (took, (("load", 30.5),))
    assert cold.seen(at(10, pods=[answering(60, 10)], seen=seen)).seconds == (took,), "once"


def test_the_first_wake_of_a_fleet_that_nobody_had_looked_at_counts():
    assert from_status({}).seen(at(0, pods=[answering(60, 10)])).last == 50.0


def test_a_pod_that_is_still_to_come_is_waited_for():
    cold = from_status(left_by(since=3600)).seen(at(0))
    cold = cold.seen(at(5, pods=[starting(-2)]))
    assert cold.seen(at(32, pods=[answering(-2, -32)])).last == 30.0


@pytest.mark.parametrize(
    "status",
    [
        left_by(since=30),  # it answered until then: the pod is older, so this is a crash
        left_by(since=60),
        left_by(since=3600, status="True"),
        left_by(since=3600, status="Unknown"),
        {"replicas": 1},
        {"conditions": "mangled"},
        {"conditions": ["mangled", {"type": "Awake", "status": "False"}]},
    ],
)
def test_what_is_no_wake_gets_no_account(status):
    cold = from_status(status).seen(at(0, pods=[starting(60)]))
    assert cold.seen(at(30, pods=[answering(60, -30)])).last is None


def test_one_that_ended_at_zero_is_none():
    cold = from_status(left_by(since=3600)).seen(at(0, pods=[starting(60)]))
    cold = cold.seen(at(10, replicas=0, pods=[pod(terminating=True)]))
    assert (cold.running_since, cold.idle_since) == (None, None)


def test_a_leader_that_found_the_fleet_asleep_measures_its_own_wakes():
    cold = from_status(left_by(since=3600)).seen(at(0, replicas=0)).begun(1010.0)
    assert cold.seen(at(50, pods=[answering(-12, -50)])).last == 40.0
    early = from_status(left_by(since=3600)).begun(1010.0)
    assert early.seen(at(50, pods=[answering(-12, -50)])).last == 40.0


def test_what_was_measured_before_stays():
    record = {"lastSeconds": "42.5", "p95Seconds": "80.0", "phases": PHASES}
    cold = from_status(left_by(since=3600, coldStart=record)).seen(at(0, pods=[answering(60, 10)]))
    assert cold.seconds == (80.0, 42.5, 50.0)
    assert ColdStarts(seconds=cold.seconds).p95 == 80.0
