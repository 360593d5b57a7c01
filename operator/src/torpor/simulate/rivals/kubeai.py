"""KubeAI's autoscaler: a plain mean of ten minutes of active requests.

Restated from autoscaling.md section 7. Every 10 s the number of active requests, those that wait at the
proxy included, goes into one of 60 slots that begin as zero; the mean of the slots over the target is the
number of replicas. Fewer are taken only when 30 s in a row (three decisions) asked for fewer. The proxy
makes zero one at once.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, ClassVar

from torpor.simulate.rivals.base import Place, Rival, ceil

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torpor.simulate.view import View


class KubeAi(Rival):
    """One model's autoscaler."""

    family = "kubeai"
    source = "7"
    defaults: ClassVar = {"target": 100.0, "window": 600.0, "delay": 30.0}
    positive = ("target", "window")
    every = 10.0
    period = 10.0
    scraped = False
    floor = 0

    def __init__(self, place: Place, given: Mapping[str, float] | None = None) -> None:
        super().__init__(place, given)
        slots = max(1, round(self.p["window"] / self.every))
        self._slots = deque([0.0] * slots, maxlen=slots)
        self._fewer = 0

    @classmethod
    def grid(cls, place: Place) -> list[dict[str, float]]:
        """Targets as shares of what runs at the ITL objective, with a short window too."""
        return [
            {"target": round(share * place.concurrency, 2), "window": window}
            for share in (0.3, 0.45, 0.6, 0.75)
            for window in (60.0, 600.0)
        ]

    def woken(self, view: View) -> int:
        """The proxy scales from zero."""
        return max(1, view.replicas)

    def decide(self, view: View) -> int:
        """Average, round up, be slow to shrink."""
        self._slots.append(float(view.in_flight + view.waiting))
        mean = sum(self._slots) / len(self._slots)
        wished = ceil(mean / self.p["target"])
        if view.waiting and not view.replicas:
            wished = max(wished, 1)
        if wished >= view.replicas:
            self._fewer = 0
            return wished
        self._fewer += 1
        if self._fewer * self.every >= self.p["delay"]:
            return wished
        return view.replicas
