"""From counters that engines report to samples that can be learned from.

A sample says: with this batch, this much cache and this many prompt tokens in a step, a step took this long.
Engines rarely report a step's time; they count tokens. Over an interval in which B sequences decode, G tokens
come out, so a step (the time between two tokens of a sequence) took B·Δt/G. With speculative decoding that is
what a user feels, which is what is wanted.

Everything that makes such a quotient lie is refused here, each with its reason: a restarted engine, a counter
that went back, NaN, an engine that was idle at one end, a batch that changed too much, an interval too short
to count in or too long to mean one thing, and an engine whose counters stand still while it claims to run.
"""

from dataclasses import dataclass

from torpor.decide.values import Unknown, Value, measured

SHORTEST = 2.0  # seconds: below, a step more or less is a tenth of the answer
LONGEST = 60.0  # seconds: above, the two ends say little about what lies between
MOST_COUNTED = 1e15  # a counter of tokens beyond this is no counter
MOST_NOISE = 0.3

NOT_REPORTED = Unknown("not reported")


@dataclass(frozen=True, slots=True)
class Counters:
    """What one replica reported at `at` (seconds on the caller's clock).

    boot: another one means that the counters began anew. running, waiting: sequences. kv_tokens: in the
    cache. generated, prompts: tokens since boot; cached: of the prompts' tokens, those found in the prefix
    cache. step_ms: mean time between tokens since the last report, where the engine says so itself.
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
    step_ms: Value = NOT_REPORTED


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
    if min(first, last) < 1:
        return Unknown("the engine was idle")
    if generated == 0 and prompts == 0:
        return Unknown("its counters stand still while it claims to run")
    hits = _counted(before.cached, after.cached)
    computed = prompts if isinstance(hits, Unknown) else max(0.0, prompts - hits)
    running, noise = (first + last) / 2, 0.6 * abs(last - first) / (last + first)
    if noise > MOST_NOISE:
        return Unknown(f"its batch went from {first:.0f} to {last:.0f}")
    full = budget if _waits(before) and _waits(after) else None
    step = _step(after, seconds, running=running, generated=generated, computed=computed, full=full)
    if isinstance(step, Unknown):
        return step
    sample = Sample(step, running, (kv_before + kv_after) / 2, computed * step / (seconds * 1000), noise)
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


def _step(
    after: Counters,
    seconds: float,
    *,
    running: float,
    generated: float,
    computed: float,
    full: int | None,
) -> Value:
    told = measured(after.step_ms, low=0.01, high=60_000)
    if not isinstance(told, Unknown):
        return told
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
