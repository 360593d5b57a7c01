"""Learning what a replica costs per step, from a start that is wrong and from samples that lie."""

import dataclasses
import json
import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torpor.decide import learning
from torpor.decide.hardware import TABLE, conservative
from torpor.decide.learning import begin, calibrate, from_dict, learn, renew, to_dict
from torpor.decide.samples import Sample

FP8_TP4 = TABLE["llama-3-70b-fp8", "h100", 4]
BATCHES = [(1, 1200, 0), (20, 24_000, 300), (60, 80_000, 500), (120, 150_000, 650), (10, 12_000, 800)]


def truth(a=1.0, b=1.0, c=1.0, d=1.0, row=FP8_TP4):
    return dataclasses.replace(row, a=row.a * a, b=row.b * b, c=row.c * c, d=row.d * d)


def drive(machine, count, *, seed=1, noise=0.05, most=120, prefill=True, outliers=0.0):
    """Samples of an engine under changing load."""
    chance = random.Random(seed)
    samples = []
    for _ in range(count):
        running = chance.uniform(1, most)
        kv = running * chance.uniform(800, 1600)
        prompt = chance.uniform(0, 700) if prefill else 0.0
        step = machine.step_ms(running, kv, prompt) * chance.gauss(1, noise)
        if chance.random() < outliers:
            step *= chance.choice([0.1, 8])
        samples.append(Sample(max(0.1, step), running, kv, prompt))
    return samples


def worst(learned, machine, batches=BATCHES):
    mine = learned.hardware(machine)
    return max(abs(mine.step_ms(*at) / machine.step_ms(*at) - 1) for at in batches)


def test_a_wrong_start_is_corrected_constant_by_constant():
    machine = truth(1.6, 0.7, 1.4, 0.6)
    learned = learn(begin(FP8_TP4), drive(machine, 300))
    assert worst(learned, machine) < 0.05
    assert worst(begin(FP8_TP4), machine) > 0.3
    assert learned.proven
    assert learned.uncertainty(60, 80_000, 500) < 0.05


def test_twenty_samples_suffice_for_an_unknown_gpu():
    machine = dataclasses.replace(FP8_TP4, a=4.0, b=0.02, c=1e-5, d=0.01)
    guess = conservative(None, None)
    learned = learn(begin(guess), drive(machine, 20))
    assert worst(begin(guess), machine) > 3
    assert worst(learned, machine) < 0.25
    assert learned.hardware(guess).guessed is False
    assert begin(guess).hardware(guess).guessed is True


def test_decoding_alone_scales_the_prefill_of_a_quantized_engine():
    """No sample holds a prompt; a twice as fast engine is believed to prefill faster too."""
    learned = learn(begin(FP8_TP4), drive(truth(0.5, 0.5, 0.5, 0.5), 100, prefill=False))
    assert learned.multipliers[0] == pytest.approx(0.5, rel=0.1)
    assert learned.multipliers[3] < 0.8
    assert learned.uncertainty(10, 10_000, 700) > 3 * learned.uncertainty(60, 80_000, 0)


def test_outliers_do_not_pull_far():
    learned = learn(begin(FP8_TP4), drive(FP8_TP4, 300, outliers=0.1))
    assert worst(learned, FP8_TP4) < 0.12


def test_a_changed_engine_is_learned_anew_within_ten_samples():
    learned = learn(begin(FP8_TP4), drive(FP8_TP4, 2000))
    slower = truth(2.5, 2.5, 2.5, 2.5)
    assert worst(learn(learned, drive(slower, 10, seed=2)), slower) < 0.15
    told = learn(renew(learned, "next"), drive(slower, 10, seed=2))
    assert worst(told, slower) < 0.12
    assert renew(learned, learned.revision) is learned


def test_a_slow_drift_is_followed_after_any_time():
    """No single sample surprises, and what is old must not weigh for ever."""
    learned = learn(begin(FP8_TP4), drive(FP8_TP4, 5000))
    slower = truth(1.15, 1.15, 1.15, 1.15)
    assert worst(learn(learned, drive(slower, 300, seed=2)), slower) < 0.05


