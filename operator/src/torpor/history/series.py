"""What samples say, and what they do not.

A counter's growth between two samples is exact, however far they are apart; only when in between is unknown.
So growth is kept as what it is, an amount between two times, and nothing is interpolated that was counted.
A counter that goes back began anew, and what it shows came since. One that appears while the server was
watching was born then: what it shows at first came since the last look at where it was not yet; `increase()`
would leave that out, which for a fleet that wakes for minutes is much of its traffic.

Nobody watched where neither the fleet nor the server's own `up` has samples, and where a series stops and
goes on: a pod that was gone does not come back under its name. A fleet that sleeps has no samples either,
but then the server has others and the pods are new; where nothing else is known (recorded blocks) the two
ends count as unwatched.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from torpor.history.names import NOT_A_REPLICA
from torpor.history.source import Series

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

LATE = 2.5  # scrape intervals without a sample: one was missed, and another may be late
HUGE = 20.0  # a first value so many times the largest growth ever seen was counted before anybody watched
Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Growth:
    """Amounts that came between `begins` and `ends` (arrays of equal length, seconds since the epoch)."""

    begins: NDArray[np.float64]
    ends: NDArray[np.float64]
    amounts: NDArray[np.float64]

    @property
    def total(self) -> float:
        """All of it."""
        return float(self.amounts.sum())


def sound(series: Iterable[Series]) -> tuple[list[Series], int]:
    """The series without samples that are no number from 0, sorted by time, and how many samples that were.

    A time that comes twice counts once: ranges that touch share it.
    """
    kept, dropped = [], 0
    for one in series:
        good = np.isfinite(one.values) & (one.values >= 0)
        dropped += int(len(good) - good.sum())
        times, places = np.unique(one.times[good], return_index=True)
        if len(times):
            kept.append(Series(one.labels, times, one.values[good][places]))
    return kept, dropped


def joined(parts: Iterable[Series]) -> list[Series]:
    """One series per label set, of the pieces that several questions brought."""
    found: dict[tuple[tuple[str, str], ...], list[Series]] = {}
    for one in parts:
        found.setdefault(tuple(sorted(one.labels.items())), []).append(one)
    return [
        Series(
            pieces[0].labels,
            np.concatenate([piece.times for piece in pieces]),
            np.concatenate([piece.values for piece in pieces]),
        )
        for pieces in found.values()
    ]


def merged(series: Iterable[Series], names: Sequence[str]) -> list[Series]:
    """One series per label set where a metric has several names: of those that overlap the newest name's,
    and of the others what lies before and after it.
    """
    groups: dict[tuple[tuple[str, str], ...], list[Series]] = {}
    for one in series:
        labels = tuple(sorted((key, value) for key, value in one.labels.items() if key != "__name__"))
        groups.setdefault(labels, []).append(one)
    found = []
    for labels, several in groups.items():
        several.sort(key=lambda one: names.index(one.name) if one.name in names else len(names))
        result = several[0]
        for other in several[1:]:
            outside = (other.times < result.times[0]) | (other.times > result.times[-1])
            times = np.concatenate([result.times, other.times[outside]])
            order = np.argsort(times, kind="stable")
            values = np.concatenate([result.values, other.values[outside]])
            result = Series(dict(labels), times[order], values[order])
        found.append(Series(dict(labels), result.times, result.values))
    return found


def replica(labels: dict[str, str]) -> tuple[tuple[str, str], ...]:
    """What tells one replica from another, whatever the labels are called: all of them but the metric's
    own.
    """
    return tuple(sorted((key, value) for key, value in labels.items() if key not in NOT_A_REPLICA))


def interval(series: Iterable[Series]) -> float:
    """Seconds between two samples, the usual; 15 where no series has two."""
    gaps = [np.diff(one.times) for one in series if len(one.times) > 1]
    return float(np.median(np.concatenate(gaps))) if gaps else 15.0


def growth(series: Iterable[Series], every: float, unwatched: Sequence[Interval], start: float) -> Growth:
    """What came to all these counters. every: seconds between samples; unwatched: where nobody looked; start:
    when the history begins, before which nobody looked either.
    """
    begins, ends, amounts = [], [], []
    firsts: list[tuple[float, float, float]] = []
    largest = 1.0
    for one in series:
        grown = np.diff(one.values)
        grown = np.where(grown < 0, one.values[1:], grown)
        largest = max(largest, float(grown.max(initial=0.0)))
        some = grown > 0
        begins.append(one.times[:-1][some])
        ends.append(one.times[1:][some])
        amounts.append(grown[some])
        at, value = float(one.times[0]), float(one.values[0])
        if value > 0 and at > start + LATE * every:
            since = next(
                (low for low, high in unwatched if low <= at - every / 2 <= high + every), at - every
            )
            firsts.append((since, at, value))
    for since, at, value in firsts:
        if value <= HUGE * max(largest, 10.0):
            begins.append(np.array([max(since, start)]))
            ends.append(np.array([at]))
            amounts.append(np.array([value]))
    if not begins:
        return Growth(*(np.zeros(0) for _ in range(3)))
    return Growth(np.concatenate(begins), np.concatenate(ends), np.concatenate(amounts))


def unwatched(
    series: Sequence[Series], heartbeat: NDArray[np.float64] | None, every: float, start: float, end: float
) -> list[Interval]:
    """Stretches of [start, end] in which nobody looked. heartbeat: times at which the server had samples of
    anything; None: nobody knows.
    """
    seen = np.unique(np.concatenate([one.times for one in series])) if series else np.zeros(0)
    pause = LATE * every
    silent = _pauses(seen, pause, start, end)
    if heartbeat is None:
        return [
            (low, high) for low, high in silent if low == start or high == end or _goes_on(series, low, high)
        ]
    if len(heartbeat) > 1:
        pause = max(pause, LATE * float(np.median(np.diff(heartbeat))))
    found = _pauses(np.union1d(seen, heartbeat), pause, start, end)
    skipped = [one for one in silent if _goes_on(series, *one)]  # the server was there and did not look
    return sorted({*skipped, *(one for one in found if not any(_within(one, other) for other in skipped))})


def _pauses(times: NDArray[np.float64], pause: float, start: float, end: float) -> list[Interval]:
    points = np.concatenate([[start], times[(times > start) & (times < end)], [end]])
    return [(float(points[p]), float(points[p + 1])) for p in np.flatnonzero(np.diff(points) > pause)]


def _within(one: Interval, other: Interval) -> bool:
    return other[0] <= one[0] and one[1] <= other[1]


def _goes_on(series: Iterable[Series], low: float, high: float) -> bool:
    return any(one.times[0] <= low and one.times[-1] >= high for one in series)


def counted(series: Iterable[Series], every: float, end: float) -> list[tuple[float, int]]:
    """How many replicas had samples, as (time, number) at every change. One that misses a scrape is still
    there; one is there from an interval before its first sample until its last.
    """
    spans: dict[tuple[tuple[str, str], ...], list[NDArray[np.float64]]] = {}
    for one in series:
        spans.setdefault(replica(one.labels), []).append(one.times)
    changes: list[tuple[float, int]] = []
    for several in spans.values():
        times = np.unique(np.concatenate(several))
        breaks = np.flatnonzero(np.diff(times) > max(300.0, LATE * every))
        lows = [times[0], *times[breaks + 1]]
        highs = [*times[breaks], times[-1]]
        for low, high in zip(lows, highs, strict=True):
            changes += [(float(low) - every / 2, 1), (min(float(high) + every / 2, end), -1)]
    return levels(changes)


def levels(changes: Iterable[tuple[float, int]]) -> list[tuple[float, int]]:
    """From (time, change) to (time, number), one entry per time at which the number is another."""
    result: list[tuple[float, int]] = []
    now = 0
    for at, change in sorted(changes):
        now += change
        if result and result[-1][0] == at:
            result[-1] = (at, now)
        else:
            result.append((at, now))
    return [one for place, one in enumerate(result) if place == 0 or one[1] != result[place - 1][1]]


def seconds(
    steps: Sequence[tuple[float, int]], start: float, end: float, without: Sequence[Interval]
) -> float:
    """Replica-seconds of the steps within [start, end] outside of the stretches `without`."""
    total = 0.0
    for place, (at, number) in enumerate(steps):
        low, high = max(at, start), min(steps[place + 1][0] if place + 1 < len(steps) else end, end)
        if high > low and number:
            hidden = sum(max(0.0, min(high, b) - max(low, a)) for a, b in without)
            total += number * (high - low - hidden)
    return total
