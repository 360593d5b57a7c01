"""AIBrix's APA: a step toward the target outside a tolerance, on the pods' mean KV utilization.

Restated from autoscaling.md section 4. Every 10 s the mean over the pods is averaged over 180 s; r is that
over the target. Above 1.1 the wish is ceil(n*r), at most double; below 0.9 it is ceil(n*r), at least half;
else n. What it calls stabilisation takes the smallest wish of 300 s on the way down and the largest of its
window (0 s) on the way up, the opposite of an HPA. It cannot go to zero by default. Pods that report nothing
leave the window as it is; an empty window keeps the number.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, ClassVar

from torpor.simulate.rivals.base import Place, Rival, Window, ceil, scrape

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torpor.simulate.view import View

TOLERANCE = 0.1


class Apa(Rival):
    """One PodAutoscaler with the APA strategy."""

    family = "aibrix-apa"
    source = "4"
    defaults: ClassVar = {"target": 0.5, "window": 180.0, "down": 300.0}
    positive = ("target", "window")
    every = 10.0
    period = 10.0
    scraped = False  # it reads the pods itself, at each reconcile

    def __init__(self, place: Place, given: Mapping[str, float] | None = None) -> None:
        super().__init__(place, given)
        self._values = Window(self.p["window"])
        self._wishes: deque[tuple[float, int]] = deque()

    @classmethod
    def grid(cls, place: Place) -> list[dict[str, float]]:
        """Targets around the utilization at which the ITL objective is just met, with a short window too."""
        used = place.concurrency * (place.prompt + place.output / 2) / place.replica.kv_tokens
        return [
            {"target": round(min(0.95, max(0.002, share * used)), 4), "window": window}
            for share in (0.3, 0.5, 0.7, 0.9)
            for window in (60.0, 180.0)
        ]

    def decide(self, view: View) -> int:
        """One reconcile."""
        now, current = view.now, view.replicas
        if current == 0:
            return 1
        pods = scrape(view).pods
        if pods:
            self._values.add(now, sum(pod.kv for pod in pods) / len(pods))
        mean = self._values.mean
        wished = current if mean is None else step(mean / self.p["target"], current)
        wished = max(1, min(wished, self.place.max_replicas))
        self._wishes.append((now, wished))
        while self._wishes[0][0] < now - self.p["down"] - 1e-9:
            self._wishes.popleft()
        if wished < current:
            return min(number for _, number in self._wishes)
        return wished


def step(ratio: float, current: int) -> int:
    """The wish for a ratio of value to target."""
    if ratio > 1 + TOLERANCE:
        return min(2 * current, ceil(current * ratio))
    if ratio < 1 - TOLERANCE:
        return max(current // 2, ceil(current * ratio))
    return current
