"""From the gateways' counts to rates and lengths."""

import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torpor.decide.hardware import TABLE
from torpor.decide.traffic import DISPERSION_BOUNDS, Counts, Traffic, from_dict, observe, to_dict
from torpor.decide.work import work_ms

FP8_TP4 = TABLE["llama-3-70b-fp8", "h100", 4]


def poisson(chance, mean):
    limit, count, product = math.exp(-mean), 0, chance.random()
    while product > limit:
        count += 1
        product *= chance.random()
    return count


def watch(traffic, seconds, rate, *, prompt=1000, output=200, seed=1, look=2.0, burst=1):
    chance = random.Random(seed)
    for _ in range(int(seconds / look)):
        n = burst * poisson(chance, rate * look / burst)
        traffic = observe(traffic, Counts(look, n, n * prompt, n, n * output))
    return traffic


def test_rates_and_lengths_of_a_steady_load():
    traffic = watch(Traffic(), 600, 20)
    requests, tokens = traffic.rates
    assert requests == pytest.approx(20, rel=0.12)
    assert tokens == pytest.approx(20_000, rel=0.12)
    assert (traffic.prompt, traffic.output) == (pytest.approx(1000), pytest.approx(200))
    assert 0.6 < traffic.dispersion < 1.5


def test_a_step_shows_within_twenty_seconds_and_noise_does_not():
    calm = watch(Traffic(), 600, 5)
    assert watch(calm, 20, 50, seed=2).rates[0] > 35
    highest, either, traffic = 0.0, 0.0, calm
    for second in range(300):
        traffic = watch(traffic, 2, 5, seed=second)
        highest = max(highest, traffic.rates[0])
        either = max(either, traffic.fast, traffic.slow)
    assert highest - 5 < 0.7 * (either - 5), "the larger of two averages is biased"


def test_the_first_look_is_not_extrapolated():
    """One request in the first second is no load of one a second."""
    traffic = observe(Traffic(), Counts(1.0, 1, 1000, 0, 0))
    assert traffic.rates[0] < 0.3


def test_a_shift_of_length_shows_in_prompts_at_once_and_in_answers_within_minutes():
    before = watch(Traffic(), 1200, 10)
    after = watch(before, 60, 10, prompt=4000, output=800, seed=3)
    assert after.rates[1] > 2.2 * before.rates[1]
    later = watch(after, 300, 10, prompt=4000, output=800, seed=4)
    assert later.output == pytest.approx(800, rel=0.1)
    assert later.prompt == pytest.approx(4000, rel=0.1)


def test_requests_that_come_in_bunches_are_dispersed():
    bunches = watch(Traffic(), 1200, 10, burst=6)
    assert bunches.dispersion > 3
    assert watch(Traffic(), 1200, 10).dispersion < 1.5


def test_a_slow_rise_is_no_dispersion():
    traffic = Traffic()
    for minute in range(60):
        traffic = watch(traffic, 60, 5 + minute, seed=minute)
    assert traffic.dispersion < 1.5


def test_the_spread_of_work_is_that_of_the_requests():
    """Against the requests themselves: E[W] and its squared coefficient of variation."""
    chance = random.Random(5)
    requests = [(chance.expovariate(1 / 1200), chance.expovariate(1 / 200)) for _ in range(4000)]
    traffic = Traffic()
    for start in range(0, len(requests), 50):
        some = requests[start : start + 50]
        traffic = observe(
            traffic,
            Counts(
                5.0,
                50,
                sum(i for i, _ in some),
                50,
                sum(o for _, o in some),
                sum(i * i for i, _ in some),
                sum(o * o for _, o in some),
                sum(i * o for i, o in some),
            ),
        )
    mix = traffic.mix(FP8_TP4, 256)
    works = [FP8_TP4.d * i + o * (FP8_TP4.b + FP8_TP4.c * (i + o / 2)) for i, o in requests]
    mean = sum(works) / len(works)
    spread = sum(w * w for w in works) / len(works) / mean**2 - 1
    assert work_ms(FP8_TP4, mix) == pytest.approx(mean, rel=0.1)
    assert mix.spread == pytest.approx(spread, rel=0.3)


def test_before_answers_end_their_length_is_assumed():
    traffic = observe(Traffic(), Counts(2.0, 10, 5000, 0, 0))
    mix = traffic.mix(FP8_TP4, 256)
    assert (mix.prompt, mix.output) == (500, 256)
    assert Traffic().mix(FP8_TP4, 256) is None


def test_embeddings_have_answers_of_no_tokens():
    traffic = watch(Traffic(), 60, 10, output=0)
    assert traffic.mix(FP8_TP4, 256).output == 0


@pytest.mark.parametrize("field", ["seconds", "arrivals", "prompt_tokens", "completed", "output_tokens"])
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_impossible_counts_change_nothing(field, value):
    before = watch(Traffic(), 60, 5)
    counts = {"seconds": 2.0, "arrivals": 1.0, "prompt_tokens": 1.0, "completed": 1.0, "output_tokens": 1.0}
    assert observe(before, Counts(**{**counts, field: value})) is before


amounts = st.one_of(st.floats(0, 1e6), st.floats(allow_nan=True, allow_infinity=True))


@given(st.lists(st.builds(Counts, amounts, amounts, amounts, amounts, amounts, amounts, amounts, amounts)))
@settings(max_examples=100)
def test_any_counts_leave_sane_averages_that_survive_a_restart(row):
    traffic = Traffic()
    for counts in row:
        traffic = observe(traffic, counts)
    requests, tokens = traffic.rates
    assert requests >= 0
    assert tokens >= 0
    assert DISPERSION_BOUNDS[0] <= traffic.dispersion <= DISPERSION_BOUNDS[1]
    mix = traffic.mix(FP8_TP4, 256)
    assert mix is None or 0 <= mix.spread <= 100
    text = json.dumps(to_dict(traffic))
    assert len(text) < 1024
    back = from_dict(json.loads(text))
    assert from_dict(to_dict(back)) == back
    assert back.rates == (0, 0)


@pytest.mark.parametrize("document", [None, [], {}, {"version": 2}, {"version": 1, "prompts": "x"}])
def test_a_foreign_document_is_no_memory(document):
    assert from_dict(document) is None
