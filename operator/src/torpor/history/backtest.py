"""What other policies would have made of a past, and what it was: the figures of `torpor backtest`.

Each policy meets each seed's draw of the same history in the simulator (`torpor simulate`'s, with vLLM's
scheduler and the gateway's line) and is judged by the same objectives. A figure is the median over seeds with
the range beside it. Requests that came while nobody watched are simulated and not scored, and replica time
of such stretches is left out on both sides.

A request is delayed where a second passed before a replica began with it: at the gateway in the simulation,
in the engine's own queue in what happened, for that is where each has its line. Refused ones are delayed.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from torpor.history import series
from torpor.history.driver import Production
from torpor.history.rebuild import until
from torpor.simulate import plan, results
from torpor.simulate.fleet import Simulation
from torpor.simulate.replica_kernel import EXPIRED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torpor.api.types import InferenceService
    from torpor.decide.hardware import Hardware
    from torpor.history.read import Histogram, Past
    from torpor.history.rebuild import Rebuilt
    from torpor.history.series import Interval
    from torpor.simulate.fleet import FleetPolicy, Run

DELAYED_SECONDS = 1.0
HOUR = 3600.0


@dataclass(frozen=True, slots=True)
class Range:
    """A figure over seeds."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float], digits: int) -> Range:
        """The median and both ends."""
        return cls(*(round(float(v), digits) for v in (np.median(values), min(values), max(values))))


@dataclass(frozen=True, slots=True)
class Conditions:
    """What all runs share. cold_start, look: seconds; ttft_ms, itl_ms: objectives that all are judged by."""

    cold_start: float
    look: float
    ttft_ms: float
    itl_ms: float
    gateways: int = 2


@dataclass(frozen=True, slots=True)
class Row:
    """One policy's figures. Shares in percent, waits in seconds. steps: replicas asked for by the first seed,
    (seconds from the beginning, number).
    """

    policy: str
    replica_hours: Range
    slo_attainment_percent: Range
    requests_delayed: Range
    p95_wait_seconds: Range
    scale_changes: Range
    peak_replicas: Range
    steps: list[tuple[float, int]]

    def document(self) -> dict[str, Any]:
        """Plain values, without the picture's."""
        found = asdict(self)
        del found["steps"]
        return found


@dataclass(frozen=True, slots=True)
class Candidate:
    """A policy to try. service: its limits and signals; rule: a name of `torpor simulate` (`static:N`, a
    rival) that decides in place of Torpor, empty for Torpor itself.
    """

    name: str
    service: InferenceService
    rule: str = ""


def run(
    past: Past,
    rebuilt: Rebuilt,
    candidate: Candidate,
    *,
    hardware: Hardware,
    conditions: Conditions,
    seeds: Sequence[int],
    told: Callable[[float], None] = lambda share: None,
) -> Row:
    """One policy over the past, once per seed. Raises SimulationError and ValueError."""
    found = []
    for seed in seeds:
        found.append(once(past, rebuilt, candidate, hardware=hardware, conditions=conditions, seed=seed))
        told(1 / len(seeds))
    return row(candidate.name, found)


@dataclass(frozen=True, slots=True)
class Once:
    """One draw under one policy: its figures (`scored`) and the replicas asked for."""

    figures: dict[str, float]
    steps: list[tuple[float, int]]


def once(
    past: Past,
    rebuilt: Rebuilt,
    candidate: Candidate,
    *,
    hardware: Hardware,
    conditions: Conditions,
    seed: int,
) -> Once:
    """One policy over one draw of the past. Raises SimulationError and ValueError."""
    span = past.end - past.start
    hidden = [(low - past.start, high - past.start) for low, high in past.missing]
    began = level(past.asked or past.replicas, past.start + 5 * past.every)
    service, trace = candidate.service, rebuilt.trace(seed)
    replica = plan.engine(service, hardware, trace)
    driver: FleetPolicy = Production(candidate.name, service, replica, past.start, conditions.cold_start)
    if candidate.rule:
        driver = plan.policy(candidate.rule, service, replica, trace)
    setup = plan.setup(
        service,
        replica,
        cold_start=conditions.cold_start,
        look=plan.pace(driver, conditions.look),
        seed=seed,
        gateways=conditions.gateways,
    )
    done = Simulation(until(trace, span), replace(setup, initial=began), driver).run()
    return Once(scored(done, conditions, hidden, span), done.steps)


