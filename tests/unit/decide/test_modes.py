"""The modes: who changes the number, and what is told where Torpor does not."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torpor.api.types import InferenceService
from torpor.decide import Demand, Engine, Memory, Observation, decide
from torpor.decide.owner import owner_policy
from torpor.decide.work import Objectives

from tests.unit.api.examples import fleet
from tests.unit.decide.strategies import NOW, memories, observations, policies, standings

IN_ANY_MODE = st.sampled_from(["Auto", "Recommend", "Paused"])
SCHEDULES = st.one_of(st.none(), standings)
NOBODY = st.none()
QUIET = Demand(held=0.0, queued=0.0, in_flight=0.0, complete=True, gap="")


def mode(policy, name, **changes):
    return dataclasses.replace(policy, mode=name, **changes)


@given(observations(), policies(schedule=SCHEDULES), memories(), st.sampled_from(["Recommend", "Paused"]))
def test_a_mode_that_is_not_auto_changes_nothing(observation, policy, memory, name):
    decision, _ = decide(observation, mode(policy, name), memory, NOW)
    assert decision.replicas == observation.replicas


@given(observations(replicas=st.just(0)), policies(schedule=SCHEDULES), memories())
def test_a_new_fleet_starts_with_its_minimum(observation, policy, memory):
    new = dataclasses.replace(observation, new=True)
    for name in ("Recommend", "Paused"):
        assert decide(new, mode(policy, name), memory, NOW)[0].replicas == policy.min_replicas


@given(observations(), policies(external=st.integers(0, 20)), memories(), IN_ANY_MODE, st.booleans())
def test_an_external_owner_is_obeyed_in_every_mode(observation, policy, memory, name, new):
    seen = dataclasses.replace(observation, new=new)
    assert decide(seen, mode(policy, name), memory, NOW)[0].replicas == policy.external


@given(
    observations(), policies(external=st.one_of(NOBODY, st.integers(0, 20)), schedule=SCHEDULES), memories()
)
def test_what_is_recommended_is_what_auto_would_do(observation, policy, memory):
    alone = decide(observation, mode(policy, "Auto", external=None), memory, NOW)[0]
    told = decide(observation, mode(policy, "Recommend"), memory, NOW)[0]
    assert told.recommended == alone.recommended == alone.replicas
    assert told.signals == alone.signals
    assert decide(observation, policy, memory, NOW)[0].recommended == alone.replicas


@given(
    observations(),
    policies(external=st.one_of(NOBODY, st.integers(0, 9)), schedule=SCHEDULES),
    memories(),
    IN_ANY_MODE,
    st.booleans(),
)
def test_the_trace_replays_in_every_mode(observation, policy, memory, name, new):
    seen = dataclasses.replace(observation, new=new and observation.replicas == 0)
    decision, _ = decide(seen, mode(policy, name), memory, NOW)
    assert decision.replay() == decision.replicas
    assert decision.reason
    assert decision.message


@given(observations(), policies(), memories())
def test_a_paused_fleet_works_out_nothing(observation, policy, memory):
    decision, after = decide(observation, mode(policy, "Paused"), memory, NOW)
    assert (decision.signals, decision.recommended, decision.look_at) == ((), None, None)
    assert decision.reason == "Paused"
    assert after == dataclasses.replace(memory, arrivals=observation.demand.arrivals)


def owner(**scaling):
    raw = fleet({"scaling": {"maxReplicas": 8, "idleSeconds": 60} | scaling})
    return owner_policy(InferenceService.model_validate(raw), None, None)


def arrived(count, **changes):
    return Observation(0, (), dataclasses.replace(QUIET, arrivals=count), **changes)


def test_the_owner_says_the_mode_and_the_objectives():
    assert owner().mode == "Auto"
    assert owner().objectives == Objectives()
    asked = owner(mode="Recommend", objectives={"interTokenLatencyMilliseconds": 50})
    assert (asked.mode, asked.objectives) == ("Recommend", Objectives(None, 50.0))
    asked = owner(objectives={"timeToFirstTokenMilliseconds": 2000})
    assert asked.objectives == Objectives(2000.0, None)


def test_under_load_the_larger_number_is_told_and_not_followed():
    busy = Engine("a", ready=True, running=8.0, waiting=20.0, kv=0.5, age=300.0)
    decision, _ = decide(Observation(1, (busy,), QUIET), owner(mode="Recommend"), Memory(), 0.0)
    assert (decision.replicas, decision.recommended, decision.reason) == (1, 5, "Recommend")
    assert "queueDepth is 20.00 per replica, target 4; 5 needed" in decision.message
    assert "spec.scaling.mode is Recommend; the number stays at 1 (5 -> 1)" in decision.message


def test_at_zero_a_refused_request_is_remembered_for_the_idle_period():
    rules, memory, told = owner(mode="Recommend"), Memory(), []
    for number, count in enumerate((5, 6, 6, 6, 6, 6, 6, 6, 6)):
        decision, memory = decide(arrived(count), rules, memory, 10.0 * number)
        told.append((decision.replicas, decision.recommended))
    assert told == [(0, 0)] + [(0, 1)] * 6 + [(0, 0)] * 2


@pytest.mark.parametrize("name", ["Recommend", "Paused"])
def test_what_was_refused_meanwhile_wakes_nobody_when_the_mode_ends(name):
    _, memory = decide(arrived(5), owner(), Memory(), 0.0)
    _, memory = decide(arrived(9), owner(mode=name), memory, 10.0)
    decision, memory = decide(arrived(9), owner(), memory, 20.0)
    assert (decision.replicas, decision.recommended) == (0, 0)
    assert decide(arrived(10), owner(), memory, 30.0)[0].replicas == 1
