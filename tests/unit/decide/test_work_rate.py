"""The work-rate signal: its laws, and the stories that the other signals miss."""

import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torpor.decide import Unknown
from torpor.decide.hardware import TABLE, conservative
from torpor.decide.learning import begin, calibrate, learn
from torpor.decide.traffic import Counts, Traffic, observe
from torpor.decide.work import Objectives, Staffing
from torpor.decide.work_rate import (
    MARGIN,
    WORK_RATE,
    Load,
    assess,
    expected_utilization,
    later,
    load_of,
    model_of,
    sentence,
    work_rate,
)

from tests.unit.decide.strategies import garbage
from tests.unit.decide.test_learning import drive, truth
from tests.unit.decide.test_traffic import watch

FP8_TP4 = TABLE["llama-3-70b-fp8", "h100", 4]
BOTH = Objectives(2000, 50)
TRAFFIC = watch(Traffic(), 600, 20, prompt=1155, output=211)
MODEL = model_of(FP8_TP4, None, TRAFFIC, BOTH)
GUESS = model_of(conservative(None, None), None, TRAFFIC, BOTH)
UNSEEN = model_of(FP8_TP4, None, Traffic(), BOTH)

models = st.sampled_from([MODEL, GUESS, UNSEEN])
rates = st.floats(0, 2000)
loads = st.builds(
    Load,
    requests=rates,
    prompt_tokens=st.one_of(st.floats(0, 1e7), st.just(Unknown("not counted"))),
    waiting=st.floats(0, 1e5),
    waiting_prompt_tokens=st.one_of(st.floats(0, 1e9), st.just(Unknown("not counted"))),
    complete=st.just(True),
    gap=st.just(""),
)


def load(requests, waiting=0.0, **more):
    return Load(requests, waiting=waiting, complete=True, gap="", **more)


def test_replicas_follow_the_arrivals_at_once_and_from_zero():
    """11 requests a second fill a replica at 50 ms; the fleet sleeps and eighty a second begin to come."""
    reading = work_rate(load(80.0, prompt_tokens=80 * 1155.0), MODEL, 0)
    assert reading.name == WORK_RATE
    assert 8 <= reading.raw <= 9
    assert not reading.partial


def test_silence_asks_for_nobody_and_leaves_the_last_one_to_idleness():
    assert work_rate(load(0.0), MODEL, 0).raw == 0
    assert work_rate(load(0.0), MODEL, 5).raw == 1


def test_held_requests_wake_as_many_as_clear_them_in_time():
    reading = work_rate(load(0.0, waiting=5000.0), MODEL, 0)
    assert reading.raw == math.ceil(5000 * MODEL.capacity.work_ms / 1000 / 60 / reading.target)
    assert work_rate(load(0.0, waiting=1.0), MODEL, 0).raw == 1


def test_longer_prompts_need_more_at_the_same_rate_before_any_has_finished():
    before = work_rate(load(40.0, prompt_tokens=40 * 1155.0), MODEL, 4).raw
    assert work_rate(load(40.0, prompt_tokens=40 * 4000.0), MODEL, 4).raw > 2 * before


def test_prefix_hits_that_the_ratio_found_halve_the_fleet():
    learned = begin(FP8_TP4)
    for _ in range(200):
        learned = calibrate(learned, 0.3, 0.6, 10)
    hits = model_of(FP8_TP4, learned, TRAFFIC, BOTH)
    plain = work_rate(load(80.0), MODEL, 0).raw
    assert work_rate(load(80.0), hits, 0).raw == pytest.approx(plain / 2, abs=1)


def test_a_slower_engine_than_the_table_says_gets_more_replicas():
    learned = learn(begin(FP8_TP4), drive(truth(1.5, 1.5, 1.5, 1.5), 100))
    slow = model_of(FP8_TP4, learned, TRAFFIC, BOTH)
    assert work_rate(load(40.0), slow, 4).raw > work_rate(load(40.0), MODEL, 4).raw + 1


def test_a_guess_doubles_the_fleet_at_most_until_it_is_proven():
    assert work_rate(load(500.0), GUESS, 0).raw == 1
    assert work_rate(load(500.0), GUESS, 3).raw == 6
    learned = learn(begin(conservative(None, None)), drive(FP8_TP4, 40))
    proven = model_of(conservative(None, None), learned, TRAFFIC, BOTH)
    assert proven.proven
    assert work_rate(load(500.0), proven, 3).raw > 30


def test_before_any_request_was_seen_lengths_are_assumed_and_said_to_be():
    reading = work_rate(load(20.0), UNSEEN, 1)
    assert reading.partial
    assert "lengths" in reading.gap
    assert not work_rate(load(0.0), UNSEEN, 1).partial


