"""How many requests missed their objectives lately, and how much room that leaves.

Staffing for chance and forecasting are careful by constants: no constant is right for every fleet. One whose
requests are small beside its objectives, or whose days repeat, keeps them for all but two in a thousand and
pays for it; users were promised one in a hundred. The gateways know how each request went, so what is kept
better than promised may be given back: `room` says how much, from none to all that may be given, by the share
of requests that missed within about a day.

It only ever gives back. Where more is missed than promised there is no room, and the constants hold: to ask
for more and more because of misses would pay without end for requests that no replica can serve in time (a
prompt whose prefill alone takes longer than the objective), or for a start that is simply long. The room is
in proportion, not integrated: a bad hour takes it away as fast as it enters the share, nothing winds up, and
the share settles between the two ends. Until enough requests were seen there is none.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torpor.decide.quick import quick

PROMISED = 0.01  # share of the requests that may miss their objectives
ALL, NONE = 0.5, 0.9  # of what is promised: so little missed gives all the room, so much none
HALF_LIFE = 86_400.0  # seconds
FEWEST = 2000.0  # requests of weight, twenty expected misses: below, a share of one percent says nothing
LARGEST = 1e15
VERSION = 1


@quick
@dataclass(frozen=True, slots=True)
class Service:
    """Requests that were judged by the objectives, and those of them that missed one; both fade.

    all_judged, all_missed, at: the gateways' sums when they were last read, and when (caller's clock); None
    before that.
    """

    judged: float = 0.0
    missed: float = 0.0
    all_judged: float = 0.0
    all_missed: float = 0.0
    at: float | None = None

    @property
    def share(self) -> float | None:
        """The share that missed, 0 to 1; None before enough were judged."""
        return self.missed / self.judged if self.judged >= FEWEST else None

    @property
    def room(self) -> float:
        """How much of the care may be given back, 0 to 1."""
        share = self.share
        if share is None:
            return 0.0
        return min(1.0, max(0.0, (NONE - share / PROMISED) / (NONE - ALL)))


def served(service: Service, judged: float, missed: float, now: float) -> Service:
    """Return the record with what the gateways' sums have grown by `now` (seconds, caller's clock). What
    cannot be, a sum that went back or more missed than judged, is only where the next growth begins.
    """
    if not (0 <= judged < math.inf and 0 <= missed < math.inf):
        return service
    if service.at is None or not now > service.at:
        return Service(service.judged, service.missed, judged, missed, now)
    more, worse = judged - service.all_judged, missed - service.all_missed
    if not 0 <= worse <= more <= LARGEST:
        more = worse = 0.0
    fading = 0.5 ** ((now - service.at) / HALF_LIFE)
    return Service(service.judged * fading + more, service.missed * fading + worse, judged, missed, now)


def to_dict(service: Service) -> dict[str, Any]:
    """What is kept over a restart."""
    return {"version": VERSION, "judged": round(service.judged, 1), "missed": round(service.missed, 1)}


def from_dict(document: object) -> Service | None:
    """Read what `to_dict` wrote; None for anything else."""
    if not isinstance(document, Mapping) or document.get("version") != VERSION:
        return None
    judged, missed = _count(document.get("judged")), _count(document.get("missed"))
    return Service(judged, missed) if 0 <= missed <= judged else None


def _count(value: object) -> float:
    """A number from 0, or -1."""
    possible = not isinstance(value, bool) and isinstance(value, int | float) and 0 <= value <= LARGEST
    return float(value) if possible else -1.0  # type: ignore[arg-type]
