"""What every rival stands on: its periods, what it may read of a fleet, and what its owner had to know.

A rival is a rule that some other autoscaler has published, restated from its description with its own
periods and defaults. It sees the same `View` as Torpor's own policy, and reads it the way its own data path
would:

- Engine metrics come through a scrape every 15 s, half a period away from the rule's own clock, so that they
  are 0 to 15 s old when they are used. While reports are missing the scrape finds nothing; while they are
  stale it finds the old values, for five minutes, as a Prometheus does.
- What a router or a proxy of its own would count (arrivals, requests in flight, requests that wait) comes
  from the gateways, without a lag.

Where a rule needs something of the load beforehand (a profiled capacity, a rate per replica), `Place` has it
from the part of the trace that may be tuned on, by the closed form of autoscaling.md 11.3: better than any
owner would measure it. Requests that find no replica are held by the same gateway for all.

Rounding goes through `ceil` and `floor` here, which forgive the last bits of a float.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torpor.simulate.view import READY, STARTING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torpor.decide.hardware import Hardware
    from torpor.simulate.view import View

SCRAPE_SECONDS = 15.0
LOOKBACK_SECONDS = 300.0  # how long a Prometheus answers with a series' last value
_EPSILON = 1e-9


def ceil(value: float) -> int:
    """The next whole number above."""
    return math.ceil(value - _EPSILON)


def floor(value: float) -> int:
    """The next whole number below."""
    return math.floor(value + _EPSILON)


@dataclass(frozen=True, slots=True)
class Place:
    """The fleet that a rival is put in charge of, and what is known of its load beforehand.

    ttft_ms, itl_ms: objectives. prompt, output: mean tokens of the known load. peak: the most replicas that
    one slot of it needed.
    """

    max_replicas: int
    ttft_ms: float
    itl_ms: float
    replica: Hardware
    prompt: float
    output: float
    peak: int = 1

    def capacity(self, prompt: float, output: float, itl_ms: float | None = None) -> float:
        """Requests per second that one replica carries within the ITL objective (autoscaling.md 11.3):
        (1 - a/t)/W, less where sequences or cache are scarcer.
        """
        h = self.replica
        context = prompt + output / 2
        work = h.d * prompt + output * (h.b + h.c * context)
        limits = (
            (1 - h.a / (itl_ms or self.itl_ms)) / work,
            h.max_num_seqs / (output * h.a + h.max_num_seqs * work),
            h.kv_tokens / (output * context * h.a + h.kv_tokens * work),
        )
        return 1000.0 * max(min(limits), _EPSILON)

    @property
    def rate(self) -> float:
        """Requests per second that one replica carries of the known load."""
        return self.capacity(self.prompt, self.output)

    @property
    def concurrency(self) -> float:
        """Requests that run at once in a replica which carries `rate`: rate times O steps (11.3)."""
        h = self.replica
        work = h.d * self.prompt + self.output * (h.b + h.c * (self.prompt + self.output / 2))
        rate = self.rate / 1000.0
        return rate * self.output * h.a / max(1 - rate * work, _EPSILON)


class Window:
    """The samples of the last `seconds`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._samples: deque[tuple[float, float]] = deque()
        self._sum = 0.0

    def add(self, now: float, value: float) -> None:
        """Take a sample; what is older than the window goes."""
        self._samples.append((now, value))
        self._sum += value
        self.expire(now)

    def expire(self, now: float) -> None:
        """Drop what is older than the window."""
        while self._samples and self._samples[0][0] <= now - self.seconds + _EPSILON:
            self._sum -= self._samples.popleft()[1]

    @property
    def mean(self) -> float | None:
        """The mean; None without samples."""
        if not self._samples:
            return None
        return max(0.0, self._sum / len(self._samples)) if self._sum > _EPSILON else 0.0

    @property
    def values(self) -> list[float]:
        """The samples, the oldest first."""
        return [value for _, value in self._samples]


