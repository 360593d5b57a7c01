"""The status is written when it says something new, and only then."""

import dataclasses
import json
from datetime import timedelta

import pytest
from torpor.api.status import InferenceServiceStatus
from torpor.control.cold_start import ColdStarts, from_status
from torpor.control.findings import Facts, findings
from torpor.control.news import scaled, transitions
from torpor.control.observe import observe, policy
from torpor.control.rollout import Rollout
from torpor.control.status import (
    LONGEST_LINE,
    LONGEST_MESSAGE,
    REFRESH_SECONDS,
    same,
    status_of,
    worth_writing,
)
from torpor.decide import Memory, Standing, decide
from torpor.decide.schedule import Limits, State

from tests.unit.control.worlds import NOW, container, demand, fleet, pod, report, stamp, world


def status(seen, cold=None, memory=None, tls=False):
    cold = cold or ColdStarts()
    rules = policy(seen, seen.service, cold)
    decision, _ = decide(observe(seen, rollout=False), rules, memory or Memory(), seen.clock)
    facts = Facts(seen, decision, Rollout(), seen.service.spec.scaling.replicas, rules=rules)
    return status_of(facts, findings(facts), cold, cluster_domain="cluster.local", gateway_tls=tls)


def test_the_address_is_the_one_that_the_gateway_answers():
    seen = awake()
    for tls, scheme in ((False, "http"), (True, "https")):
        assert status(seen, tls=tls)["url"] == f"{scheme}://llm.team.svc.cluster.local/v1"


def awake(kv=0.5, **more):
    return world(
        replicas=1, pods=[pod(ready=True)], seen=demand(pods={"llm-0": report(kvUtilization=kv)}), **more
    )


def again(before, seen_later):
    """The status of a later look at a fleet whose status was `before`."""
    raw = seen_later.fleet | {"status": before}
    return status(dataclasses.replace(seen_later, fleet=raw))


def test_an_equal_world_gives_an_equal_status_for_hours():
    before = status(world())
    after = again(before, world(now=NOW + timedelta(hours=3), clock=20_000.0))
    assert after == before
    assert not worth_writing(before, after, None, 20_000.0)


def test_moving_numbers_are_news_at_most_twice_a_minute():
    before = status(awake(0.50))
    after = again(before, awake(0.51))
    assert after != before
    assert not worth_writing(before, after, 1000.0, 1000.0 + REFRESH_SECONDS - 1)
    assert worth_writing(before, after, 1000.0, 1000.0 + REFRESH_SECONDS)


def test_an_older_reading_is_no_news_however_long_ago_the_last_write_was():
    def aged(age, kv=0.5):
        told = {"llm-0": report(age=age, kvUtilization=kv)}
        return world(replicas=1, pods=[pod(ready=True)], seen=demand(pods=told, age=1.0))

    before = status(aged(2.0))
    assert [signal["ageSeconds"] for signal in before["decision"]["signals"]] == [2, 2]
    after = again(before, aged(9.0))
    assert [signal["ageSeconds"] for signal in after["decision"]["signals"]] == [9, 9]
    assert same(before, after)
    assert not worth_writing(before, after, None, 20_000.0)
    assert worth_writing(before, again(before, aged(9.0, kv=0.6)), None, 20_000.0)


def test_another_number_or_condition_is_news_at_once():
    before = status(world())
    for seen in (world(seen=demand(held=1)), world(problems=["spec: bad"]), awake()):
        assert worth_writing(before, again(before, seen), 1000.0, 1000.1)


def test_a_condition_keeps_its_time_until_its_status_changes():
    before = status(world())
    later = again(before, world(problems=["x"], now=NOW + timedelta(minutes=5)))
    since = {item["type"]: item["lastTransitionTime"] for item in later["conditions"]}
    assert since["SpecValid"] == stamp(-300)
    assert since["RouteAccepted"] == stamp()


@pytest.mark.parametrize(
    "mangled", [{"conditions": "none"}, {"conditions": [7, {"type": "Ready"}]}, {"decision": 3}]
)
def test_a_mangled_status_is_replaced_by_a_valid_one(mangled):
    if not isinstance(mangled.get("decision", {}), dict):
        mangled = {"decision": {"time": 3}}
    InferenceServiceStatus.model_validate(again(mangled, world()))


def test_a_hundred_silent_launchers_fit_into_a_status():
    many = [pod(f"llm-engines-5d8c7f9b6d-{number:05}", ready=True) for number in range(100)]
    told = status(world(replicas=100, pods=many))["decision"]
    assert told["clamps"][0]["name"] == "UnknownNeverLowers"
    assert len(told["message"]) <= LONGEST_MESSAGE
    assert max(len(told["clamps"][0]["message"]), len(told["signals"][1]["unknown"])) <= LONGEST_LINE


