"""The prefill budget from the ITL objective."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torpor.decide.budget import BLOCK, LEAST_TOKENS, MOST_TOKENS, prefill_budget
from torpor.decide.hardware import TABLE
from torpor.decide.work import TOKENS, Mix, Objectives, capacity

from tests.unit.decide.test_work import A100_TP4, CHAT, FP8_TP4, MEANS, hardware, mixes

ITL_50 = Objectives(2000, 50)


@pytest.mark.parametrize("trace", MEANS)
@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row[0]} {row[1]} tp{row[2]}")
def test_a_full_step_stays_within_the_objective_and_prefill_keeps_up(row, trace):
    machine, mix = TABLE[row], MEANS[trace]
    budget = prefill_budget(machine, ITL_50, mix)
    assert budget.max_num_batched_tokens % BLOCK == 0
    assert LEAST_TOKENS <= budget.max_num_batched_tokens <= MOST_TOKENS
    assert budget.max_num_seqs <= budget.max_num_batched_tokens
    if machine.step_ms(0, 0, LEAST_TOKENS) > 50:
        return
    assert machine.step_ms(0, 0, budget.max_num_batched_tokens) <= 50
    assert budget.step_ms <= 50 * (1 + 1e-9) or "leaves no room" in budget.reason


def test_the_fleet_of_the_benchmark():
    """70B fp8 on four H100: 11 ms of 50 are the constant part, so about 800 tokens a step are what fits."""
    budget = prefill_budget(FP8_TP4, ITL_50, CHAT)
    assert 700 < budget.max_num_batched_tokens < 874
    assert budget.max_num_seqs == budget.max_num_batched_tokens
    assert "50 ms" in budget.reason
    # What it costs: little of the capacity, none of it to prefill that falls behind.
    import dataclasses

    bounded = dataclasses.replace(FP8_TP4, max_num_batched_tokens=budget.max_num_batched_tokens)
    ratio = capacity(bounded, CHAT, ITL_50).at.requests / capacity(FP8_TP4, CHAT, ITL_50).at.requests
    assert ratio > 0.95


def test_the_default_of_the_engine_breaks_the_objective():
    assert FP8_TP4.step_ms(0, 0, 8192) > 7 * 50


def test_before_lengths_are_known_a_conversation_is_assumed():
    assert prefill_budget(FP8_TP4, ITL_50).max_num_batched_tokens == pytest.approx(
        prefill_budget(FP8_TP4, ITL_50, CHAT).max_num_batched_tokens, rel=0.1
    )


@pytest.mark.parametrize(
    ("objectives", "mix", "own", "reason"),
    [
        (Objectives(2000, None), CHAT, None, "no inter-token latency objective"),
        (ITL_50, CHAT, 4096, "--max-num-batched-tokens=4096"),
        (ITL_50, Mix(500, 0), None, "one token"),
    ],
)
def test_where_there_is_nothing_to_keep_nothing_is_set(objectives, mix, own, reason):
    budget = prefill_budget(FP8_TP4, objectives, mix, own_tokens=own)
    assert (budget.max_num_batched_tokens, budget.max_num_seqs) == (None, None)
    assert reason in budget.reason


def test_an_objective_below_an_idle_step_gets_the_least_budget_and_says_so():
    budget = prefill_budget(A100_TP4, Objectives(None, 20), CHAT)
    assert budget.max_num_batched_tokens == LEAST_TOKENS
    assert "leaves no room" in budget.reason


def test_the_owners_number_of_sequences_stands():
    budget = prefill_budget(FP8_TP4, ITL_50, CHAT, own_seqs=2000)
    assert (budget.max_num_batched_tokens, budget.max_num_seqs) == (2000, None)
    assert "--max-num-seqs=2000" in budget.reason
    assert prefill_budget(FP8_TP4, ITL_50, CHAT, own_seqs=8).max_num_batched_tokens < 874


@given(hardware, mixes, st.floats(5, 500))
@settings(max_examples=100)
def test_any_hardware_gets_a_bounded_budget_that_the_engine_accepts(machine, mix, itl):
    budget = prefill_budget(machine, Objectives(None, itl), mix)
    if budget.max_num_batched_tokens is None:
        assert mix.output <= 1
        return
    assert LEAST_TOKENS <= budget.max_num_batched_tokens <= MOST_TOKENS
    assert 1 <= budget.max_num_seqs <= budget.max_num_batched_tokens
    if budget.max_num_batched_tokens > LEAST_TOKENS:
        assert budget.step_ms <= itl * (1 + 1e-9)


def test_the_token_limit_is_where_prefill_falls_behind():
    import dataclasses

    tight = dataclasses.replace(FP8_TP4, max_num_batched_tokens=256)
    assert capacity(tight, CHAT, ITL_50).limit == TOKENS
