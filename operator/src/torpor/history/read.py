"""From questions to a `Past`: everything that a backtest needs of a server, asked for once.

The order protects both sides. First how many series there are, hour by hour, which touches an index and a few
samples; what is no fleet but a whole company's is refused there. Then the samples of a few counters as they
were stored, in ranges (`m[6h]` at an instant): steps of a range query would repeat a sample that is missing
for five minutes and move each to the step's time. Histograms come as growth per half hour: their shape is
wanted, not their every sample.

The engine's own metrics suffice. Where Torpor's operator is in the same server, its counters tell what no
engine saw: requests held or refused before one was there, and replicas that were starting.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from torpor.history import names, series
from torpor.history.matchers import matcher, select
from torpor.history.source import HistoryError, Series

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from torpor.history.series import Growth, Interval
    from torpor.history.source import Source

MOST_SERIES = 4000  # of one metric at once: a thousand replicas of four ranks
MOST_SAMPLES = 1_500_000  # of one answer
MOST_STEPS = 10_000  # of one answer; a server refuses 11,000
SHORTEST_RANGE, LONGEST_RANGE = 600.0, 86_400.0
LOOKBACK = 300.0  # seconds for which a server repeats a sample at a step
SHAPE_SECONDS = 1800.0  # over which lengths are taken together
HOUR = 3600.0
ALWAYS = 0.9  # share of what the engines saw that the operator's counter must have for it to be believed


@dataclass(frozen=True, slots=True)
class Histogram:
    """Growth of one histogram, window by window. bounds: upper ends, the last infinite; counts: windows by
    buckets, not cumulative; sums: of the observed values; begins: of each window, seconds since the epoch.
    """

    bounds: NDArray[np.float64]
    counts: NDArray[np.float64]
    sums: NDArray[np.float64]
    begins: NDArray[np.float64]

    @property
    def total(self) -> float:
        """Observations."""
        return float(self.counts.sum())


EMPTY = Histogram(np.array([np.inf]), np.zeros((0, 1)), np.zeros(0), np.zeros(0))


@dataclass(frozen=True, slots=True)
class Past:
    """What a server knew of one fleet from `start` to `end` (seconds since the epoch).

    every: seconds between two samples. series: of one metric, over the whole time. arrivals: how many
    requests came when, by `counted_by` (engine or operator). replicas: (time, number) that were there;
    `asked`: that were asked for, empty where no operator told. missing: stretches that nobody watched.
    judged: streams held against the objectives and those that missed, by the gateways; None where no
    operator told. cold_starts: seconds that the operator told. unusable: samples that were no number. notes:
    the server's own words.
    """

    selector: str
    start: float
    end: float
    every: float
    series: int
    arrivals: Growth
    counted_by: str
    replicas: list[tuple[float, int]]
    asked: list[tuple[float, int]]
    missing: list[Interval]
    prompts: Histogram
    outputs: Histogram
    ttft: Histogram
    pace: Histogram
    queue: Histogram
    judged: tuple[float, float] | None = None
    cold_starts: list[float] = field(default_factory=list)
    unusable: int = 0
    notes: tuple[str, ...] = ()

    @property
    def peak(self) -> int:
        """The most replicas at once."""
        return max((count for _, count in (*self.replicas, *self.asked)), default=0)

    @property
    def missing_seconds(self) -> float:
        """Time that nobody watched."""
        return sum(high - low for low, high in self.missing)


def read(
    source: Source,
    selectors: Sequence[str],
    fleet: tuple[str, str],
    *,
    start: float,
    end: float,
    told: Callable[[float], None] = lambda share: None,
) -> Past:
    """The past of the fleet that one of `selectors` finds, the first that finds anything. `told` hears which
    share is done. Raises HistoryError.
    """
    selector, most = _selected(source, selectors, start, end)
    questions = _Questions(source, selector, start, end, most=most, told=told)
    first = questions.samples(names.FIRST_TOKENS)
    running = questions.samples(names.RUNNING)
    waiting = questions.samples(names.WAITING)
    if not first:
        raise HistoryError(
            f"{{{selector}}} has {names.RUNNING[0]} and no {names.FIRST_TOKENS[0]}, by which requests are "
            "counted; does the scrape drop histograms?"
        )
    every = series.interval(first)
    operator = f"{matcher('namespace', '=', fleet[0])},{matcher('name', '=', fleet[1])}"
    theirs = _Questions(source, operator, start, end, most=4, told=told, share=0.15)
    missing = series.unwatched(first, questions.heartbeat(every), every, start, end)
    arrivals = series.growth(_came(first, waiting), every, missing, start)
    counted_by = "engine"
    of_operator = series.growth(theirs.samples(names.ARRIVALS), every, missing, start)
    if arrivals.total and of_operator.total >= ALWAYS * arrivals.total:
        arrivals, counted_by = of_operator, "operator"
    if not arrivals.total:
        raise HistoryError(
            f"{{{selector}}} had {len(running)} series and not one request in that time; go further "
            "back with "
            "--since"
        )
    judged = theirs.samples(names.JUDGED)
    kept, missed = (
        series.growth([s for s in judged if s.labels.get("result") == kind], every, missing, start).total
        for kind in ("kept", "missed")
    )
    starts = {float(value) for one in theirs.samples(names.COLD_START) for value in one.values if value > 0}
    return Past(
        selector=selector,
        start=start,
        end=end,
        every=every,
        series=len(running),
        arrivals=arrivals,
        counted_by=counted_by,
        replicas=series.counted([*running, *first], every, end),
        asked=_asked(theirs.samples(names.DESIRED)),
        missing=missing,
        prompts=questions.histogram((names.PROMPT_LENGTHS,), SHAPE_SECONDS),
        outputs=questions.histogram((names.OUTPUT_LENGTHS,), SHAPE_SECONDS),
        ttft=questions.histogram((names.TTFT,), HOUR),
        pace=questions.histogram(names.PACES, HOUR),
        queue=questions.histogram((names.QUEUE,), HOUR),
        judged=(kept + missed, missed) if kept + missed else None,
        cold_starts=sorted(starts),
        unusable=questions.unusable + theirs.unusable,
        notes=tuple(source.notes),
    )


def _selected(source: Source, selectors: Sequence[str], start: float, end: float) -> tuple[str, int]:
    """The selector that finds series, and how many at once at the most."""
    step = max((end - start) / 500, 60.0)
    # Coarsely first: what is too much is cheap to see. Then so finely that a wake of minutes is not missed.
    for each in (step, LOOKBACK) if step > LOOKBACK else (step,):
        for selector in selectors:
            found = source.steps(f"count({select(names.RUNNING, selector)})", start, end, each)
            most = max((float(np.nanmax(one.values)) for one in found if len(one.values)), default=0.0)
            if most > MOST_SERIES:
                raise HistoryError(
                    f"{most:.0f} series of {names.RUNNING[0]} match {{{selector}}}: more than {MOST_SERIES} "
                    "are no single fleet; name one with narrower matchers in --selector"
                )
            if most:
                return selector, int(most)
    tried = " nor ".join(f"{{{selector}}}" for selector in selectors)
    others = source.steps(f"count by (namespace, name) ({select(names.RUNNING, '')})", start, end, step)
    where = ", ".join(
        sorted(
            {
                " ".join(f'{key}="{value}"' for key, value in o.labels.items()) or "no such label"
                for o in others
            }
        )[:8]
    )
    raise HistoryError(
        f"no {names.RUNNING[0]} in that time matches {tried}; "
        + (
            f"other engines have {where}: name yours with --selector"
            if where
            else "the server knows no vLLM at all"
        )
    )


def _came(first: Sequence[Series], waiting: Sequence[Series]) -> list[Series]:
    """Requests that had come to each engine: those with a first token and those that wait for one. An engine
    that is overloaded serves no more than it can, and only its queue tells how many came.
    """
    queues = {tuple(sorted(one.labels.items())): one for one in waiting}
    came = []
    for one in first:
        queue = queues.get(tuple(sorted(one.labels.items())))
        if queue is None:
            came.append(one)
            continue
        places = np.clip(np.searchsorted(queue.times, one.times, side="right") - 1, 0, None)
        near = np.abs(queue.times[places] - one.times) < 1.0  # of the same scrape
        total = one.values + np.where(near, queue.values[places], 0.0)
        # Requests that gave up leave the queue without a token, and a queue that shrinks takes back nothing
        # that had come. Where the counter began anew, so does the sum: as a series of its own, born there.
        begins = np.concatenate([[0], np.flatnonzero(np.diff(one.values) < 0) + 1, [len(total)]])
        came += [
            Series(one.labels, one.times[low:high], np.maximum.accumulate(total[low:high]))
            for low, high in pairwise(begins.tolist())
        ]
    return came


def _asked(desired: Sequence[Series]) -> list[tuple[float, int]]:
    """Replicas asked for over time, by whichever operator was leading: the largest of those that told."""
    if not desired:
        return []
    times = np.concatenate([one.times for one in desired])
    values = np.concatenate([one.values for one in desired])
    order = np.argsort(times, kind="stable")
    found: list[tuple[float, int]] = []
    for at, value in zip(times[order].tolist(), values[order].tolist(), strict=True):
        if not found or found[-1][1] != int(value):
            found.append((at, int(value)))
    return found


class _Questions:
    """Questions about one selector's series over one time."""

    def __init__(
        self,
        source: Source,
        selector: str,
        start: float,
        end: float,
        *,
        most: int,
        told: Callable[[float], None],
        share: float = 0.85,
    ) -> None:
        self._source, self._selector, self._start, self._end = source, selector, start, end
        self._told, self._share = told, share
        per_second = max(most, 1) / 5.0  # as if it were sampled every 5 s
        self._range = min(max(MOST_SAMPLES / per_second, SHORTEST_RANGE), LONGEST_RANGE)
        self.unusable = 0

    def samples(self, wanted: tuple[str, ...]) -> list[Series]:
        """All samples as they were stored, one series per label set."""
        parts: list[Series] = []
        at = self._start
        while at < self._end:
            ends = min(at + self._range, self._end)
            parts += self._source.instant(f"{select(wanted, self._selector)}[{_span(ends - at)}]", ends)
            if len(parts) > 50 * MOST_SERIES:
                raise HistoryError(
                    f"more than {50 * MOST_SERIES} series of {wanted[0]} match {{{self._selector}}} "
                    "over that "
                    "time; name one fleet with --selector, or ask for less with --since"
                )
            at = ends
            self._told(self._share / 8 * (self._range / (self._end - self._start)))
        found, dropped = series.sound(series.joined(parts))
        self.unusable += dropped
        return series.merged(found, wanted)

    def heartbeat(self, every: float) -> NDArray[np.float64] | None:
        """Times at which the server had samples of anything that it watches; None where it never had."""
        step = max(every, (self._end - self._start) / MOST_STEPS)
        found = self._source.steps("count(up)", self._start, self._end, step)
        return found[0].times if found and len(found[0].times) else None

    def histogram(self, candidates: tuple[str, ...], window: float) -> Histogram:
        """The first of these histograms that has anything."""
        span = min(window, self._end - self._start)
        window = max(span, (self._end - self._start) / MOST_STEPS)
        first = self._start + window
        for name in candidates:
            grown = f"increase({select((name,), self._selector, '_bucket')}[{_span(window)}])"
            buckets = self._source.steps(f"sum by (le) ({grown})", first, self._end, window)
            if not buckets:
                continue
            grown = f"increase({select((name,), self._selector, '_sum')}[{_span(window)}])"
            sums = self._source.steps(f"sum({grown})", first, self._end, window)
            return _histogram(buckets, sums, window)
        return EMPTY


