"""The closed form of a replica's capacity, and how many replicas a load needs."""

import dataclasses
import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torpor.decide import work
from torpor.decide.hardware import TABLE, Hardware
from torpor.decide.work import Burst, Mix, Objectives, Staffing, capacity, need, operating, work_ms

FP8_TP4 = TABLE["llama-3-70b-fp8", "h100", 4]
A100_TP4 = TABLE["llama-3-70b-bf16", "a100", 4]
ITL_50 = Objectives(itl_ms=50)
BOTH = Objectives(ttft_ms=2000, itl_ms=50)
CHAT = Mix(1154.7, 211.1)

# Mean prompt and output tokens of whole public traces, in requests per second per replica at an ITL of 50 ms.
MEANS = {
    "azure23 conv": Mix(1154.7, 211.1),
    "mid-52": Mix(2672.0, 32.6),
    "large-48": Mix(1683.3, 78.3),
    "mid-64": Mix(5862.1, 1117.4),
    "mooncake": Mix(12035.1, 342.6),
}
PUBLISHED = {  # research, section 11.3; the means of mid-52 and large-48 were taken from other samples there
    ("llama-3-8b-bf16", "h100", 1): (27.3, 23.7, 23.9, 1.84, 2.32),
    ("llama-3-8b-bf16", "a100", 1): (8.5, 6.3, 6.7, 0.78, 0.77),
    ("llama-3-8b-bf16", "l40s", 1): (4.9, 4.7, 4.5, 0.31, 0.40),
    ("llama-3-70b-bf16", "h100", 4): (9.4, 6.0, 6.7, 1.19, 0.92),
    ("llama-3-70b-fp8", "h100", 4): (11.1, 7.8, 8.5, 1.42, 1.16),
    ("llama-3-70b-fp8", "h100", 2): (6.5, 4.35, 4.8, 0.61, 0.62),
    ("llama-3-70b-bf16", "a100", 4): (2.1, 1.3, 1.5, 0.30, 0.21),
}
FROM_THE_SAME_SAMPLE = ("azure23 conv", "mooncake")

hardware = st.builds(
    Hardware,
    name=st.just("any"),
    a=st.floats(0.5, 60),
    b=st.floats(1e-4, 0.3),
    c=st.floats(1e-7, 4e-4),
    d=st.floats(1e-3, 0.3),
    kv_tokens=st.integers(10_000, 3_000_000),
    max_num_seqs=st.integers(1, 1024),
    max_num_batched_tokens=st.integers(256, 16_384),
)
tokens = st.floats(1, 100_000)
mixes = st.builds(
    Mix, tokens, st.floats(0, 10_000), spread=st.floats(0, 5), computed=st.sampled_from([0.0, 0.3, 1.0])
)
objectives = st.builds(
    Objectives,
    st.one_of(st.none(), st.floats(1, 60_000)),
    st.one_of(st.none(), st.floats(1, 1000)),
)


@pytest.mark.parametrize("row", PUBLISHED, ids=lambda row: f"{row[0]} {row[1]} tp{row[2]}")
@pytest.mark.parametrize("trace", MEANS)
def test_capacity_is_that_of_the_published_table(row, trace):
    published = dict(zip(MEANS, PUBLISHED[row], strict=True))[trace]
    mine = capacity(TABLE[row], MEANS[trace], ITL_50).at.requests
    assert mine == pytest.approx(published, rel=0.03 if trace in FROM_THE_SAME_SAMPLE else 0.20)


@pytest.mark.parametrize(
    ("row", "trace", "limit"),
    [
        (("llama-3-8b-bf16", "h100", 1), "mid-64", work.KV),
        (("llama-3-8b-bf16", "h100", 1), "mooncake", work.KV),
        (("llama-3-8b-bf16", "h100", 1), "mid-52", work.ITL),
        (("llama-3-70b-fp8", "h100", 4), "azure23 conv", work.ITL),
    ],
)
def test_the_limit_that_binds_is_named(row, trace, limit):
    assert capacity(TABLE[row], MEANS[trace], ITL_50).limit == limit


