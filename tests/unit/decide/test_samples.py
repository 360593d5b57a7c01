"""From counters to samples: what is counted, and what is refused."""

import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torpor.decide.hardware import TABLE
from torpor.decide.samples import Counters, Sample, between, collect
from torpor.decide.values import Unknown
from torpor.decide.work import Mix, operating

from tests.unit.decide.strategies import garbage

START = Counters("a", "boot-1", 100.0, 20.0, 0.0, 30_000.0, 10_000.0, 50_000.0)
END = dataclasses.replace(START, at=110.0, generated=20_000.0, prompts=60_000.0, kv_tokens=32_000.0)


def test_twenty_sequences_that_give_a_thousand_tokens_a_second_step_every_20_ms():
    sample = between(START, END)
    assert dataclasses.replace(sample, noise=0.0) == Sample(20.0, 20.0, 31_000.0, 20.0)
    assert 0.05 < sample.noise < 0.2


def test_a_small_batch_is_not_read_off_a_gauge():
    before, after = (dataclasses.replace(c, running=4.0) for c in (START, END))
    assert "too small" in between(before, after).reason
    counted = [dataclasses.replace(c, gaps=10.0 * c.at, gap_seconds=0.2 * c.at) for c in (before, after)]
    assert between(*counted).step_ms == pytest.approx(20.0)


def test_tokens_of_the_prefix_cache_are_not_computed():
    before = dataclasses.replace(START, cached=0.0)
    after = dataclasses.replace(END, cached=7_500.0)
    assert between(before, after).prompt_tokens == pytest.approx(5.0)


def test_counted_gaps_tell_the_step_and_the_batch_whatever_the_gauge_said():
    before = dataclasses.replace(START, gaps=0.0, gap_seconds=0.0, running=1.0)
    after = dataclasses.replace(END, gaps=9_900.0, gap_seconds=247.5, running=3.0)
    sample = between(before, after)
    assert (sample.step_ms, sample.running) == (
        25.0,
        25.0,
    )  # 10,000 tokens in 10 s, one per 25 ms and sequence
    assert sample.prompt_tokens == pytest.approx(25.0)
    assert sample.noise < 0.01


def test_the_closed_form_is_sampled_back():
    """An engine in the steady state of section 11.3 gives samples that the step model explains."""
    row, mix = TABLE["llama-3-70b-fp8", "h100", 4], Mix(1155, 211)
    at = operating(row, mix, 0.6)
    seconds = 10.0
    before = Counters("a", "x", 0.0, at.running, 0.0, at.kv_tokens, 0.0, 0.0)
    after = dataclasses.replace(
        before, at=seconds, generated=at.requests * seconds * 211, prompts=at.requests * seconds * 1155
    )
    sample = between(before, after)
    assert sample.step_ms == pytest.approx(at.step_ms)
    assert row.step_ms(sample.running, sample.kv_tokens, sample.prompt_tokens) == pytest.approx(at.step_ms)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"boot": "boot-2"}, "restarted"),
        ({"at": 101.0}, "apart"),
        ({"at": 99.0}, "apart"),
        ({"at": 200.0}, "apart"),
        ({"generated": 9_000.0}, "went back"),
        ({"prompts": 9_000.0}, "went back"),
        ({"running": 0.0}, "too small"),
        ({"running": 80.0}, "its batch of 20 and then 80"),
        ({"running": 0.0, "generated": 10_000.0, "prompts": 50_000.0}, "idle"),
        ({"generated": 10_000.0, "prompts": 50_000.0}, "stand still"),
        ({"running": math.nan}, "finite"),
        ({"kv_tokens": Unknown("not reported")}, "not reported"),
        ({"generated": 10_000.001}, "a step of"),
    ],
)
def test_what_would_mislead_is_refused_with_its_reason(change, reason):
    refused = between(START, dataclasses.replace(END, **change))
    assert isinstance(refused, Unknown)
    assert reason in refused.reason


def test_a_full_engine_that_generates_nothing_shows_its_prefill():
    before = dataclasses.replace(START, waiting=5.0)
    after = dataclasses.replace(END, waiting=3.0, generated=START.generated, prompts=START.prompts + 409_600)
    assert between(before, after, budget=8192).step_ms == pytest.approx(200.0)
    assert between(START, dataclasses.replace(after, waiting=0.0), budget=8192).reason.endswith("not full")


@given(
    st.sampled_from(["running", "waiting", "kv_tokens", "generated", "prompts", "cached", "gaps"]), garbage
)
def test_garbage_in_any_field_gives_a_sound_sample_or_none(field, reading):
    for pair in (
        (START, dataclasses.replace(END, **{field: reading})),
        (dataclasses.replace(START, **{field: reading}), END),
    ):
        found = between(*pair)
        assert isinstance(found, Unknown) or found.sound


def test_looks_closer_than_a_report_can_be_measured_wait_for_each_other():
    kept, taken = (), []
    for second in range(100, 121):
        share = (second - 100) / 10
        report = dataclasses.replace(
            START, at=float(second), generated=10_000 + 10_000 * share, prompts=50_000 + 10_000 * share
        )
        samples, kept = collect(kept, (report,))
        taken += samples
    assert len(taken) == 10
    assert {round(sample.step_ms, 6) for sample in taken} == {20.0}


def test_a_replica_that_restarts_or_leaves_is_forgotten():
    other = dataclasses.replace(START, replica="b")
    _, kept = collect((), (START, other))
    samples, kept = collect(kept, (dataclasses.replace(END, boot="boot-2"),))
    assert samples == ()
    assert [c.replica for c in kept] == ["a"]