def _span(seconds: float) -> str:
    return f"{max(1, round(seconds * 1000))}ms"


def _histogram(buckets: Sequence[Series], sums: Sequence[Series], window: float) -> Histogram:
    """Align by time, take the cumulative counts apart, and leave out windows that are no numbers."""
    bounds = sorted({float(one.labels["le"]) for one in buckets if "le" in one.labels})
    times = np.unique(np.concatenate([one.times for one in buckets]))
    table = np.zeros((len(times), len(bounds)))
    for one in buckets:
        if "le" in one.labels:
            table[np.searchsorted(times, one.times), bounds.index(float(one.labels["le"]))] = one.values
    total = np.zeros(len(times))
    for one in sums:
        places = np.searchsorted(times, one.times)
        inside = places < len(times)
        inside[inside] = times[places[inside]] == one.times[inside]
        total[places[inside]] = one.values[inside]
    good = np.isfinite(table).all(axis=1) & np.isfinite(total)
    # Buckets of an upgrade differ; a bound that one of them lacks is no smaller than the bound before it.
    table = np.maximum.accumulate(np.maximum(table[good], 0.0), axis=1)
    counts = np.diff(np.concatenate([np.zeros((len(table), 1)), table], axis=1), axis=1)
    return Histogram(np.array(bounds), counts, total[good], times[good] - window)
