"""How long a fleet takes to wake: measured, not configured.

A cold start runs from the write that raised a sleeping fleet to the first replica that answers. The last
twenty are remembered, with the launcher's phases of the latest, and the figures are kept in the status, from
which a new leader starts: two numbers are little, but they are this fleet's own.

A leader may change while a fleet wakes, the more so as loading a model keeps a machine busy. The new one did
not see the wake begin, but the pods did: a fleet that the status calls not awake, and whose oldest pod is
younger than that word, was asleep and began to wake when that pod was made. When it answered is told by the
launcher, or by the condition of the pod. So the figure is right to a second or two. Refused: an account of
pods that were there before the fleet stopped to answer; that is a crash and not a wake.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from torpor.api import constants
from torpor.control.pods import Pod, parse_time
from torpor.control.world import World
from torpor.decide.values import Unknown, measured

REMEMBERED = 20
MAX_PHASES = 16
EVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class ColdStarts:
    """Seconds of the last cold starts, the newest last, the phases of the newest, and since when one runs
    (monotonic). idle_since: since when no replica answered before this leader began; None where one did, and
    once it is known whether a wake was taken over.
    """

    seconds: tuple[float, ...] = ()
    phases: tuple[tuple[str, float], ...] = ()
    running_since: float | None = None
    idle_since: datetime | None = None

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
        return replace(self, running_since=clock, idle_since=None)

    def seen(self, world: World) -> "ColdStarts":
        """Return the record after a look: finished by a ready replica, dropped by a return to zero."""
        if self.idle_since is not None:
            return self._taken_over(world, self.idle_since)
        if self.running_since is None:
            return self if self.phases or not self.seconds else self._with_phases(world)
        if world.replicas == 0:
            return replace(self, running_since=None)
        if not world.ready:
            return self
        return self._ended(world, world.clock - self.running_since)

    def _taken_over(self, world: World, idle_since: datetime) -> "ColdStarts":
        """Go on with the wake that another leader began, if it did."""
        if world.replicas and not world.pods:
            return self  # its pods are still to come
        known = replace(self, idle_since=None)
        made = [pod.created for pod in world.living if pod.created]
        if not made or min(made) <= idle_since:
            return known.seen(world)
        begun = min(made)
        if world.ready:
            answered = min(_answered(world, pod) for pod in world.ready)
            return known._ended(world, (answered - begun).total_seconds())
        return replace(known, running_since=world.clock - (world.now - begun).total_seconds())

    def _ended(self, world: World, took: float) -> "ColdStarts":
        seconds = (*self.seconds, max(0.0, took))[-REMEMBERED:]
        return ColdStarts(seconds)._with_phases(world)

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
        idle_since=_idle_since(status),
    )


def _idle_since(status: Mapping[str, Any]) -> datetime | None:
    """Since when no replica answers, as the status has it; for ever, where nobody has looked yet."""
    if not status:
        return EVER
    conditions = status.get("conditions")
    for item in conditions if isinstance(conditions, list) else ():
        if isinstance(item, Mapping) and (item.get("type"), item.get("status")) == (constants.AWAKE, "False"):
            return parse_time(item.get("lastTransitionTime"))
    return None


def _answered(world: World, pod: Pod) -> datetime:
    """When a ready pod began to answer; now, where nobody says."""
    report = world.demand.pods.get(pod.name)
    told = measured(report.stats.get("readyAt"), high=world.now.timestamp()) if report else None
    if told is None or isinstance(told, Unknown):
        return min(world.now, pod.ready_since or world.now)
    return datetime.fromtimestamp(told, UTC)


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
