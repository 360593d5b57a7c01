"""Ray Serve: ongoing requests over a target, after they have lasted.

Restated from autoscaling.md section 7. Replicas and proxies push their ongoing and queued requests every 10
s, averaged over 30 s; the wish is their sum over the target (2). It is followed upward when every decision
of 30 s wished for more, downward when every decision of 600 s wished for fewer; at zero at once. Only one
goes to zero, never more. The control loop runs ten times a second; here as often as the pushes come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torpor.simulate.rivals.base import Place, Rival, Window, ceil

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torpor.simulate.view import View


class RayServe(Rival):
    """The default policy of one deployment."""

    family = "ray-serve"
    source = "7"
    defaults: ClassVar = {"target": 2.0, "up": 30.0, "down": 600.0, "look_back": 30.0}
    positive = ("target", "look_back")
    every = 10.0
    period = 10.0
    scraped = False
    floor = 0

    def __init__(self, place: Place, given: Mapping[str, float] | None = None) -> None:
        super().__init__(place, given)
        self._ongoing = Window(self.p["look_back"])
        self._direction = 0  # of the wishes since `_since`
        self._since = 0.0

    @classmethod
    def grid(cls, place: Place) -> list[dict[str, float]]:
        """Targets as shares of what runs at the ITL objective, with a shorter delay too."""
        return [
            {"target": round(share * place.concurrency, 2), "down": down}
            for share in (0.3, 0.45, 0.6, 0.75)
            for down in (120.0, 600.0)
        ]

    def woken(self, view: View) -> int:
        """A handle with queued requests and no replica asks at once."""
        return max(view.replicas, ceil(view.waiting / self.p["target"]), 1)

    def decide(self, view: View) -> int:
        """Follow a wish that has lasted."""
        now, current = view.now, view.replicas
        self._ongoing.add(now, float(view.in_flight + view.waiting))
        wished = ceil((self._ongoing.mean or 0.0) / self.p["target"])
        if current == 0:
            self._direction = 0
            return wished
        if wished == 0 and current > 1:
            wished = 1
        direction = (wished > current) - (wished < current)
        if direction != self._direction:
            self._direction, self._since = direction, now
        delay = self.p["up"] if direction > 0 else self.p["down"]
        if direction == 0 or now - self._since < delay - 1e-9:
            return current
        self._direction = 0
        return wished
