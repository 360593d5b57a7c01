"""What the benchmark lets pass through a fleet: recorded traces, scaled, and loads of our own from a seed.

A recorded trace is superposed with itself until the 99.9th percentile of the replicas that its second half
needs lies between 8 and 12 (`scale` finds how often, always the same). That half is scored; of the first
two days may be tuned on. Our own loads are Poisson arrivals at a rate in minutes, in units of what one
replica carries of their lengths, with lognormal lengths:

    smooth     a sine from 1.2 to 10 replicas over the day, with 5 % of slow noise, seven days
    overnight  nothing from 20 to 8 o'clock, a plateau of 10 replicas between, seven days
    bursty     3 replicas, and 13 for 60 minutes at random times, one per 48 hours, fourteen days
    shift      smooth, but from the middle of the trace on prompts are 80 % longer
    step       1 replica, and 10 for six hours of the third of four days
    stray      overnight, with a single request at 3 o'clock in each night of the second half

`conditions` says what goes wrong in a run besides: nothing; the engines' metrics out for half an hour of
every six, from the second half on; every fifth start failing, replaced after 600 s.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torpor.simulate import bound, traces
from torpor.simulate.conditions import Conditions
from torpor.simulate.hardware import find, for_objective
from torpor.simulate.traces import Trace

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torpor.decide.hardware import Hardware

DAY = 86_400.0
HOUR = 3600.0
TTFT_MS, ITL_MS = 2000.0, 50.0
LEAST, MOST, AIM = 8, 12, 10  # replicas needed, 99.9th percentile
PROMPT, OUTPUT = 5000.0, 500.0  # mean tokens of our own loads
PROMPT_CV, OUTPUT_CV = 0.5, 0.6
LONGER = 1.8
WARM_UP = 6 * HOUR  # of rivals, which remember less than that

HARDWARE = "llama-3.1-70b-fp8-h100-tp4"  # what the goals are for; constants of autoscaling.md 11.1

RECORDED = {
    "large48": "req_servegen_large48_7d.csv.gz",
    "mid52": "req_servegen_mid52_7d_x0.25.csv.gz",
    "mid64": "req_servegen_mid64_14d.csv.gz",
    "azure-code": "azure2023_code.csv",
    "azure-conv": "azure2023_conv.csv",
    "mooncake": "mooncake_fast25_conversation.jsonl",
}
OWN = ("smooth", "overnight", "bursty", "shift", "step", "stray")
CONDITIONS = ("none", "outage", "failed-starts")
STATIONARY = ("smooth", "overnight", "large48", "mid52", "azure-code", "azure-conv")


@dataclass(frozen=True, slots=True)
class Load:
    """One load. Seconds: `half`, from where on it is scored; `tune`, the days for tuning. scale: how often
    a recording was superposed.
    """

    name: str
    trace: Trace
    half: float
    scale: float = 1.0

    @property
    def tune(self) -> tuple[float, float]:
        """From and to."""
        return 0.0, min(2 * DAY, self.half)

    def part(self, begins: float, ends: float = math.inf) -> Trace:
        """The requests of [begins, ends), times from its beginning."""
        low, high = np.searchsorted(self.trace.arrival, (begins, ends))
        t = self.trace
        return Trace(t.arrival[low:high] - begins, t.prompt[low:high], t.output[low:high])


def replica_for(trace: Trace, hardware: str = HARDWARE) -> Hardware:
    """The engine with the budget that the objective gives it."""
    return for_objective(find(hardware), trace, ITL_MS, seqs=None, budget=None)


@lru_cache(maxsize=1)
def load(
    name: str,
    folder: str | None,
    seed: int,
    *,
    quick: bool = False,
    hardware: str = HARDWARE,
    factor: float | None = None,
) -> Load:
    """The load of that name. factor: how often to superpose a recording, where that is known; finding it
    takes longer than the rest. Raises TraceError, and ValueError for a name that is none.
    """
    if name in RECORDED:
        if folder is None:
            raise ValueError(f"load {name!r} is a recording: say where it is with --traces FOLDER")
        trace = traces.read(Path(folder) / RECORDED[name])
        factor = factor or scale(trace, seed, hardware)
        scaled = traces.scaled(trace, factor, seed)
        return Load(name, scaled, _half(scaled), factor)
    if name in OWN:
        return own(name, seed, quick=quick, hardware=hardware)
    raise ValueError(f"load {name!r}: unknown; choose of {', '.join((*RECORDED, *OWN))}")


def digest(name: str, folder: str | None, seed: int, *, quick: bool = False) -> str:
    """What the load depends on, without making it."""
    text = f"{name} {seed} {quick}"
    if name in RECORDED and folder is not None:
        text += hashlib.sha256((Path(folder) / RECORDED[name]).read_bytes()).hexdigest()
    return text


def scale(trace: Trace, seed: int, hardware: str = HARDWARE) -> float:
    """How often to superpose it: first as if every request counted K times, then corrected by what jitter
    smooths, two significant digits. The half that is scored decides.
    """
    replica = replica_for(trace, hardware)

    def needed(load: Trace, headroom: float = 1.0) -> float:
        needs = bound.need(load, replica, ITL_MS, headroom=headroom)
        return float(np.percentile(needs[int(_half(load) // bound.SLOT_SECONDS) :], 99.9))

    low, high = 0.01, 5000.0
    for _ in range(40):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if needed(trace, middle) < AIM else (low, middle)
    factor = high
    for _ in range(6):
        factor = float(f"{factor:.2g}")
        found = needed(traces.scaled(trace, factor, seed))
        if LEAST <= found <= MOST:
            return factor
        factor *= AIM / max(found, 1.0)
    raise ValueError(f"no rate scale gives a need of {LEAST} to {MOST} replicas; the last gave {found:g}")


def _half(trace: Trace) -> float:
    """Where the second half begins, in seconds: at noon or midnight where there are days."""
    span = float(trace.arrival[-1])
    return DAY / 2 * max(1, round(span / DAY)) if span > DAY / 2 else span / 2


def own(name: str, seed: int, *, quick: bool = False, hardware: str = HARDWARE) -> Load:
    """A load of our own, from the seed. quick: two days, two thirds of the height."""
    draws = np.random.default_rng([seed, (*OWN,).index(name), 77])
    days = 2 if quick else {"bursty": 14, "step": 4}.get(name, 7)
    height = 2 / 3 if quick else 1.0
    minutes = np.arange(days * 1440)
    half = days * DAY / 2
    hour = (minutes % 1440) / 60.0
    if name in {"smooth", "shift"}:
        level = 5.6 - 4.4 * np.cos(2 * np.pi * (hour - 4.0) / 24.0)
    elif name in {"overnight", "stray"}:
        level = 10.0 * np.clip(np.minimum(hour - 8.0, 20.0 - hour), 0.0, 1.0)
    elif name == "bursty":
        level = np.full(len(minutes), 3.0)
        at = float(draws.exponential(2 * 1440))
        if quick:
            at = 500.0
        while at < len(minutes):
            level[int(at) : int(at) + 60] = 13.0
            at += 60 + (1440.0 if quick else float(draws.exponential(2 * 1440)))
    else:
        level = np.ones(len(minutes))
        begins = int(half / 60) + 720
        level[begins : begins + 360] = 10.0
    slow = np.convolve(draws.standard_normal(len(minutes) + 59), np.ones(60) / math.sqrt(60), "valid")
    level = level * height * np.exp(0.05 * slow - 0.00125)
    count = draws.poisson(level * 60.0 * _one_replica(find(hardware)))
    arrival = np.sort(np.repeat(minutes * 60.0, count) + draws.uniform(0, 60, int(count.sum())))
    if name == "stray":
        nights = np.arange(math.ceil((half - 3 * HOUR) / DAY), days) * DAY + 3 * HOUR
        arrival = np.sort(np.concatenate([arrival, nights]))
    prompt = _lengths(draws, len(arrival), PROMPT, PROMPT_CV, 100_000)
    output = _lengths(draws, len(arrival), OUTPUT, OUTPUT_CV, 20_000)
    if name == "shift":
        prompt = np.where(arrival >= half, np.rint(prompt * LONGER).astype(np.int64), prompt)
    return Load(name, Trace(arrival, prompt, output), half)


def _one_replica(h: Hardware) -> float:
    """Requests per second that one replica carries of our lengths (autoscaling.md 11.3); of W the mean over
    lengths that do not depend on each other: E[O²] = O²(1 + cv²).
    """
    work = h.d * PROMPT + OUTPUT * (h.b + h.c * PROMPT) + h.c * OUTPUT**2 * (1 + OUTPUT_CV**2) / 2
    return 1000.0 * (1 - h.a / ITL_MS) / work


def _lengths(draws: Any, count: int, mean: float, cv: float, most: int) -> NDArray[np.int64]:
    sigma = math.sqrt(math.log(1 + cv * cv))
    values = mean * np.exp(sigma * draws.standard_normal(count) - sigma * sigma / 2)
    return np.clip(np.rint(values), 1, most).astype(np.int64)


def conditions(name: str, begins: float, ends: float) -> Conditions:
    """What goes wrong between two seconds of a run."""
    if name == "outage":
        starts = np.arange(begins + 2 * HOUR, ends, 6 * HOUR)
        return Conditions(outages=tuple((float(at), float(at) + HOUR / 2) for at in starts))
    if name == "failed-starts":
        return Conditions(failed_starts=0.2, start_deadline=600.0)
    if name == "none":
        return Conditions()
    raise ValueError(f"condition {name!r}: unknown; choose of {', '.join(CONDITIONS)}")