def test_chat_at_the_itl_objective_uses_an_eighth_of_the_cache_and_50_sequences_per_ten_requests():
    """Section 11.3: KV utilization at the ITL limit is far below every threshold in use."""
    at = capacity(FP8_TP4, CHAT, ITL_50).at
    assert 0.03 < at.kv_tokens / FP8_TP4.kv_tokens < 0.25
    assert at.running == pytest.approx(at.requests * CHAT.output * at.step_ms / 1000)


@given(hardware, mixes, st.floats(0, 0.95))
@settings(max_examples=60)
def test_the_steady_state_is_a_fixed_point_of_the_step_time(hardware, mix, rho):
    """t = a + b·B + c·KV + d·P with B, KV and P of the same t: sections 11.1 and 11.3 say one thing."""
    assume(mix.prompt * mix.computed >= 1 and mix.output >= 1)
    at = operating(hardware, mix, rho)
    assert hardware.step_ms(at.running, at.kv_tokens, at.prompt_tokens) == pytest.approx(at.step_ms, rel=1e-9)
    assert work.utilization(at.step_ms, hardware) == pytest.approx(rho, abs=1e-9)


@given(hardware, mixes, objectives)
@settings(max_examples=150)
def test_capacity_keeps_every_limit_it_does_not_call_unreachable(hardware, mix, objectives):
    found = capacity(hardware, mix, objectives)
    at = found.at
    assert 0 < found.rho <= work.MOST
    assert math.isfinite(at.requests)
    assert at.running <= hardware.max_num_seqs * (1 + 1e-6)
    assert at.kv_tokens <= hardware.kv_tokens * (1 + 1e-6)
    if not found.unreachable:
        if objectives.itl_ms is not None and mix.output > 1:
            assert at.step_ms <= objectives.itl_ms * (1 + 1e-9)
        if objectives.ttft_ms is not None:
            assert work.ttft_ms(hardware, mix, found.rho) <= objectives.ttft_ms * (1 + 1e-9)


@given(hardware, mixes, objectives, st.floats(1, 10), st.sampled_from(["prompt", "output"]))
@settings(max_examples=150)
def test_longer_requests_are_never_more_per_replica(hardware, mix, objectives, times, field):
    longer = dataclasses.replace(mix, **{field: getattr(mix, field) * times})
    one = capacity(hardware, mix, objectives).at.requests
    assert capacity(hardware, longer, objectives).at.requests <= one * (1 + 2e-3)


def test_without_objectives_a_documented_share_of_the_replica_is_used():
    found = capacity(FP8_TP4, CHAT, Objectives())
    assert (found.rho, found.limit) == (work.WITHOUT_OBJECTIVE, work.STABILITY)
    short = Mix(100, 10)
    assert capacity(FP8_TP4, short, Objectives(itl_ms=10_000)).rho == work.MOST


def test_embeddings_have_no_itl_and_cost_their_prefill():
    mix = Mix(500, 0)
    assert work_ms(FP8_TP4, mix) == pytest.approx(500 * FP8_TP4.d)
    found = capacity(FP8_TP4, mix, Objectives(ttft_ms=2000, itl_ms=1))
    assert not found.unreachable
    # The budget of 8192 tokens a step ends it: 8192/(11.02 + 0.0446 × 8192) tokens a millisecond.
    assert found.at.requests * 500 / 1000 <= 8192 / (11.02 + 0.0446 * 8192) * (1 + 1e-9)
    assert found.at.requests > 38


def test_an_itl_that_an_idle_engine_breaks_is_said_and_does_not_cost_without_end():
    found = capacity(A100_TP4, CHAT, Objectives(itl_ms=20))
    assert found.rho == work.LEAST
    assert "ITL" in found.unreachable[0]
    assert "more replicas do not help" in found.unreachable[0]


def test_a_prompt_whose_prefill_breaks_the_ttft_objective_is_said():
    found = capacity(A100_TP4, Mix(20_000, 100), BOTH)
    assert any("20000 prompt tokens alone takes" in told for told in found.unreachable)
    assert capacity(A100_TP4, CHAT, BOTH).unreachable == ()


def test_a_request_larger_than_the_cache_is_said():
    small = dataclasses.replace(FP8_TP4, kv_tokens=1000)
    assert "cannot hold" in " ".join(capacity(small, CHAT, BOTH).unreachable)