def test_a_frozen_engine_teaches_nothing():
    frozen = Sample(500.0, 40, 50_000, 300)
    once = learn(begin(FP8_TP4), [frozen])
    assert learn(once, [frozen] * 1000) == once


def test_idleness_does_not_wear_out_what_is_known():
    """What the load does not show keeps its start: thousands of samples of one batch unlearn no other."""
    learned = learn(begin(FP8_TP4), drive(FP8_TP4, 5000, most=3, prefill=False))
    assert worst(learned, FP8_TP4) < 0.3


lies = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(0, 1e6),
    st.sampled_from([0.0, -1.0, 1e308, math.nan, math.inf]),
)


@given(
    st.lists(st.builds(Sample, lies, lies, lies, lies, lies), max_size=60),
    st.sampled_from([*TABLE.values(), conservative(None, None)]),
)
@settings(max_examples=100)
def test_whatever_is_said_the_constants_stay_positive_and_bounded(samples, row):
    learned = learn(begin(row), samples)
    for multiplier, constant in zip(learned.multipliers, learned.constants, strict=True):
        assert learning.LOWEST <= multiplier <= learning.HIGHEST
        assert constant > 0
    learned.hardware(row)
    for at in BATCHES:
        assert 0 <= learned.uncertainty(*at) < 10
    assert from_dict(json.loads(json.dumps(to_dict(learned)))) is not None


@given(st.integers(0, 40), st.sampled_from(list(TABLE.values())), st.floats(0.1, 3), st.text(max_size=80))
@settings(max_examples=40)
def test_it_survives_a_restart(count, row, factor, revision):
    learned = learn(begin(row, revision), drive(truth(factor, row=row), count))
    learned = calibrate(learned, 0.5, 0.4, 30)
    text = json.dumps(to_dict(learned))
    assert len(text) < 1024
    back = from_dict(json.loads(text))
    assert back.constants == pytest.approx(learned.constants, rel=1e-4)
    assert back.ratio == pytest.approx(learned.ratio, rel=1e-4)
    assert from_dict(to_dict(back)) == back
    assert back.revision == revision[:63]


@pytest.mark.parametrize("key", list(to_dict(begin(FP8_TP4))))
@pytest.mark.parametrize("value", [None, "x", math.nan, -1e9, [], [0, 0, 0, 0]])
def test_what_it_cannot_read_is_no_memory(key, value):
    document = to_dict(begin(FP8_TP4))
    if key in ("guessed", "revision"):
        assert from_dict({**document, key: value}) is not None
    else:
        assert from_dict({**document, key: value}) is None
        assert from_dict({k: v for k, v in document.items() if k != key}) is None


@pytest.mark.parametrize("document", [None, [], "x", 3, {}, {"version": 2}])
def test_a_foreign_document_is_no_memory(document):
    assert from_dict(document) is None


def test_the_ratio_finds_the_prefixes_that_the_gateway_does_not_see():
    learned = begin(FP8_TP4)
    for _ in range(120):
        learned = calibrate(learned, 0.3, 0.6, 10)
    assert learned.ratio == pytest.approx(0.5, rel=0.02)
    assert calibrate(begin(FP8_TP4), 0.3, 0.6, 10).ratio > 0.85  # one reading moves little


@pytest.mark.parametrize(
    ("shown", "expected", "seconds"),
    [
        (0.05, 0.5, 10),
        (0.95, 0.5, 10),
        (0.5, 0.01, 10),
        (0.5, 2.0, 10),
        (math.nan, 0.5, 10),
        (0.5, 0.5, math.nan),
    ],
)
def test_where_load_does_not_show_the_ratio_stays(shown, expected, seconds):
    learned = begin(FP8_TP4)
    assert calibrate(learned, shown, expected, seconds) is learned


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 2), st.floats(0, 1e6)), max_size=50))
def test_the_ratio_is_bounded(readings):
    learned = begin(FP8_TP4)
    for reading in readings:
        learned = calibrate(learned, *reading)
    assert learning.RATIO_BOUNDS[0] <= learned.ratio <= learning.RATIO_BOUNDS[1]
