"""What the simulated engine counts is what happened in it, read back by the launcher's own scan."""

import pytest
from torpor.simulate.engine_model import EngineLimits, EngineModel
from torpor.simulate.kv_cache import hash_blocks
from torpor.simulate.profiles import StepCost
from torpor.simulate.sequences import Sequence
from torpor_engine.metrics import Sample, read_metrics
from torpor_sim.metrics import CACHE_CONFIG, EngineMetrics

LIMITS = EngineLimits(max_num_seqs=4, max_num_batched_tokens=64, kv_tokens=4096)
SIZES = {"block_size": "16", "num_gpu_blocks": "256", "kv_cache_size_tokens": "4096"}


def run(lengths: list[tuple[int, int]], generation: str) -> tuple[list[Sequence], Sample]:
    """Serve requests of (prompt, output) tokens one after the other; all prompts begin alike."""
    model = EngineModel(LIMITS, StepCost(10.0, 1.0, 0.0, 0.1))
    metrics = EngineMetrics("m", 2048, CACHE_CONFIG | SIZES, 0.0, generation)
    now, served = 0.0, []
    for prompt, output in lengths:
        sequence = Sequence(prompt, output, now, hash_blocks(list(range(prompt)), 16))
        served.append(sequence)
        model.submit(sequence)
        while not model.idle:
            step = model.begin(now)
            assert step is not None
            now += step.seconds
            metrics.step(model.finish(now))
    metrics.read_model(model)
    text = "".join(family.render() for family in metrics.families.values())
    return served, read_metrics(text.encode())


@pytest.mark.parametrize("generation", ["new", "old"])
def test_gaps_and_prefix_hits_are_those_of_the_requests(generation: str) -> None:
    served, sample = run([(100, 20), (100, 7), (40, 1)], generation)
    assert sample.missing == ()
    assert sample.generation_tokens_total == 28
    assert sample.gaps == 19 + 6 + 0
    assert sample.first_tokens_total == 3
    between = sum(s.last_token - s.first_token for s in served if s.last_token and s.first_token)
    assert sample.gap_seconds == pytest.approx(between, abs=1e-6)
    assert sample.prompt_tokens_total == sample.prefix_queries_total == 240
    # Whole blocks, and never the last token of a prompt: 96 of 100, 32 of 40.
    assert sample.prefix_hits_total == sample.cached_prompt_tokens_total == 96 + 32


def test_the_generations_differ_in_names_alone() -> None:
    assert run([(50, 5)], "old")[1] == run([(50, 5)], "new")[1]