class Rates:
    """A counter's growth per second over the last `seconds`; at least two readings make a rate."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._readings: deque[tuple[float, float]] = deque()

    def add(self, now: float, counter: float) -> None:
        """Take a reading; one that is as old as the window stays, as the rate's beginning."""
        readings = self._readings
        readings.append((now, counter))
        while len(readings) > 2 and readings[1][0] <= now - self.seconds + _EPSILON:
            readings.popleft()

    @property
    def growth(self) -> float:
        """By how much the counter grew in the window."""
        return self._readings[-1][1] - self._readings[0][1] if self._readings else 0.0

    @property
    def rate(self) -> float:
        """Growth per second."""
        span = self._readings[-1][0] - self._readings[0][0] if self._readings else 0.0
        return self.growth / span if span > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Reading:
    """One ready replica as scraped. waiting: inside, plus its share of what waits at the gateway; tokens and
    decode_seconds are counters (see PodView).
    """

    key: tuple[float, float]
    running: float
    waiting: float
    kv: float
    tokens: float
    decode_seconds: float


@dataclass(frozen=True, slots=True)
class Scrape:
    """All that one scrape found. missing: pods without a report, those that are starting included."""

    at: float
    pods: tuple[Reading, ...]
    missing: int

    @property
    def waiting(self) -> float:
        """Requests that wait, anywhere."""
        return sum(pod.waiting for pod in self.pods)


def scrape(view: View) -> Scrape:
    """What a scrape finds now."""
    if view.report_age > LOOKBACK_SECONDS:
        return Scrape(view.now, (), view.ready + view.starting)
    ready = [row for row in view.rows if row[0] == READY]
    known = [row for row in ready if not math.isnan(row[2])]
    share = view.waiting / len(ready) if ready else 0.0
    pods = tuple(Reading((row[9], row[1]), row[2], row[3] + share, row[4], row[5], row[7]) for row in known)
    starting = sum(1 for row in view.rows if row[0] == STARTING)
    return Scrape(view.now, pods, len(ready) - len(known) + starting)


class Rival:
    """A rule with parameters and a clock of its own.

    Subclasses say `defaults` (every parameter, with the published default where there is one), `every`
    (seconds between two decisions), `grid` (what its owner would try), and implement `decide`. `period` is
    the time between two looks, an integer part of `every`.
    """

    family: ClassVar[str]
    source: ClassVar[str]  # section of the survey that the rule is restated from
    defaults: ClassVar[Mapping[str, float]]
    positive: ClassVar[tuple[str, ...]] = ("target",)  # parameters that must be above 0
    every: ClassVar[float] = 15.0
    period: ClassVar[float] = 7.5
    scraped: ClassVar[bool] = True
    floor: int = 1  # a rival that cannot go to zero stays at one

    def __init__(self, place: Place, given: Mapping[str, float] | None = None) -> None:
        self.place = place
        self.p = {**self.defaults, **self.known(place), **(given or {})}
        told = ",".join(f"{key}={value:g}" for key, value in (given or {}).items())
        self.name = f"{self.family}:{told}" if told else self.family
        self.scrape: Scrape | None = None  # the last one
        self._next = 0.0
        self._due = 0.0
        self._scrape_due = -math.inf

    @classmethod
    def known(cls, place: Place) -> dict[str, float]:
        """Defaults that depend on the load, for rules that publish none."""
        del place
        return {}

    @classmethod
    def grid(cls, place: Place) -> list[dict[str, float]]:
        """At most eight sets of parameters to tune over."""
        raise NotImplementedError

    def look(self, view: View) -> int:
        """Keep to the rule's clock: looks that are not due (the first held request) go to `woken`."""
        now = view.now
        if now < self._next - _EPSILON:
            return self._bounded(self.woken(view))
        self._next = now + self.period
        if self.scraped:
            # Half a period before each decision, so that what is read is as old as it would be on average.
            if self._scrape_due == -math.inf:
                self._scrape_due = now + (self.period if self.period < self.every else 0.0)
            if now >= self._scrape_due - _EPSILON:
                self._scrape_due = now + max(SCRAPE_SECONDS, self.period)
                self.scrape = scrape(view)
                self.scraped_now(self.scrape)
        self.watch(view)
        if now < self._due - _EPSILON:
            return self._bounded(view.replicas)
        self._due = now + self.every
        return self._bounded(self.decide(view))

    def woken(self, view: View) -> int:
        """A request found the fleet without a ready replica, between two looks. Most rules learn of it at
        their next one.
        """
        return view.replicas

    def watch(self, view: View) -> None:
        """Take samples, at every look."""

    def scraped_now(self, found: Scrape) -> None:
        """Take samples, at every scrape."""

    def decide(self, view: View) -> int:
        """Return how many replicas, once every `every` seconds."""
        raise NotImplementedError

    def _bounded(self, wished: int) -> int:
        return max(self.floor, min(wished, self.place.max_replicas))
