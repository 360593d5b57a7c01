"""Engines that hang, counters that go back, silent gateways, pods that crash: nothing is lowered."""

import dataclasses
import math

import pytest
from torpor.decide import Engine, Unknown

from tests.unit.decide.fleets import POLICY, Office

RATE = 20.0


@pytest.fixture
def fleet():
    """A fleet that has served for half an hour."""
    office = Office(rate=lambda _: RATE)
    office.live(1800)
    return office


def frozen(engines, **gauges):
    """The engines with the numbers of this moment, for ever."""
    return tuple(dataclasses.replace(engine, **gauges) for engine in engines)


def last_engines(fleet):
    return fleet.observation(0.0, 10.0).engines


def reading(fleet, name):
    return next(reading for reading in fleet.decision.signals if reading.name == name)


def test_an_engine_that_claims_to_run_and_counts_nothing_is_not_believed(fleet):
    engines = frozen(last_engines(fleet), running=5.0, waiting=0.0)
    number = fleet.replicas
    for _ in range(4):
        fleet.look(engines=engines)
    assert not reading(fleet, "queueDepth").partial
    for _ in range(4):
        fleet.look(engines=engines)
    assert "stand still" in reading(fleet, "queueDepth").gap
    fleet.rate = lambda _: 0.0
    for _ in range(200):
        fleet.look(engines=engines)
    assert fleet.replicas == number


def test_an_exporter_frozen_at_zero_is_not_believed_while_requests_are_under_way(fleet):
    engines = frozen(last_engines(fleet), running=0.0, waiting=0.0, kv=0.0)
    number = fleet.replicas
    for _ in range(12):
        fleet.look(engines=engines)
    assert "the gateways have requests under way" in reading(fleet, "queueDepth").gap
    assert fleet.replicas == number


def test_a_wedged_fleet_still_grows_by_what_the_gateways_see(fleet):
    engines = frozen(last_engines(fleet), running=5.0)
    number = fleet.replicas
    fleet.rate = lambda _: 3 * RATE
    for _ in range(20):
        fleet.look(engines=engines)
    assert fleet.replicas > number


def test_an_engine_that_moves_again_is_believed_again(fleet):
    engines = frozen(last_engines(fleet), running=5.0)
    for _ in range(10):
        fleet.look(engines=engines)
    fleet.live(60)
    assert not reading(fleet, "queueDepth").partial


def test_an_idle_engine_is_not_wedged():
    fleet = Office(rate=lambda seconds: 5.0 if seconds <= 60 else 0.0)
    fleet.live(200)
    assert not any(reading.partial or reading.unknown for reading in fleet.decision.signals)


@pytest.mark.parametrize("field", ["arrivals", "prompt_tokens", "completed", "output_tokens"])
@pytest.mark.parametrize("number", [math.nan, -1.0, math.inf])
def test_an_impossible_count_teaches_nothing_and_lowers_nothing(fleet, field, number):
    seen = fleet.observation(0.0, 10.0).demand
    tally = dataclasses.replace(seen.tally, **{field: number})
    before, known = fleet.replicas, fleet.memory.known
    for _ in range(30):
        fleet.look(demand=dataclasses.replace(seen, tally=tally))
        assert fleet.replicas >= before
        assert reading(fleet, "workRate").partial
    assert fleet.memory.known.traffic.prompt == pytest.approx(known.traffic.prompt)


def test_counters_that_begin_anew_are_no_burst_and_no_silence(fleet):
    number = fleet.replicas
    fleet.arrivals = 0.0
    fleet.counters = {}
    for _ in range(30):
        fleet.look()
        assert fleet.replicas == number


def test_gateways_that_stop_counting_make_work_unknown(fleet):
    number = fleet.replicas
    for _ in range(60):
        seen = fleet.observation(0.0, 10.0).demand
        fleet.look(demand=dataclasses.replace(seen, tally=None, held=0.0, queued=0.0))
    assert reading(fleet, "workRate").partial
    assert fleet.replicas == number


def test_gateways_that_never_counted_leave_the_other_signals():
    fleet = Office(rate=lambda _: RATE)
    for _ in range(30):
        seen = fleet.observation(0.0, 10.0).demand
        fleet.look(demand=dataclasses.replace(seen, tally=None))
    assert [reading.name for reading in fleet.decision.signals] == ["queueDepth", "kvCacheUtilization"]


def test_a_burst_of_crashed_pods_does_not_multiply():
    fleet = Office(dataclasses.replace(POLICY, max_replicas=20), rate=lambda _: 10.0)
    fleet.look()
    number = fleet.replicas
    assert number >= 1
    for _ in range(100):
        fleet.born = [fleet.now] * number  # none of them ever answers
        crashed = tuple(
            Engine(
                str(name),
                ready=False,
                age=300.0,
                failing=True,
                running=Unknown("none"),
                waiting=Unknown("none"),
                kv=Unknown("none"),
            )
            for name in fleet.boots
        )
        fleet.look(engines=crashed)
        assert fleet.replicas == number
    assert "AllFailing" in [line.name for line in fleet.decision.clamps]
