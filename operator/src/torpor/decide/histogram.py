"""Distributions that forget: counts in geometric bins, as a frozen value.

The decisions of this package need quantiles and tail probabilities of positive quantities that span decades
(pauses between requests, ratios of what came to what was foreseen), from a memory of a few hundred bytes that
survives a restart. Samples would be exact but unbounded; a fitted distribution would be small but wrong where
it matters, in the tail. Bins of equal ratio are both small and right to within a bin; inside a bin the weight
is taken as spread evenly over the logarithm.

Old evidence fades by the number of samples after it, not by the clock (whenever the weight reaches a limit,
all of it is halved): a fleet that slept for a month has learned nothing new about its pauses. The histogram
refuses to guess: without weight there is no quantile.
"""

import functools
import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeGuard

from torpor.decide.quick import quick

_DIGITS = (
    4  # decimals that a bin keeps: weights below 1e-4 of a sample are forgotten, and the JSON stays small
)


@quick
@dataclass(frozen=True, slots=True)
class Scale:
    """Where the bins lie: the first begins at `low`, each is `ratio` times wider than the one before. Samples
    outside are counted in the outermost bins. limit: the weight at which everything is halved, in samples.
    """

    low: float
    ratio: float
    bins: int
    limit: float

    @property
    def high(self) -> float:
        """The upper end of the last bin."""
        return self.low * math.pow(self.ratio, self.bins)

    @property
    def edges(self) -> tuple[float, ...]:
        """Where the bins begin, and where the last ends."""
        return _edges(self)

    def place(self, value: float) -> float:
        """Return where `value` lies, in bins from the lower end, within [0, bins]."""
        if value <= self.low:
            return 0.0
        return min(math.log(value / self.low) / math.log(self.ratio), float(self.bins))

    def at(self, place: float) -> float:
        """Return the value at `place`; the inverse of `place` inside the bins."""
        return self.low * math.pow(self.ratio, min(max(place, 0.0), self.bins))


@functools.lru_cache(maxsize=8)
def _edges(scale: Scale) -> tuple[float, ...]:
    return tuple(scale.at(index) for index in range(scale.bins + 1))


@functools.lru_cache(maxsize=8)
def _middles(scale: Scale) -> tuple[float, ...]:
    """The geometric middle of each bin."""
    middle = math.sqrt(scale.ratio)
    return tuple(scale.at(index) * middle for index in range(scale.bins))


@quick
@dataclass(frozen=True, slots=True)
class Histogram:
    """Weights per bin of `scale`; empty means that nothing was seen."""

    scale: Scale
    counts: tuple[float, ...] = ()

    @property
    def weight(self) -> float:
        """The number of samples that still count; below the scale's limit."""
        return sum(self.counts)

    def add(self, value: float) -> "Histogram":
        """Return the histogram with `value` (not negative, finite) counted."""
        if not (math.isfinite(value) and value >= 0):
            raise ValueError(f"a sample must be finite and not negative, got {value!r}")
        counts = list(self.counts) or [0.0] * self.scale.bins
        counts[min(int(self.scale.place(value)), self.scale.bins - 1)] += 1.0
        if sum(counts) >= self.scale.limit:
            counts = [round(count / 2, _DIGITS) for count in counts]
        return Histogram(self.scale, tuple(counts))

    def quantile(self, share: float) -> float | None:
        """Return the value below which `share` (0 to 1) of the weight lies; None while nothing was seen.
        Never falls as `share` grows.
        """
        counts = self.counts
        total = sum(counts)
        if total <= 0:
            return None
        sought = min(max(share, 0.0), 1.0) * total
        passed = [*accumulate(counts)]
        index = bisect_left(passed, sought)
        if index == len(counts):  # the sums were rounded differently
            return self.scale.at(max(i for i, count in enumerate(counts) if count > 0) + 1)
        while counts[index] <= 0:  # nothing is sought, and the first bins are empty
            index += 1
        before = passed[index - 1] if index else 0.0
        return self.scale.at(index + max(0.0, sought - before) / counts[index])

    def above(self, value: float) -> float | None:
        """Return the share of the weight above `value`, 0 to 1; None while nothing was seen. Never rises as
        `value` grows.
        """
        total = self.weight
        if total <= 0:
            return None
        place = self.scale.place(value)
        whole = min(int(place), self.scale.bins - 1)
        rest = sum(self.counts[whole + 1 :]) + self.counts[whole] * (1 - min(place - whole, 1.0))
        return min(max(rest / total, 0.0), 1.0)

    def mean_up_to(self, limit: float) -> float | None:
        """Return E[min(value, limit)] with each bin at its geometric middle; None while nothing was seen."""
        total = self.weight
        if total <= 0:
            return None
        middles = _middles(self.scale)
        cut = sum(
            count * min(middle, limit) for count, middle in zip(self.counts, middles, strict=True) if count
        )
        return min(cut / total, limit)  # the division may round up past it

    def dump(self) -> list[float]:
        """Return the weights as JSON values, a trailing row of zeros left out."""
        counts = list(self.counts)
        while counts and counts[-1] == 0:
            counts.pop()
        return counts

    @classmethod
    def load(cls, scale: Scale, data: object) -> "Histogram":
        """Return the histogram that `dump` wrote; an empty one where `data` is not one (a lost distribution
        is learned anew, a wrong one misleads).
        """
        if not isinstance(data, Sequence) or isinstance(data, str) or not 0 < len(data) <= scale.bins:
            return cls(scale)
        counts = [float(count) for count in data if is_amount(count)]
        if len(counts) != len(data):
            return cls(scale)
        return cls(scale, tuple(counts + [0.0] * (scale.bins - len(counts))))


def is_amount(value: object) -> TypeGuard[float]:
    """Whether a JSON value is a plain number, finite and not negative, of a size that a sum may have."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value <= 1e18
