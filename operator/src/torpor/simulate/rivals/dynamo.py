"""NVIDIA Dynamo's planner: by load, and by throughput.

Restated from autoscaling.md section 6. Every 5 s the load planner looks at each engine's (running + queued
tokens) over its cache: one more if any is above 1.0, one fewer if all are below 0.6 (its `latency` target:
0.4 and 0.1). With `sla` above 0 it looks at predicted latencies instead (here by the step model): one more
if all engines' are above the objective, one fewer if with n - 1 they would be below 0.8 of it and the cache
would do. It is blocked while replicas start.

The throughput planner divides, every 180 s, a forecast of the number of requests by what one engine carries
of requests of the mean length within the objectives: its profile, here the closed form of section 11.3. The
forecast is `predictor`: 0 the last value, 1 an ARIMA(1,1,0) over 50 points (the published default searches
an order without a season; this one is fixed), 2 a Kalman filter of level and trend (q 1 and 0.1, r 10) from
five points on. An interval without a request gives no number and changes nothing, so a night keeps what the
evening had. Its limit of 8 GPUs is left out in favour of the fleet's own. Neither goes to zero.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

from torpor.simulate.rivals.base import Place, Rates, Reading, Rival, ceil, scrape
from torpor.simulate.rivals.latency import predicted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torpor.simulate.view import View

POINTS = 50
FEWEST = 5


class DynamoLoad(Rival):
    """One step at a time, by what the engines hold."""

    family = "dynamo-load"
    source = "6"
    defaults: ClassVar = {"up": 1.0, "down": 0.6, "sla": 0.0}
    positive = ("up",)
    every = 5.0
    period = 5.0
    scraped = False  # engines publish their state to the planner

    def __init__(self, place: Place, given: Mapping[str, float] | None = None) -> None:
        super().__init__(place, given)
        self._arrivals, self._prompts = Rates(60.0), Rates(60.0)

    @classmethod
    def grid(cls, place: Place) -> list[dict[str, float]]:
        """Its latency target, its objective, and thresholds around the utilization at the ITL objective."""
        used = place.concurrency * (place.prompt + place.output / 2) / place.replica.kv_tokens
        found = [{"up": 0.4, "down": 0.1}, {"sla": 1.0}]
        for share in (0.5, 0.7, 0.85, 1.0):
            limit = min(0.95, max(0.005, share * used))
            found.append({"up": round(limit, 4), "down": round(0.6 * limit, 4)})
        return found

    def watch(self, view: View) -> None:
        """Count what arrives."""
        self._arrivals.add(view.now, view.arrivals)
        self._prompts.add(view.now, view.prompt_tokens)

    def decide(self, view: View) -> int:
        """One more, one fewer, or nothing."""
        current = view.replicas
        pods = scrape(view).pods
        if current == 0:
            return 1
        if view.starting or len(pods) != current:
            return current
        arrived = self._arrivals.growth
        prompt = self._prompts.growth / arrived if arrived > 0 else 0.0
        if self.p["sla"] > 0:
            return current + self._by_latency(pods, prompt)
        cache = self.place.replica.kv_tokens
        used = [pod.kv + pod.waiting * prompt / cache for pod in pods]
        if any(share > self.p["up"] for share in used):
            return current + 1
        return current - 1 if all(share < self.p["down"] for share in used) else current

    def _by_latency(self, pods: Sequence[Reading], prompt: float) -> int:
        place, n = self.place, len(pods)
        rate = self._arrivals.rate / n

        def worst(pod: Reading, share: float) -> float:
            ttft, itl = predicted(
                place,
                running=pod.running,
                waiting=pod.waiting,
                kv=pod.kv,
                rate=rate,
                prompt=prompt,
                share=share,
            )
            return max(ttft / place.ttft_ms, itl / place.itl_ms)

        if all(worst(pod, 1.0) > 1.0 for pod in pods):
            return 1
        if n > 1:
            share = n / (n - 1)
            if all(worst(pod, share) < 0.8 and pod.kv * share < 1.0 for pod in pods):
                return -1
        return 0


class DynamoThroughput(Rival):
    """A forecast over a profile."""

    family = "dynamo-throughput"
    source = "6"
    defaults: ClassVar = {"interval": 180.0, "predictor": 1.0, "share": 1.0}
    positive = ("interval", "share")
    every = 10.0
    period = 10.0
    scraped = False

    def __init__(self, place: Place, given: Mapping[str, float] | None = None) -> None:
        super().__init__(place, given)
        self._history: deque[float] = deque(maxlen=POINTS)
        self._kalman = Kalman()
        self._before: tuple[int, int, int] = (0, 0, 0)
        self._plan_due = self.p["interval"]

    @classmethod
    def grid(cls, place: Place) -> list[dict[str, float]]:
        """Shares of the profile, a shorter interval, other predictors."""
        del place
        return [
            {"share": 0.9},
            {"share": 0.8},
            {"share": 0.7},
            *({"share": share, "interval": 60.0} for share in (0.9, 0.8, 0.7)),
            {"share": 0.8, "interval": 60.0, "predictor": 0.0},
            {"share": 0.8, "interval": 60.0, "predictor": 2.0},
        ]

    def decide(self, view: View) -> int:
        """Plan at the end of each interval."""
        current = view.replicas
        if view.now < self._plan_due - 1e-9:
            return current
        self._plan_due = view.now + self.p["interval"]
        counts = (view.arrivals, view.prompt_tokens, view.output_tokens)
        requests, prompts, outputs = (float(new - old) for new, old in zip(counts, self._before, strict=True))
        self._before = counts
        if requests <= 0 or outputs <= 0:
            return current
        self._history.append(requests)
        expected = max(0.0, self._forecast(requests))
        itl = self.place.itl_ms
        each = self.p["share"] * self.place.capacity(prompts / requests, outputs / requests, itl)
        return max(1, ceil(expected / self.p["interval"] / each))

    def _forecast(self, last: float) -> float:
        kind = round(self.p["predictor"])
        if kind == 2:
            return self._kalman.next(last)
        return arima(tuple(self._history)) if kind == 1 else last


def arima(series: Sequence[float]) -> float:
    """The next value by ARIMA(1,1,0), its coefficient by least squares; the last one below five points."""
    if len(series) < FEWEST:
        return series[-1]
    steps = [new - old for old, new in pairwise(series)]
    squares = sum(step * step for step in steps[:-1])
    if squares == 0:
        return series[-1]
    slope = sum(old * new for old, new in pairwise(steps)) / squares
    return series[-1] + max(-0.99, min(0.99, slope)) * steps[-1]


class Kalman:
    """Level and trend with process noise 1 and 0.1 and measurement noise 10, in units of requests."""

    LEVEL, TREND, NOISE = 1.0, 0.1, 10.0

    def __init__(self) -> None:
        self._seen = 0
        self._level = self._slope = 0.0
        self._p = (self.NOISE, 0.0, self.NOISE)  # variances: level, both, trend

    def next(self, value: float) -> float:
        """Take a value; the next one."""
        self._seen += 1
        if self._seen == 1:
            self._level = value
            return value
        level = self._level + self._slope
        a, b, c = self._p
        a, b, c = a + 2 * b + c + self.LEVEL, b + c, c + self.TREND
        gain, drift = a / (a + self.NOISE), b / (a + self.NOISE)
        error = value - level
        self._level, self._slope = level + gain * error, self._slope + drift * error
        self._p = ((1 - gain) * a, (1 - gain) * b, c - drift * b)
        return value if self._seen < FEWEST else self._level + self._slope
