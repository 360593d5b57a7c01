"""What a policy that knows the future pays here: the honest 100 % (autoscaling.md 12.1 item 5).

The lower bound needs no replica to be late and no request to meet another; the simulator knows better. So
the oracle runs in the same simulator, with the same cold starts to come: it asks now for what the need, times
a uniform headroom, will be until a cold start from now, keeps what the cheapest schedule keeps, and uses the
smallest headroom with which it meets the objectives.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from torpor.simulate import bound, results
from torpor.simulate.fleet import COLD_START_CV, Setup, Simulation

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from torpor.decide.hardware import Hardware
    from torpor.simulate.traces import Trace
    from torpor.simulate.view import View

ATTAINMENT = 0.99
FIRST, LAST, STEP = 1.0, 2.0, 0.02  # headroom: the load counts so many times


class Oracle:
    """Asks for the most that the schedule holds from now until `ahead` seconds from now."""

    def __init__(self, schedule: NDArray[np.int64], slot: float, ahead: float) -> None:
        self.name = "oracle"
        self._slot = slot
        span = math.ceil(ahead / slot) + 1
        padded = np.concatenate([schedule, np.zeros(span, np.int64)])
        views = np.lib.stride_tricks.sliding_window_view(padded, span)
        self._most: list[int] = views.max(axis=1).tolist()

    def look(self, view: View) -> int:
        """Look ahead; while somebody is still being served after the end, one stays."""
        slot = int(view.now / self._slot)
        ahead = self._most[slot] if slot < len(self._most) else 0
        return max(ahead, 1 if view.waiting else 0)


def replica_hours(
    trace: Trace,
    setup: Setup,
    replica: Hardware,
    ttft_ms: float | None,
    itl_ms: float | None,
    *,
    score_from: float = 0.0,
    attainment: float = ATTAINMENT,
) -> float | None:
    """Replica-hours of the oracle with the smallest headroom that attains the share, to 2 %; None where even
    twice the load does not.
    """
    sigma = math.sqrt(math.log(1.0 + COLD_START_CV**2))
    ahead = setup.cold_start * math.exp(1.645 * sigma) + setup.look  # 95 of 100 starts are over by then
    inside = trace.arrival >= score_from

    def run(headroom: float) -> tuple[float, float]:
        needs = bound.need(trace, replica, itl_ms, headroom=headroom)
        kept = bound.schedule(needs, setup.cold_start)
        done = Simulation(trace, setup, Oracle(kept, bound.SLOT_SECONDS, ahead)).run()
        good = results.attained(done, ttft_ms, itl_ms)[inside]
        return float(good.mean()), results.replica_seconds(done, score_from) / 3600.0

    low, high = 0, round((LAST - FIRST) / STEP)
    best: float | None = None
    while low <= high:
        middle = (low + high) // 2
        share, hours = run(FIRST + middle * STEP)
        if share >= attainment:
            best, high = hours, middle - 1
        else:
            low = middle + 1
    return best
