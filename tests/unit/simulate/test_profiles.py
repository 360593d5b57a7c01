"""Step costs and the table of profiles."""

from __future__ import annotations

import math

import pytest
from torpor.simulate.engine_model import EngineLimits, EngineModel
from torpor.simulate.kv_cache import KVCache, hash_blocks
from torpor.simulate.profiles import PROFILES, StepCost, profile
from torpor.simulate.sequences import Sequence


def test_a_step_is_linear_in_sequences_cache_and_prompt() -> None:
    cost = StepCost(10.0, 1.0, 0.01, 0.1)
    assert cost.seconds(3, 1000, 50) == pytest.approx((10 + 3 + 10 + 5) / 1000)
    assert cost.faster(10).seconds(3, 1000, 50) == pytest.approx(0.0028)


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf])
def test_impossible_costs_are_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="step cost c="):
        StepCost(1.0, 1.0, bad, 1.0)
    with pytest.raises(ValueError, match="speed"):
        StepCost(1.0, 1.0, 1.0, 1.0).faster(-1)


@pytest.mark.parametrize("name", PROFILES)
def test_every_profile_says_where_it_is_from(name: str) -> None:
    row = profile(name)
    assert row.source
    assert row.kv_tokens >= row.max_num_batched_tokens


def test_the_steady_state_agrees_with_the_closed_form() -> None:
    # From t = a + b*B + c*KV + d*P with B = rate*O*t: t = a / (1 - rate*W), W = d*I + O*(b + c*(I + O/2)) the
    # work of one request. Regular arrivals at half of the capacity.
    cost, prompt, output = profile("llama-3.1-8b-h100").cost, 600, 200
    work = (cost.d * prompt + output * (cost.b + cost.c * (prompt + output / 2))) / 1000
    rate = 0.5 / work
    model = EngineModel(EngineLimits(kv_tokens=415_000, prefix_caching=False), cost)
    now, sent, gaps = 0.0, 0, []
    while sent < 1500:
        while sent / rate <= now:
            model.submit(Sequence(prompt, output, now))
            sent += 1
        step = model.begin(now)
        assert step is not None
        now += step.seconds
        outcome = model.finish(now)
        if sent > 500:
            gaps += outcome.gaps
    assert sum(gaps) / len(gaps) == pytest.approx(cost.a / 1000 / 0.5, rel=0.05)


def test_an_unknown_profile_names_the_known() -> None:
    with pytest.raises(ValueError, match=r"unknown; choose one of tiny, "):
        profile("gpt")


def test_idle_blocks_are_found_again_until_they_are_needed() -> None:
    cache = KVCache(4)
    hashes = hash_blocks(list(range(48)), 16)
    assert cache.take(3)
    assert all(cache.publish(known) for known in hashes)
    cache.release(0, hashes)
    assert (cache.free_blocks, cache.match(hashes, 3)) == (4, 3)
    assert cache.take(2)  # one was never used, one has to be evicted: the end of the prefix goes first
    assert cache.match(hashes, 3) == 2
    assert not cache.take(3)


def test_hashes_depend_on_everything_before_the_block() -> None:
    one, other = hash_blocks(list(range(32)), 16), hash_blocks([99, *range(1, 32)], 16)
    assert one[0] != other[0]
    assert one[1] != other[1]
    assert hash_blocks(list(range(40)), 16) == one