def test_the_sentence_tells_each_part():
    found, _ = assess(load(40.0, waiting=600.0), MODEL)
    told = sentence(found, MODEL, 4)
    for part in (
        "arriving work keeps",
        "chance adds",
        "to be gone in 60 s",
        "interTokenLatency",
        "4 asked for",
    ):
        assert part in told
    hopeless = model_of(FP8_TP4, None, TRAFFIC, Objectives(2000, 5))
    assert "more replicas do not help" in sentence(assess(load(40.0), hopeless)[0], hopeless, 4)


def test_a_shared_queue_is_not_staffed_like_many_small_ones():
    """Ten times the load needs less than ten times the replicas."""
    one, ten = assess(load(10.0), MODEL)[0].total, assess(load(100.0), MODEL)[0].total
    assert ten < 10 * one
    dispersed = dataclasses.replace(MODEL, staffing=Staffing(dispersion=8.0))
    assert assess(load(10.0), dispersed)[0].total > one


def test_expected_utilization_is_what_the_engines_should_show():
    rho = expected_utilization(load(20.0, prompt_tokens=20 * 1155.0), MODEL, 4)
    assert rho == pytest.approx(20 * MODEL.capacity.work_ms / 1000 / 4, rel=1e-3)
    assert expected_utilization(load(20.0), MODEL, 0) is None
    assert expected_utilization(Load(20.0), MODEL, 4) is None


growths = st.tuples(st.floats(0, 500), st.floats(0, 1e6), st.floats(0, 1e4))


@given(loads, models, st.integers(0, 40), growths)
@settings(max_examples=150)
def test_more_load_never_asks_for_fewer(now, model, replicas, growth):
    requests, tokens, waiting = growth
    more = dataclasses.replace(
        now,
        requests=now.requests + requests,
        prompt_tokens=now.prompt_tokens
        if isinstance(now.prompt_tokens, Unknown)
        else now.prompt_tokens + tokens,
        waiting=now.waiting + waiting,
        waiting_prompt_tokens=Unknown("not counted"),
    )
    now = dataclasses.replace(now, waiting_prompt_tokens=Unknown("not counted"))
    assert work_rate(more, model, replicas).raw >= work_rate(now, model, replicas).raw


@given(loads, models, st.integers(0, 40), st.sampled_from(["requests", "waiting"]), garbage)
@settings(max_examples=100)
def test_what_is_missing_is_not_zero(now, model, replicas, field, reading):
    """It is either unknown or a lower bound, and what is left still raises."""
    full = work_rate(now, model, replicas)
    part = work_rate(dataclasses.replace(now, **{field: reading}), model, replicas)
    assert part.partial or part.unknown
    assert field.replace("requests", "arrivals").replace("waiting", "queue") in part.gap
    assert part.raw <= full.raw
    assert part.raw is not None


@given(models, st.integers(0, 40), garbage, garbage)
def test_nothing_known_is_unknown_with_its_reason(model, replicas, one, other):
    reading = work_rate(Load(one, waiting=other), model, replicas)
    assert (reading.raw, reading.value) == (None, None)
    assert "no gateway reports" in reading.unknown.reason


@given(loads, models, st.integers(1, 40))
def test_a_view_in_part_is_marked(now, model, replicas):
    part = dataclasses.replace(now, complete=False, gap="gateway b is silent")
    reading = work_rate(part, model, replicas)
    assert reading.partial
    assert "gateway b is silent" in reading.gap


@given(loads, st.integers(1, 60))
@settings(max_examples=150)
def test_fewer_only_where_fewer_would_do_with_room_to_spare(now, replicas):
    found, _ = assess(now, MODEL)
    raw = work_rate(now, MODEL, replicas).raw
    assert found.fits(raw) or raw == replicas
    if raw < replicas:
        assert found.fits(raw, MARGIN)
        assert raw == 1 or not found.fits(raw - 1, MARGIN)
        assert work_rate(now, MODEL, raw).raw == raw, "the next look stays there"
    elif raw == replicas > 1:
        assert not found.fits(replicas - 1, MARGIN)


def test_a_frozen_look_after_an_outage_reads_the_gap_as_a_mean():
    traffic = observe(TRAFFIC, Counts(900.0, 900 * 20, 900 * 20 * 1155, 900 * 20, 900 * 20 * 211))
    reading = work_rate(load_of(traffic, 0.0, complete=True), MODEL, 2)
    assert reading.raw in (2, 3)


@given(loads, st.floats(0, 1800), st.sampled_from(["nothing", "requests", "waiting"]))
def test_later_as_many_wait_as_came_meanwhile_and_what_is_unknown_stays_so(now, seconds, lost):
    if lost != "nothing":
        now = dataclasses.replace(now, **{lost: Unknown("not told")})
    then = later(now, seconds)
    assert (then.requests, then.prompt_tokens, then.gap) == (now.requests, now.prompt_tokens, now.gap)
    if isinstance(now.requests, Unknown) or isinstance(now.waiting, Unknown):
        assert then == now
    else:
        assert then.waiting == pytest.approx(now.waiting + seconds * now.requests)
