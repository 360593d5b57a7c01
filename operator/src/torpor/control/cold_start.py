"""How long a fleet takes to wake: measured, not configured.

A cold start runs from the write that raised a sleeping fleet to the first replica that answers. The last
twenty are remembered, with the launcher's phases of the latest, and the figures are kept in the status, from
which a new leader starts: two numbers are little, but they are this fleet's own. A leader that did not see
the wake begin does not measure it; half a cold start would be a lie.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from torpor.control.world import World

REMEMBERED = 20
MAX_PHASES = 16


@dataclass(frozen=True, slots=True)
class ColdStarts:
    """Seconds of the last cold starts, the newest last, the phases of the newest, and since when one runs
    (monotonic).
    """

    seconds: tuple[float, ...] = ()
    phases: tuple[tuple[str, float], ...] = ()
    running_since: float | None = None

    @property
    def last(self) -> float | None:
        """Seconds of the newest."""
        return self.seconds[-1] if self.seconds else None

    @property
    def p95(self) -> float | None:
        """The time within which 95 of 100 ended (nearest rank)."""
        if not self.seconds:
            return None
        ordered = sorted(self.seconds)
        return ordered[math.ceil(0.95 * len(ordered)) - 1]

    def begun(self, clock: float) -> "ColdStarts":
        """A sleeping fleet was raised at `clock`."""
        return replace(self, running_since=clock)

    def seen(self, world: World) -> "ColdStarts":
        """Return the record after a look: finished by a ready replica, dropped by a return to zero."""
        if self.running_since is None:
            return self if self.phases or not self.seconds else self._with_phases(world)
        if world.replicas == 0:
            return replace(self, running_since=None)
        if not world.ready:
            return self
        took = max(0.0, world.clock - self.running_since)
        return ColdStarts(seconds=(*self.seconds, took)[-REMEMBERED:])._with_phases(world)

    def _with_phases(self, world: World) -> "ColdStarts":
        """Add the launcher's phases, which may come a moment after the kubelet's word."""
        return replace(self, phases=_phases(world, world.ready[0].name)) if world.ready else self


def from_status(status: Mapping[str, Any]) -> ColdStarts:
    """Begin with what an earlier leader wrote down."""
    record = status.get("coldStart") or {}
    known = [_number(record.get(name)) for name in ("p95Seconds", "lastSeconds")]
    phases = [(str(p.get("name")), _number(p.get("seconds"))) for p in record.get("phases") or ()]
    return ColdStarts(
        seconds=tuple(value for value in known if value is not None),
        phases=tuple((name, value) for name, value in phases if value is not None),
    )


def _phases(world: World, pod: str) -> tuple[tuple[str, float], ...]:
    report = world.demand.pods.get(pod)
    told = report.stats.get("phases") if report else None
    found = {}
    for phase in told if isinstance(told, list) else ():
        value = _number(phase.get("seconds")) if isinstance(phase, Mapping) else None
        if value is not None:
            found[str(phase["name"])[:64]] = value
    return tuple(found.items())[:MAX_PHASES]


def _number(value: object) -> float | None:
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if math.isfinite(number) and number >= 0 else None
