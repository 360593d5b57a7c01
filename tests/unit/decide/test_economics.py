"""What idling costs against starting again, and the pauses it is learned from."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torpor.decide.economics import (
    ENOUGH_PAUSES,
    LONGEST_IDLE,
    NO_PAUSES,
    SHORTEST_IDLE,
    TRUST,
    idle_seconds,
    keep_alive,
    prewarm,
    request_chance,
    worth_idling,
)
from torpor.decide.pauses import LONGEST, Pauses
from torpor.decide.values import Unknown

COLD = 120.0
lengths = st.lists(st.floats(0, 1e6), max_size=40)
cold_starts = st.floats(1, 3600)
unknown = st.sampled_from([Unknown("stale"), math.nan, -1.0])


def pauses(*values):
    histogram = NO_PAUSES
    for value in values:
        histogram = histogram.add(value)
    return histogram


@given(lengths, cold_starts)
def test_a_surplus_replica_is_kept_for_about_break_even(values, cold_start):
    kept = keep_alive(pauses(*values), cold_start)
    assert cold_start / TRUST <= kept <= cold_start * TRUST
    if len(values) < ENOUGH_PAUSES:
        assert kept == cold_start


def test_long_pauses_let_go_early_and_shorter_pauses_are_waited_out():
    assert keep_alive(pauses(*[5000.0] * 20), COLD) == COLD / TRUST
    assert keep_alive(pauses(*[100.0] * 18, 5000.0, 5000.0), COLD) > 100.0
    assert keep_alive(pauses(*[5.0] * 20), COLD) >= 5.0


@settings(max_examples=50)
@given(st.lists(st.floats(1, 1e5), min_size=10, max_size=60), st.floats(10, 600))
def test_keeping_so_long_costs_little_more_than_the_best_time_within_the_bounds(values, cold_start):
    """The worst case is bounded by the trust; on the pauses themselves it is near the best in hindsight."""

    def cost(keep):
        return sum(min(pause, keep) + cold_start * (pause > keep) for pause in values)

    chosen = keep_alive(pauses(*values), cold_start)
    prophet = sum(min(pause, cold_start) for pause in values)
    assert cost(chosen) <= (1 + TRUST) * prophet
    best = min(cost(keep) for keep in (cold_start / TRUST, cold_start, cold_start * TRUST))
    assert cost(chosen) <= 2.5 * best


@given(lengths, st.floats(0, 1e5), st.floats(0, 1e5), st.floats(0, 1e5), st.floats(0, 50))
def test_a_request_is_likelier_in_a_longer_time(values, idle, one, other, foreseen):
    near = request_chance(pauses(*values), idle, min(one, other), foreseen)
    far = request_chance(pauses(*values), idle, max(one, other), foreseen)
    assert 0 <= near <= far <= 1
    assert request_chance(pauses(*values), idle, one, foreseen + 1) >= request_chance(
        pauses(*values), idle, one, foreseen
    )


def test_the_chance_is_unknown_where_nothing_was_seen_or_foreseen():
    assert isinstance(request_chance(NO_PAUSES, 0.0, COLD), Unknown)
    assert request_chance(NO_PAUSES, 0.0, COLD, foreseen=0.0) == 0.0
    assert request_chance(NO_PAUSES, 0.0, COLD, foreseen=1.0) == pytest.approx(1 - math.exp(-1))


def test_a_pause_that_outlasted_the_short_ones_goes_on():
    busy = pauses(*[20.0] * 30, *[30_000.0] * 10)
    assert request_chance(busy, 0.0, COLD) > 0.7
    assert request_chance(busy, 300.0, COLD) < 0.05


def test_idling_is_worth_its_price_where_a_third_of_the_starts_would_be_hit():
    assert worth_idling(0.34)
    assert not worth_idling(0.33)
    assert worth_idling(0.33, hit=4.0)


@given(lengths, cold_starts)
def test_the_silence_before_zero_is_bounded(values, cold_start):
    silence = idle_seconds(pauses(*values), cold_start)
    assert max(SHORTEST_IDLE, cold_start) <= silence <= max(LONGEST_IDLE, cold_start)


def test_the_silence_before_zero_follows_the_pauses():
    assert idle_seconds(NO_PAUSES, COLD) == 3 * COLD
    nights = pauses(*[3.0] * 100, *[36_000.0] * 8)
    assert idle_seconds(nights, COLD) == COLD
    visits = pauses(*[600.0] * 60, *[36_000.0] * 4)
    assert 500 < idle_seconds(visits, COLD) < 1500


@given(lengths, cold_starts, st.floats(1, 10), st.floats(0, 10))
def test_a_dearer_cold_hit_waits_longer(values, cold_start, hit, more):
    histogram = pauses(*values)
    assert idle_seconds(histogram, cold_start, hit + more) >= idle_seconds(histogram, cold_start, hit)


def test_a_sleeping_fleet_is_woken_before_the_morning_and_not_by_a_hair_of_forecast():
    assert prewarm(0.01, 0.02) == 0
    assert prewarm(0.01, 0.9) == 1
    assert prewarm(2.5, 0.9) == 3
    assert prewarm(0.0, 1.0) == 0


@given(st.floats(0, 100), st.floats(0, 100), st.floats(0, 1), st.floats(0, 1))
def test_a_likelier_or_larger_morning_never_wakes_fewer(one, other, likely, likelier):
    less = prewarm(min(one, other), min(likely, likelier))
    assert less <= prewarm(max(one, other), max(likely, likelier))


@given(unknown, unknown)
def test_what_is_not_foreseen_wakes_nobody(replicas, chance):
    assert prewarm(replicas, 1.0) == 0
    assert prewarm(3.0, chance) == 0


def test_nonsense_is_refused_by_name():
    for bad in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="restart"):
            keep_alive(NO_PAUSES, bad)
        with pytest.raises(ValueError, match="cold_start"):
            idle_seconds(NO_PAUSES, bad)


def record(*needs, every=10.0, start=0.0):
    """The record after needs that were looked at every ten seconds."""
    kept = Pauses()
    for place, need in enumerate(needs):
        kept = kept.add(need, start + place * every)
    return kept


def test_a_pause_is_the_time_in_which_a_level_was_not_needed():
    kept = record(2, 2, 1, 1, 1, 1, 2)
    assert kept.surplus == pauses(50.0)
    assert kept.asleep == NO_PAUSES


def test_pauses_of_several_levels_end_together():
    kept = record(3, 2, 1, 0, 0, 3)
    assert kept.surplus.weight == 2
    assert kept.surplus == pauses(50.0, 40.0)
    assert kept.asleep == pauses(30.0)


def test_a_level_that_was_never_needed_before_had_no_pause():
    assert record(1, 5, 9).surplus == NO_PAUSES


def test_a_break_in_watching_is_no_pause():
    kept = record(2, 1).add(2, 10_000.0)
    assert kept.surplus == NO_PAUSES
    assert record(2, 1, start=500.0).add(2, 100.0).surplus == NO_PAUSES


@given(st.lists(st.integers(-1, 2000), max_size=120), st.sampled_from([0.0, 1e6]))
def test_records_stay_bounded_and_do_not_depend_on_the_clock(needs, start):
    kept = record(*needs, start=start)
    assert len(kept.steps) <= LONGEST
    assert [need for _, need in kept.steps] == sorted({need for _, need in kept.steps}, reverse=True)
    other = record(*needs)
    assert (other.asleep, other.surplus) == (kept.asleep, kept.surplus)


@given(st.lists(st.integers(0, 8), max_size=60))
def test_records_survive_json(needs):
    kept = record(*needs)
    text = json.dumps(kept.dump())
    assert len(text) < 1024
    again = Pauses.load(json.loads(text))
    assert again.dump() == kept.dump()
    assert keep_alive(again.surplus, COLD) == keep_alive(kept.surplus, COLD)
    assert Pauses.load([text]) == Pauses()
