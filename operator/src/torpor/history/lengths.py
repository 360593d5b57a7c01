"""Lengths of requests out of a histogram: the shape between bucket bounds, and draws from it.

A histogram tells how many were below each bound, and a sum that is exact. In between, lengths of requests are
closer to lognormal than to anything simpler, so the cumulative share is drawn straight on lognormal paper:
log of the length across, quantile of the normal up. A true lognormal is met exactly, ends included; other
shapes are off by less than a bucket. Then all are scaled so that their mean is the histogram's own, which is
known.

Windows with too few observations to have a shape borrow from all. Prompt and answer are drawn apart: no
histogram tells which prompt had which answer.
"""

from __future__ import annotations

from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from torpor.history.read import Histogram

FEWEST = 50.0  # observations that make a shape
ENDS = 0.0005  # share below the lowest and above the highest length that is drawn
POINTS = 401
MOST_SCALE = 3.0  # the mean moves a shape by no more than this


class Lengths:
    """Draws of one kind of length, tokens, by the time of the request."""

    def __init__(self, histogram: Histogram, fallback: float) -> None:
        self._begins = histogram.begins
        whole = _quantiles(histogram.bounds, histogram.counts.sum(axis=0), float(histogram.sums.sum()))
        if whole is None:
            whole = np.full(POINTS, max(1.0, fallback))
        rows = []
        for counts, total in zip(histogram.counts, histogram.sums, strict=True):
            own = _quantiles(histogram.bounds, counts, float(total)) if counts.sum() >= FEWEST else None
            rows.append(whole if own is None else own)
        self._table = np.array([*rows, whole])

    def draw(self, at: NDArray[np.float64], draws: np.random.Generator) -> NDArray[np.int64]:
        """One length for each request; `at`: seconds since the epoch."""
        if len(self._begins):
            rows = np.clip(np.searchsorted(self._begins, at, side="right") - 1, 0, len(self._begins) - 1)
        else:
            rows = np.full(len(at), len(self._table) - 1)
        place = draws.random(len(at)) * (POINTS - 1)
        low = np.minimum(place.astype(np.int64), POINTS - 2)
        share = place - low
        values = self._table[rows, low] * (1 - share) + self._table[rows, low + 1] * share
        found: NDArray[np.int64] = np.maximum(1, np.rint(values)).astype(np.int64)
        return found


def _quantiles(
    bounds: NDArray[np.float64], counts: NDArray[np.float64], total: float
) -> NDArray[np.float64] | None:
    """Lengths at equal shares from 0 to 1; None where nothing was counted."""
    number = float(counts.sum())
    if number <= 0:
        return None
    shares = np.cumsum(counts) / number
    uppers = np.where(np.isfinite(bounds), bounds, 0.0)
    if not np.isfinite(bounds[-1]):
        uppers[-1] = 2 * uppers[-2] if len(uppers) > 1 else max(1.0, total / number)
    uppers = np.maximum(uppers, 0.5)
    # Bounds around what was seen, as (log length, normal quantile of the share).
    inner = np.flatnonzero((shares > ENDS) & (shares < 1 - ENDS))
    grid = np.clip(np.linspace(0, 1, POINTS), ENDS, 1 - ENDS)
    if len(inner) >= 2:
        across, up = np.log(uppers[inner]), _normal(shares[inner])
        slopes = np.diff(across) / np.maximum(np.diff(up), 1e-6)
        wanted = _normal(grid)
        values = np.interp(wanted, up, across)
        values = np.where(wanted < up[0], across[0] + (wanted - up[0]) * slopes[0], values)
        values = np.where(wanted > up[-1], across[-1] + (wanted - up[-1]) * slopes[-1], values)
        first, last = int(np.argmax(counts > 0)), len(counts) - 1 - int(np.argmax(counts[::-1] > 0))
        lowest = np.log(uppers[first - 1]) if first else 0.0
        found = np.exp(np.clip(values, lowest, np.log(uppers[last])))
    else:
        edges = np.concatenate([[np.log(0.5)], np.log(uppers)])
        found = np.exp(np.interp(grid, np.concatenate([[0.0], shares]), edges))
    if total > 0:
        drawn = float((found[:-1] + found[1:]).mean()) / 2  # draws lie straight between the points
        found = found * min(max(total / number / drawn, 1 / MOST_SCALE), MOST_SCALE)
    return np.maximum(found, 1.0)


@lru_cache(maxsize=4096)
def _inverse(share: float) -> float:
    return NormalDist().inv_cdf(share)


def _normal(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quantiles of the standard normal."""
    return np.array([_inverse(round(float(share), 9)) for share in np.clip(shares, ENDS, 1 - ENDS)])