def row(name: str, found: Sequence[Once]) -> Row:
    """The figures of one policy over its draws."""

    def over(key: str, digits: int) -> Range:
        return Range.of([one.figures[key] for one in found], digits)

    return Row(
        name,
        over("hours", 2),
        over("attained", 2),
        over("delayed", 0),
        over("p95", 2),
        over("changes", 0),
        over("peak", 0),
        found[0].steps,
    )


def scored(run: Run, conditions: Conditions, hidden: Sequence[Interval], end: float) -> dict[str, float]:
    """The figures of one run (`until` its `end`), without what lies in `hidden`. Seconds from the
    beginning.
    """
    arrival = run.requests["arrival"]
    inside = arrival < end
    for low, high in hidden:
        inside &= (arrival < low) | (arrival >= high)
    requests = run.requests[inside]
    good = results.attained(run, conditions.ttft_ms, conditions.itl_ms)[inside]
    over = np.where(requests["end"] == EXPIRED, requests["finish"], requests["sent"])
    waited = np.where(np.isfinite(over), over - requests["arrival"], np.inf)  # refused: served never
    lives = [change for born, died in run.lives for change in ((born, 1), (min(died, end), -1))]
    steps = series.levels([(at, change) for at, change in lives if at <= end])
    finite = waited[np.isfinite(waited)]
    return {
        "hours": series.seconds(steps, 0.0, end, hidden) / HOUR,
        "attained": 100.0 * float(good.mean()) if len(good) else 100.0,
        "delayed": float((waited > DELAYED_SECONDS).sum()),
        "p95": float(np.percentile(finite, 95)) if len(finite) else 0.0,
        "changes": float(sum(1 for at, _ in run.steps if 0 < at < end)),
        "peak": float(max((count for _, count in steps), default=0)),
    }


@dataclass(frozen=True, slots=True)
class Happened:
    """What really was, as far as the series tell; None where they do not. attained: (least, most) in percent,
    for a request's first token and its pace are known apart, unless the gateways judged each.
    """

    replica_hours: float
    with_starts: bool
    attained: tuple[float, float] | None
    judged_by: str
    requests: float
    requests_delayed: float | None
    p95_wait_seconds: float | None
    scale_changes: int
    peak_replicas: int
    steps: list[tuple[float, int]]

    def document(self) -> dict[str, Any]:
        """Plain values, without the picture's."""
        found = asdict(self)
        del found["steps"]
        found["slo_attainment_percent"] = (
            None if self.attained is None else {"low": self.attained[0], "high": self.attained[1]}
        )
        del found["attained"]
        return found


def happened(past: Past, conditions: Conditions) -> Happened:
    """What really was. Without the operator's word a replica counts from its first sample, so each start is
    added at the length that the simulation is given too.
    """
    steps = past.asked or past.replicas
    seconds = series.seconds(steps, past.start, past.end, past.missing)
    changes = [
        (count - before, at)
        for (_, before), (at, count) in zip([(0.0, 0), *steps], steps, strict=False)
        if at > past.start + 2 * past.every
    ]
    if not past.asked:
        seconds += conditions.cold_start * sum(change for change, _ in changes if change > 0)
    waits = past.queue.total
    return Happened(
        replica_hours=round(seconds / HOUR, 2),
        with_starts=bool(past.asked),
        attained=_attained(past, conditions),
        judged_by="gateways" if past.judged else "engines",
        requests=past.arrivals.total,
        requests_delayed=round(past.arrivals.total * (1 - below(past.queue, DELAYED_SECONDS)))
        if waits
        else None,
        p95_wait_seconds=round(quantile(past.queue, 0.95), 2) if waits else None,
        scale_changes=len(changes),
        peak_replicas=past.peak,
        steps=[(at - past.start, count) for at, count in steps],
    )