def test_whatever_has_long_names_the_decision_stays_small():
    long = "n" * 1000
    many = [pod(f"{number:03}{long}", ready=True) for number in range(100)]
    hours = Standing(
        State(tuple(f"{number}{long}" for number in range(64)), Limits(floor=3, ceiling=2), (long,) * 64),
        NOW + timedelta(hours=1),
        State((long,) * 64, Limits()),
        None,
        f"{long} {long}",
    )
    seen = demand(f"gateway {long} is silent", pods={many[0].name: report()})
    for more, last in ({}, "ScheduleCeiling"), ({"mode": "Recommend"}, "Recommend"), ({"replicas": 7}, None):
        raw = fleet(scaling={"maxReplicas": 200} | more)
        told = status(world(raw, replicas=100, pods=many, seen=seen, hours=hours))
        InferenceServiceStatus.model_validate(told)
        assert told["decision"]["clamps"][-1]["name"] == (last or "ExternalOwner")
        assert len(json.dumps(told["decision"])) < 32 * 1024
        assert len(json.dumps(told)) < 64 * 1024
        assert told["decision"]["signals"][1]["lowerBound"].endswith("…")


def test_the_decision_says_what_holds_and_what_is_recommended():
    raw = fleet(scaling={"mode": "Recommend", "maxReplicas": 9})
    busy = demand(pods={"llm-0": report(waitingCapacity=20)})
    told = status(world(raw, replicas=1, pods=[pod(ready=True)], seen=busy))
    assert told["desiredReplicas"] == 1
    decision = told["decision"]
    assert (decision["mode"], decision["desiredReplicas"], decision["recommendedReplicas"]) == (
        "Recommend",
        1,
        5,
    )
    assert decision["clamps"][-1]["name"] == "Recommend"
    paused = status(world(fleet(scaling={"mode": "Paused"}), replicas=1, pods=[pod(ready=True)], seen=busy))
    assert (paused["desiredReplicas"], paused["decision"]["reason"]) == (1, "Paused")
    assert "recommendedReplicas" not in paused["decision"]
    assert "signals" not in paused["decision"] or paused["decision"]["signals"] == []


def test_a_reading_in_part_says_what_is_missing():
    told = status(awake())["decision"]["signals"]
    assert all("lowerBound" not in signal for signal in told)
    silent = demand("gateway b is silent", pods={"llm-0": report()})
    told = status(world(replicas=1, pods=[pod(ready=True)], seen=silent))["decision"]["signals"]
    assert told[0]["lowerBound"] == "gateway b is silent"


def test_a_failed_wake_says_when_the_next_attempt_is():
    said = {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"}
    crashed = container({"waiting": said}, {"terminated": {"exitCode": 70, "finishedAt": stamp(10)}})
    told = status(world(replicas=1, pods=[pod(status=crashed)], seen=demand(held=1)))
    assert told["coldStart"]["nextAttemptTime"] == stamp(-30)


def test_a_cold_start_is_measured_from_the_wake_to_the_first_ready_replica():
    phases = [{"name": "load", "seconds": 3.25}]
    cold = ColdStarts().begun(1000.0)
    cold = cold.seen(world(replicas=1, pods=[pod()], clock=1010.0))
    assert cold.last is None
    ready = world(
        replicas=1, pods=[pod(ready=True)], seen=demand(pods={"llm-0": report(phases=phases)}), clock=1042.5
    )
    cold = cold.seen(ready)
    assert (cold.last, cold.phases, cold.running_since) == (42.5, (("load", 3.25),), None)
    told = status(ready, cold)["coldStart"]
    assert told == {
        "lastSeconds": "42.5",
        "p95Seconds": "42.5",
        "phases": [{"name": "load", "seconds": "3.25"}],
    }
    assert from_status({"coldStart": told}).p95 == 42.5


def test_a_wake_that_ended_at_zero_is_no_cold_start():
    assert ColdStarts().begun(1000.0).seen(world()).running_since is None


def test_a_measured_cold_start_sets_credit_and_window():
    seen = world()
    assert policy(seen, seen.service, ColdStarts()).credit_seconds == 1800
    rules = policy(seen, seen.service, ColdStarts(seconds=(100.0,)))
    assert (rules.credit_seconds, rules.window_seconds) == (200, 100)
    assert policy(seen, seen.service, ColdStarts(seconds=(2.0,))).window_seconds == 60


def test_a_state_seen_again_is_no_event():
    seen = world()
    decision, _ = decide(
        observe(seen, rollout=False), policy(seen, seen.service, ColdStarts()), Memory(), 0.0
    )
    found = findings(Facts(seen, decision, Rollout()))
    assert scaled(decision) is None
    assert transitions(status(seen), found) == []
    broken = findings(Facts(world(problems=["spec.model: bad"]), decision, Rollout()))
    told = transitions(status(seen), broken)
    assert [(item.severity, item.reason) for item in told] == [("Warning", "SpecInvalid")]
