"""The Horizontal Pod Autoscaler on a metric of the pods: mean queue, or mean KV-cache utilization.

Restated from autoscaling.md section 1. Every 15 s, ratio r of the pods' mean to the target; within 10 % of 1
nothing changes; else ceil(r times the pods that report). Pods without a report (all that are starting) count
as if they were at the target on the way down and idle on the way up, and if that turns the direction nothing
changes. No report at all is an error: nothing changes. Then the behaviour: on the way down the largest
recommendation of 300 s, on the way up at most four pods or a doubling per 15 s. It cannot go to zero.

`Behaviour` and `average_value` also serve the rules that publish a number for an HPA to follow.

No target is published: the queue's default is the one of vLLM's production stack (5, section 7), the cache's
the one at which llm-d calls a replica saturated (0.8, section 5.1).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torpor.simulate.rivals.base import Place, Rival, Scrape, ceil, floor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torpor.simulate.view import View

TOLERANCE = 0.1
_EPSILON = 1e-9


def close(ratio: float) -> bool:
    """Whether the ratio is within the tolerance."""
    return abs(ratio - 1) <= TOLERANCE + _EPSILON


def pods_metric(values: Sequence[float], missing: int, target: float, current: int) -> int:
    """Replicas for a Pods metric. values: of the pods that report; missing: pods that do not."""
    if not values:
        return current
    ratio = sum(values) / len(values) / target
    if not missing:
        return current if close(ratio) else ceil(ratio * len(values))
    assumed = target if ratio < 1 else 0.0
    count = len(values) + missing
    again = (sum(values) + assumed * missing) / count / target
    if close(again) or (ratio < 1) != (again < 1):
        return current
    wished = ceil(again * count)
    return max(wished, current) if again > 1 else min(wished, current)


def average_value(value: float, target: float, current: int) -> int:
    """Replicas for an external metric of type AverageValue; for `current` from 1."""
    return current if close(value / (target * current)) else ceil(value / target)


@dataclass(frozen=True, slots=True)
class Limit:
    """A rate policy: at most so many pods, or percent, in so many seconds."""

    pods: int
    percent: float
    seconds: float


class Behaviour:
    """Stabilisation windows (seconds), then rate limits, the largest of each direction's counting. What was
    there before the first look counts as the first recommendation.
    """

    def __init__(
        self,
        up_window: float = 0.0,
        down_window: float = 300.0,
        up: Limit = Limit(4, 100.0, 15.0),
        down: Limit = Limit(0, 100.0, 15.0),
    ) -> None:
        self._windows = (up_window, down_window)
        self._limits = (up, down)
        self._recommended: deque[tuple[float, int]] = deque()
        self._events: deque[tuple[float, int]] = deque()

    def apply(self, now: float, current: int, wished: int) -> int:
        """What may be asked for now, given what the metric wishes."""
        up_window, down_window = self._windows
        if not self._recommended:
            self._recommended.append((now, current))
        while self._recommended and self._recommended[0][0] <= now - max(up_window, down_window) + _EPSILON:
            self._recommended.popleft()
        low = min([wished, *(n for at, n in self._recommended if at > now - up_window + _EPSILON)])
        high = max([wished, *(n for at, n in self._recommended if at > now - down_window + _EPSILON)])
        self._recommended.append((now, wished))
        asked = low if low > current else high if high < current else current
        up, down = self._limits
        if asked > current:
            start = current - self._moved(now, up.seconds, 1)
            asked = min(asked, max(start + up.pods, ceil(start * (1 + up.percent / 100))))
            asked = max(asked, current)
        elif asked < current:
            start = current + self._moved(now, down.seconds, -1)
            asked = max(asked, min(start - down.pods, floor(start * (1 - down.percent / 100))))
            asked = min(asked, current)
        if asked != current:
            self._events.append((now, asked - current))
        return asked

    def _moved(self, now: float, seconds: float, sign: int) -> int:
        while self._events and self._events[0][0] <= now - 600:
            self._events.popleft()
        return sum(
            sign * moved for at, moved in self._events if at > now - seconds + _EPSILON and moved * sign > 0
        )


class _Hpa(Rival):
    source = "1"

    def __init__(self, place: Place, given: Mapping[str, float] | None = None) -> None:
        super().__init__(place, given)
        self._behaviour = Behaviour(down_window=self.p["down"])

    def metric(self, found: Scrape) -> list[float]:
        """The pods' values."""
        raise NotImplementedError

    def decide(self, view: View) -> int:
        """Read the last scrape, then stabilise."""
        current = view.replicas
        if current == 0:
            return 1
        wished = current
        if self.scrape is not None:
            wished = pods_metric(self.metric(self.scrape), self.scrape.missing, self.p["target"], current)
        return self._behaviour.apply(view.now, current, min(wished, self.place.max_replicas))


class HpaQueue(_Hpa):
    """On the mean number of waiting requests."""

    family = "hpa-queue"
    defaults: ClassVar = {"target": 5.0, "down": 300.0}

    @classmethod
    def grid(cls, place: Place) -> list[dict[str, float]]:
        """Targets from one request on, with the window and without."""
        del place
        return [{"target": t, "down": d} for t in (0.5, 1.0, 2.0, 10.0) for d in (60.0, 300.0)]

    def metric(self, found: Scrape) -> list[float]:
        """Waiting requests."""
        return [pod.waiting for pod in found.pods]


class HpaKv(_Hpa):
    """On the mean KV-cache utilization."""

    family = "hpa-kv"
    defaults: ClassVar = {"target": 0.8, "down": 300.0}

    @classmethod
    def grid(cls, place: Place) -> list[dict[str, float]]:
        """Targets around the utilization at which the ITL objective is just met: what runs then, times its
        context, over the cache (autoscaling.md 11.3).
        """
        used = place.concurrency * (place.prompt + place.output / 2) / place.replica.kv_tokens
        shares = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
        return [{"target": round(min(0.95, max(0.002, share * used)), 4)} for share in shares]

    def metric(self, found: Scrape) -> list[float]:
        """Shares of the cache in use."""
        return [pod.kv for pod in found.pods]
