"""What the load costs at the least: a lower bound of replica-hours that no policy can pass at full service.

First the need (autoscaling.md 12.1 item 1): in each slot of 20 s the work that arrives, over what one replica
can do of it. All three limits follow from one replica's equations, t = a/(1 - rho) with rho = work over n
replicas, B = rate*O*t, KV = rate*t*O*(I + O/2) (11.3), and each is linear in n:

    t <= ITL        n >= work/(1 - a/ITL)
    B <= S          n >= work + rate*E[O]*a/S
    KV <= space     n >= work + rate*E[O*(I + O/2)]*a/space

Then the cheapest way to have that many (item 2): every start costs a cold start c of billed time, so a
replica that is not needed for a while is kept if the gap is shorter than c. This comes apart by level: level
k is on while the need is at least k, and pays its time, the smaller of gap and c for each gap, and c for its
first start. That is exact for equal replicas; a policy that is allowed to miss one request in a hundred may
be a little cheaper.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from torpor.simulate.hardware import work_ms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from torpor.decide.hardware import Hardware
    from torpor.simulate.traces import Trace

SLOT_SECONDS = 20.0
_EPSILON = 1e-9


def need(
    trace: Trace, hardware: Hardware, itl_ms: float | None, slot: float = SLOT_SECONDS, headroom: float = 1.0
) -> NDArray[np.int64]:
    """Replicas needed in each slot from 0 to the last arrival.

    headroom: the load counts so many times. Without an ITL objective only saturation limits (rho < 1). Raises
    ValueError where the objective is shorter than an empty step.
    """
    h = hardware
    if itl_ms is not None and itl_ms <= h.a:
        raise ValueError(
            f"interTokenLatency of {itl_ms:g} ms: a step of {h.name} takes {h.a:g} ms empty; "
            "no fleet meets it"
        )
    share = 1.0 if itl_ms is None else 1.0 - h.a / itl_ms
    place = (trace.arrival / slot).astype(np.int64)
    slots = int(place[-1]) + 1
    milliseconds = slot * 1000.0

    def per_slot(weights: NDArray[Any]) -> NDArray[np.float64]:
        sums = np.bincount(place, weights=weights, minlength=slots).astype(np.float64)
        return sums * np.float64(headroom / milliseconds)

    work = per_slot(work_ms(h, trace))
    running = per_slot(trace.output * h.a) / h.max_num_seqs
    cached = per_slot(trace.output * (trace.prompt + trace.output / 2) * h.a) / h.kv_tokens
    asked = np.maximum(work / share, work + np.maximum(running, cached))
    return np.ceil(asked - _EPSILON).astype(np.int64)


def replica_seconds(
    needs: NDArray[np.int64], cold_start: float, slot: float = SLOT_SECONDS, *, from_slot: int = 0
) -> float:
    """The least billed seconds that meet `needs` from slot `from_slot` on.

    A fleet begins with nothing, so each level's first start costs a cold start; where the beginning is cut
    off, a level may have been kept from before, which costs the gap if that is less.
    """
    window = needs[from_slot:]
    total = 0.0
    for level in range(1, int(window.max(initial=0)) + 1):
        on = np.flatnonzero(window >= level)
        gaps = (np.diff(on) - 1) * slot
        first = min(on[0] * slot, cold_start) if from_slot else cold_start
        total += len(on) * slot + float(np.minimum(gaps, cold_start).sum()) + first
    return total


def replica_hours(
    trace: Trace, hardware: Hardware, itl_ms: float | None, cold_start: float, score_from: float = 0.0
) -> float:
    """The bound in hours; see the module."""
    needs = need(trace, hardware, itl_ms)
    return replica_seconds(needs, cold_start, from_slot=math.floor(score_from / SLOT_SECONDS)) / 3600.0


def schedule(needs: NDArray[np.int64], cold_start: float, slot: float = SLOT_SECONDS) -> NDArray[np.int64]:
    """What the cheapest way keeps in each slot: the need, every gap shorter than a cold start bridged."""
    kept = np.zeros(len(needs), np.int64)
    for level in range(1, int(needs.max(initial=0)) + 1):
        on = np.flatnonzero(needs >= level)
        active = np.zeros(len(needs), bool)
        active[on] = True
        gaps = np.diff(on)
        for short in np.flatnonzero((gaps > 1) & ((gaps - 1) * slot < cold_start)):
            active[on[short] : on[short + 1]] = True
        kept += active
    return kept
