"""Knative's pod autoscaler on concurrency.

Restated from autoscaling.md section 3. Every 2 s the mean concurrency of 60 s and of 6 s over the target (70
% of 100 requests a pod), within half and a thousandfold of the ready pods. When the short mean asks for
twice the ready pods it panics: the largest number since then holds until 60 s have passed without. No
concurrency for 60 s and a grace of 30 s more is zero; the activator brings the first request to the
autoscaler at once. Concurrency counts what waits: the activator and the queue proxies do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torpor.simulate.rivals.base import Place, Rival, Window, ceil

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torpor.simulate.view import View

PANIC = 2.0  # times the ready pods
FASTEST_UP, FASTEST_DOWN = 1000.0, 2.0


class Knative(Rival):
    """The autoscaler's tick, and the scaler's way to zero."""

    family = "knative"
    source = "3"
    defaults: ClassVar = {"target": 70.0, "window": 60.0, "panic": 6.0, "grace": 30.0}
    positive = ("target", "window", "panic")
    every = 2.0
    period = 2.0
    scraped = False
    floor = 0

    def __init__(self, place: Place, given: Mapping[str, float] | None = None) -> None:
        super().__init__(place, given)
        self._stable = Window(self.p["window"])
        self._short = Window(self.p["panic"])
        self._panic_until: float | None = None
        self._panic_most = 0
        self._zero_since: float | None = None

    @classmethod
    def grid(cls, place: Place) -> list[dict[str, float]]:
        """Targets as shares of what runs at the ITL objective, with a longer window too."""
        return [
            {"target": round(share * place.concurrency, 2), "window": window}
            for share in (0.4, 0.55, 0.7, 0.85)
            for window in (60.0, 300.0)
        ]

    def watch(self, view: View) -> None:
        """Measure the concurrency."""
        self._sample(view)

    def _sample(self, view: View) -> None:
        concurrency = float(view.in_flight + view.waiting)
        self._stable.add(view.now, concurrency)
        self._short.add(view.now, concurrency)

    def woken(self, view: View) -> int:
        """The activator reports the first request."""
        self._sample(view)
        return self.decide(view)

    def decide(self, view: View) -> int:
        """Scale on the stable mean or, in panic, on the short one."""
        now, target = view.now, self.p["target"]
        ready = max(1, view.ready)
        stable, short = self._stable.mean or 0.0, self._short.mean or 0.0
        least, most = int(ready // FASTEST_DOWN), ceil(FASTEST_UP * ready)
        wished = min(max(ceil(stable / target), least), most)
        urgent = min(max(ceil(short / target), least), most)
        if ceil(short / target) / ready >= PANIC:
            self._panic_until = now + self.p["window"]
        elif self._panic_until is not None and now >= self._panic_until:
            self._panic_until, self._panic_most = None, 0
        if self._panic_until is not None:
            self._panic_most = max(self._panic_most, urgent, wished)
            wished = self._panic_most
        if stable > 0:
            self._zero_since = None
            return max(1, wished)
        if view.replicas == 0:
            return 0
        if self._zero_since is None:
            self._zero_since = now
        return 0 if now - self._zero_since >= self.p["grace"] - 1e-9 else max(1, wished)