def test_prefix_hits_lower_the_prefill_alone():
    hit = dataclasses.replace(CHAT, computed=0.5)
    saved = work_ms(FP8_TP4, CHAT) - work_ms(FP8_TP4, hit)
    assert saved == pytest.approx(FP8_TP4.d * CHAT.prompt / 2)


def needed(requests, *, backlog=0.0, queued=False, seconds=2.0, spread=0.6, staffing=Staffing()):  # noqa: B008
    found = capacity(FP8_TP4, CHAT, ITL_50)
    return need(
        requests * found.work_ms,
        backlog,
        found.work_ms,
        reached=found,
        spread=spread,
        burst=Burst(seconds, queued),
        staffing=staffing,
    )


def test_a_quiet_fleet_needs_nobody_and_a_single_request_needs_one():
    assert needed(0).replicas == 0
    assert needed(0.001).replicas == 1
    assert needed(0, backlog=1.0).replicas == 1


def test_headroom_shrinks_with_the_fleet():
    for queued in (False, True):
        shares = [
            needed(10 * n, queued=queued).burst / needed(10 * n, queued=queued).work for n in (1, 4, 16)
        ]
        assert shares == sorted(shares, reverse=True)
        assert shares[0] > 2 * shares[2]


def test_square_root_staffing_has_the_variance_of_a_compound_poisson_process():
    need = needed(100, seconds=4.0, staffing=Staffing(miss=0.005))
    w = work_ms(FP8_TP4, CHAT) / 1000
    assert need.burst == pytest.approx(2.5758 * math.sqrt(100 * w * w * 1.6 / 4), rel=1e-4)


def test_a_queue_longer_than_the_slack_is_as_rare_as_asked():
    """The reflected random walk itself: Poisson arrivals, room by the formula, share of time above τ·x."""
    need = needed(100, queued=True, seconds=0.5, spread=0.0, staffing=Staffing(miss=0.005))
    room = need.total
    rate, w = 100, work_ms(FP8_TP4, CHAT) / 1000
    state, queue, above, slot = 1, 0.0, 0, 0.02
    slots = 60_000
    for _ in range(slots):
        arrived, chance = 0, math.exp(-rate * slot)
        product = 1.0
        while True:  # Knuth's product of uniforms, from a small congruential generator
            state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
            product *= (state >> 11) / 2**53
            if product <= chance:
                break
            arrived += 1
        queue = max(0.0, queue + arrived * w - room * slot)
        above += queue > 0.5 * room
    assert above / slots < 0.01
    assert above > 0


def test_a_backlog_is_cleared_within_its_time():
    found = capacity(FP8_TP4, CHAT, ITL_50)
    queue_ms = 3000 * found.work_ms  # 3000 requests wait
    for drain in (10.0, 60.0, 600.0):
        need = needed(10, backlog=queue_ms, staffing=Staffing(drain_seconds=drain))
        left_over = need.replicas * found.rho - need.work
        assert queue_ms / 1000 / left_over <= drain
        assert not need.fits(need.replicas - 1)


loads = st.tuples(st.floats(0, 10_000), st.floats(0, 1e6))  # requests a second, backlog in ms


@given(loads, loads, st.booleans(), st.floats(0, 5))
@settings(max_examples=100)
def test_more_load_never_means_fewer(load, more, queued, spread):
    one = needed(load[0], backlog=load[1], queued=queued, spread=spread)
    other = needed(load[0] + more[0], backlog=load[1] + more[1], queued=queued, spread=spread)
    assert other.replicas >= one.replicas
    assert one.fits(one.replicas)
    assert one.replicas <= 1 or not one.fits(one.replicas - 1)


@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_bad_objectives_are_refused_by_name(value):
    with pytest.raises(ValueError, match="timeToFirstTokenMilliseconds"):
        Objectives(ttft_ms=value)
    with pytest.raises(ValueError, match="interTokenLatencyMilliseconds"):
        Objectives(itl_ms=value)


@pytest.mark.parametrize("field", ["prompt", "output", "context", "spread", "computed"])
@pytest.mark.parametrize("value", [-1, math.nan, math.inf])
def test_a_bad_mix_is_refused_by_name(field, value):
    with pytest.raises(ValueError, match=field):
        dataclasses.replace(CHAT, **{field: value})
