"""KEDA with Prometheus triggers, an HPA beneath.

Restated from autoscaling.md sections 2 and 7. Two triggers, as vLLM's production stack has them: the number
of waiting requests, and whether requests came in the last minute (counted by the router, 1 or 0). Between
one and many an HPA follows their AverageValue every 15 s. Between zero and one KEDA acts itself, every 30 s:
any trigger above 0 makes zero one, never more, and 300 s without make it zero. An empty answer counts as 0
(the default of ignoreNullValues): engines that cannot be read have no queue. With `fallback` above 0 the
answer is an error instead, and three errors in a row stand for that many replicas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torpor.simulate.rivals.base import Place, Rates, Rival
from torpor.simulate.rivals.hpa import Behaviour, average_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torpor.simulate.view import View

FAILURES = 3


class Keda(Rival):
    """KEDA's executor and the HPA that it makes."""

    family = "keda"
    source = "2"
    defaults: ClassVar = {"target": 5.0, "poll": 30.0, "cooldown": 300.0, "down": 300.0, "fallback": 0.0}
    floor = 0

    def __init__(self, place: Place, given: Mapping[str, float] | None = None) -> None:
        super().__init__(place, given)
        self._behaviour = Behaviour(down_window=self.p["down"])
        self._arrivals = Rates(60.0)
        self._active: float | None = None
        self._polled = -self.p["poll"]
        self._failures = 0

    @classmethod
    def grid(cls, place: Place) -> list[dict[str, float]]:
        """Targets of the queue, with the window and without."""
        del place
        return [{"target": t, "down": d} for t in (0.5, 1.0, 2.0, 10.0) for d in (60.0, 300.0)]

    def watch(self, view: View) -> None:
        """Count arrivals."""
        self._arrivals.add(view.now, view.arrivals)

    def _waiting(self, view: View) -> float | None:
        """The answer to the query for the queue; None: an error."""
        found = self.scrape
        if found is not None and found.pods:
            self._failures = 0
            return found.waiting
        if view.ready == 0:
            return float(view.waiting)  # no engine to be read: the router's line is all there is
        if self.p["fallback"] <= 0:
            return 0.0
        self._failures += 1
        return None

    def decide(self, view: View) -> int:
        """Poll where that is due, then let the HPA follow."""
        now, current = view.now, view.replicas
        waiting = self._waiting(view)
        busy = self._arrivals.growth > 0
        if busy or (waiting or 0.0) > 0:
            self._active = now
        if now - self._polled >= self.p["poll"] - 1e-9:
            self._polled = now
            if current == 0:
                return 1 if self._active == now else 0
            if waiting is not None and (self._active is None or now - self._active > self.p["cooldown"]):
                return 0
        if current == 0:
            return 0
        wished = average_value(1.0 if busy else 0.0, 1.0, current)
        if waiting is not None:
            wished = max(wished, average_value(waiting, self.p["target"], current))
        elif self._failures >= FAILURES:
            wished = max(
                wished, average_value(self.p["fallback"] * self.p["target"], self.p["target"], current)
            )
        else:
            wished = max(wished, current)  # an HPA with an error does not scale in
        wished = min(max(1, wished), self.place.max_replicas)
        return self._behaviour.apply(now, current, wished)
