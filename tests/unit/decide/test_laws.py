"""The laws of deciding: each holds for every observation, policy, memory and moment."""

import copy
import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torpor.decide import CLAMPS, Memory, Unknown, decide, measured
from torpor.decide.memory import MOST_BYTES

from tests.unit.decide.strategies import (
    NOW,
    garbage,
    known_counts,
    memories,
    observations,
    policies,
    standings,
    trained,
)


def number(observation, policy, memory):
    return decide(observation, policy, memory, NOW)[0].replicas


def floor_of(observation, policy):
    """What a decision may not go below when it must not lower: the present number, within the ceiling."""
    return min(observation.replicas, policy.max_replicas)


@given(observations(), policies(), memories())
def test_the_owners_bounds_always_hold(observation, policy, memory):
    decision, _ = decide(observation, policy, memory, NOW)
    assert policy.min_replicas <= decision.replicas <= policy.max_replicas


@given(observations(), policies(external=st.integers(0, 100)), memories())
def test_an_external_owner_is_obeyed_exactly(observation, policy, memory):
    decision, _ = decide(observation, policy, memory, NOW)
    assert decision.replicas == policy.external


@given(observations(), policies(), memories(), st.sampled_from(["held", "queued", "in_flight"]), garbage)
def test_an_unknown_gateway_number_never_lowers(observation, policy, memory, field, reading):
    demand = dataclasses.replace(observation.demand, **{field: reading})
    observation = dataclasses.replace(observation, demand=dataclasses.replace(demand, complete=False))
    decision, _ = decide(observation, policy, memory, NOW)
    assert decision.replicas >= floor_of(observation, policy)


@given(
    observations(counts=known_counts, shares=st.floats(0, 1), complete=st.just(True)),
    policies(),
    memories(),
    st.sampled_from(["waiting", "kv"]),
    garbage,
)
def test_an_unknown_number_of_one_ready_engine_never_lowers(observation, policy, memory, field, reading):
    if not observation.engines:
        return
    first = dataclasses.replace(observation.engines[0], ready=True, **{field: reading})
    observation = dataclasses.replace(observation, engines=(first, *observation.engines[1:]))
    decision, _ = decide(observation, policy, memory, NOW)
    assert decision.replicas >= floor_of(observation, policy)


@given(
    observations(), policies(), st.one_of(st.just(Memory()), st.builds(Memory, arrivals=st.integers(0, 3)))
)
def test_empty_memory_never_lowers(observation, policy, memory):
    if policy.idle_seconds == 0 or policy.window_seconds == 0:
        return  # a period of no length has been watched in full
    decision, _ = decide(observation, policy, memory, NOW)
    assert decision.replicas >= floor_of(observation, policy)


@given(observations(), policies(), memories(), st.floats(1, 300))
def test_more_that_waits_never_means_fewer(observation, policy, memory, more):
    held = measured(observation.demand.held)
    if isinstance(held, Unknown):
        return
    fuller = dataclasses.replace(
        observation, demand=dataclasses.replace(observation.demand, held=held + more)
    )
    assert (
        decide(fuller, policy, memory, NOW)[0].replicas
        >= decide(observation, policy, memory, NOW)[0].replicas
    )


@given(observations(counts=known_counts), policies(), memories(), st.floats(1, 300))
def test_more_that_waits_in_an_engine_never_means_fewer(observation, policy, memory, more):
    if not observation.engines:
        return
    first, *others = observation.engines
    fuller_engine = dataclasses.replace(first, waiting=first.waiting + more)
    fuller = dataclasses.replace(observation, engines=(fuller_engine, *others))
    assert (
        decide(fuller, policy, memory, NOW)[0].replicas
        >= decide(observation, policy, memory, NOW)[0].replicas
    )


