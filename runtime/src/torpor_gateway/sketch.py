"""Histograms with fixed bounds, cheap enough for every token.

TTFT and ITL go to the operator and to Prometheus from the same counts. The bounds are chosen around the
objectives that people set (tens of milliseconds between tokens, seconds to the first); a sketch with finer
error would cost more per token than the answer is worth. A stream's speed in tokens per second has bounds
around what people read and what engines reach.
"""

from bisect import bisect_left
from collections.abc import Sequence

TTFT_BOUNDS = (
    0.05,
    0.1,
    0.2,
    0.35,
    0.5,
    0.75,
    1.0,
    1.5,
    2.0,
    3.0,
    5.0,
    7.5,
    10.0,
    20.0,
    40.0,
    80.0,
    160.0,
    320.0,
    640.0,
    1280.0,
)
ITL_BOUNDS = (
    0.005,
    0.01,
    0.015,
    0.02,
    0.03,
    0.04,
    0.05,
    0.065,
    0.08,
    0.1,
    0.15,
    0.2,
    0.3,
    0.5,
    1.0,
    2.0,
    5.0,
)
HOLD_BOUNDS = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 60.0, 120.0, 240.0, 480.0, 900.0, 1800.0)
QUEUE_BOUNDS = (
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.0,
    5.0,
    10.0,
    20.0,
    40.0,
    60.0,
    120.0,
    300.0,
    900.0,
)
SPEED_BOUNDS = (
    1.0, 2.0, 5.0, 7.5, 10.0, 15.0, 20.0, 25.0, 30.0, 40.0, 50.0, 65.0, 80.0, 100.0, 150.0, 200.0, 300.0,
    500.0, 1000.0,
)  # fmt: skip


class Sketch:
    """A histogram of seconds, or of whatever its bounds are. `counts` has one more element than `bounds`:
    what is above all of them.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    @property
    def count(self) -> int:
        """All observations."""
        return sum(self.counts)

    def observe(self, seconds: float, times: int = 1) -> None:
        """Count `times` observations of `seconds` each."""
        self.counts[bisect_left(self.bounds, seconds)] += times
        self.sum += seconds * times

    def cumulative(self) -> list[tuple[float, int]]:
        """Return (upper bound, observations up to it), Prometheus' way, without the infinite one."""
        total, rows = 0, []
        for bound, count in zip(self.bounds, self.counts, strict=False):
            total += count
            rows.append((bound, total))
        return rows

    def as_json(self) -> dict[str, object]:
        """Return the demand stream's form."""
        return {"count": self.count, "sum": round(self.sum, 6), "buckets": self.cumulative()}


class Speed(Sketch):
    """Tokens per second of the streams that ended whole, each counted once, when it ends."""

    __slots__ = ()

    def __init__(self) -> None:
        super().__init__(SPEED_BOUNDS)

    def stream(self, used: tuple[int, int] | None, seconds: float) -> None:
        """Count a stream of `used` (prompt, output) tokens with `seconds` from its first event to its last.

        The first token is what the time is counted from, so one token has no speed, nor has a stream that
        came in one piece.
        """
        if seconds > 0 and used is not None and used[1] > 1:
            self.observe((used[1] - 1) / seconds)