def _attained(past: Past, conditions: Conditions) -> tuple[float, float] | None:
    if past.judged:
        share = round(100.0 * (1.0 - past.judged[1] / past.judged[0]), 2)
        return share, share
    if not past.ttft.total:
        return None
    first = below(past.ttft, conditions.ttft_ms / 1000.0)
    pace = below(past.pace, conditions.itl_ms / 1000.0) if past.pace.total else 1.0
    return round(100.0 * max(0.0, first + pace - 1.0), 2), round(100.0 * min(first, pace), 2)


def below(histogram: Histogram, limit: float) -> float:
    """Share of the observations up to `limit`, straight between the bounds around it."""
    counts = histogram.counts.sum(axis=0)
    shares = np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])
    bounds = np.concatenate([[0.0], histogram.bounds])
    finite = np.isfinite(bounds)
    if limit >= bounds[finite][-1]:
        return float(shares[finite][-1])
    return float(np.interp(limit, bounds[finite], shares[finite]))


def quantile(histogram: Histogram, share: float) -> float:
    """The observation that so many are below, straight between bounds; the last finite bound beyond it."""
    counts = histogram.counts.sum(axis=0)
    shares = np.concatenate([[0.0], np.cumsum(counts) / counts.sum()])
    bounds = np.concatenate([[0.0], histogram.bounds])
    finite = np.isfinite(bounds)
    place = int(np.searchsorted(shares, share))
    if place >= len(bounds) or not finite[place]:
        return float(bounds[finite][-1])
    low, high = shares[place - 1], shares[place]
    part = (share - low) / (high - low) if high > low else 1.0
    return float(bounds[place - 1] + part * (bounds[place] - bounds[place - 1]))


def level(steps: Sequence[tuple[float, int]], at: float) -> int:
    """The number that holds at a time."""
    return next((count for begins, count in reversed(steps) if begins <= at), 0)


def uncertainty(past: Past, conditions: Conditions, learned_error: float | None, seeds: int) -> list[str]:
    """What the figures cannot know, a sentence each."""
    told = [
        f"samples are {past.every:g} s apart: bursts shorter than that are spread over it",
        "lengths are known as histograms: each half hour's shape, its exact mean, and no link "
        "between a prompt "
        "and its answer",
        f"ranges are over {seeds} draws of the same history and of the cold starts (mean "
        f"{conditions.cold_start:g} s)",
        "the simulator's engine is a model: see docs/reference/fidelity.md",
    ]
    if learned_error is not None:
        told.append(
            f"the engine's step times were learned from the history, off by {learned_error:.1%} in the mean"
        )
    if past.missing:
        share = past.missing_seconds / (past.end - past.start)
        told.append(
            f"{past.missing_seconds / HOUR:.1f} h ({share:.1%}) in {len(past.missing)} stretches "
            "were watched by "
            "nobody: what was counted over them is spread evenly, and they are left out of all figures"
        )
    if past.unusable:
        told.append(f"{past.unusable} samples were no number from 0 and were left out")
    if past.counted_by == "engine":
        told.append(
            "requests are known from the engines: one that was held, refused or gave up before it "
            "reached one is "
            "not seen"
        )
    if not past.asked:
        told.append("replicas are known from their metrics: each start is counted with the cold start given")
    if not past.prompts.total or not past.outputs.total:
        told.append("a histogram of lengths is missing: 1024 prompt and 256 output tokens are assumed")
    return told + [f"the server said: {note}" for note in past.notes[:5]]


def plain(document: Any) -> Any:
    """Values that JSON and YAML can write: infinities and NaN become null."""
    if isinstance(document, dict):
        return {key: plain(value) for key, value in document.items()}
    if isinstance(document, list | tuple):
        return [plain(value) for value in document]
    return None if isinstance(document, float) and not math.isfinite(document) else document
