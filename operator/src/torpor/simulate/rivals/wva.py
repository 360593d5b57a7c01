"""llm-d's Workload Variant Autoscaler: saturation (V1) and the throughput analyzer, an HPA beneath.

Restated from autoscaling.md sections 5.1 to 5.3. Every 30 s, on a minute's maximum of each pod's cache share
and queue (V1). A replica is saturated from 0.80 of its cache or 5 waiting requests; while the spare of the
others is below 0.10 or 3 on average one more is asked for, and one fewer while the spare would stay with the
load spread over one less. Nothing is asked for while any replica is missing.

The throughput analyzer compares tokens: demand is the arrival rate times the mean output, plus the queue
over 2*ITL; supply is, for each replica asked for, N/ITL(k) at k = 0.80 of the cache, with N = k*cache/(I +
O/2). ITL(k) = A*k + B is fitted to 20 samples of 30 minutes if there are ten with a spread of 0.30, else
through B = 6 ms; a shift of the mean lengths by a fifth begins anew. demand/0.85 beyond the supply adds
replicas, supply beyond demand/0.70 takes them. It is combined with the token-based saturation (demand:
tokens in use and queued; capacity: 0.8 of the cache; same two thresholds): any of the two adds, only both
take. Capacities observed under queueing (k2 of section 5.2) are left out. Engines that report nothing end a
cycle without a change.

The wish goes through an HPA of the chart (window `hpa`, 240 s both ways, ten pods per 150 s). Without a
finished request in 600 s the fleet goes to zero; the first request at zero makes it one.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, ClassVar

from torpor.simulate.rivals.base import Place, Rates, Reading, Rival, Scrape, ceil, floor
from torpor.simulate.rivals.hpa import Behaviour, Limit, average_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torpor.simulate.view import View

LOOP = 30.0
IDLE = 600.0
UP, DOWN = 0.85, 0.70
BASE_ITL = 6.0  # ms
SAMPLES, FEWEST, SPREAD, AGE = 20, 10, 0.30, 1800.0


class Variant(Rival):
    """The loop, the way to zero and back, and the HPA; subclasses say what is wished for."""

    floor = 0

    def __init__(self, place: Place, given: Mapping[str, float] | None = None) -> None:
        super().__init__(place, given)
        window = self.p["hpa"]
        self._behaviour = Behaviour(window, window, Limit(10, 0.0, 150.0), Limit(10, 0.0, 150.0))
        self._scrapes: deque[Scrape] = deque()
        self._published: int | None = None
        self._loop_due = 0.0
        self._busy_at = 0.0
        self._output = -1

    def woken(self, view: View) -> int:
        """The queue before the fleet is polled ten times a second."""
        if view.replicas == 0:
            self._published, self._busy_at = 1, view.now
        return max(1, view.replicas)

    def scraped_now(self, found: Scrape) -> None:
        """Keep a minute."""
        self._scrapes.append(found)
        while self._scrapes[0].at <= found.at - 60.0:
            self._scrapes.popleft()

    def peaks(self) -> list[tuple[float, float]]:
        """The minute's maximum of (cache share, queue) of each pod of the last scrape."""
        most: dict[tuple[float, float], tuple[float, float]] = {}
        for found in self._scrapes:
            for pod in found.pods:
                kv, queue = most.get(pod.key, (0.0, 0.0))
                most[pod.key] = (max(kv, pod.kv), max(queue, pod.waiting))
        return [most[pod.key] for pod in self._scrapes[-1].pods] if self._scrapes else []

    def wish(self, view: View) -> int:
        """Replicas, once per loop."""
        raise NotImplementedError

    def decide(self, view: View) -> int:
        """Loop every 30 s, HPA every 15 s."""
        now, current = view.now, view.replicas
        if view.output_tokens != self._output or view.in_flight or view.waiting:
            self._output, self._busy_at = view.output_tokens, now
        if current == 0:
            return self.woken(view) if view.waiting else 0
        if now - self._busy_at >= IDLE:
            return 0
        if now >= self._loop_due - 1e-9:
            self._loop_due = now + LOOP
            self._published = max(1, self.wish(view))
        wished = average_value(float(self._published or current), 1.0, current)
        return self._behaviour.apply(now, current, min(max(1, wished), self.place.max_replicas))


