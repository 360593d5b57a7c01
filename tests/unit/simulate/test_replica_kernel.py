"""The closed form against the step model: same times, same blocks, request by request."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torpor.simulate import replica_kernel as rk
from torpor.simulate.engine_model import EngineLimits, EngineModel
from torpor.simulate.fleet import Setup, Simulation
from torpor.simulate.policies import Static
from torpor.simulate.profiles import StepCost
from torpor.simulate.sequences import Sequence
from torpor.simulate.traces import Trace

from tests.unit.simulate.stepping import run_by_steps

COST = StepCost(11.0, 0.055, 0.003, 0.0446)  # c far above life, so that contexts matter


def by_steps(trace: Trace, setup: Setup) -> tuple[list[float], list[float], int]:
    """First tokens, ends and preemptions of one EngineModel that gets every request as it arrives."""
    limits = EngineLimits(
        setup.max_num_seqs, setup.max_num_batched_tokens, setup.kv_tokens, prefix_caching=False
    )
    model = EngineModel(limits, setup.cost)
    sequences = [
        Sequence(int(p), int(o), float(a))
        for a, p, o in zip(trace.arrival, trace.prompt, trace.output, strict=True)
    ]
    run_by_steps(model, sequences)
    return [s.first_token for s in sequences], [s.finished for s in sequences], model.preemptions  # type: ignore[misc]


def by_leaps(trace: Trace, setup: Setup) -> tuple[Any, int]:
    run = Simulation(trace, setup, Static(1)).run()
    return run.requests, run.preemptions


requests = st.tuples(
    st.floats(0.001, 3.0), st.integers(1, 400), st.one_of(st.integers(1, 5), st.integers(0, 200))
)


@given(
    st.lists(requests, min_size=1, max_size=40),
    st.integers(1, 12),
    st.integers(0, 120),
    st.integers(40, 400),
    st.floats(0.02, 1.0),
)
@settings(max_examples=150, deadline=None)
def test_leaps_and_steps_tell_the_same_times(
    rows: list[tuple[float, int, int]], seqs: int, more: int, blocks: int, pace: float
) -> None:
    arrival = np.cumsum([row[0] * pace for row in rows])
    trace = Trace(arrival, np.array([row[1] for row in rows]), np.array([row[2] for row in rows]))
    setup = Setup(
        COST, blocks * 16, seqs, seqs + more, 0.0, queue_target=1000, initial=1, queue_seconds=1e9, look=7.3
    )
    first, finish, preemptions = by_steps(trace, setup)
    got, got_preemptions = by_leaps(trace, setup)
    assert got_preemptions == preemptions
    assert (got["end"] == rk.COMPLETED).all()
    np.testing.assert_allclose(got["first"], first, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(got["finish"], finish, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_and_under_preemption_too(seed: int) -> None:
    draws = np.random.default_rng(seed)
    arrival = np.cumsum(draws.uniform(0, 0.3, 40))
    trace = Trace(arrival, draws.integers(1, 400, 40), draws.integers(0, 200, 40))
    setup = Setup(COST, 16 * 60, 8, 50, 0.0, queue_target=1000, initial=1, queue_seconds=1e9, look=7.3)
    first, finish, preemptions = by_steps(trace, setup)
    got, got_preemptions = by_leaps(trace, setup)
    assert got_preemptions == preemptions > 0
    np.testing.assert_allclose(got["first"], first, rtol=1e-9)
    np.testing.assert_allclose(got["finish"], finish, rtol=1e-9)
