"""Stories of fleets: a row of looks, and the number after each."""

import dataclasses

import pytest
from torpor.decide import Demand, Engine, Memory, Observation, Policy, Unknown, decide

POLICY = Policy(
    min_replicas=0,
    max_replicas=8,
    queue_target=4,
    kv_target=0.8,
    idle_seconds=600,
    window_seconds=60,
    credit_seconds=120,
)
QUIET = Demand(held=0.0, queued=0.0, in_flight=0.0, arrivals=0, complete=True, gap="")


def policy(**changes):
    return dataclasses.replace(POLICY, **changes)


def demand(**changes):
    return dataclasses.replace(QUIET, **changes)


def engine(name="a", **changes):
    values = {"ready": True, "running": 0.0, "waiting": 0.0, "kv": 0.0, "age": 300.0} | changes
    return Engine(name, **values)


def fleet(count, **changes):
    return tuple(engine(str(number), **changes) for number in range(count))


class Story:
    """Looks at one fleet, ten seconds apart unless told otherwise, applying each decision."""

    def __init__(self, policy=POLICY, replicas=0):
        self.policy, self.replicas, self.memory, self.now = policy, replicas, Memory(), 0.0

    def look(self, engines=(), seen=QUIET, rollout=False, after=10.0):
        self.now += after
        observation = Observation(self.replicas, engines, seen, rollout)
        self.decision, self.memory = decide(observation, self.policy, self.memory, self.now)
        self.replicas = self.decision.replicas
        return self.replicas

    def looks(self, seconds, engines=(), seen=QUIET, **more):
        for _ in range(int(seconds // 10)):
            self.look(engines, seen, **more)
        return self.replicas


def test_a_sleeping_fleet_stays_asleep():
    story = Story()
    assert story.looks(1000) == 0
    assert story.decision.reason == "Asleep"
    assert story.decision.look_at is None


def test_one_held_request_wakes_at_the_first_look():
    story = Story()
    assert story.look(seen=demand(held=1.0)) == 1
    assert story.decision.reason == "Wake"


def test_a_burst_wakes_as_many_as_it_needs():
    assert Story().look(seen=demand(held=11.0)) == 3
    assert Story(policy(max_num_seqs=8)).look(seen=demand(held=11.0)) == 1
    assert Story(policy(max_num_seqs=8)).look(seen=demand(held=25.0)) == 3
    assert Story(policy(max_replicas=2)).look(seen=demand(held=100.0)) == 2


def test_a_refused_arrival_wakes_too():
    story = Story()
    story.look(seen=demand(arrivals=5))
    assert story.replicas == 0
    assert story.look(seen=demand(arrivals=6)) == 1
    assert story.decision.reason == "Wake"


def test_a_wake_continues_when_its_client_leaves():
    story = Story()
    story.look(seen=demand(held=1.0))
    assert story.looks(100, engines=(engine(ready=False, age=5.0),)) == 1


def test_a_wake_that_fails_ends_by_idle_time_after_its_credit():
    story = Story(policy(idle_seconds=60, credit_seconds=120))
    story.look(seen=demand(held=1.0))
    pod = engine(ready=False, running=Unknown("none"), waiting=Unknown("none"), kv=Unknown("none"))
    for age in range(0, 170, 10):
        assert story.look(engines=(dataclasses.replace(pod, age=float(age)),)) == 1
    assert story.looks(60, engines=(dataclasses.replace(pod, age=200.0),)) == 0


def test_a_pod_known_to_fail_has_no_credit():
    story = Story(policy(idle_seconds=60))
    story.look(seen=demand(held=1.0))
    failing = (engine(ready=False, failing=True, age=1.0),)
    assert story.looks(60, engines=failing) == 1
    assert story.look(engines=failing) == 0


def test_zero_waits_for_the_whole_idle_period():
    story = Story(replicas=1)
    assert story.looks(600, engines=fleet(1)) == 1
    assert story.decision.look_at == pytest.approx(610)
    assert story.look(engines=fleet(1)) == 0
    assert story.decision.reason == "IdleToZero"


@pytest.mark.parametrize(
    ("engines", "seen"),
    [
        (fleet(1), demand(arrivals=1)),
        (fleet(1), demand(in_flight=1.0)),
        (fleet(1, running=1.0), QUIET),
        (fleet(1, running=Unknown("stale", 20)), QUIET),
        (fleet(1), demand(complete=False, gap="gateway b is silent")),
        (fleet(1), Demand()),
    ],
)
def test_one_sign_of_life_or_one_gap_starts_the_idle_period_again(engines, seen):
    story = Story(replicas=1)
    story.looks(590, engines=fleet(1))
    story.look(engines=engines, seen=seen)
    quiet_again = demand(arrivals=seen.arrivals)
    assert story.looks(590, engines=fleet(1), seen=quiet_again) == 1
    assert story.looks(30, engines=fleet(1), seen=quiet_again) == 0


def test_a_leader_that_was_frozen_has_not_seen_the_silence():
    story = Story(replicas=1)
    story.looks(100, engines=fleet(1))
    assert story.look(engines=fleet(1), after=3600.0) == 1


def test_min_replicas_keeps_an_idle_fleet_awake():
    story = Story(policy(min_replicas=2), replicas=2)
    assert story.looks(2000, engines=fleet(2)) == 2


@pytest.mark.parametrize(
    ("count", "waiting", "expected"),
    [(1, 4.0, 1), (1, 4.4, 1), (1, 5.0, 2), (2, 4.5, 3), (2, 9.0, 5), (3, 100.0, 8)],
)
def test_queue_depth_alone_scales_out_at_once(count, waiting, expected):
    story = Story(replicas=count)
    assert story.look(engines=fleet(count, waiting=waiting)) == expected


@pytest.mark.parametrize(
    ("count", "kv", "expected"), [(1, 0.85, 1), (1, 0.95, 2), (4, 0.95, 5), (4, 0.81, 4)]
)
def test_kv_cache_utilization_alone_scales_out_at_once(count, kv, expected):
    story = Story(replicas=count)
    assert story.look(engines=fleet(count, kv=kv)) == expected


def test_engines_and_gateways_count_each_request_once():
    story = Story(replicas=1)
    busy = fleet(1, running=8.0, waiting=4.0, max_num_seqs=8)
    assert story.look(engines=busy, seen=demand(queued=4.0, in_flight=12.0)) == 2


def test_requests_on_their_way_into_free_places_are_no_queue():
    story = Story(policy(max_num_seqs=64), replicas=1)
    assert story.look(engines=fleet(1, max_num_seqs=64), seen=demand(held=40.0)) == 1


def test_scale_in_waits_for_a_full_window_and_takes_the_largest_need_in_it():
    story = Story(replicas=4)
    assert story.looks(60, engines=fleet(4, kv=0.35)) == 4
    assert story.look(engines=fleet(4, kv=0.35)) == 2
    story = Story(replicas=4)
    story.looks(40, engines=fleet(4, kv=0.35))
    story.look(engines=fleet(4, kv=0.5))
    assert story.looks(40, engines=fleet(4, kv=0.35)) == 3
    assert story.looks(60, engines=fleet(3, kv=0.45)) == 2


def test_a_full_fleet_without_a_queue_does_not_shrink():
    story = Story(policy(max_num_seqs=8), replicas=3)
    assert story.looks(300, engines=fleet(3, running=8.0, kv=0.1)) == 3
    assert story.looks(300, engines=fleet(3, running=4.0, kv=0.1)) == 2


def test_a_partial_view_raises_and_never_lowers():
    silent = (engine("x", kv=Unknown("stale", 30)), engine("y", kv=Unknown("stale", 30)))
    story = Story(replicas=5)
    assert story.looks(300, engines=(*fleet(3, kv=0.0), *silent)) == 5
    assert "PartialView" in [line.name for line in story.decision.clamps]
    assert story.look(engines=(*fleet(3, waiting=30.0), *silent)) == 8


def test_starting_replicas_are_credited_until_their_deadline():
    story = Story(replicas=3)
    starting = (engine("0"), engine("1", ready=False, age=50.0), engine("2", ready=False, age=50.0))
    assert story.looks(200, engines=starting) == 3
    late = (engine("0"), engine("1", ready=False, age=500.0), engine("2", ready=False, age=500.0))
    assert story.looks(100, engines=late) == 1


def test_replicas_without_pods_are_credited_until_their_deadline():
    story = Story(replicas=2)
    assert story.looks(120, engines=fleet(1)) == 2
    assert story.looks(100, engines=fleet(1)) == 1


def test_unschedulable_replicas_never_make_the_number_grow():
    story = Story(replicas=2)
    stuck = (engine("0", waiting=8.0), engine("1", ready=False, age=5000.0))
    assert story.looks(1000, engines=stuck) == 2


def test_a_rollout_holds_scale_in():
    story = Story(replicas=3)
    assert story.looks(300, engines=fleet(3), rollout=True) == 3
    assert story.looks(70, engines=fleet(3)) == 1


def test_a_lowered_ceiling_is_obeyed_at_once():
    story = Story(policy(max_replicas=2), replicas=5)
    assert story.look(engines=fleet(5, waiting=Unknown("stale"))) == 2


def test_an_outage_of_the_signals_holds_and_then_waits_a_full_window():
    story = Story(replicas=4)
    story.looks(60, engines=fleet(4, kv=0.35))
    assert story.looks(1800, engines=fleet(4, kv=Unknown("stale", 60)), seen=Demand()) == 4
    assert story.look(engines=fleet(4, kv=Unknown("stale", 60))) == 4
    assert [line.name for line in story.decision.clamps] == ["UnknownNeverLowers"]
    assert story.looks(50, engines=fleet(4, kv=0.35)) == 4
    assert story.looks(30, engines=fleet(4, kv=0.35)) == 2


@pytest.mark.parametrize(
    ("seen", "before", "number", "message"),
    [
        (
            {"engines": fleet(2, waiting=20.0)},
            2,
            8,
            "queueDepth is 20.00 per replica, target 4; 10 needed; spec.scaling.maxReplicas is 8 (10 -> 8)",
        ),
        (
            {"engines": fleet(3, kv=0.1)},
            3,
            3,
            "queueDepth is 0.00 per replica, target 4; 1 would still meet every target; "
            "the need was watched for 0 s of 60 s (1 -> 3)",
        ),
        (
            {"seen": demand(held=40.0)},
            0,
            8,
            "40 requests wait for a fleet that sleeps, 10 needed; spec.scaling.maxReplicas is 8 (10 -> 8)",
        ),
    ],
)
def test_the_message_names_who_asked_and_what_bound_it(seen, before, number, message):
    story = Story(replicas=before)
    assert story.look(**seen) == number
    assert story.decision.message == message


def test_the_message_of_a_clamp_that_acts_alone_names_no_signal():
    story = Story(policy(min_replicas=2))
    story.look()
    assert story.decision.message == "spec.scaling.minReplicas is 2 (0 -> 2)"
