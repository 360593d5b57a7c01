"""llm-d's law on predicted latency over objective (the EPP-saturation analyzer), an HPA beneath.

Restated from autoscaling.md section 5.6. Every 60 s: s, the larger of the 90th percentiles over a minute of
predicted TTFT and predicted time per token, each over its objective, at most 2, smoothed by an EMA of 0.6. D
= s times ready over asked-for replicas credits those on their way. D above 0.55 adds ceil(n(D/0.55 - 1)); s
below 0.40 takes floor(n(1 - s/0.40)). The HPA lets through a doubling or four per 60 s after 30 s, and one
less per 120 s after 180 s. No prediction (no traffic) reads as 0, as published; no report of the engines
too. The published minimum is 3; here it is 1, as for every rule that cannot go to zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torpor.simulate.rivals.base import Place, Rates, Rival, Scrape, Window, ceil, floor
from torpor.simulate.rivals.hpa import Behaviour, Limit, average_value
from torpor.simulate.rivals.latency import predicted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torpor.simulate.view import View

ALPHA = 0.6
MOST = 2.0


class SloLaw(Rival):
    """The analyzer and the HPA that follows it."""

    family = "llmd-slo"
    source = "5.6"
    defaults: ClassVar = {"up": 0.55, "down": 0.40}
    positive = ("up", "down")

    def __init__(self, place: Place, given: Mapping[str, float] | None = None) -> None:
        super().__init__(place, given)
        self._behaviour = Behaviour(30.0, 180.0, Limit(4, 100.0, 60.0), Limit(1, 0.0, 120.0))
        self._arrivals = Rates(60.0)
        self._prompts = Rates(60.0)
        self._pressure = Window(60.0)
        self._smooth: float | None = None
        self._published: int | None = None
        self._law_due = 0.0

    @classmethod
    def grid(cls, place: Place) -> list[dict[str, float]]:
        """Thresholds, the lower one in the published proportion."""
        del place
        return [{"up": up, "down": round(up * 0.4 / 0.55, 3)} for up in (0.35, 0.45, 0.65, 0.75, 0.85, 0.95)]

    def watch(self, view: View) -> None:
        """Count what arrives."""
        self._arrivals.add(view.now, view.arrivals)
        self._prompts.add(view.now, view.prompt_tokens)

    def scraped_now(self, found: Scrape) -> None:
        """Predict for every replica."""
        self._pressure.expire(found.at)
        if not found.pods or self._arrivals.growth <= 0:
            return
        prompt = self._prompts.growth / self._arrivals.growth
        rate = self._arrivals.rate / len(found.pods)
        for pod in found.pods:
            ttft, itl = predicted(
                self.place, running=pod.running, waiting=pod.waiting, kv=pod.kv, rate=rate, prompt=prompt
            )
            worst = max(ttft / self.place.ttft_ms, itl / self.place.itl_ms)
            self._pressure.add(found.at, min(MOST, worst))

    def decide(self, view: View) -> int:
        """The law once a minute, the HPA every 15 s."""
        now, current = view.now, view.replicas
        if current == 0:
            return 1
        if now >= self._law_due - 1e-9:
            self._law_due = now + 60.0
            self._published = self._law(view)
        wished = average_value(float(self._published or current), 1.0, current)
        return self._behaviour.apply(now, current, min(max(1, wished), self.place.max_replicas))

    def _law(self, view: View) -> int:
        n = view.replicas
        if self.scrape is None:
            return n  # it has only just begun to look
        values = sorted(self._pressure.values)
        level = values[min(len(values) - 1, ceil(0.9 * len(values)) - 1)] if values else 0.0
        if not view.ready and view.waiting:
            level = MOST
        self._smooth = level if self._smooth is None else ALPHA * level + (1 - ALPHA) * self._smooth
        return law(self._smooth, n, view.ready, self.p["up"], self.p["down"])


def law(pressure: float, asked: int, ready: int, up: float, down: float) -> int:
    """Replicas for a smoothed pressure."""
    credited = pressure * min(1.0, ready / asked) if ready else pressure
    if credited > up:
        return asked + ceil(asked * (credited / up - 1))
    if pressure < down:
        return max(1, asked - floor(asked * (1 - pressure / down)))
    return asked