def saturation(peaks: Sequence[tuple[float, float]], current: int, limits: Mapping[str, float]) -> int:
    """V1's step for each ready replica's peaks of (cache share, queue)."""
    kv_limit, queue_limit = limits["kv"], limits["queue"]
    free = [(kv, queue) for kv, queue in peaks if kv < kv_limit and queue < queue_limit]

    def spare(factor: float) -> tuple[float, float]:
        if not free:
            return 0.0, 0.0
        count = len(free)
        return (
            sum(kv_limit - kv * factor for kv, _ in free) / count,
            sum(queue_limit - queue * factor for _, queue in free) / count,
        )

    kv, queue = spare(1.0)
    if kv < limits["kv_spare"] or queue < limits["queue_spare"]:
        return current + 1
    if len(free) >= 2:
        kv, queue = spare(len(peaks) / (len(peaks) - 1))
        if kv >= limits["kv_spare"] and queue >= limits["queue_spare"]:
            return current - 1
    return current


class Wva(Variant):
    """V1, saturation."""

    family = "wva"
    source = "5.1"
    defaults: ClassVar = {"kv": 0.80, "queue": 5.0, "kv_spare": 0.10, "queue_spare": 3.0, "hpa": 240.0}
    positive = ("kv", "queue")

    @classmethod
    def grid(cls, place: Place) -> list[dict[str, float]]:
        """Cache limits around the utilization at which the ITL objective is just met, and a faster HPA."""
        used = place.concurrency * (place.prompt + place.output / 2) / place.replica.kv_tokens
        found = [{"hpa": 0.0}, {"queue": 4.0, "queue_spare": 3.5, "hpa": 0.0}]
        for share in (0.5, 0.7, 0.9, 1.1):
            limit = min(0.95, max(0.005, share * used))
            found.append({"kv": round(limit, 4), "kv_spare": round(limit / 8, 5), "hpa": 0.0})
        return found

    def wish(self, view: View) -> int:
        """One more, one fewer, or as it is; nothing while replicas are missing."""
        current = view.replicas
        peaks = self.peaks()
        if self._published not in {None, current} or len(peaks) != current:
            return self._published or current
        return saturation(peaks, current, self.p)


