"""The count of requests that were held against the objectives: what the gateways of a real fleet keep.

`results` judges a run when it is over; a policy that goes by how well the objectives are kept has to hear of
each request when it ends. Requests end in another order than they came, so the ones that have come and not
ended are looked through at each look, and nothing before the oldest of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

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
        self._ttft, self._itl = ttft, itl
        self._oldest = 0
        self._counted: NDArray[np.bool_] = np.zeros(len(requests), np.bool_)

    def count(self, arrived: int) -> None:
        """Count those that ended since the last call; `arrived` requests have come."""
        if self._oldest >= arrived:
            return
        ended = self._requests["end"][self._oldest : arrived] != UNSEEN
        counted = self._counted[self._oldest : arrived]
        new = np.flatnonzero(ended & ~counted)
        if not len(new):
            return
        counted[new] = True
        self.total += len(new)
        self.missed += len(new) - int(self._good(self._requests[self._oldest + new]).sum())
        open_ = np.flatnonzero(~counted)
        self._oldest += int(open_[0]) if len(open_) else len(counted)

    def _good(self, requests: Any) -> NDArray[np.bool_]:
        good: NDArray[np.bool_] = requests["end"] == COMPLETED
        if self._ttft is not None:
            good &= requests["first"] - requests["arrival"] <= self._ttft
        if self._itl is not None:
            gaps = np.maximum(requests["output"] - 1, 1)
            good &= (requests["finish"] - requests["first"]) / gaps <= self._itl
        return good
