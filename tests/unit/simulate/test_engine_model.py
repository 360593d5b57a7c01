"""The step model by itself: who gets served, who waits, who loses the cache, and when."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torpor.simulate.engine_model import EngineLimits, EngineModel
from torpor.simulate.kv_cache import hash_blocks
from torpor.simulate.profiles import StepCost
from torpor.simulate.sequences import Sequence, State

COST = StepCost(10.0, 1.0, 0.01, 0.1)


def engine(**limits: int | bool) -> EngineModel:
    return EngineModel(EngineLimits(**{"kv_tokens": 1600, "prefix_caching": False, **limits}), COST)  # type: ignore[arg-type]


def run(model: EngineModel, now: float = 0.0, steps: int = 10_000) -> float:
    """Step until idle; the time then."""
    for _ in range(steps):
        step = model.begin(now)
        if step is None:
            return now
        now += step.seconds
        model.finish(now)
    raise AssertionError(
        f"not idle after {steps} steps: {len(model.running)} running, {len(model.waiting)} waiting"
    )


def test_a_lone_request_takes_a_prefill_and_a_step_per_further_token() -> None:
    model = engine()
    sequence = Sequence(100, 3, 0.0)
    model.submit(sequence)
    end = run(model)
    # (10 + 1 + 0.1*100) + two decodes over 100 and 101 cached tokens.
    assert end == pytest.approx(0.001 * (21 + (11 + 1.00) + (11 + 1.01)))
    assert sequence.first_token == pytest.approx(0.021)
    assert sequence.generated == 3
    assert sequence.state is State.FINISHED
    assert model.kv.used_blocks == 0


def test_a_long_prompt_is_cut_to_the_token_budget_and_decodes_go_on_beside_it() -> None:
    model = engine(max_num_batched_tokens=64)
    short, long = Sequence(10, 50, 0.0), Sequence(200, 1, 0.0)
    model.submit(short)
    step = model.begin(0.0)
    assert step is not None
    model.finish(1.0)
    model.submit(long)
    slices = []
    for turn in range(2, 6):
        step = model.begin(float(turn))
        assert step is not None
        assert step.work[0] == (short, 1)
        slices.append(step.work[1][1])
        outcome = model.finish(float(turn))
        assert (long in outcome.produced) == (turn == 5)
    assert slices == [63, 63, 63, 11]


def test_no_more_sequences_run_than_allowed_and_the_queue_is_first_come() -> None:
    model = engine(max_num_seqs=2)
    sequences = [Sequence(8, 4, 0.0) for _ in range(5)]
    for sequence in sequences:
        model.submit(sequence)
    order = []
    now = 0.0
    while (step := model.begin(now)) is not None:
        assert len(model.running) <= 2
        order += step.admitted
        now += step.seconds
        model.finish(now)
    assert order == sequences


def test_without_blocks_requests_wait_although_the_batch_has_room() -> None:
    model = engine(kv_tokens=160)
    first, second = Sequence(100, 20, 0.0), Sequence(100, 20, 0.0)
    model.submit(first)
    model.submit(second)
    model.begin(0.0)
    assert model.running == [first]
    assert list(model.waiting) == [second]
    assert model.kv.utilization == pytest.approx(7 / 10)


def test_a_full_cache_preempts_the_last_admitted_who_prefills_again() -> None:
    model = engine(kv_tokens=160)
    first, second, third = Sequence(64, 60, 0.0), Sequence(64, 60, 0.0), Sequence(64, 1, 0.0)
    for sequence in (first, second, third):
        model.submit(sequence)
    run(model)
    assert model.preemptions == 1
    assert third.scheduled is not None
    assert second.finished is not None
    assert first.finished is not None
    assert third.scheduled >= first.finished  # the preempted one waits ahead of it
    assert (first.preemptions, second.preemptions) == (0, 1)
    assert first.finished < second.finished
    assert second.generated == 60


def test_a_shared_prefix_is_computed_once() -> None:
    model = engine(prefix_caching=True)
    tokens = [b"t%d" % index for index in range(100)]
    hashes = hash_blocks(tokens, 16)
    first, second = Sequence(100, 1, 0.0, hashes), Sequence(100, 1, 0.0, hashes)
    model.submit(first)
    run(model)
    model.submit(second)
    step = model.begin(1.0)
    assert step is not None
    assert step.prompt_tokens == 100 - 96
    assert (first.cached, second.cached) == (0, 96)
    assert (model.prefix_queries, model.prefix_hits) == (200, 96)


def test_the_last_block_is_computed_again_when_the_whole_prompt_is_cached() -> None:
    model = engine(prefix_caching=True)
    hashes = hash_blocks([b"x%d" % index for index in range(64)], 16)
    for _ in range(2):
        sequence = Sequence(64, 1, 0.0, hashes)
        model.submit(sequence)
        run(model)
    assert sequence.cached == 48


def test_an_abort_frees_the_slot_for_the_next_step() -> None:
    model = engine(max_num_seqs=1)
    leaving, next_one = Sequence(8, 100, 0.0), Sequence(8, 1, 0.0)
    model.submit(leaving)
    model.submit(next_one)
    model.begin(0.0)
    model.abort(leaving, 0.005)
    assert model.kv.used_blocks == 0
    outcome = model.finish(0.01)
    assert outcome.produced == []
    step = model.begin(0.01)
    assert step is not None
    assert step.admitted == [next_one]
    assert leaving.finish_reason == "abort"


def test_what_can_never_fit_is_refused_at_once() -> None:
    model = engine(kv_tokens=160)
    with pytest.raises(ValueError, match="the KV cache holds 160"):
        model.submit(Sequence(100, 61, 0.0))


def test_a_prefill_only_sequence_ends_with_its_prompt() -> None:
    model = engine()
    sequence = Sequence(40, 0, 0.0)
    model.submit(sequence)
    run(model)
    assert (sequence.generated, sequence.state) == (0, State.FINISHED)


REQUESTS = st.lists(
    st.tuples(st.integers(1, 150), st.integers(0, 40), st.integers(0, 3), st.sampled_from(["stay", "leave"])),
    min_size=1,
    max_size=25,
)


@settings(max_examples=60, deadline=None)
@given(requests=REQUESTS, seqs=st.integers(1, 6), budget=st.integers(1, 200), caching=st.booleans())
def test_blocks_are_conserved_and_everybody_is_served(
    requests: list[tuple[int, int, int, str]], seqs: int, budget: int, caching: bool
) -> None:
    model = engine(max_num_seqs=seqs, max_num_batched_tokens=budget, kv_tokens=208, prefix_caching=caching)
    pending = []
    for prompt, output, family, fate in requests:
        tokens = [b"%d-%d" % (family, index) for index in range(prompt + output)]
        pending.append((Sequence(prompt, output, 0.0, hash_blocks(tokens, 16)), fate))
    everyone = [sequence for sequence, _ in pending]
    now, turn = 0.0, 0
    while pending or not model.idle:
        if pending and turn % 3 == 0:
            model.submit(pending[0][0])
            if pending.pop(0)[1] == "leave":
                model.abort(everyone[len(everyone) - len(pending) - 1], now)
        step = model.begin(now)
        turn += 1
        assert turn < 60_000, "no progress"
        assert len(model.running) <= seqs
        private = sum(sequence.private_blocks for sequence in model.running)
        shared = {known for sequence in model.running for known in sequence.held_hashes}
        assert model.kv.used_blocks == private + len(shared) <= model.kv.total_blocks
        if step is None:
            continue
        assert sum(tokens for _, tokens in step.work) <= budget
        now += step.seconds
        model.finish(now)
    assert model.kv.used_blocks == 0
    for sequence in everyone:
        assert sequence.finish_reason == "abort" or sequence.generated == sequence.output_tokens