class WvaThroughput(Variant):
    """The throughput analyzer with token-based saturation."""

    family = "wva-throughput"
    source = "5.3"
    defaults: ClassVar = {"k": 0.80, "up": UP, "down": DOWN, "hpa": 240.0}
    positive = ("k", "up", "down")

    def __init__(self, place: Place, given: Mapping[str, float] | None = None) -> None:
        super().__init__(place, given)
        self._arrivals, self._prompts, self._outputs = Rates(60.0), Rates(60.0), Rates(60.0)
        self._fit = ItlFit()
        self._before: dict[tuple[float, float], Reading] = {}
        self._lengths: tuple[float, float] | None = None

    @classmethod
    def grid(cls, place: Place) -> list[dict[str, float]]:
        """The cache share at which ITL is read, from the one that just meets the objective down."""
        used = place.concurrency * (place.prompt + place.output / 2) / place.replica.kv_tokens
        return [
            {"k": round(min(0.95, max(0.005, share * used)), 4), "hpa": hpa}
            for share in (0.5, 0.75, 1.0)
            for hpa in (0.0, 240.0)
        ]

    def watch(self, view: View) -> None:
        """Count requests and tokens."""
        self._arrivals.add(view.now, view.arrivals)
        self._prompts.add(view.now, view.prompt_tokens)
        self._outputs.add(view.now, view.output_tokens)

    def scraped_now(self, found: Scrape) -> None:
        """Sample (k, ITL) of every pod that generated since the last scrape."""
        super().scraped_now(found)
        for pod in found.pods:
            old = self._before.get(pod.key)
            if old is not None and pod.tokens - old.tokens >= 20:
                itl = 1000 * (pod.decode_seconds - old.decode_seconds) / (pod.tokens - old.tokens)
                self._fit.add(found.at, (pod.kv + old.kv) / 2, itl)
        self._before = {pod.key: pod for pod in found.pods}

    def wish(self, view: View) -> int:
        """Compare supply and demand, of tokens and of cache."""
        current, found = view.replicas, self.scrape
        arrived = self._arrivals.growth
        if found is None or not found.pods:
            return self._published or current
        prompt = self._prompts.growth / arrived if arrived > 0 else (self._lengths or (0.0, 0.0))[0]
        output = self._outputs.growth / arrived if arrived > 0 else (self._lengths or (0.0, 0.0))[1]
        if output <= 0:
            return current if arrived > 0 else 1
        if self._lengths is None or any(
            abs(new - old) > 0.2 * old for new, old in zip((prompt, output), self._lengths, strict=True)
        ):
            self._lengths = (prompt, output)
            self._fit.reset()
        k = self.p["k"]
        itl = self._fit.at(k)
        cache = self.place.replica.kv_tokens
        places = min(k * cache / (prompt + output / 2), self.place.replica.max_num_seqs)
        each = places / itl * 1000.0  # tokens per second
        demand = self._arrivals.rate * output + found.waiting / (2.0 * itl / 1000.0)
        used = sum(pod.kv for pod in found.pods) * cache + found.waiting * prompt
        changes = [
            balance(demand, each, current, self.p["up"], self.p["down"]),
            balance(used, 0.8 * cache, current, self.p["up"], self.p["down"]),
        ]
        more = max(changes)
        return current + (more if more > 0 else max(changes) if all(c < 0 for c in changes) else 0)


def balance(demand: float, each: float, current: int, up: float, down: float) -> int:
    """Replicas to add (above 0) or to take (below): demand/up beyond the supply, the supply beyond
    demand/down.
    """
    supply = current * each
    required = demand / up - supply
    if required > 0:
        return ceil(required / each)
    return -floor(max(0.0, supply - demand / down) / each)


class ItlFit:
    """ITL(k) = A*k + B, milliseconds: by least squares where the window allows it, else a line through the
    last B and the newest samples.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float, float]] = deque(maxlen=SAMPLES)
        self._newest: list[tuple[float, float]] = []
        self._newest_at = 0.0
        self._base = BASE_ITL

    def add(self, now: float, k: float, itl: float) -> None:
        """Take a sample; the window holds only those at 0.15 to 0.85 of the cache."""
        while self._samples and self._samples[0][0] < now - AGE:
            self._samples.popleft()
        if 0.15 <= k <= 0.85:
            self._samples.append((now, k, itl))
        if now != self._newest_at:
            self._newest, self._newest_at = [], now
        self._newest.append((k, itl))

    def reset(self) -> None:
        """Begin anew; the base stays."""
        self._samples.clear()

    def at(self, k: float) -> float:
        """ITL at `k`."""
        shares = [share for _, share, _ in self._samples]
        if len(shares) >= FEWEST and max(shares) - min(shares) >= SPREAD:
            mean_k = sum(shares) / len(shares)
            mean_t = sum(itl for _, _, itl in self._samples) / len(shares)
            spread = sum((share - mean_k) ** 2 for share in shares)
            slope = sum((share - mean_k) * (itl - mean_t) for _, share, itl in self._samples) / spread
            base = mean_t - slope * mean_k
            if slope > 0 and base > 0:
                self._base = base
                return slope * k + base
        squares = sum(share * share for share, _ in self._newest)
        rise = sum((itl - self._base) * share for share, itl in self._newest)
        return max(self._base, (rise / squares if squares else 0.0) * k + self._base)
