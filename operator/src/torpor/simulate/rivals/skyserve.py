"""SkyServe: request rate over a rate per replica that its owner knows.

Restated from autoscaling.md section 7. Every 20 s (5 s while there is no replica) the requests of the last
60 s over 60 and over the target rate, rounded up. It is followed upward when 300 s of decisions in a row
wished for more, downward when 1200 s wished for fewer; from zero at once. The target is the owner's to know
and there is no default: here it is 0.8 (as in section 11.5) of what a replica carries of the known load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torpor.simulate.rivals.base import Place, Rates, Rival, ceil

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torpor.simulate.view import View

AWAKE, ASLEEP = 20.0, 5.0  # seconds between two decisions


class SkyServe(Rival):
    """The request-rate autoscaler."""

    family = "skyserve"
    source = "7"
    defaults: ClassVar = {"target": 1.0, "up": 300.0, "down": 1200.0}
    every = ASLEEP
    period = ASLEEP
    scraped = False
    floor = 0

    def __init__(self, place: Place, given: Mapping[str, float] | None = None) -> None:
        super().__init__(place, given)
        self._requests = Rates(60.0)
        self._decided = -AWAKE
        self._more = self._fewer = 0

    @classmethod
    def known(cls, place: Place) -> dict[str, float]:
        """The rate per replica that its owner measured."""
        return {"target": 0.8 * place.rate}

    @classmethod
    def grid(cls, place: Place) -> list[dict[str, float]]:
        """Shares of the true rate per replica, with short delays too."""
        delays: tuple[dict[str, float], ...] = ({}, {"up": 20.0, "down": 300.0})
        return [
            {"target": round(share * place.rate, 4), **delay}
            for share in (0.6, 0.7, 0.8, 0.9)
            for delay in delays
        ]

    def watch(self, view: View) -> None:
        """Count requests."""
        self._requests.add(view.now, view.arrivals)

    def decide(self, view: View) -> int:
        """Count decisions in a row that wished for the same direction."""
        current = view.replicas
        if current and view.now - self._decided < AWAKE - 1e-9:
            return current
        self._decided = view.now
        wished = ceil(self._requests.growth / 60.0 / self.p["target"])
        if current == 0:
            self._more = self._fewer = 0
            return wished
        self._more = self._more + 1 if wished > current else 0
        self._fewer = self._fewer + 1 if wished < current else 0
        if self._more and self._more * AWAKE >= self.p["up"]:
            self._more = 0
            return wished
        if self._fewer and self._fewer * AWAKE >= self.p["down"]:
            self._fewer = 0
            return wished
        return current
