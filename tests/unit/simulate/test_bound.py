"""The lower bound on cases that can be worked by hand, and against every schedule of small ones."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torpor.decide.hardware import Hardware
from torpor.simulate.bound import need, replica_hours, replica_seconds, schedule
from torpor.simulate.traces import Trace

# W = 0.1*1000 + 100*(0.5 + 0.0001*(1000 + 50)) = 160.5 ms for a request of 1000 and 100 tokens.
MACHINE = Hardware("m", 10.0, 0.5, 0.0001, 0.1, 1_000_000, 1000, 1000)


def burst(*per_slot: int) -> Trace:
    """So many requests of 1000 and 100 tokens in the middle of each 20-second slot."""
    at = np.concatenate([np.full(count, 20.0 * slot + 10.0) for slot, count in enumerate(per_slot)])
    return Trace(at, np.full(len(at), 1000), np.full(len(at), 100))


def test_need_is_work_over_what_the_objective_leaves() -> None:
    # One replica does 20 s * (1 - 10/50) = 16 s of work in a slot, that is 99.69 requests.
    assert need(burst(99, 100, 0, 199, 200), MACHINE, 50.0).tolist() == [1, 2, 0, 2, 3]
    # Without an objective a replica works the whole slot, as far as its 1000 sequences go:
    # 123 requests are 0.987 + 123/20*100*0.01/1000 = 0.993, 124 are 1.001.
    assert need(burst(123, 124), MACHINE, None).tolist() == [1, 2]
    assert need(burst(50, 50), MACHINE, 50.0, headroom=2.0).tolist() == [2, 2]


def test_need_obeys_sequences_and_cache() -> None:
    # 100 requests in 20 s: work 0.8025, and 5/s * 100 tokens * 10 ms = 5 sequences where steps are empty.
    few = Hardware("few", 10.0, 0.5, 0.0001, 0.1, 1_000_000, 2, 1000)
    assert need(burst(100), few, 50.0).tolist() == [4]  # 0.8025 + 5/2
    # The same 5 sequences keep 1050 tokens each: 5250.
    small = Hardware("small", 10.0, 0.5, 0.0001, 0.1, 2000, 1000, 1000)
    assert need(burst(100), small, 50.0).tolist() == [4]  # 0.8025 + 5250/2000


def test_an_objective_below_an_empty_step_has_no_bound() -> None:
    with pytest.raises(ValueError, match="no fleet meets it"):
        need(burst(1), MACHINE, 10.0)


@pytest.mark.parametrize(
    ("needs", "cold", "seconds"),
    [
        ([1, 1, 1], 120.0, 60 + 120),
        ([0, 0, 1], 120.0, 20 + 120),
        ([1, 0, 0, 1], 120.0, 2 * 20 + 40 + 120),  # the gap of 40 s is cheaper than a start
        ([1, 0, 0, 1], 30.0, 2 * 20 + 30 + 30),  # and dearer here
        ([2, 1, 2], 30.0, (60 + 30) + (40 + 20 + 30)),
        ([3, 0, 1], 0.0, 4 * 20),
        ([0, 0], 120.0, 0),
    ],
)
def test_by_hand(needs: list[int], cold: float, seconds: float) -> None:
    assert replica_seconds(np.array(needs), cold) == pytest.approx(seconds)


def test_what_was_kept_from_before_the_window_starts_for_free() -> None:
    needs = np.array([1, 1, 1, 1, 0, 2])
    # Level 1 is on at the window's beginning and bridges 20 s; level 2 is kept for 60 s or started for 50.
    assert replica_seconds(needs, 50.0, from_slot=2) == pytest.approx((3 * 20 + 20) + (20 + 50))
    assert replica_seconds(needs, 70.0, from_slot=2) == pytest.approx((3 * 20 + 20) + (20 + 60))


def test_hours_of_a_trace() -> None:
    assert replica_hours(burst(99, 100), MACHINE, 50.0, 120.0) == pytest.approx((3 * 20 + 2 * 120) / 3600)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.sampled_from([0.0, 10.0, 20.0, 30.0, 50.0]))
@settings(max_examples=60, deadline=None)
def test_no_schedule_is_cheaper(needs: list[int], cold: float) -> None:
    """cost = sum n*slot + cold * sum of increases, over every schedule that meets the need."""

    def cost(counts: tuple[int, ...]) -> float:
        rises = sum(max(0, b - a) for a, b in zip((0, *counts[:-1]), counts, strict=True))
        return sum(counts) * 20.0 + cold * rises

    best = min(
        cost(counts)
        for counts in product(range(max(needs) + 1), repeat=len(needs))
        if all(n >= least for n, least in zip(counts, needs, strict=True))
    )
    assert replica_seconds(np.array(needs), cold) == pytest.approx(best)
    assert cost(tuple(schedule(np.array(needs), cold).tolist())) == pytest.approx(best)
