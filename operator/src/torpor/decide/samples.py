"""From counters that engines and gateways report to samples that can be learned from.

A sample says: with this batch, this much cache and this many prompt tokens in a step, a step took this long.
Where the gaps between tokens are counted (their number and their sum, as vLLM's histogram of inter-token
latency and the gateways' do), their mean is the step as a sequence sees it, and the tokens generated in Δt
give the batch: B = G·t/Δt. Without, a step took B·Δt/G with B read off a gauge at both ends, which means
something only for a batch large enough that two readings tell its mean. With speculative decoding both give
the time per token, which is what a user feels and what is wanted.

Everything that makes such a quotient lie is refused here, each with its reason: a restarted engine, a counter
that went back, NaN, an engine that was idle, a batch that changed too much, an interval too short to count in
or too long to mean one thing, and an engine whose counters stand still while it claims to run.
"""

import math
from dataclasses import dataclass

from torpor.decide.quick import quick
from torpor.decide.values import Unknown, Value, measured

SHORTEST = 2.0  # seconds: below, a step more or less is a tenth of the answer
LONGEST = 60.0  # seconds: above, the two ends say little about what lies between
MOST_COUNTED = 1e15  # a counter of tokens beyond this is no counter
MOST_NOISE = 0.3
FEWEST_GAPS = 20
SMALLEST_BATCH = 8  # by a gauge: the mean of two readings of a Poisson number is off by 0.7/sqrt(B)

NOT_REPORTED = Unknown("not reported")


@quick
@dataclass(frozen=True, slots=True)
class Counters:
    """What one replica reported at `at` (seconds on the caller's clock).

    boot: another one means that the counters began anew. running, waiting: sequences. kv_tokens: in the
    cache. generated, prompts: tokens since boot; cached: of the prompts' tokens, those found in the prefix
    cache. gaps, gap_seconds: number and sum of the times between two tokens of a sequence since boot. A
    whole fleet's sums, divided by its replicas like its gauges, are such a replica to learn from.
    """

    replica: str
    boot: str
    at: float
    running: Value = NOT_REPORTED
    waiting: Value = NOT_REPORTED
    kv_tokens: Value = NOT_REPORTED
    generated: Value = NOT_REPORTED
    prompts: Value = NOT_REPORTED
    cached: Value = NOT_REPORTED
    gaps: Value = NOT_REPORTED
    gap_seconds: Value = NOT_REPORTED


@quick
@dataclass(frozen=True, slots=True)
class Sample:
    """A step: how long (ms), over how many sequences, cached tokens and prompt tokens. noise: relative
    standard error of step_ms from the way it was taken, beyond the engine's own spread.
    """

    step_ms: float
    running: float
    kv_tokens: float
    prompt_tokens: float
    noise: float = 0.0

    @property
    def sound(self) -> bool:
        """Whether every number is possible (NaN is not)."""
        return (
            0.01 <= self.step_ms <= 60_000
            and 0 <= self.running <= 1e6
            and 0 <= self.kv_tokens <= 1e9
            and 0 <= self.prompt_tokens <= 1e7
            and 0 <= self.noise <= 10
        )