@given(
    observations(),
    policies(external=st.one_of(st.none(), st.integers(0, 9)), schedule=st.one_of(st.none(), standings)),
    memories(),
)
def test_the_trace_replays_to_the_number(observation, policy, memory):
    decision, _ = decide(observation, policy, memory, NOW)
    assert decision.replay() == decision.replicas
    order = [clamp.name for clamp in CLAMPS]
    positions = [order.index(line.name) for line in decision.clamps]
    assert positions == sorted(positions)
    assert decision.reason
    assert decision.message


@given(observations(replicas=st.integers(1, 10)), policies(), memories(), st.floats(1, 50))
def test_more_arrivals_never_mean_fewer(observation, policy, memory, more):
    whole = trained().whole._replace(at=NOW - 2)
    known = dataclasses.replace(trained(), model_at=NOW - 1, tally_at=NOW - 2, whole=whole)
    memory = dataclasses.replace(memory, known=known)
    tally = known.tally

    def after(arrivals):
        grown = dataclasses.replace(
            tally, arrivals=tally.arrivals + arrivals, prompt_tokens=tally.prompt_tokens + 1000 * arrivals
        )
        seen = dataclasses.replace(observation.demand, tally=grown)
        return decide(dataclasses.replace(observation, demand=seen), policy, memory, NOW)[0]

    fewer, many = after(10.0), after(10.0 + more)
    assert many.replicas >= fewer.replicas
    assert many.base >= fewer.base


@given(observations(), policies(), memories())
def test_what_is_foreseen_only_raises(observation, policy, memory):
    """The same look without a time of day foresees nothing, and never has more."""
    blind = dataclasses.replace(observation, wall=None)
    assert number(observation, policy, memory) >= number(blind, policy, memory)


@given(observations(), policies(), memories())
def test_memory_survives_json_after_any_look(observation, policy, memory):
    _, after = decide(observation, policy, memory, NOW)
    text = json.dumps(after.dump(), allow_nan=False)
    assert len(text) < MOST_BYTES
    assert Memory.load(json.loads(text)).dump() == json.loads(text)


@given(observations(), policies(), memories())
def test_deciding_is_pure(observation, policy, memory):
    before = copy.deepcopy((observation, policy, memory))
    first = decide(observation, policy, memory, NOW)
    assert repr(decide(observation, policy, memory, NOW)) == repr(first)
    assert repr((observation, policy, memory)) == repr(before)


@given(observations(), policies(schedule=standings), memories())
def test_the_hours_bound_the_number_whatever_is_seen(observation, policy, memory):
    decision, _ = decide(observation, policy, memory, NOW)
    limits, closed = policy.schedule.state.limits, policy.schedule.state.closed
    served = policy.schedule.closed_ceiling if closed and not policy.schedule.refuse_when_closed else 0
    most = policy.max_replicas if limits.ceiling is None else max(limits.ceiling, served)
    assert decision.replicas <= most
    ceiling = min(policy.max_replicas, policy.max_replicas if limits.ceiling is None else limits.ceiling)
    assert decision.replicas >= min(max(policy.min_replicas, limits.floor or 0), ceiling)


@given(observations(), policies(schedule=st.just(Unknown("no data"))), memories())
def test_an_unknown_schedule_never_lowers(observation, policy, memory):
    assert number(observation, policy, memory) >= floor_of(observation, policy)


@given(observations(), policies(schedule=standings), memories())
def test_the_next_look_lies_ahead(observation, policy, memory):
    decision, _ = decide(observation, policy, memory, NOW)
    assert decision.look_at is None or decision.look_at > NOW


@given(observations(), policies(), memories(), st.floats(-3600, 36_000))
def test_a_clock_that_jumps_never_lowers_at_once(observation, policy, memory, jump):
    if policy.idle_seconds == 0 or policy.window_seconds == 0 or 0 <= jump <= 60:
        return
    decision, _ = decide(observation, policy, memory, NOW + jump)
    assert decision.replicas >= floor_of(observation, policy)


@pytest.mark.parametrize("reading", [float("nan"), float("inf"), -1, "7", None, True, 2**70, [], 10**400])
def test_what_is_no_count_is_unknown(reading):
    assert isinstance(measured(reading), Unknown)
