"""No autoscaler: as many replicas as the known load needed at its peak, times a factor, always."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from torpor.simulate.rivals.base import Place, Rival, ceil

if TYPE_CHECKING:
    from torpor.simulate.view import View


class StaticPeak(Rival):
    """`factor` times the peak."""

    family = "static-peak"
    source = "12.1"
    defaults: ClassVar = {"factor": 1.0}
    positive = ("factor",)
    every = 60.0
    period = 60.0
    scraped = False

    @classmethod
    def grid(cls, place: Place) -> list[dict[str, float]]:
        """From half the peak to half as much again."""
        del place
        return [{"factor": factor} for factor in (0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.25, 1.5)]

    def decide(self, view: View) -> int:
        """The same number, always."""
        del view
        return ceil(self.p["factor"] * self.place.peak)