def between(before: Counters, after: Counters, budget: int | None = None) -> Sample | Unknown:
    """Return the mean step between two reports of one replica, or why there is none.

    budget: tokens a step may take, needed only for an engine that generates nothing (embeddings): while
    requests wait there, each of its steps is full.
    """
    seconds = after.at - before.at
    if (before.replica, before.boot) != (after.replica, after.boot):
        return Unknown("the engine restarted")
    if not SHORTEST <= seconds <= LONGEST:
        return Unknown(f"reports {seconds:.1f} s apart, needed {SHORTEST:g} to {LONGEST:g}")
    ends = [measured(before.running), measured(after.running)]
    counts = [_counted(before.generated, after.generated), _counted(before.prompts, after.prompts)]
    caches = [measured(before.kv_tokens, high=MOST_COUNTED), measured(after.kv_tokens, high=MOST_COUNTED)]
    known: list[float] = []
    for value in (*ends, *counts, *caches):
        if isinstance(value, Unknown):
            return value
        known.append(value)
    first, last, generated, prompts, kv_before, kv_after = known
    if generated == 0 and prompts == 0:
        idle = min(first, last) < 1
        return Unknown("the engine was idle" if idle else "its counters stand still while it claims to run")
    hits = _counted(before.cached, after.cached)
    computed = prompts if isinstance(hits, Unknown) else max(0.0, prompts - hits)
    full = budget if _waits(before) and _waits(after) else None
    gauge = (first + last) / 2
    step: Value
    gap, count = _gap_ms(before, after)
    if not isinstance(gap, Unknown) and generated > 0:
        step, noise = gap, 0.5 / math.sqrt(count)
        running = max(1.0, generated * step / (seconds * 1000))
    else:
        running, noise = gauge, _gauge_noise(first, last)
        if noise > MOST_NOISE:
            return Unknown(f"its batch of {first:.0f} and then {last:.0f} is too small or changed too much")
        step = _by_gauge(seconds, running, generated=generated, computed=computed, full=full)
        if isinstance(step, Unknown):
            return step
    cached = (kv_before + kv_after) / 2 * (running / gauge if gauge > 0 else 1.0)
    sample = Sample(step, running, cached, computed * step / (seconds * 1000), noise)
    return sample if sample.sound else Unknown(f"a step of {step:.3g} ms")


def collect(
    before: tuple[Counters, ...], now: tuple[Counters, ...], budget: int | None = None
) -> tuple[tuple[Sample, ...], tuple[Counters, ...]]:
    """Take the samples between two looks at a fleet and return them with what to keep for the next look.

    A report stays until the next one is far enough from it; a replica that is gone, or that restarted, is
    forgotten.
    """
    olds = {counters.replica: counters for counters in before}
    samples: list[Sample] = []
    kept: list[Counters] = []
    for report in now:
        old = olds.get(report.replica)
        if old is None or old.boot != report.boot or report.at < old.at:
            kept.append(report)
            continue
        if report.at - old.at < SHORTEST:
            kept.append(old)
            continue
        found = between(old, report, budget)
        if isinstance(found, Sample):
            samples.append(found)
        kept.append(report)
    return tuple(samples), tuple(kept)


def _gap_ms(before: Counters, after: Counters) -> tuple[Value, float]:
    """The mean gap between tokens in ms, and how many gaps it is the mean of."""
    count = _counted(before.gaps, after.gaps)
    total = _counted(before.gap_seconds, after.gap_seconds)
    if isinstance(count, Unknown):
        return count, 0.0
    if isinstance(total, Unknown):
        return total, 0.0
    if count < FEWEST_GAPS:
        return Unknown("too few tokens"), 0.0
    return measured(1000 * total / count, low=0.01, high=60_000), count


def _gauge_noise(first: float, last: float) -> float:
    """Relative error of the mean batch read off at two ends; 1 where it says nothing."""
    if min(first, last) < SMALLEST_BATCH:
        return 1.0
    return math.hypot(0.6 * abs(last - first) / (last + first), 0.5 / math.sqrt((first + last) / 2))


def _by_gauge(
    seconds: float, running: float, *, generated: float, computed: float, full: int | None
) -> Value:
    """The step in ms from the tokens that came out; of an engine that generates nothing from those that went
    in, while each of its steps is full.
    """
    if generated > 0:
        return running * seconds * 1000 / generated
    if full is None or computed <= 0:
        return Unknown("it generates nothing and is not full")
    return full * seconds * 1000 / computed


def _counted(before: Value, after: Value) -> Value:
    """The growth of a counter."""
    first, last = measured(before, high=MOST_COUNTED), measured(after, high=MOST_COUNTED)
    if isinstance(first, Unknown):
        return first
    if isinstance(last, Unknown):
        return last
    return Unknown("a counter went back") if last < first else last - first


def _waits(counters: Counters) -> bool:
    waiting = measured(counters.waiting)
    return not isinstance(waiting, Unknown) and waiting >= 1
