"""What would change the number: the sentences against the decisions that they foretell."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torpor.decide import Demand, Memory, Observation, decide
from torpor.decide.outlook import MOST, outlook

from tests.unit.decide.fleets import POLICY, Office
from tests.unit.decide.strategies import NOW, memories, observations, policies, standings


def by_number(fleet):
    return {change.replicas: change for change in outlook(fleet.decision, fleet.clock)}


@pytest.fixture(scope="module")
def busy():
    """A fleet that has served 20 requests a second for an hour."""
    fleet = Office(rate=lambda _: 20.0)
    fleet.live(3600)
    return fleet


def later(fleet, rate, seconds=900):
    """How many replicas the same fleet has after `seconds` at another rate."""
    other = Office(rate=lambda _: 20.0)
    other.live(3600)
    other.rate = lambda _: rate
    return other.live(seconds)


def rate_in(change):
    return float(change.told.split("about ")[1].split(" requests/s")[0])


def test_the_next_larger_number_comes_above_the_load_that_is_named(busy):
    change = by_number(busy)[busy.replicas + 1]
    border = rate_in(change)
    assert border > 20
    assert later(busy, 0.95 * border) == busy.replicas
    assert later(busy, 1.08 * border) > busy.replicas


def test_the_next_smaller_number_comes_below_the_load_that_is_named(busy):
    change = by_number(busy)[busy.replicas - 1]
    border = rate_in(change)
    assert border < 20
    assert later(busy, 1.05 * border) == busy.replicas
    assert later(busy, 0.9 * border) < busy.replicas


def test_silence_is_counted_down(busy):
    fleet = Office(rate=lambda seconds: 2.0 if seconds <= 600 else 0.0)
    fleet.live(600)
    assert by_number(fleet)[0].seconds is None
    fleet.live(60)
    left = by_number(fleet)[0].seconds
    fleet.live(left - 15)
    assert fleet.replicas > 0
    fleet.live(30)
    assert fleet.replicas == 0
    assert [change.told for change in outlook(fleet.decision, fleet.clock)] == ["the first request wakes it"]


def test_bounds_are_named_where_no_load_moves_the_number(busy):
    fleet = Office(dataclasses.replace(POLICY, min_replicas=2, max_replicas=2), rate=lambda _: 40.0)
    fleet.live(300)
    told = " ".join(change.told for change in outlook(fleet.decision, fleet.clock))
    assert "more than 2" in told
    assert "fewer than 2" in told


@settings(max_examples=30)
@given(observations(), policies(schedule=st.one_of(st.none(), standings)), memories())
def test_there_are_few_sentences_and_none_is_long(observation, policy, memory):
    decision, _ = decide(observation, policy, memory, NOW)
    changes = outlook(decision, NOW)
    assert len(changes) <= MOST
    assert all(0 < len(change.told) < 400 for change in changes)
    assert all(change.seconds is None or change.seconds >= 0 for change in changes)


def test_a_decision_without_a_basis_has_no_outlook():
    decision, _ = decide(Observation(0, (), Demand()), POLICY, Memory(), NOW)
    assert outlook(dataclasses.replace(decision, basis=None), NOW) == ()
