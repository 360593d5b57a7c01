"""The count of requests that were held against the fleet's objectives, and of those that missed one.

Histograms say how many first tokens came late and how many pauses were long, not how many requests suffered
from either; the operator gives back care by the share of requests, so each stream is judged as a whole when
it ends: its first event against the objective for the first token, the mean time between its events against
the one between tokens. Who waited in vain missed whatever was promised. An answer that is no stream says
nothing of its first token, and one that its client or its engine cut short says nothing of either, so they
are not counted.
"""


class Kept:
    """Counters that only grow. judged: requests held against an objective; missed: of these."""

    __slots__ = ("judged", "missed")

    def __init__(self) -> None:
        self.judged = self.missed = 0

    def streamed(
        self, first: float, gap: float, ttft_objective: float | None, itl_objective: float | None
    ) -> None:
        """Count a stream that ended whole: seconds to its first event, mean seconds between its events, and
        the objectives in seconds, None where the fleet has none.
        """
        if ttft_objective is None and itl_objective is None:
            return
        late = ttft_objective is not None and first > ttft_objective
        slow = itl_objective is not None and gap > itl_objective
        self.judged += 1
        self.missed += late or slow

    def in_vain(self, ttft_objective: float | None, itl_objective: float | None) -> None:
        """Count a request that waited for its whole limit and got nothing."""
        if ttft_objective is not None or itl_objective is not None:
            self.judged += 1
            self.missed += 1
