"""The count of requests that were held against the objectives: what the gateways of a real fleet keep.

`results` judges a run when it is over; a policy that goes by how well the objectives are kept has to hear of
each request when it ends. Requests end in another order than they came, so the ones that have come and not
ended are looked through at each look, and nothing before the oldest of them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from torpor.simulate.compiled import compiled
from torpor.simulate.replica_kernel import COMPLETED, UNSEEN

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Judged:
    """Counts over one run's `requests`. ttft, itl: objectives in seconds, None where there is none.

    total, missed: requests that ended, and those of them that missed an objective, were refused, or expired.
    """

    def __init__(self, requests: Any, ttft: float | None, itl: float | None) -> None:
        self.total = self.missed = 0
        self._requests = requests
        self._limits = tuple(math.nan if limit is None else limit for limit in (ttft, itl))
        self._oldest = 0
        self._counted: NDArray[np.bool_] = np.zeros(len(requests), np.bool_)

    def count(self, arrived: int) -> None:
        """Count those that ended since the last call; `arrived` requests have come."""
        if self._oldest >= arrived:
            return
        self._oldest, total, missed = _ended(
            self._requests, self._counted, self._oldest, arrived, *self._limits
        )
        self.total += total
        self.missed += missed


@compiled
def _ended(  # noqa: PLR0917 - a kernel has no other way to get at its state
    q: Any, counted: NDArray[np.bool_], oldest: int, arrived: int, ttft: float, itl: float
) -> tuple[int, int, int]:
    """Mark those from `oldest` on that ended, and return the oldest that has not, how many ended, and how
    many of them missed an objective (seconds; NaN: there is none).
    """
    total = missed = 0
    first_open = arrived
    for i in range(oldest, arrived):
        if not counted[i]:
            if q[i].end == UNSEEN:
                first_open = min(first_open, i)
                continue
            counted[i] = True
            total += 1
            good = q[i].end == COMPLETED
            if not math.isnan(ttft):
                good = good and q[i].first - q[i].arrival <= ttft
            if not math.isnan(itl):
                good = good and (q[i].finish - q[i].first) / max(q[i].output - 1, 1) <= itl
            if not good:
                missed += 1
    return first_open, total, missed
